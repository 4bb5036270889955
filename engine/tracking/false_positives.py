"""False-positive filter and pose NMS: removes boxes without a person, and second boxes on one person.

A detector with a high recall also reports a chair, or half a person, now and then. The pose network is a second
opinion: without a person its keypoint scores are low, and two boxes on one person give the same pose twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.geometry import box_areas, shared_areas
from engine.types import VISIBLE_SCORE, Float32Array, Poses, mean_visible_scores

_BOX_SHARE = 0.3
"""Weight of the box score against the keypoint scores: a detector gives low scores to people in rare poses and high
scores to chairs; the pose network errs less (docs/decisions/0016-second-opinion.md)."""
_FEWEST_VISIBLE = 3
"""A person has at least so many visible keypoints, or all where a skeleton has fewer: the two that the corner of a
chair looks like can have higher scores than the seventeen of a small person."""
_SAME_POSE = 0.65
"""Object keypoint similarity above which two poses are one person; for two people it is rarely above 0.5."""
_FEWEST_COMMON = 3
_SHARED, _SAME_PLACE = 5, 0.5
"""Two poses that have so many keypoints at the same place (each with a similarity above that) are one person as well,
wherever the others are: two halves of a person's box both show the face."""
_TIE = 0.7
"""Share of the best score from which a duplicate ties with it; the larger box then wins. Scores of duplicates are alike
and change by some percent with the size of the picture or the rounding of a runtime; the sizes of boxes do not. A box
that is also a duplicate of someone else does not tie."""
_INSIDE, _NOT_MUCH_SMALLER = 0.85, 0.25
"""A box of which so much lies in another, at most four times as large, is a part of that person (a head, a half). A
child in front of an adult is smaller, or less of the box lies inside."""


def confidences(poses: Poses) -> Float32Array:
    """(N,) float32, 0 to 1: box score ** 0.3 x (mean of the keypoint scores above 0.2) ** 0.7.

    It is 0 where fewer than 3 keypoints are above 0.2.
    """
    mean = mean_visible_scores(poses.scores)
    visible = (poses.scores > VISIBLE_SCORE).sum(axis=1)
    boxes = np.where(visible >= min(_FEWEST_VISIBLE, poses.scores.shape[1]), poses.box_scores, 0)
    confidence: Float32Array = (np.maximum(boxes, 0) ** _BOX_SHARE * mean ** (1 - _BOX_SHARE)).astype(np.float32)
    return confidence


@dataclass(frozen=True, kw_only=True)
class FalsePositiveFilter:
    """Selects the detections of a frame that are people, each person once.

    Attributes:
        threshold: people with a confidence below are removed, see `confidences`.
        oks_sigmas: K constants of the skeleton.
    """

    threshold: float
    oks_sigmas: tuple[float, ...]

    def kept(self, poses: Poses, confidence: Float32Array) -> npt.NDArray[np.intp] | None:
        """Indices of the people to keep, in their order; None for all.

        Args:
            poses: of one frame.
            confidence: (N,) float32, their `confidences`.
        """
        return people_of(self.owners(poses, confidence))

    def owners(self, poses: Poses, confidence: Float32Array) -> npt.NDArray[np.intp]:
        """(N,) int: the index of the person whom each box shows: its own, or another's for a second box; -1 for nobody.

        Args:
            poses, confidence: as for `kept`.
        """
        owners = np.full(len(poses), -1, np.intp)
        chosen = np.flatnonzero(confidence >= self.threshold)
        owners[chosen] = chosen[self._owners(poses.take(chosen))] if len(chosen) > 1 else chosen
        return owners

    def _owners(self, poses: Poses) -> npt.NDArray[np.intp]:
        """(N,) int: itself, or the person whose pose it has or of whom it is a part.

        Of such boxes the one with the highest score stays, or the largest of those that tie with it.
        """
        same = self._same_pose(poses) | _nested(poses.boxes_xyxy)
        scores, areas = poses.person_scores, box_areas(poses.boxes_xyxy)
        waiting = np.argsort(-scores, kind="stable")
        owners = np.zeros(len(poses), np.intp)
        while len(waiting):
            best, its = waiting[0], waiting[same[waiting[0], waiting] | (waiting == waiting[0])]
            others = waiting[~np.isin(waiting, its)]
            tied = its[(scores[its] >= _TIE * scores[best]) & ~same[np.ix_(its, others)].any(axis=1)]
            owners[its] = max((best, *tied), key=lambda one: areas[one])
            waiting = others
        return owners

    def _same_pose(self, poses: Poses) -> npt.NDArray[np.bool_]:
        """(N, N) bool: pairs with similar common keypoints, or with some at the same place."""
        points = poses.keypoints_xy
        seen = poses.scores > VISIBLE_SCORE
        common = seen[:, None] & seen[None]  # (N, N, K)
        distance = np.square(points[:, None] - points[None]).sum(axis=3)  # (N, N, K)
        # COCO's scale is the area of the mask, about half of the box; of two on one person the larger counts.
        areas = box_areas(poses.boxes_xyxy) / 2
        scale = np.maximum(np.maximum(areas[:, None], areas[None]), 1)[..., None]
        each = np.exp(-distance / (2 * scale * (2 * np.asarray(self.oks_sigmas)) ** 2))
        count = common.sum(axis=2)
        mean = np.where(common, each, 0).sum(axis=2) / np.maximum(count, 1)
        shared = (common & (each > _SAME_PLACE)).sum(axis=2) >= _SHARED
        same: npt.NDArray[np.bool_] = ((count >= _FEWEST_COMMON) & (mean > _SAME_POSE)) | shared
        return same


def people_of(owners: npt.NDArray[np.intp]) -> npt.NDArray[np.intp] | None:
    """Indices of the boxes that show a person of their own, by `FalsePositiveFilter.owners`; None for all."""
    people = np.flatnonzero(owners == np.arange(len(owners)))
    return None if len(people) == len(owners) else people


def _nested(boxes_xyxy: Float32Array) -> npt.NDArray[np.bool_]:
    """(N, N) bool: pairs of boxes (N, 4) of which one lies in the other and is not much smaller."""
    shared, areas = shared_areas(boxes_xyxy, boxes_xyxy), box_areas(boxes_xyxy)
    smaller, larger = np.minimum(areas[:, None], areas[None]), np.maximum(areas[:, None], areas[None])
    nested: npt.NDArray[np.bool_] = (shared > _INSIDE * smaller) & (smaller > _NOT_MUCH_SMALLER * larger)
    return nested
