"""Angles at joints, and repetitions of a movement: how often an angle of a person came down after it was up."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import deque

import numpy as np

from engine.angles import angles_of
from engine.options import CountRule, PoseOptions
from engine.skeleton import Skeleton
from engine.types import Float32Array, Int64Array, Poses

_MEDIAN_S, _MEDIAN_LEAST = 0.4, 5
"""The median is that of the known angles of this time, or of the last few where frames are rare: a keypoint that is in
the wrong place for less than half of it counts nothing."""
_FIRST_MEDIAN = 3  # angles of a new person


class RepetitionCounter:
    """Counts by id, from the median of the last known angles. Frames without the angle change nothing."""

    def __init__(self, rule: CountRule) -> None:
        self._rule = rule
        self._angles: dict[int, deque[tuple[float, float]]] = {}  # time and angle
        self._was_up: dict[int, bool] = {}
        self._counts: dict[int, int] = {}

    def reset(self) -> None:
        """Forget all counts: the next frame does not follow the last one, and people get new ids."""
        self._angles, self._was_up, self._counts = {}, {}, {}

    def update(self, ids: Int64Array, angles_deg: Float32Array, time_s: float) -> Int64Array:
        """Repetitions (N,) int64 so far of the people of the next frame.

        Args:
            ids: (N,) int64.
            angles_deg: (N,) of the rule's angle; NaN where it is not known.
        """
        for number, angle in zip(ids.tolist(), angles_deg.tolist(), strict=True):
            if math.isnan(angle):
                continue
            angles = self._angles.setdefault(number, deque())
            angles.append((time_s, angle))
            while len(angles) > _MEDIAN_LEAST and time_s - angles[0][0] > _MEDIAN_S:
                angles.popleft()
            if len(angles) < _FIRST_MEDIAN:
                continue
            middle = statistics.median(angle for _, angle in angles)
            if middle >= self._rule.high:
                self._was_up[number] = True
            elif middle <= self._rule.low and self._was_up.get(number, False):
                self._was_up[number] = False
                self._counts[number] = self._counts.get(number, 0) + 1
        return np.array([self._counts.get(number, 0) for number in ids.tolist()], np.int64)


class JointAngles:
    """Adds angles and repetitions to poses."""

    def __init__(self, options: PoseOptions, skeleton: Skeleton) -> None:
        """Look up the angles.

        Raises:
            OptionError: the skeleton names no angle, or not the one that is counted.
        """
        self._options, self._angles = options, skeleton.named_angles
        self._counted = None if options.count is None else skeleton.angle_index(options.count.angle)
        if options.angles and not self._angles:
            skeleton.angle_index("")
        self._counter = None if options.count is None else RepetitionCounter(options.count)

    def reset(self) -> None:
        """The next frame does not follow the last one."""
        if self._counter is not None:
            self._counter.reset()

    def add(self, poses: Poses, time_s: float) -> Poses:
        """The same people, of a frame at this time, with what is wanted."""
        options = self._options
        if not options.angles and self._counter is None:
            return poses
        degrees = angles_of(poses.keypoints_xy, poses.scores, self._angles, options.keypoint_threshold)
        if options.angles:
            names = tuple(angle.name for angle in self._angles)
            poses = dataclasses.replace(poses, angle_names=names, angles_deg=degrees)
        if self._counter is not None and self._counted is not None:
            ids = np.zeros(0, np.int64) if poses.track_ids is None else poses.track_ids
            counts = self._counter.update(ids, degrees[:, self._counted], time_s)
            poses = dataclasses.replace(poses, repetitions=counts)
        return poses
