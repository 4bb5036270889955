"""Whom the pose network does not see either: boxes on nobody, and second boxes on one person.

A detector that finds most people also takes a chair for one now and then, or half a person for another. The pose
network is the second opinion: on nobody it is unsure of its keypoints, and two boxes on one person give one pose twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.pose_stage import SEEN_SCORE
from engine.types import Float32Array, Poses

_DOUBLE = 0.65
"""Object keypoint similarity above which two poses are one person; of two people it is hardly ever above a half."""
_FEWEST_COMMON = 3


@dataclass(frozen=True, kw_only=True)
class PersonFilter:
    """Says who of a frame is a person, and is there once.

    Attributes:
        threshold: people with a lower score (box score x mean of the keypoint scores above 0.2) are left out.
        oks_sigmas: K constants of the skeleton.
    """

    threshold: float
    oks_sigmas: tuple[float, ...]

    def kept(self, poses: Poses) -> npt.NDArray[np.intp] | None:
        """Indices, in their order, of the people who stay; None where all do."""
        solid = np.flatnonzero(poses.person_scores >= self.threshold)
        if len(solid) > 1:
            solid = solid[~self._doubles(poses.take(solid))]
        return None if len(solid) == len(poses) else solid

    def _doubles(self, poses: Poses) -> npt.NDArray[np.bool_]:
        """(N,) bool: whoever has the pose of somebody with a higher score."""
        similarity = self._similarities(poses)
        dropped = np.zeros(len(poses), bool)
        ordered = np.argsort(-poses.person_scores, kind="stable")
        for position, best in enumerate(ordered):
            if not dropped[best]:
                rest = ordered[position + 1 :]
                dropped[rest] |= similarity[best, rest] > _DOUBLE
        return dropped

    def _similarities(self, poses: Poses) -> Float32Array:
        """(N, N) mean object keypoint similarity over the keypoints that both see; 0 where those are too few."""
        points = poses.keypoints_xy
        seen = poses.scores > SEEN_SCORE
        common = seen[:, None] & seen[None]  # (N, N, K)
        distance = np.square(points[:, None] - points[None]).sum(axis=3)  # (N, N, K)
        # COCO's scale is the area of the mask, about half of the box; of two boxes on one person the larger is right.
        areas = np.prod(poses.boxes_xyxy[:, 2:] - poses.boxes_xyxy[:, :2], axis=1) / 2
        scale = np.maximum(np.maximum(areas[:, None], areas[None]), 1)[..., None]
        each = np.exp(-distance / (2 * scale * (2 * np.asarray(self.oks_sigmas)) ** 2))
        count = common.sum(axis=2)
        mean = np.where(common, each, 0).sum(axis=2) / np.maximum(count, 1)
        return np.where(count >= _FEWEST_COMMON, mean, 0).astype(np.float32)
