"""Follows one person among many: chooses them, and finds them in the boxes of each frame."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import numpy as np
import numpy.typing as npt

from engine.geometry import box_areas, overlaps, shared_areas
from engine.options import Follow
from engine.tracking.tracker import DEFAULT_TRACKER, PersonTracker
from engine.types import Detections, Float32Array

FOUND_AGAIN_S = 2.0
"""A person who is lost for longer is not looked for any more."""
_REACH, _REACH_PER_S = 0.6, 1.0  # how far a lost person may have got, in heights of their box
_SIZE_RATIO = 1.6  # of the box heights before and after the loss
_ON_THEM = 0.6  # share of the smaller one of two boxes that lies in the other where both are on one person
_SAME_BOX = 0.3  # intersection over union of a box with the one that somebody pointed at
_REFUSED = 5  # times in a row that the pose network says that the box holds nobody

_Choice = npt.NDArray[np.intp] | Literal["all"]


class PersonFollower:
    """The person to pose. Works on boxes alone, so that nobody else has to be posed to find them.

    All boxes are tracked, so that somebody who crosses the way keeps a track of their own. Where the person's track
    ends, a new track near the last place and of about the last size takes over. Somebody who had a track beside them
    cannot be them.
    """

    def __init__(self, follow: Follow | None, *, tracker: str = DEFAULT_TRACKER) -> None:
        """Start with nobody.

        Args:
            follow: whom: the largest person or the one in the centre of the first frame with people, or the person with
                this id, who is chosen by `lock`. None for whoever is given to `lock`.
        """
        self.follow = follow
        self._tracker = PersonTracker(tracker)
        self._nobody: set[int] = set()  # tracks of boxes that hold nobody
        self._released()
        self._given = 0

    def _released(self) -> None:
        self._number: int | None = None
        self._track: int | None = None
        self._aim: Float32Array | None = None
        self._box: Float32Array | None = None
        self._seen_s = 0.0
        # Of each other track: in how many more frames its box was apart from the person's than on it.
        self._apart: Counter[int] = Counter()
        self._refused_in_row = 0

    @property
    def number(self) -> int | None:
        """The id of the followed person, which stays the same after a loss; None before one is chosen."""
        return self._number

    @property
    def is_waiting(self) -> bool:
        """Whether everybody has to be posed because the person with the wanted id is not known yet."""
        return isinstance(self.follow, int) and self._number is None

    def reset(self) -> None:
        """Forget the person and all tracks: the next frame does not follow the last one."""
        self._tracker.reset()
        self._nobody = set()
        self._released()
        self._given = 0

    def lock(self, box_xyxy: Float32Array, number: int, time_s: float) -> None:
        """Follow the person in this box (4,), who has this id."""
        self._nobody = set()
        self._released()
        self._number, self._aim, self._box, self._seen_s = number, box_xyxy.copy(), box_xyxy, time_s

    def choose(self, detections: Detections, time_s: float, frame_wh: tuple[int, int]) -> _Choice:
        """Indices of the boxes to pose in the next frame: that of the person, or none; "all" while it is waiting.

        Args:
            frame_wh: its size in px.
        """
        boxes = detections.boxes_xyxy
        ids = self._tracker.update(boxes, time_s).tolist()
        if self.is_waiting:
            return "all"
        found = self._find(boxes, ids, time_s, frame_wh)
        if found is None:
            return np.zeros(0, np.intp)
        self._track, self._box, self._seen_s, self._aim = ids[found], boxes[found], time_s, None
        self._note_others(boxes, ids, found)
        return np.array([found], np.intp)

    def _note_others(self, boxes: Float32Array, ids: list[int], found: int) -> None:
        """Tell people beside the person from second boxes on them, whose tracks may take over the person's."""
        shared = shared_areas(boxes[found][None], boxes)[0]
        smaller = np.minimum(box_areas(boxes), box_areas(boxes[found][None]))
        for number, on_them in zip(ids, (shared > _ON_THEM * smaller).tolist(), strict=True):
            self._apart[number] += -1 if on_them else 1

    def pick(self, boxes_xyxy: Float32Array, time_s: float) -> int | None:
        """Index of the person among boxes (N, 4) that were posed before it was known who is followed."""
        found = self._aimed(boxes_xyxy)
        if found is not None:
            self.moved(boxes_xyxy[found], time_s)
            self._aim = boxes_xyxy[found]
        return found

    def moved(self, box_xyxy: Float32Array, time_s: float) -> None:
        """The person is in this box (4,), which was propagated and not detected."""
        self._box, self._seen_s = box_xyxy, time_s

    def is_over(self, time_s: float) -> bool:
        """Whether somebody who was pointed at has been lost for good, so that nobody is followed any more."""
        return self.follow is None and (self._box is None or time_s - self._seen_s > FOUND_AGAIN_S)

    def judged(self, is_person: bool) -> None:
        """Whether the pose network has found a person in the last chosen box; after some refusals it is given up."""
        self._refused_in_row = 0 if is_person else self._refused_in_row + 1
        if self._refused_in_row >= _REFUSED and self._track is not None and not isinstance(self.follow, int):
            self._nobody.add(self._track)
            self._released()

    def _find(self, boxes: Float32Array, ids: list[int], time_s: float, frame_wh: tuple[int, int]) -> int | None:
        """Index of the person's box."""
        if self._number is not None and self._track in ids:
            return ids.index(self._track)
        if self._number is not None and self._box is not None and time_s - self._seen_s <= FOUND_AGAIN_S:
            return self._aimed(boxes) if self._aim is not None else self._nearby(boxes, ids, time_s)
        if isinstance(self.follow, int) or self.follow is None:
            return None
        return self._new(boxes, ids, frame_wh)

    def _aimed(self, boxes: Float32Array) -> int | None:
        """The box that was pointed at in the frame before."""
        if len(boxes) == 0 or self._aim is None:
            return None
        overlap = overlaps(self._aim[None], boxes)[0]
        best = int(overlap.argmax())
        return best if overlap[best] >= _SAME_BOX else None

    def _nearby(self, boxes: Float32Array, ids: list[int], time_s: float) -> int | None:
        """The nearest box with a new track that the person may have got to."""
        if len(boxes) == 0 or self._box is None:
            return None
        height = max(1.0, float(self._box[3] - self._box[1]))
        heights = np.maximum(boxes[:, 3] - boxes[:, 1], 1)
        middle = (self._box[:2] + self._box[2:]) / 2
        distances = np.linalg.norm((boxes[:, :2] + boxes[:, 2:]) / 2 - middle, axis=1) / height
        fits = distances <= _REACH + _REACH_PER_S * (time_s - self._seen_s)
        fits &= np.maximum(heights / height, height / heights) <= _SIZE_RATIO
        fits &= np.array([self._apart[number] <= 0 for number in ids])
        return int(np.where(fits, distances, np.inf).argmin()) if fits.any() else None

    def _new(self, boxes: Float32Array, ids: list[int], frame_wh: tuple[int, int]) -> int | None:
        """The largest box or the one nearest the centre, as wanted, with the next id."""
        allowed = np.array([number not in self._nobody for number in ids], bool)
        if not allowed.any():
            return None
        sizes = boxes[:, 2:] - boxes[:, :2]
        if self.follow == "largest":
            rank = -sizes.prod(axis=1)
        else:
            middles = (boxes[:, :2] + boxes[:, 2:]) / 2
            rank = np.linalg.norm(middles - np.array(frame_wh) / 2, axis=1)
        index = int(np.where(allowed, rank, np.inf).argmin())
        self._released()
        self._given += 1
        self._number = self._given
        return index
