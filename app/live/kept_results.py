"""The results of a source's frames as they were shown first, and ids that do not depend on how a frame is reached.

A pipeline counts ids up for ever and forgets all people at a jump. Here ids begin at 1 with each source, a frame of a
file keeps the result that it was shown with, and after a jump people continue the ids of the nearest kept frame of the
same scene where their boxes overlap. A pipeline that takes over continues the ids of the last frame in the same way,
and gives no id a second time: a recording goes on meanwhile.
"""

from __future__ import annotations

import bisect
from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np

from app.live.scenes import Thumbnail, is_cut, thumbnail
from app.live.shots import Shot
from engine.geometry import overlaps
from engine.types import AttentionMaps, Float32Array, FrameResult, Int64Array, Poses, StageTimings

_SAME_PERSON = 0.4
"""Intersection over union from which two boxes count as the same person's."""
_GAP_S = 1.0
"""Frames of a file that are further apart do not follow each other."""
_MOST_BYTES, _MOST_MAP_BYTES = 64_000_000, 192_000_000
_ENTRY_BYTES = 4000  # of Python's objects around the arrays, roughly


@dataclass(kw_only=True, eq=False)
class _Kept:
    """What is kept of a frame; of `result` without its picture and maps."""

    result: FrameResult
    scene: Thumbnail
    attention: AttentionMaps | None

    @property
    def ids(self) -> Int64Array:
        ids = self.result.poses.track_ids
        return np.zeros(0, np.int64) if ids is None else ids


@dataclass(frozen=True, kw_only=True, eq=False)
class LastIds:
    """How far the ids of a source are, for the pipeline that takes over.

    Attributes:
        source: its serial number.
        given: the highest id so far.
        poses, scene: of the frame that was shown last.
    """

    source: int
    given: int
    poses: Poses
    scene: Thumbnail


def _bytes_of(thing: object) -> int:
    return sum(value.nbytes for value in vars(thing).values() if isinstance(value, np.ndarray))


class KeptResults:
    """Results of one pipeline; used in its thread, but for `last_ids`."""

    def __init__(self, *, most_bytes: int = _MOST_BYTES, most_map_bytes: int = _MOST_MAP_BYTES) -> None:
        self._most_bytes, self._most_map_bytes = most_bytes, most_map_bytes
        self.last_ids: LastIds | None = None
        """Replaced with each frame and never changed; set before the first one, its ids are continued."""
        self._begin(0)

    def _begin(self, source: int) -> None:
        """Start with another source."""
        self._source = source
        self._kept: OrderedDict[int, _Kept] = OrderedDict()  # by place in the file, the latest used last
        self._places: list[int] = []  # the same places in order
        self._bytes = self._map_bytes = 0
        before = self.last_ids
        self._before = before if before is not None and before.source == source else None
        self._given = 0 if self._before is None else self._before.given
        self._id_of: dict[int, int] = {}  # shown ids by those of the pipeline
        self._last: tuple[Shot, Thumbnail] | None = None

    def of(self, shot: Shot, *, with_maps: bool, followed: int | None = None) -> FrameResult | None:
        """The kept result of a frame; None if there is none, or none with attention maps where they are wanted.

        Where a person is followed it is theirs alone, and None if they were not found in the frame; where nobody is, a
        result of one person alone does not do.
        """
        if shot.serial != self._source:
            self._begin(shot.serial)
        kept = None if shot.is_live else self._kept.get(_place(shot))
        if kept is None or (with_maps and kept.attention is None and len(kept.result.poses)):
            return None
        result = replace(kept.result, frame=shot.frame, attention=kept.attention if with_maps else None)
        if followed is None and result.poses.followed is not None:
            return None
        if followed is not None:
            who = np.flatnonzero(kept.ids == followed)
            if len(who) == 0:
                return None
            poses = replace(result.poses.take(who), followed=np.ones(len(who), np.bool_))
            maps = None if result.attention is None else result.attention.take(who)
            result = replace(result, poses=poses, attention=maps)
        self._kept.move_to_end(_place(shot))
        self._note_ids(kept.result.poses, kept.scene)
        return result

    def _note_ids(self, poses: Poses, scene: Thumbnail) -> None:
        self.last_ids = LastIds(source=self._source, given=self._given, poses=poses, scene=scene)

    def own_id(self, shown: int) -> int:
        """The pipeline's id of a person with a shown id; one that it does not have yet is the same."""
        for own, known in self._id_of.items():
            if known == shown:
                return own
        self._id_of[shown], self._given = shown, max(self._given, shown)
        return shown

    def box_near(self, shot: Shot, shown: int) -> Float32Array | None:
        """The box (4,) that a person has in the nearest kept frame of the same scene; None where they are not there."""
        nearest = None if shot.is_live else self._nearest(shot, thumbnail(shot.frame.image_bgr))
        who = np.zeros(0, np.intp) if nearest is None else np.flatnonzero(nearest.ids == shown)
        return None if nearest is None or len(who) == 0 else nearest.result.poses.boxes_xyxy[who[0]]

    def follows(self, shot: Shot, *, again: bool = False) -> bool:
        """Whether a frame continues the last one of `add`; if not, the pipeline must forget its people before it.

        With `again` the same frame also does: the pipeline is to keep its people, and poses others of them.
        """
        scene = thumbnail(shot.frame.image_bgr)
        last, self._last = self._last, (shot, scene)
        if last is None or shot.serial != last[0].serial or shot.frame.is_still or is_cut(last[1], scene):
            follows = False
        elif shot.is_live:
            follows = shot.epoch == last[0].epoch
        else:
            step_s = shot.position_s - last[0].position_s
            follows = 0 < step_s < _GAP_S or (again and step_s == 0)
        if not follows:
            self._id_of = {}
        return follows

    def add(self, shot: Shot, result: FrameResult) -> FrameResult:
        """The result to show for a frame that the pipeline has just processed, with the ids that its people keep."""
        if shot.serial != self._source:
            self._begin(shot.serial)
        if self._last is None or self._last[0] is not shot:
            self.follows(shot)
        assert self._last is not None  # noqa: S101 - set by `follows`
        scene = self._last[1]
        if shot.frame.is_still:  # photos do not follow each other
            result = replace(result, poses=replace(result.poses, track_ids=None))
        before = None if shot.is_live else self._kept.get(_place(shot))
        shown = None if before is None else self._with_maps(before, result)
        if shown is None:
            shown = self._numbered(result, self._known_people(before or self._nearest(shot, scene), scene))
        self._note_ids(shown.poses, scene)
        if not shot.is_live:
            self._keep(_place(shot), _Kept(result=shown, scene=scene, attention=shown.attention))
        return shown

    def _known_people(self, kept: _Kept | None, scene: Thumbnail) -> Poses | None:
        """Those of a kept frame; without one those that another pipeline has shown last, in the same scene."""
        if kept is not None:
            return kept.result.poses
        return None if self._before is None or is_cut(self._before.scene, scene) else self._before.poses

    def _numbered(self, result: FrameResult, reference: Poses | None) -> FrameResult:
        """The result with shown ids: known ones, those of the reference where boxes overlap, else new ones."""
        poses = result.poses
        if poses.track_ids is None:
            return result
        if len(poses):
            self._before = None  # they are in the ids of this pipeline from here on
        known = None if reference is None else reference.track_ids
        ids = np.array([self._id_of.get(int(own), 0) for own in poses.track_ids], np.int64)
        _forget_repeated(ids)
        if reference is not None and known is not None and len(ids) and len(known):
            for person, other in _pairs(poses, reference):
                if ids[person] == 0 and known[other] not in ids:
                    ids[person] = known[other]
        for unknown in np.flatnonzero(ids == 0):
            self._given += 1
            ids[unknown] = self._given
        self._id_of.update(zip(poses.track_ids.tolist(), ids.tolist(), strict=True))
        return replace(result, poses=replace(poses, track_ids=ids))

    def _with_maps(self, kept: _Kept, again: FrameResult) -> FrameResult | None:
        """The kept result with the maps of the same frame processed again; None if other people were found."""
        poses = kept.result.poses
        if again.attention is None or len(poses) != len(again.poses):
            return None
        if (poses.followed is None) is not (again.poses.followed is None):
            return None
        order = dict(_pairs(poses, again.poses)) if len(poses) else {}
        if len(order) != len(poses):
            return None
        rows = np.array([order[person] for person in range(len(poses))], np.intp)
        if again.poses.track_ids is not None:  # the frames after it continue these people
            self._id_of.update(zip(again.poses.track_ids[rows].tolist(), kept.ids.tolist(), strict=True))
        return replace(kept.result, frame=again.frame, attention=again.attention.take(rows), timings=again.timings)

    def _nearest(self, shot: Shot, scene: Thumbnail) -> _Kept | None:
        """The kept frame of the same scene that is nearest in the file, of those beside a place."""
        place = _place(shot)
        at = bisect.bisect_left(self._places, place)
        beside = sorted(self._places[max(0, at - 1) : at + 1], key=lambda other: abs(other - place))
        return next((self._kept[other] for other in beside if not is_cut(self._kept[other].scene, scene)), None)

    def _keep(self, place: int, kept: _Kept) -> None:
        self._drop(place)
        kept.result = replace(
            kept.result,
            frame=replace(kept.result.frame, image_bgr=np.zeros((1, 1, 3), np.uint8)),
            attention=None,
            timings=StageTimings(),  # nothing runs when it is shown again
        )
        self._kept[place] = kept
        bisect.insort(self._places, place)
        self._bytes += _size(kept)
        if kept.attention is not None:
            self._map_bytes += _bytes_of(kept.attention)
        while self._bytes > self._most_bytes and len(self._kept) > 1:
            self._drop(next(iter(self._kept)))
        if self._map_bytes > self._most_map_bytes:
            self._drop_maps(but=place)

    def _drop(self, place: int) -> None:
        kept = self._kept.pop(place, None)
        if kept is not None:
            self._places.pop(bisect.bisect_left(self._places, place))
            self._bytes -= _size(kept)
            self._map_bytes -= 0 if kept.attention is None else _bytes_of(kept.attention)

    def _drop_maps(self, *, but: int) -> None:
        """Keep poses and drop maps, of half the frames that have any: they can be worked out again."""
        with_maps = [place for place, kept in self._kept.items() if kept.attention is not None and place != but]
        for place in with_maps[: max(1, len(with_maps) // 2)]:
            kept = self._kept[place]
            assert kept.attention is not None  # noqa: S101 - chosen above
            self._map_bytes -= _bytes_of(kept.attention)
            kept.attention = None


def _place(shot: Shot) -> int:
    return round(shot.position_s * 1e6)


def _size(kept: _Kept) -> int:
    result = kept.result
    return _bytes_of(result.poses) + _bytes_of(result.detections) + kept.scene.nbytes + _ENTRY_BYTES


def _forget_repeated(ids: Int64Array) -> None:
    """Set to 0, in place, each id that an earlier person of the frame has."""
    seen: set[int] = set()
    for person, number in enumerate(ids.tolist()):
        if number in seen:
            ids[person] = 0
        seen.add(number)


def _pairs(poses: Poses, others: Poses) -> list[tuple[int, int]]:
    """Pairs of people (index here, index there) whose boxes overlap, most first; a person is in one pair at most."""
    overlap = overlaps(poses.boxes_xyxy, others.boxes_xyxy)
    found: list[tuple[int, int]] = []
    for flat in np.argsort(-overlap, axis=None, kind="stable"):
        person, other = divmod(int(flat), overlap.shape[1])
        if overlap[person, other] < _SAME_PERSON:
            break
        if all(person != taken[0] and other != taken[1] for taken in found):
            found.append((person, other))
    return found
