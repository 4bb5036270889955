"""Who is who from frame to frame: ids for boxes, by ByteTrack as the ultralytics package has it."""

from __future__ import annotations

import importlib.util
import itertools
import threading
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import EngineError, ModelError
from engine.geometry import overlaps
from engine.system.ultralytics_env import disable_telemetry, prepare_ultralytics
from engine.tracking.opencv_threads import opencv_threads_kept
from engine.types import Float32Array, Int64Array

# Every box that is posed is worth an id, so all of them compete in ByteTrack's first round whatever their scores. Its
# second round, made for weak boxes, which keep ids alive and begin none, is for boxes that lie on a surer one: a
# detector often sees one person twice for some frames, and the second box must neither begin an id nor take the first
# one's (docs/decisions/0014-identities.md).
_SURE, _DOUBLE = 1.0, 0.3
_SETTINGS = {
    "track_high_thresh": 0.5,
    "track_low_thresh": 0.1,
    "new_track_thresh": 0.5,
    "track_buffer": 30,
    "match_thresh": 0.8,
    "fuse_score": False,
}
DOUBLE_OVERLAP = 0.4
"""Boxes that overlap more than this, intersection over union, are taken for one person seen twice."""
LOST_S = 2.0
"""A person who is gone for longer than this comes back under a new id."""
_FEWEST_LOST, _MOST_LOST = 5, 480  # the same in frames: ByteTrack counts those
# Loading would share the processor with the first calls of the networks, in which runtimes compile, and keep people
# waiting for a first picture: at the second frame with people the first is on the screen.
_FRAMES_WITH_PEOPLE_FIRST, _FRAMES_FIRST = 2, 30


class PersonTracker:
    """Gives ids to boxes; the same person keeps theirs.

    ByteTrack comes with torch, whose import takes seconds: it happens in a thread, which the first frames begin
    (`passed`), or `wait`.
    """

    def __init__(self) -> None:
        self._tracker: Any = None
        self._error: EngineError | None = None
        self._numbers = itertools.count(1)
        self._number_of: dict[tuple[int, int], int] = {}
        self._last_s: float | None = None
        self._step_s = 1 / 30
        self._loader: threading.Thread | None = None
        self._passed = self._passed_with_people = 0

    def passed(self, people: int) -> None:
        """A frame with so many people was done without ids: after the first of them loading begins."""
        self._passed += 1
        self._passed_with_people += people > 0
        if self._passed_with_people >= _FRAMES_WITH_PEOPLE_FIRST or self._passed >= _FRAMES_FIRST:
            self._begin()

    @property
    def is_ready(self) -> bool:
        """Whether ids can be had without waiting."""
        return self._loader is not None and not self._loader.is_alive()

    def wait(self) -> None:
        """Wait until ids can be had."""
        self._begin().join()

    def reset(self) -> None:
        """What comes next does not go on from here: whoever comes has a new id."""
        self._last_s = None
        if self._tracker is None:
            return
        # Its own reset would also begin to count anew, for all trackers of the process.
        self._tracker.tracked_stracks, self._tracker.lost_stracks, self._tracker.removed_stracks = [], [], []
        self._tracker.frame_id = 0
        self._number_of = {}

    def _begin(self) -> threading.Thread:
        if self._loader is None:
            self._loader = threading.Thread(target=self._load, name="tracker import", daemon=True)
            self._loader.start()
        return self._loader

    def _load(self) -> None:
        try:
            with opencv_threads_kept():
                self._tracker = _new_tracker()
        except ImportError as error:
            self._error = ModelError(
                f"tracking needs the packages ultralytics, torch and lap ({error}); "
                "pip install -r requirements.txt, or --no-tracking"
            )
        except Exception as error:  # a package that is there and broken fails in any way it likes
            self._error = ModelError(f"tracking cannot be loaded ({type(error).__name__}: {error}); try --no-tracking")

    def update(self, boxes_xyxy: Float32Array, time_s: float) -> Int64Array:
        """Ids (N,) int64, from 1, of the boxes of the next frame; call it for frames without boxes, too.

        Args:
            boxes_xyxy: (N, 4) float32, frame px, the surest first.
            time_s: time of the frame in seconds.

        Raises:
            ModelError: the tracker cannot be loaded.
        """
        self.wait()
        if self._error is not None:
            raise self._error
        tracker = self._tracker
        tracker.max_frames_lost = self._lost_frames(time_s)
        doubled = doubles(boxes_xyxy)
        tracker.update(_Boxes(boxes_xyxy, doubled >= 0))
        tracks = np.zeros(len(boxes_xyxy), np.int64)
        for track in tracker.tracked_stracks:
            # Also those that ByteTrack holds back until it has seen them twice: they keep their id when it has.
            if track.frame_id == tracker.frame_id:
                tracks[int(track.idx)] = int(track.track_id)
        ids = self._numbers_for(tracks, doubled)
        if len(self._number_of) > 4 * (len(tracker.tracked_stracks) + len(tracker.lost_stracks)) + 64:
            known = {int(track.track_id) for track in (*tracker.tracked_stracks, *tracker.lost_stracks)}
            self._number_of = {own: number for own, number in self._number_of.items() if own[0] in known}
        return ids

    def _numbers_for(self, tracks: Int64Array, doubled: Int64Array) -> Int64Array:
        """Our ids (N,), in order of appearance whatever other trackers of the process count.

        Args:
            tracks: (N,) the tracker's; 0 for boxes that it does not follow.
            doubled: (N,) see `doubles`.
        """
        ids = np.zeros(len(tracks), np.int64)
        seen: Counter[int] = Counter()
        for index, track in enumerate(tracks.tolist()):
            of = int(tracks[doubled[index]]) if track == 0 and doubled[index] >= 0 else 0
            seen[of] += 1
            # A box that is not followed is shown all the same: that of someone seen twice has an id of its own as long
            # as they keep theirs, any other (dropped as the double of a lost one) has one for this frame.
            own = (track, 0) if track else (of, seen[of]) if of else None
            ids[index] = next(self._numbers) if own is None else self._number(own)
        return ids

    def _number(self, own: tuple[int, int]) -> int:
        if own not in self._number_of:
            self._number_of[own] = next(self._numbers)
        return self._number_of[own]

    def _lost_frames(self, time_s: float) -> int:
        """How many frames LOST_S are at the present rate."""
        if self._last_s is not None and 0 < time_s - self._last_s < LOST_S:
            self._step_s += 0.1 * (time_s - self._last_s - self._step_s)
        self._last_s = time_s
        return int(np.clip(round(LOST_S / self._step_s), _FEWEST_LOST, _MOST_LOST))


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


class _Boxes:
    """Boxes in the form that the tracker takes."""

    def __init__(self, boxes_xyxy: Float32Array, is_double: npt.NDArray[np.bool_]) -> None:
        boxes = np.asarray(boxes_xyxy, np.float32).reshape(-1, 4)
        sizes = np.maximum(boxes[:, 2:] - boxes[:, :2], 1)  # it drops boxes without area
        self.xywh = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, sizes], axis=1)
        self.conf = np.where(is_double, _DOUBLE, _SURE).astype(np.float32)
        self.cls = np.zeros(len(boxes), np.float32)

    def __len__(self) -> int:
        return len(self.xywh)

    def __getitem__(self, index: Any) -> _Boxes:
        part = _Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.bool_))
        part.xywh, part.conf, part.cls = self.xywh[index], self.conf[index], self.cls[index]
        return part


def _new_tracker() -> Any:
    if importlib.util.find_spec("lap") is None:  # ultralytics would try to install it
        raise ImportError("lap is not installed")
    prepare_ultralytics()
    from ultralytics.trackers.byte_tracker import BYTETracker

    disable_telemetry()
    tracker_class: Any = BYTETracker
    return tracker_class(SimpleNamespace(**_SETTINGS))
