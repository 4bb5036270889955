"""Repetitions of a movement, counted by person."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from engine.options import CountRule, count_rule
from engine.tracking.repetitions import RepetitionCounter


def counted(angles: Sequence[float], rule: str = "left_elbow:60:150", fps: float = 10) -> list[int]:
    counter = RepetitionCounter(count_rule(rule))
    one = np.array([5], np.int64)
    return [
        int(counter.update(one, np.array([angle], np.float32), number / fps)[0]) for number, angle in enumerate(angles)
    ]


def test_an_arm_that_bends_counts_once_each_time() -> None:
    up, down = [100, 165, 170, 168, 160], [100, 55, 45, 50, 58]
    assert counted([*up, *down, *up, *down, *up])[-1] == 2
    assert counted([*up, *down])[-3:] == [0, 1, 1], "when it is down, and not when it is up again"
    assert counted([50, 50, 50, 50, 100, 170, 170, 170])[-1] == 0, "half a movement"
    assert counted([*up, 70, 70, 70, 70, *up, 70, 70, 70, 70])[-1] == 0, "it never came down"


def test_trembling_about_a_limit_counts_once() -> None:
    down, up = [62, 59, 61, 58, 63, 59, 57, 58], [148, 151, 152, 149, 151, 152, 148, 153]
    assert counted([*up, *down, *up, *down])[-1] == 2


def test_a_keypoint_in_the_wrong_place_for_some_frames_counts_nothing() -> None:
    assert counted([170, 172, 171, 10, 171, 170, 12, 168, 170])[-1] == 0
    assert counted([170, 10, 170, 170, 170])[-1] == 0, "nor among the first ones"
    assert counted([20, 25, 22, 175, 22, 20, 21, 170, 21, 20])[-1] == 0
    assert counted([153, 174, 2, 165, 2, 170, 172, 168, 5, 11, 179, 165, 172])[-1] == 0, "nor two frames of five"
    wrong = np.array([170.0] * 60)
    wrong[20:25] = 5  # a sixth of a second
    assert counted(wrong.tolist(), fps=30)[-1] == 0, "the more frames a second, the more of them may be wrong"


@pytest.mark.parametrize(("fps", "period_s"), [(10, 2.4), (30, 1.6), (60, 1.6)])
def test_a_noisy_wave_of_known_length(fps: int, period_s: float) -> None:
    times = np.arange(0, 12 * period_s, 1 / fps)
    wave = 105 + 65 * np.cos(2 * np.pi * times / period_s) + np.random.default_rng(1).normal(0, 6, len(times))
    wave[::7] = np.nan  # the wrist is not seen now and then
    assert counted(wave.tolist(), fps=fps)[-1] == 12


def test_people_are_counted_apart_and_through_gaps() -> None:
    counter = RepetitionCounter(CountRule(angle="a", low=60, high=150))
    now_s = 0.0

    def update(ids: list[int], angles: list[float], frames: int = 5) -> object:
        nonlocal now_s
        for _ in range(frames):
            now_s += 0.1
            found = counter.update(np.array(ids, np.int64), np.array(angles, np.float32), now_s)
        return found.tolist()

    for ids, angles, expected in (
        ([1, 2], [170.0, 170.0], [0, 0]),
        ([2, 1], [50.0, 170.0], [1, 0]),
        ([1], [np.nan], [0]),
        ([2, 1], [170.0, 50.0], [1, 1]),
        ([3], [50.0], [0]),
        ([2], [50.0], [2]),
    ):
        assert update(ids, angles) == expected
    counter.reset()
    assert update([2], [170.0], frames=1) == [0]


@pytest.mark.parametrize("text", ["left_elbow", "left_elbow:60", "a:150:60", "a:60:190", ":60:150", "a:x:y", "a:1:2:3"])
def test_rules_that_make_no_sense(text: str) -> None:
    with pytest.raises(ValueError, match="ANGLE:LOW:HIGH"):
        count_rule(text)
