"""One-Euro smoothing of still, moving, uncertain and returning keypoints."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.tracking.smoothing import LEAST_SCORE, PoseSmoother
from engine.types import Poses

HEIGHT_PX = 300.0


def people(places: npt.ArrayLike, ids: list[int] | None, scores: npt.ArrayLike = 0.9) -> Poses:
    """Poses from places (N, K, 2), all people 300 px high."""
    xy = np.asarray(places, np.float32)
    count, keypoints = xy.shape[:2]
    return Poses(
        keypoints_xy=xy,
        scores=np.broadcast_to(np.asarray(scores, np.float32), (count, keypoints)).copy(),
        boxes_xyxy=np.tile(np.array([0, 0, 100, HEIGHT_PX], np.float32), (count, 1)),
        box_scores=np.ones(count, np.float32),
        person_scores=np.ones(count, np.float32),
        track_ids=None if ids is None else np.array(ids, np.int64),
    )


def smoothed(signal: npt.NDArray[np.float64], rate: float) -> npt.NDArray[np.float64]:
    """One person's keypoints (T, K, 2) at an even rate, smoothed."""
    smoother = PoseSmoother()
    steps = [smoother.smooth(people(places[None], [1]), i / rate).keypoints_xy[0] for i, places in enumerate(signal)]
    return np.array(steps, np.float64)


@pytest.mark.parametrize("rate", [15, 30, 60])
@pytest.mark.parametrize("noise_px", [0.5, 1.0, 3.0])
def test_jitter_of_a_still_person_is_at_least_halved(rate: float, noise_px: float) -> None:
    still = 100 + np.random.default_rng(0).normal(0, noise_px, (40 + 4 * int(rate), 17, 2))
    calm = smoothed(still, rate)
    jitter = [np.abs(np.diff(signal[int(rate) :], axis=0)).mean() for signal in (still, calm)]
    assert jitter[1] <= 0.5 * jitter[0]
    assert np.abs(calm[int(rate) :].mean(axis=0) - 100).max() < noise_px


@pytest.mark.parametrize("rate", [15, 30, 60])
@pytest.mark.parametrize("hertz", [0.7, 1.0, 2.0, 3.0])
def test_a_waving_wrist_lags_by_less_than_one_and_a_half_frames(rate: float, hertz: float) -> None:
    times = np.arange(int(6 * rate)) / rate
    noise = np.random.default_rng(1).normal(0, 0.5, (len(times), 1, 2))
    wrist = np.zeros((len(times), 1, 2))
    wrist[:, 0, 0] = 150 + 60 * np.sin(2 * np.pi * hertz * times)
    calm = smoothed(wrist + noise, rate)[:, 0, 0]
    # The lag is the delay of the true path that fits the smoothed one best.
    lags = np.arange(0, 4, 0.05)
    late = [150 + 60 * np.sin(2 * np.pi * hertz * (times - lag / rate)) for lag in lags]
    errors = [np.square(calm - path)[int(rate) :].sum() for path in late]
    assert lags[int(np.argmin(errors))] <= 1.5
    assert np.ptp(calm[int(rate) :]) > 0.85 * 120


def test_smoothing_catches_up_with_a_sudden_start() -> None:
    rate, speed_px = 30, 600 / 30  # two heights a second
    path = 100 + speed_px * np.maximum(np.arange(90) - 45, 0)
    wrist = np.stack([path, np.full(90, 100.0)], axis=-1)[:, None]
    behind = (wrist - smoothed(wrist, rate))[:, 0, 0] / speed_px  # in frames
    assert behind.max() <= 1.5


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.floats(0, 1), st.floats(-500, 500, width=32), st.floats(0, 1, width=32)), min_size=1, max_size=25
    )
)
@example([(0.0, 0.0, 1.0), (2.2250738585e-313, 1.0, 1.0)])  # a step so short that a speed would be infinite
def test_it_never_leaves_the_range_of_the_measurements(steps: list[tuple[float, float, float]]) -> None:
    smoother, time_s, seen = PoseSmoother(), 0.0, []
    for step_s, place, score in steps:
        time_s += step_s
        seen.append(place)
        result = smoother.smooth(people([[[place, -place]]], [4], score), time_s).keypoints_xy
        assert np.isfinite(result).all()
        assert min(seen) - 1e-3 <= result[0, 0, 0] <= max(seen) + 1e-3
        if score < LEAST_SCORE:
            assert result[0, 0, 0] == np.float32(place)  # a keypoint with a low score is not smoothed


@settings(max_examples=40, deadline=None)
@given(order=st.permutations([3, 8, 21, 40]), seed=st.integers(0, 1000))
def test_people_are_distinguished_by_ids_and_not_by_order(order: list[int], seed: int) -> None:
    noise = np.random.default_rng(seed)
    sorted_ids = sorted(order)
    together, alone = PoseSmoother(), {number: PoseSmoother() for number in order}
    for step in range(4):
        places = noise.normal(100, 30, (4, 5, 2))
        ids = sorted_ids if step % 2 else order
        result = together.smooth(people(places, ids), step / 25)
        for row, number in enumerate(ids):
            single = alone[number].smooth(people(places[row : row + 1], [number]), step / 25)
            assert np.allclose(result.keypoints_xy[row], single.keypoints_xy[0], atol=1e-4)


def test_smoothing_depends_on_time_and_not_on_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """The response to a step after 0.1 s is the same in one frame as in ten, except for discretisation."""
    monkeypatch.setattr("engine.tracking.smoothing.PER_SPEED_HZ", 1e-6)
    reached = []
    for pieces in (1, 10):
        smoother = PoseSmoother()
        smoother.smooth(people([[[0.0, 0.0]]], [1]), 0.0)
        for piece in range(1, pieces + 1):
            result = smoother.smooth(people([[[10.0, 0.0]]], [1]), 0.1 * piece / pieces)
        reached.append(float(result.keypoints_xy[0, 0, 0]))
    assert reached[0] == pytest.approx(reached[1], rel=0.2)


def test_a_long_gap_resets_and_a_short_one_does_not() -> None:
    for away_s, anew in ((0.2, False), (0.8, True)):
        smoother = PoseSmoother()
        smoother.smooth(people([[[100.0, 100.0]], [[5.0, 5.0]]], [1, 2]), 0.0)
        smoother.smooth(people([[[5.0, 5.0]]], [2]), away_s / 2)
        result = smoother.smooth(people([[[102.0, 100.0]]], [1]), away_s)
        assert (result.keypoints_xy[0, 0, 0] == 102.0) == anew


def test_a_keypoint_with_a_low_score_is_reset() -> None:
    smoother = PoseSmoother()
    smoother.smooth(people([[[100.0, 100.0]]], [1]), 0.0)
    smoother.smooth(people([[[0.0, 0.0]]], [1], 0.1), 1 / 30)
    assert smoother.smooth(people([[[103.0, 100.0]]], [1]), 2 / 30).keypoints_xy[0, 0, 0] == 103.0


def test_a_time_jump_back_resets_everything() -> None:
    smoother = PoseSmoother()
    smoother.smooth(people([[[100.0, 100.0]]], [1]), 5.0)
    assert smoother.smooth(people([[[300.0, 100.0]]], [1]), 0.0).keypoints_xy[0, 0, 0] == 300.0


def test_without_ids_nothing_is_smoothed() -> None:
    poses = people([[[1.0, 2.0]]], None)
    assert PoseSmoother().smooth(poses, 0.0) is poses


def test_memory_does_not_grow_with_the_people_who_passed() -> None:
    smoother = PoseSmoother()
    for number in range(300):
        smoother.smooth(people([[[1.0, 2.0]]], [number]), number * 0.1)
    assert smoother._memory is not None
    assert len(smoother._memory.ids) <= 7
