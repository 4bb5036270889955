"""Who is who from frame to frame: ids for boxes, by one of the methods of the package `trackers`."""

from __future__ import annotations

import importlib
import importlib.util
from collections import Counter
from typing import Any

import numpy as np

from engine.errors import ModelError, OptionError, nearest_hint
from engine.geometry import overlaps
from engine.options import TRACKERS, PoseOptions
from engine.types import Float32Array, Int64Array

# Every box that is posed is worth an id, so all of them compete in the first round of association whatever their
# scores. Low scores are for boxes that lie on a surer one: a detector often sees one person twice for some frames, and
# the second box may keep an id alive but must not begin one (docs/decisions/0014-identities.md).
_SURE, _DOUBLE, _THRESHOLD = 1.0, 0.3, 0.5
DOUBLE_OVERLAP = 0.4
"""Boxes that overlap more than this, intersection over union, are taken for one person seen twice."""
LOST_S = 2.0
"""A person who is gone for longer than this comes back under a new id."""
_FEWEST_LOST, _MOST_LOST = 5, 480  # the same in frames, which is what the trackers are told

_BEGINS = {"track_activation_threshold": _THRESHOLD}
_ROUNDS = {"high_conf_det_threshold": _THRESHOLD}
_METHODS: dict[str, tuple[str, dict[str, float]]] = {
    "bytetrack": ("ByteTrackTracker", {**_BEGINS, **_ROUNDS}),
    "ocsort": ("OCSORTTracker", _ROUNDS),
    "botsort": ("BoTSORTTracker", {**_BEGINS, **_ROUNDS, "enable_cmc": False}),
    "cbiou": ("CBIoUTracker", {**_BEGINS, **_ROUNDS}),
    "sort": ("SORTTracker", _BEGINS),
}


DEFAULT_TRACKER = PoseOptions.tracker


def check_tracker(name: str) -> None:
    """Refuse a name that is none of TRACKERS.

    Raises:
        OptionError: it is not; the message names those there are.
    """
    if name not in TRACKERS:
        raise OptionError(f"unknown tracker '{name}'; there are {', '.join(TRACKERS)}.{nearest_hint(name, TRACKERS)}")


class PersonTracker:
    """Gives ids to boxes; the same person keeps theirs.

    The import of the package takes a second. The first frame needs no tracker, everybody in it is new, so the import
    waits for the second: a window shows its first picture before it.
    """

    def __init__(self, name: str = DEFAULT_TRACKER) -> None:
        """Begin with nobody.

        Raises:
            OptionError: there is no such tracker.
            ModelError: the package is not installed.
        """
        check_tracker(name)
        if importlib.util.find_spec("trackers") is None:
            raise ModelError("tracking needs the package trackers; pip install -r requirements.txt, or --no-tracking")
        self._name = name
        self._tracker: Any = None
        self._detections: Any = None  # supervision.Detections, the form in which the package takes boxes
        self._first: Float32Array | None = None
        self._given = 0
        self._number_of: dict[Any, int] = {}
        self._number_of_double: dict[tuple[int, int], int] = {}
        self._last_s: float | None = None
        self._step_s = 1 / 30

    def reset(self) -> None:
        """What comes next does not go on from here: whoever comes has a new id."""
        if self._first is not None:
            self._given += len(self._first)
            self._first = None
        if self._tracker is not None:
            self._tracker.reset()
        self._number_of, self._number_of_double, self._last_s = {}, {}, None

    def update(self, boxes_xyxy: Float32Array, time_s: float) -> Int64Array:
        """Ids (N,) int64, from 1, of the boxes of the next frame; call it for frames without boxes, too.

        Args:
            boxes_xyxy: (N, 4) float32, frame px, the surest first.
            time_s: time of the frame in seconds.

        Raises:
            ModelError: the tracker cannot be loaded.
        """
        lost_frames = self._lost_frames(time_s)
        if self._tracker is None and self._first is None:
            if len(boxes_xyxy):
                self._first = boxes_xyxy
            return np.arange(self._given + 1, self._given + 1 + len(boxes_xyxy), dtype=np.int64)
        if self._tracker is None:
            self._load()
        if self._first is not None:
            first, self._first = self._first, None
            self._associate(first)  # gives the numbers that have been shown
        self._tracker.maximum_frames_without_update = lost_frames
        return self._associate(boxes_xyxy)

    def _load(self) -> None:
        class_name, settings = _METHODS[self._name]
        try:
            trackers: Any = importlib.import_module("trackers")
            self._detections = importlib.import_module("supervision").Detections
            self._tracker = getattr(trackers, class_name)(minimum_consecutive_frames=1, **settings)
        except Exception as error:  # a package that is there and broken fails in any way it likes
            raise ModelError(
                f"the tracker {self._name} cannot be loaded ({type(error).__name__}: {error}); "
                "pip install -r requirements.txt, or --no-tracking"
            ) from error

    def _lost_frames(self, time_s: float) -> int:
        """How many frames LOST_S are at the present rate.

        The trackers would take times, too; at ten frames a second they then lose people whom they keep when a frame is
        one step (docs/decisions/0014-identities.md).
        """
        if self._last_s is not None and 0 < time_s - self._last_s < LOST_S:
            self._step_s += 0.1 * (time_s - self._last_s - self._step_s)
        self._last_s = time_s
        return int(np.clip(round(LOST_S / self._step_s), _FEWEST_LOST, _MOST_LOST))

    def _associate(self, boxes_xyxy: Float32Array) -> Int64Array:
        """Ids (N,) of the boxes (N, 4) of the next frame."""
        boxes = np.asarray(boxes_xyxy, np.float32).reshape(-1, 4).copy()
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)  # every box has an area
        doubled = doubles(boxes)
        asked = self._detections(
            xyxy=boxes,
            confidence=np.where(doubled >= 0, _DOUBLE, _SURE).astype(np.float32),
            class_id=np.arange(len(boxes)),  # comes back beside the id, in whatever order
        )
        told = self._tracker.update(asked)
        tracks = self._tracks_of(boxes, dict(zip(told.tracker_id.tolist(), told.class_id.tolist(), strict=True)))
        return self._numbers_for(tracks, doubled)

    def _tracks_of(self, boxes: Float32Array, box_of: dict[int, int]) -> list[Any]:
        """For each box the tracker's object of the person, None where it follows nobody there.

        Args:
            boxes: (N, 4) float32, frame px.
            box_of: indices of boxes by the tracker's own ids.
        """
        tracks: list[Any] = [None] * len(boxes)
        new = []
        for track in self._tracker.tracks:
            if track.tracker_id in box_of and track.tracker_id != -1:
                tracks[box_of[track.tracker_id]] = track
            elif track.tracker_id == -1 and track.time_since_update == 0:
                new.append(track)  # it tells their id with the second box only, but people keep theirs from the first
        for track in new:
            overlap = overlaps(np.asarray([track.get_state_bbox()], np.float64), boxes.astype(np.float64))[0]
            overlap[[other is not None for other in tracks]] = 0
            if overlap.max() > 0:
                tracks[int(overlap.argmax())] = track
        return tracks

    def _numbers_for(self, tracks: list[Any], doubled: Int64Array) -> Int64Array:
        """Our ids (N,), in order of appearance.

        Args:
            tracks: N, see `_tracks_of`.
            doubled: (N,) see `doubles`.
        """
        ids = np.zeros(len(tracks), np.int64)
        seen: Counter[int] = Counter()
        for index, track in enumerate(tracks):
            of = doubled[index]
            if track is not None:
                ids[index] = self._number_of.get(track) or self._next()
                self._number_of[track] = int(ids[index])
            elif of >= 0:
                # The second box of a person has an id of its own as long as they keep theirs; the first comes before.
                seen[of] += 1
                double = (int(ids[of]), seen[of])
                ids[index] = self._number_of_double.get(double) or self._next()
                self._number_of_double[double] = int(ids[index])
            else:
                ids[index] = self._next()
        alive = {track: number for track in self._tracker.tracks if (number := self._number_of.get(track))}
        living = set(alive.values())
        self._number_of = alive
        self._number_of_double = {own: number for own, number in self._number_of_double.items() if own[0] in living}
        return ids

    def _next(self) -> int:
        self._given += 1
        return self._given


def doubles(boxes_xyxy: Float32Array) -> Int64Array:
    """For each box (N, 4) the index of a surer one that it lies on, which lies on none itself; -1 where there is none.

    The surest come first.
    """
    boxes = boxes_xyxy.astype(np.float64)
    overlap = overlaps(boxes, boxes)
    of = np.full(len(boxes), -1, np.int64)
    for index in range(1, len(boxes)):
        under = np.flatnonzero((of[:index] < 0) & (overlap[index, :index] > DOUBLE_OVERLAP))
        if len(under):
            of[index] = under[overlap[index, under].argmax()]
    return of
