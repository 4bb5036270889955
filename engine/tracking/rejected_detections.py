"""Rejected-detection cache: detections that showed nobody, or nobody else, are not posed again in each frame.

A still camera gives the same false detections in each frame, and a person has the same second boxes for a while.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from engine.geometry import overlaps
from engine.types import Float32Array, UInt8Array

REJECTED_SHARE = 0.7
"""A box is remembered as rejected below this share of the person threshold; above it, it is posed again."""
MOST_S = 1.0
"""Seconds until a rejected box is posed again in any case."""

SECOND_S = 0.5
"""Seconds until a second box of a person is posed again: somebody else may have come into it."""

_FOLLOWS = 0.7  # overlap of a box with one of the frame before
_SAME_BOX = 0.8  # overlap of a box with a remembered one
_CELLS = 12  # the picture in a box is remembered as so many cells a side
_CHANGE = 16  # grey levels, of 255, of the mean of a cell: more than noise and the flicker of lamps
_CHANGED_CELLS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rejected:
    """A rejected detection.

    Attributes:
        box: (4,) float32, frame px.
        cells: the picture there, see `_cells_of`.
        time_s: of the frame in which the pose network saw it.
    """

    box: Float32Array
    cells: npt.NDArray[np.int16]
    time_s: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Second:
    """A second box of a person.

    Attributes:
        box: (4,) float32, frame px, where it was last.
        person: (4,) float32, the box that the person was found in, where it was last.
        time_s: of the frame in which the pose network saw both.
    """

    box: Float32Array
    person: Float32Array
    time_s: float


class RejectedDetections:
    """Remembers where the pose network found no person, or no other one.

    The result depends on the frames and their order alone, not on timing.
    """

    def __init__(self, threshold: float) -> None:
        """Start empty; `threshold` is the confidence below which people are removed."""
        self._limit = REJECTED_SHARE * threshold
        self._rejected: list[_Rejected] = []
        self._second: list[_Second] = []

    def reset(self) -> None:
        """Forget everything."""
        self._rejected, self._second = [], []

    def not_rejected(
        self, image_bgr: UInt8Array, boxes_xyxy: Float32Array, time_s: float
    ) -> npt.NDArray[np.bool_] | None:
        """(N,) bool: the boxes (N, 4) of a frame (H, W, 3) that need the pose network; None for all.

        Second boxes are followed by it: call it once a frame, in order.
        """
        known = self._unchanged(image_bgr, boxes_xyxy, time_s) | self._second_again(boxes_xyxy, time_s)
        return ~known if known.any() else None

    def _unchanged(self, image_bgr: UInt8Array, boxes_xyxy: Float32Array, time_s: float) -> npt.NDArray[np.bool_]:
        """(N,) bool: boxes where nobody was found, and the picture is the same."""
        known = np.zeros(len(boxes_xyxy), bool)
        self._rejected = [rejected for rejected in self._rejected if 0 <= time_s - rejected.time_s <= MOST_S]
        if not self._rejected or len(boxes_xyxy) == 0:
            return known
        remembered = np.stack([rejected.box for rejected in self._rejected]).astype(np.float64)
        same = overlaps(boxes_xyxy.astype(np.float64), remembered) >= _SAME_BOX  # (N, M)
        for index in np.flatnonzero(same.any(axis=0)).tolist():
            rejected = self._rejected[index]
            changed = np.abs(_cells_of(image_bgr, rejected.box) - rejected.cells) > _CHANGE
            if int(changed.sum()) < _CHANGED_CELLS:
                known |= same[:, index]
        return known

    def _second_again(self, boxes_xyxy: Float32Array, time_s: float) -> npt.NDArray[np.bool_]:
        """(N,) bool: second boxes of people whose own box is there, too; both are remembered where they are now."""
        known, own = np.zeros(len(boxes_xyxy), bool), np.zeros(len(boxes_xyxy), bool)
        before = [one for one in self._second if 0 <= time_s - one.time_s <= SECOND_S]
        self._second = []
        if not before or len(boxes_xyxy) == 0:
            return known
        of_box = overlaps(boxes_xyxy, np.stack([one.box for one in before]))  # (N, M)
        of_person = overlaps(boxes_xyxy, np.stack([one.person for one in before]))
        for number, one in enumerate(before):
            box, person = int(of_box[:, number].argmax()), int(of_person[:, number].argmax())
            if box != person and min(of_box[box, number], of_person[person, number]) >= _FOLLOWS:
                known[box] = own[person] = True
                self._second.append(_Second(box=boxes_xyxy[box], person=boxes_xyxy[person], time_s=one.time_s))
        return known & ~own

    def learn(
        self,
        image_bgr: UInt8Array,
        boxes_xyxy: Float32Array,
        confidence: Float32Array,
        owners: npt.NDArray[np.intp],
        time_s: float,
    ) -> None:
        """Remember the boxes in which no person was found, or no other person.

        Args:
            image_bgr: (H, W, 3) uint8; frames come in their order.
            boxes_xyxy: (N, 4) float32, the boxes that were posed.
            confidence: (N,) float32, see `false_positives.confidences`.
            owners: (N,) int, see `FalsePositiveFilter.owners`.
        """
        for box in boxes_xyxy[confidence < self._limit]:
            self._rejected.append(_Rejected(box=box, cells=_cells_of(image_bgr, box), time_s=time_s))
        if self._limit > 0:
            for index in np.flatnonzero((owners >= 0) & (owners != np.arange(len(owners)))):
                box, person = boxes_xyxy[index], boxes_xyxy[owners[index]]
                self._second.append(_Second(box=box, person=person, time_s=time_s))


def _cells_of(image_bgr: UInt8Array, box: Float32Array) -> npt.NDArray[np.int16]:
    """(12, 12) int16, means of the green channel over the cells of a box; 0 where it lies outside of the picture."""
    height, width = image_bgr.shape[:2]
    x1, y1 = np.maximum(np.floor(box[:2]), 0).astype(int).tolist()
    x2, y2 = np.minimum(np.ceil(box[2:]), (width, height)).astype(int).tolist()
    if x2 <= x1 or y2 <= y1:
        return np.zeros((_CELLS, _CELLS), np.int16)
    # Every few pixels first: averaging over a large box would cost more than it is worth.
    step_x, step_y = (max(1, length // (3 * _CELLS)) for length in (x2 - x1, y2 - y1))
    green = np.ascontiguousarray(image_bgr[y1:y2:step_y, x1:x2:step_x, 1])
    return np.asarray(cv2.resize(green, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA), np.int16)
