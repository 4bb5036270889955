"""Tracking: ids for boxes, by one of the methods of the package `trackers`."""

from __future__ import annotations

import importlib
import importlib.util
from collections import Counter
from typing import Any

import numpy as np

from engine.errors import ModelError, OptionError, nearest_hint
from engine.geometry import overlaps
from engine.options import TRACKERS, PoseOptions
from engine.system.installation import install_command
from engine.system.missing import not_installed
from engine.types import Float32Array, Int64Array

# Every posed box gets an id, so all boxes take part in the first round of association, whatever their scores. Only a
# duplicate, a box that lies on one with a higher score, gets a low score: a detector often finds one person twice for
# some frames, and the second box may keep a track alive but must not start one (docs/decisions/0014-identities.md).
_SINGLE, _DUPLICATE, _THRESHOLD = 1.0, 0.3, 0.5
DUPLICATE_OVERLAP = 0.4
"""Boxes that overlap more than this, intersection over union, count as one person found twice."""
LOST_S = 2.0
"""A person who is gone for longer than this comes back with a new id."""
_FEWEST_LOST, _MOST_LOST = 5, 480  # the same in frames, the unit that the trackers take

_ACTIVATION = {"track_activation_threshold": _THRESHOLD}
_ASSOCIATION = {"high_conf_det_threshold": _THRESHOLD}
_METHODS: dict[str, tuple[str, dict[str, float]]] = {
    "bytetrack": ("ByteTrackTracker", {**_ACTIVATION, **_ASSOCIATION}),
    "ocsort": ("OCSORTTracker", _ASSOCIATION),
    "botsort": ("BoTSORTTracker", {**_ACTIVATION, **_ASSOCIATION, "enable_cmc": False}),
    "cbiou": ("CBIoUTracker", {**_ACTIVATION, **_ASSOCIATION}),
    "sort": ("SORTTracker", _ACTIVATION),
}


DEFAULT_TRACKER = PoseOptions.tracker


def check_tracker(name: str) -> None:
    """Refuse a name that is not in TRACKERS.

    Raises:
        OptionError: the name is unknown; the message lists TRACKERS.
    """
    if name not in TRACKERS:
        raise OptionError(f"unknown tracker '{name}'; there are {', '.join(TRACKERS)}.{nearest_hint(name, TRACKERS)}")


class PersonTracker:
    """Assigns ids to boxes; a person keeps their id.

    The import of the package takes a second. The first frame with people needs no tracker, because all of them are new,
    so the import waits for the next frame, unless `load` is called before.
    """

    def __init__(self, name: str = DEFAULT_TRACKER) -> None:
        """Start without tracks.

        Raises:
            OptionError: unknown tracker.
            ModelError: the package is not installed.
        """
        check_tracker(name)
        if importlib.util.find_spec("trackers") is None:
            raise ModelError(f"{not_installed('trackers')}, or --no-tracking")
        self._name = name
        self._tracker: Any = None
        self._detections: Any = None  # supervision.Detections, the form in which the package takes boxes
        self._first: Float32Array | None = None
        self._given = 0
        self._number_of: dict[Any, int] = {}
        self._number_of_duplicate: dict[tuple[int, int], int] = {}
        self._last_s: float | None = None
        self._step_s = 1 / 30

    def reset(self) -> None:
        """Forget all tracks: the next frame does not follow the last one, and its people get new ids."""
        if self._first is not None:
            self._given += len(self._first)
            self._first = None
        if self._tracker is not None:
            self._tracker.reset()
        self._number_of, self._number_of_duplicate, self._last_s = {}, {}, None

    def update(self, boxes_xyxy: Float32Array, time_s: float) -> Int64Array:
        """Ids (N,) int64, from 1, of the boxes of the next frame; call it for frames without boxes, too.

        Args:
            boxes_xyxy: (N, 4) float32, frame px, highest score first.

        Raises:
            ModelError: the tracker cannot be loaded.
        """
        lost_frames = self._lost_frames(time_s)
        if self._tracker is None and self._first is None:
            if len(boxes_xyxy):
                self._first = boxes_xyxy
            return np.arange(self._given + 1, self._given + 1 + len(boxes_xyxy), dtype=np.int64)
        self.load()
        if self._first is not None:
            first, self._first = self._first, None
            self._associate(first)  # assigns the ids that the first frame was given
        self._tracker.maximum_frames_without_update = lost_frames
        return self._associate(boxes_xyxy)

    def load(self) -> None:
        """Import the package, if that was not done yet.

        Raises:
            ModelError: the tracker cannot be loaded.
        """
        if self._tracker is not None:
            return
        class_name, settings = _METHODS[self._name]
        try:
            trackers: Any = importlib.import_module("trackers")
            self._detections = importlib.import_module("supervision").Detections
            self._tracker = getattr(trackers, class_name)(minimum_consecutive_frames=1, **settings)
        except Exception as error:  # a broken installation can raise anything
            raise ModelError(
                f"the tracker {self._name} cannot be loaded ({type(error).__name__}: {error}); "
                f"{install_command('run')}, or --no-tracking"
            ) from error

    def _lost_frames(self, time_s: float) -> int:
        """LOST_S in frames at the present frame rate.

        The trackers also accept times, but at ten frames a second they then lose people whom they keep when a frame is
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
        duplicate_of = duplicates(boxes)
        detections = self._detections(
            xyxy=boxes,
            confidence=np.where(duplicate_of >= 0, _DUPLICATE, _SINGLE).astype(np.float32),
            class_id=np.arange(len(boxes)),  # returned with each id; the order of the boxes is not kept
        )
        tracked = self._tracker.update(detections)
        tracks = self._tracks_of(boxes, dict(zip(tracked.tracker_id.tolist(), tracked.class_id.tolist(), strict=True)))
        return self._numbers_for(tracks, duplicate_of)

    def _tracks_of(self, boxes: Float32Array, box_of: dict[int, int]) -> list[Any]:
        """The track of each box; None for a box without one.

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
                new.append(track)  # it assigns an id at the second box only; ours starts at the first
        for track in new:
            overlap = overlaps(np.asarray([track.get_state_bbox()], np.float64), boxes.astype(np.float64))[0]
            overlap[[other is not None for other in tracks]] = 0
            if overlap.max() > 0:
                tracks[int(overlap.argmax())] = track
        return tracks

    def _numbers_for(self, tracks: list[Any], duplicate_of: Int64Array) -> Int64Array:
        """Our ids (N,), in order of appearance.

        Args:
            tracks: N, see `_tracks_of`.
            duplicate_of: (N,) see `duplicates`.
        """
        ids = np.zeros(len(tracks), np.int64)
        seen: Counter[int] = Counter()
        for index, track in enumerate(tracks):
            of = duplicate_of[index]
            if track is not None:
                ids[index] = self._number_of.get(track) or self._next()
                self._number_of[track] = int(ids[index])
            elif of >= 0:
                # A duplicate has an id of its own while its person keeps theirs; that box comes first.
                seen[of] += 1
                duplicate = (int(ids[of]), seen[of])
                ids[index] = self._number_of_duplicate.get(duplicate) or self._next()
                self._number_of_duplicate[duplicate] = int(ids[index])
            else:
                ids[index] = self._next()
        alive = {track: number for track in self._tracker.tracks if (number := self._number_of.get(track))}
        living = set(alive.values())
        self._number_of = alive
        self._number_of_duplicate = {
            own: number for own, number in self._number_of_duplicate.items() if own[0] in living
        }
        return ids

    def _next(self) -> int:
        self._given += 1
        return self._given


def duplicates(boxes_xyxy: Float32Array) -> Int64Array:
    """For each box (N, 4) the index (N,) int64 of the box that it duplicates, -1 for none.

    Boxes come highest score first; a box that is a duplicate itself has no duplicates.
    """
    boxes = boxes_xyxy.astype(np.float64)
    overlap = overlaps(boxes, boxes)
    of = np.full(len(boxes), -1, np.int64)
    for index in range(1, len(boxes)):
        candidates = np.flatnonzero((of[:index] < 0) & (overlap[index, :index] > DUPLICATE_OVERLAP))
        if len(candidates):
            of[index] = candidates[overlap[index, candidates].argmax()]
    return of
