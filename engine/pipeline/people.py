"""What is worked out about people beyond their poses: angles at joints and repetitions."""

from __future__ import annotations

import dataclasses

import numpy as np

from engine.angles import angles_of
from engine.options import PoseOptions
from engine.skeleton import Skeleton
from engine.tracking.repetitions import RepetitionCounter
from engine.types import Poses


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
