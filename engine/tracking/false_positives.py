"""Whom the pose network does not see either: boxes on nobody, and second boxes on one person.

A detector that finds most people also takes a chair for one now and then, or half a person for another. The pose
network is the second opinion: on nobody it is unsure of its keypoints, and two boxes on one person give one pose twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.geometry import box_areas, shared_areas
from engine.types import VISIBLE_SCORE, Float32Array, Poses, mean_visible_scores

_BOX_SHARE = 0.3
"""How much the box counts against the keypoints: a detector is unsure of people whom it has seldom seen so, and sure of
chairs; the pose network errs less (docs/decisions/0016-second-opinion.md)."""
_DOUBLE = 0.65
"""Object keypoint similarity above which two poses are one person; of two people it is hardly ever above a half."""
_FEWEST_COMMON = 3
_SHARED, _SAME_PLACE = 5, 0.5
"""Two poses that have so many keypoints at the same place (each with a similarity above that) are one person as well,
wherever the others are: two halves of a person's box both show the face."""
_INSIDE, _NOT_MUCH_SMALLER = 0.85, 0.25
"""A box of which so much lies in another, at most four times as large, is a part of that person: a head, a half. A
child before an adult is smaller, or not so much inside."""


def confidences(poses: Poses) -> Float32Array:
    """(N,) float32, 0 to 1: box score ** 0.3 x (mean of the keypoint scores above 0.2) ** 0.7; 0 where none is."""
    mean = mean_visible_scores(poses.scores)
    boxes = np.where(mean > 0, poses.box_scores, 0)
    certain: Float32Array = (np.maximum(boxes, 0) ** _BOX_SHARE * mean ** (1 - _BOX_SHARE)).astype(np.float32)
    return certain


@dataclass(frozen=True, kw_only=True)
class FalsePositiveFilter:
    """Says who of a frame is a person, and is there once.

    Attributes:
        threshold: people of whom the two are less certain together are left out, see `confidences`.
        oks_sigmas: K constants of the skeleton.
    """

    threshold: float
    oks_sigmas: tuple[float, ...]

    def kept(self, poses: Poses, certain: Float32Array) -> npt.NDArray[np.intp] | None:
        """Indices, in their order, of the people who stay; None where all do.

        Args:
            poses: of one frame.
            certain: (N,) float32, their `confidences`.
        """
        solid = np.flatnonzero(certain >= self.threshold)
        if len(solid) > 1:
            solid = solid[~self._duplicates(poses.take(solid))]
        return None if len(solid) == len(poses) else solid

    def _duplicates(self, poses: Poses) -> npt.NDArray[np.bool_]:
        """(N,) bool: whoever has the pose of somebody with a higher score, or is a part of them."""
        same = self._same_pose(poses) | _nested(poses.boxes_xyxy)
        dropped = np.zeros(len(poses), bool)
        ordered = np.argsort(-poses.person_scores, kind="stable")
        for position, best in enumerate(ordered):
            if not dropped[best]:
                rest = ordered[position + 1 :]
                dropped[rest] |= same[best, rest]
        return dropped

    def _same_pose(self, poses: Poses) -> npt.NDArray[np.bool_]:
        """(N, N) bool: which pairs are alike in the keypoints that both see, or have some at the same place."""
        points = poses.keypoints_xy
        seen = poses.scores > VISIBLE_SCORE
        common = seen[:, None] & seen[None]  # (N, N, K)
        distance = np.square(points[:, None] - points[None]).sum(axis=3)  # (N, N, K)
        # COCO's scale is the area of the mask, about half of the box; of two boxes on one person the larger is right.
        areas = box_areas(poses.boxes_xyxy) / 2
        scale = np.maximum(np.maximum(areas[:, None], areas[None]), 1)[..., None]
        each = np.exp(-distance / (2 * scale * (2 * np.asarray(self.oks_sigmas)) ** 2))
        count = common.sum(axis=2)
        mean = np.where(common, each, 0).sum(axis=2) / np.maximum(count, 1)
        shared = (common & (each > _SAME_PLACE)).sum(axis=2) >= _SHARED
        same: npt.NDArray[np.bool_] = ((count >= _FEWEST_COMMON) & (mean > _DOUBLE)) | shared
        return same


def _nested(boxes_xyxy: Float32Array) -> npt.NDArray[np.bool_]:
    """(N, N) bool: of which pairs of boxes (N, 4) one lies in the other and is not much smaller."""
    shared, areas = shared_areas(boxes_xyxy, boxes_xyxy), box_areas(boxes_xyxy)
    smaller, larger = np.minimum(areas[:, None], areas[None]), np.maximum(areas[:, None], areas[None])
    nested: npt.NDArray[np.bool_] = (shared > _INSIDE * smaller) & (smaller > _NOT_MUCH_SMALLER * larger)
    return nested
