"""Repetitions of a movement, counted by person."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from engine.options import CountRule, count_rule
from engine.tracking.repetitions import RepetitionCounter


def counted(angles: Sequence[float], rule: str = "left_elbow:60:150") -> list[int]:
    counter = RepetitionCounter(count_rule(rule))
    one = np.array([5], np.int64)
    return [int(counter.update(one, np.array([angle], np.float32))[0]) for angle in angles]


def test_an_arm_that_bends_counts_once_each_time() -> None:
    assert counted([170, 170, 100, 50, 45, 100, 170, 175, 100, 40, 30, 160]) == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2]
    assert counted([50, 50, 100, 170, 170]) == [0] * 5, "half a movement"
    assert counted([170, 170, 70, 70, 170, 170, 70, 70, 170]) == [0] * 9, "it never came down"


def test_trembling_about_a_limit_counts_once() -> None:
    noisy = [149, 151, 152, 149, 151, 62, 59, 61, 58, 63, 59, 57, 140, 148, 59, 152, 151, 58, 57]
    assert counted(noisy)[-1] == 2


def test_a_keypoint_that_is_wrong_in_one_frame_counts_nothing() -> None:
    assert counted([170, 172, 10, 171, 170, 12, 168, 170])[-1] == 0
    assert counted([170, 10, 170, 170])[-1] == 0, "nor among the first ones"
    assert counted([20, 25, 175, 22, 20, 170, 21, 20])[-1] == 0


def test_a_noisy_wave_of_known_length() -> None:
    times = np.arange(0, 19.2, 1 / 30)  # twelve movements of 1.6 s
    wave = 105 + 65 * np.cos(2 * np.pi * times / 1.6) + np.random.default_rng(1).normal(0, 6, len(times))
    wave[::7] = np.nan  # the wrist is not seen now and then
    assert counted(wave.tolist())[-1] == 12


def test_people_are_counted_apart_and_through_gaps() -> None:
    counter = RepetitionCounter(CountRule(angle="a", low=60, high=150))
    for ids, angles, expected in (
        ([1, 2], [170, 170], [0, 0]),
        ([1, 2], [170, 170], [0, 0]),
        ([2, 1], [50, 170], [0, 0]),
        ([2, 1], [50, 170], [1, 0]),
        ([1], [np.nan], [0]),
        ([2, 1], [170, 50], [1, 0]),
        ([2, 1], [170, 50], [1, 1]),
        ([3], [50], [0]),
        ([2], [50], [1]),
        ([2], [50], [2]),
    ):
        found = counter.update(np.array(ids, np.int64), np.array(angles, np.float32))
        assert found.tolist() == expected
    counter.reset()
    assert counter.update(np.array([2], np.int64), np.array([170.0], np.float32)).tolist() == [0]


@pytest.mark.parametrize("text", ["left_elbow", "left_elbow:60", "a:150:60", "a:60:190", ":60:150", "a:x:y", "a:1:2:3"])
def test_rules_that_make_no_sense(text: str) -> None:
    with pytest.raises(ValueError, match="ANGLE:LOW:HIGH"):
        count_rule(text)
