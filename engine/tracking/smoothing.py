"""Keypoint smoothing: a One-Euro filter per person and keypoint (Casiez, Roussel, Vogel; CHI 2012).

A low-pass filter whose cut-off frequency grows with speed: a still keypoint is averaged over many frames, a moving one
over hardly any. Speeds are in person heights per second, so that near and far people are treated alike.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.types import Poses

_Float64 = npt.NDArray[np.float64]


STILL_HZ = 1.2
"""Cut-off frequency for a keypoint at rest; lower is calmer."""
PER_SPEED_HZ = 12.0
"""What a speed of one person height per second adds to it; higher means less lag."""
_SPEED_HZ = 2.0  # cut-off frequency of the speed itself
LEAST_SCORE = 0.3
"""Keypoints with a lower score are unreliable: they pass unchanged, and their filter restarts after them."""
_GAP_S = 0.5  # the filter of a keypoint that was not seen for longer restarts


@dataclass(frozen=True, kw_only=True)
class _Memory:
    """The people of the last frames: ids (M,), places (M, K, 2), velocities (M, K, 2), times (M, K) in s, heights (M,).

    A time of -inf marks a keypoint whose filter restarts.
    """

    ids: npt.NDArray[np.int64]
    places: _Float64
    velocities: _Float64
    times_s: _Float64
    heights: _Float64


class PoseSmoother:
    """Smooths the keypoints of people with ids. Uses time stamps, so the frame rate may vary."""

    def __init__(self) -> None:
        self._memory: _Memory | None = None

    def reset(self) -> None:
        """Forget all people: the next frame does not follow the last one."""
        self._memory = None

    def smooth(self, poses: Poses, time_s: float) -> Poses:
        """The same people with smoothed keypoints; poses without ids are returned unchanged.

        Args:
            poses: people of one frame, frame px.
            time_s: time of the frame in seconds; a time before the last one restarts all filters.
        """
        if poses.track_ids is None:
            return poses
        before = self._recall(poses.track_ids, poses.scores.shape[1], time_s)
        measured = poses.keypoints_xy.astype(np.float64)  # (N, K, 2)
        heights = np.maximum(poses.boxes_xyxy[:, 3] - poses.boxes_xyxy[:, 1], 1).astype(np.float64)
        heights = np.where(np.isfinite(before.heights), 0.8 * before.heights + 0.2 * heights, heights)
        seen = (poses.scores >= LEAST_SCORE) & np.isfinite(measured).all(axis=2)  # (N, K)
        step_s = time_s - before.times_s
        known = seen & (step_s <= _GAP_S)
        step_s = np.where(known, np.maximum(step_s, 0), 1)[..., None]  # (N, K, 1)
        moved = np.where(known[..., None], measured - before.places, 0)
        # No speed can be computed from two pictures with one time stamp, or nearly: it would overflow.
        speed = np.divide(moved, step_s, out=np.zeros_like(moved), where=step_s > 1e-9)
        velocities = before.velocities + _share(_SPEED_HZ, step_s) * (speed - before.velocities)
        velocities = np.where(known[..., None], velocities, 0)
        speed_heights = np.linalg.norm(velocities, axis=2, keepdims=True) / heights[:, None, None]
        share = _share(STILL_HZ + PER_SPEED_HZ * speed_heights, step_s)
        places = np.where(known[..., None], before.places + share * moved, measured)
        times_s = np.where(seen, time_s, -np.inf)
        now = _Memory(ids=before.ids, places=places, velocities=velocities, times_s=times_s, heights=heights)
        self._remember(now, time_s)
        return dataclasses.replace(poses, keypoints_xy=places.astype(np.float32))

    def _recall(self, ids: npt.NDArray[np.int64], keypoints: int, time_s: float) -> _Memory:
        """The memory of each of these people, in their order; empty for new ids."""
        people = len(ids)
        recalled = _Memory(
            ids=ids.copy(),
            places=np.zeros((people, keypoints, 2)),
            velocities=np.zeros((people, keypoints, 2)),
            times_s=np.full((people, keypoints), -np.inf),
            heights=np.full(people, np.nan),
        )
        memory = self._memory
        if memory is not None and len(memory.ids) and memory.times_s.max() > time_s:
            self._memory = memory = None
        if memory is None or len(memory.ids) == 0 or people == 0:
            return recalled
        order = np.argsort(memory.ids)
        place = np.minimum(np.searchsorted(memory.ids, ids, sorter=order), len(order) - 1)
        old = order[place]
        matched = np.flatnonzero(memory.ids[old] == ids)
        for name in ("places", "velocities", "times_s", "heights"):
            getattr(recalled, name)[matched] = getattr(memory, name)[old[matched]]
        return recalled

    def _remember(self, now: _Memory, time_s: float) -> None:
        """Keep the people of this frame, and those who have been absent for at most `_GAP_S`."""
        memory = self._memory
        if memory is not None and len(memory.ids):
            absent = ~np.isin(memory.ids, now.ids) & (memory.times_s.max(axis=1) >= time_s - _GAP_S)
            if absent.any():
                parts = {
                    field.name: np.concatenate([getattr(now, field.name), getattr(memory, field.name)[absent]])
                    for field in dataclasses.fields(_Memory)
                }
                now = _Memory(**parts)
        self._memory = now


def _share(cutoff_hz: float | _Float64, step_s: _Float64) -> _Float64:
    """How much of a new value a first-order low-pass filter takes after a step in time; 0 to 1."""
    turns = 2 * np.pi * cutoff_hz * step_s
    share: _Float64 = turns / (1 + turns)
    return share
