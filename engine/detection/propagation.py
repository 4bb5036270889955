"""Box propagation between detector runs: boxes move with the keypoints found in them, and with their velocity."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.geometry import overlaps
from engine.types import Detections, Float32Array, Poses

SURE_SCORE = 0.3
"""Only keypoints with a score above this move a box."""
_FEWEST_SEEN = 3
_FADED = 0.5  # of the mean keypoint score at the last detection
_SAME_PERSON = 0.8  # overlap of two boxes that have moved onto one person
_MOST_GROWTH = 1.15  # a frame
_LONGEST_STEP_S = 0.2  # no velocity is extrapolated for longer
_MOST_REACH = 0.25  # of its size that a box grows towards a keypoint in one frame: the keypoint may be an outlier
_PADDING = 0.06  # room around the keypoints that a box must cover, in sizes of the box


@dataclass(frozen=True, kw_only=True)
class _Known:
    """People of the last frame.

    Attributes:
        boxes: (N, 4) float64, frame px.
        points: (N, K, 2) float64, frame px.
        seen: (N, K) bool.
        scores: (N,) float32, of the last detector run.
        strengths: (N,) mean keypoint score at the last detector run.
        class_ids: (N,) int64.
        velocities: (N, 2) float64, px a second.
        time_s: of the frame.
    """

    boxes: npt.NDArray[np.float64]
    points: npt.NDArray[np.float64]
    seen: npt.NDArray[np.bool_]
    scores: Float32Array
    strengths: npt.NDArray[np.float64]
    class_ids: npt.NDArray[np.int64]
    velocities: npt.NDArray[np.float64]
    time_s: float

    def take(self, choice: npt.NDArray[np.bool_]) -> _Known:
        """Some of the people."""
        fields = {name: value if name == "time_s" else value[choice] for name, value in vars(self).items()}
        return _Known(**fields)


class BoxPropagator:
    """Predicts the boxes of the next frame from the people of the last one."""

    def __init__(self) -> None:
        self._known: _Known | None = None

    def reset(self) -> None:
        """Forget everyone."""
        self._known = None

    def __len__(self) -> int:
        return 0 if self._known is None else len(self._known.boxes)

    def predict(self, time_s: float, frame_wh: tuple[int, int]) -> Detections:
        """Boxes of the last frame's people at a time, at constant velocity; people outside the frame are removed.

        The scores are those of the last detector run.
        """
        if self._known is None:
            return Detections.empty()
        elapsed_s = min(max(time_s - self._known.time_s, 0.0), _LONGEST_STEP_S)
        shift = self._known.velocities * elapsed_s
        boxes = self._known.boxes + np.concatenate([shift, shift], axis=1)
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        inside = ((middle >= 0) & (middle < np.array(frame_wh))).all(axis=1)
        known = self._known = self._known.take(inside)
        return Detections(boxes_xyxy=boxes[inside].astype(np.float32), scores=known.scores, class_ids=known.class_ids)

    def detected(self, detections: Detections, poses: Poses, time_s: float) -> None:
        """Replace the people by those that the detector has found, with their poses."""
        seen = poses.scores > SURE_SCORE
        points = poses.keypoints_xy.astype(np.float64)
        velocities = np.zeros((len(poses), 2))
        if self._known is not None and len(self._known.boxes) and len(poses):
            velocities = self._velocities_of(detections, time_s, self._known)
        self._known = _Known(
            boxes=detections.boxes_xyxy.astype(np.float64),
            points=points,
            seen=seen,
            scores=detections.scores,
            strengths=poses.scores.mean(axis=1, dtype=np.float64),
            class_ids=detections.class_ids,
            velocities=velocities,
            time_s=time_s,
        )

    def propagated(self, poses: Poses, time_s: float) -> int:
        """Move the boxes to the keypoints found in them; returns how many people were lost.

        A person is lost when few keypoints are seen, when their mean score has halved, or when two boxes lie on one
        person (the weaker box is then dropped).

        Args:
            poses: what was found in the boxes of `predict`, in the same order.
            time_s: time of the frame in seconds.
        """
        known = self._known
        if known is None:
            return 0
        points, seen = poses.keypoints_xy.astype(np.float64), poses.scores > SURE_SCORE
        boxes, moved, common = _propagated(known, points, seen)
        strengths = poses.scores.mean(axis=1, dtype=np.float64)
        alive = (common >= _FEWEST_SEEN) & (strengths > _FADED * known.strengths)
        alive &= ~_duplicates(boxes, strengths)
        step_s = max(time_s - known.time_s, 1e-3)
        velocities = 0.5 * known.velocities + 0.5 * moved / step_s
        now = dataclasses.replace(known, boxes=boxes, points=points, seen=seen, velocities=velocities, time_s=time_s)
        self._known = now.take(alive)
        return int((~alive).sum())

    @staticmethod
    def _velocities_of(detections: Detections, time_s: float, known: _Known) -> npt.NDArray[np.float64]:
        """Velocity (N, 2) of each detection, from the known box that it overlaps most; 0 for new people."""
        overlap = overlaps(detections.boxes_xyxy.astype(np.float64), known.boxes)
        best = overlap.argmax(axis=1)
        fits = overlap[np.arange(len(best)), best] > 0.3
        velocities: npt.NDArray[np.float64] = np.where(fits[:, None], known.velocities[best], 0.0)
        return velocities


def _propagated(
    known: _Known, points: npt.NDArray[np.float64], seen: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Boxes (N, 4) moved with the keypoints seen in both frames; shift (N, 2) and number (N,) of these."""
    both = seen & known.seen  # (N, K)
    # Medians: a waving arm or an outlier keypoint must not move the box.
    old_middle, new_middle = _median(known.points, both), _median(points, both)
    shift = _median(points - known.points, both)  # (N, 2)
    old_reach, new_reach = (
        _median(np.linalg.norm(places - middle[:, None], axis=2, keepdims=True), both)
        for places, middle in ((known.points, old_middle), (points, new_middle))
    )
    growth = np.divide(new_reach, old_reach, out=np.ones_like(new_reach), where=old_reach > 1)
    growth = np.clip(growth, 1 / _MOST_GROWTH, _MOST_GROWTH)  # (N, 1)
    corners = [(known.boxes[:, part] - old_middle) * growth + old_middle + shift for part in (np.s_[:2], np.s_[2:])]
    boxes = np.concatenate(corners, axis=1)
    # A stretched arm leaves the box; the box grows to cover it, until the next detector run.
    size = boxes[:, 2:] - boxes[:, :2]
    low = np.where(seen[..., None], points, np.inf).min(axis=1) - _PADDING * size
    high = np.where(seen[..., None], points, -np.inf).max(axis=1) + _PADDING * size
    low = np.clip(low, boxes[:, :2] - _MOST_REACH * size, boxes[:, :2])
    high = np.clip(high, boxes[:, 2:], boxes[:, 2:] + _MOST_REACH * size)
    boxes = np.concatenate([low, high], axis=1)
    return boxes, shift, both.sum(axis=1)


def _median(values: npt.NDArray[np.float64], chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Median (N, C) of those values (N, K, C) that are chosen (N, K); 0 where none is."""
    ordered = np.sort(np.where(chosen[..., None], values, np.inf), axis=1)
    count = chosen.sum(axis=1)
    middle = np.stack([np.maximum(count - 1, 0) // 2, count // 2], axis=1)[..., None]  # (N, 2, 1)
    median = np.take_along_axis(ordered, np.minimum(middle, values.shape[1] - 1), axis=1).mean(axis=1)
    result: npt.NDArray[np.float64] = np.where(count[:, None] > 0, median, 0.0)
    return result


def _duplicates(boxes: npt.NDArray[np.float64], strengths: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which boxes lie on the same person as a stronger one."""
    order = np.argsort(np.argsort(-strengths, kind="stable"))
    same_and_weaker = (overlaps(boxes, boxes) > _SAME_PERSON) & (order[:, None] > order[None, :])
    return np.asarray(same_and_weaker.any(axis=1), np.bool_)
