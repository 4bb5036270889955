"""The probe: the attention of one point on one person, followed from frame to frame (the paper's figure 2, live)."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np

from app.live.shots import Shown
from engine.geometry import overlaps
from engine.overlay.attention import Scale, attention_at, attention_range
from engine.overlay.legend import Legend
from engine.skeleton import Skeleton
from engine.types import Float32Array, Poses

_SAME_PERSON = 0.3
"""Without ids: intersection over union from which a box of the next frame counts as the same person's."""
_LISTED = 4
MOST_PINS = 4
_PIN_LISTED = 2
_WAIT_S = 0.5
"""Without ids: how long a person may be missing; after that, another person may be there."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ProbeReading:
    """What the probe shows in one frame.

    Attributes:
        point_xy: (2,) float32, the probed point, frame px.
        keypoints_xy: (K, 2) float32, that person's keypoints, frame px.
        scores: (K,) float32, of these keypoints.
        values: (K,) float32, attention S of the pixel under the point for each keypoint; they sum to 1.
    """

    point_xy: Float32Array
    keypoints_xy: Float32Array
    scores: Float32Array
    values: Float32Array


Pins = tuple[tuple[int, ProbeReading], ...]
"""Numbers and readings of pinned probes."""


def probe_legends(reading: ProbeReading | None, pins: Pins, skeleton: Skeleton, scale: Scale) -> tuple[Legend, ...]:
    """The legends of the probe and of pinned ones."""
    own = () if reading is None else (probe_legend(reading, skeleton, scale),)
    return (*own, *(probe_legend(pinned, skeleton, scale, number) for number, pinned in pins))


def probe_legend(reading: ProbeReading, skeleton: Skeleton, scale: Scale, number: int = 0) -> Legend:
    """The legend of a reading: the keypoints with the most attention, in falling order; shorter for a pinned probe."""
    names = tuple(name.replace("_", " ") for name in skeleton.keypoint_names)
    order = np.argsort(-reading.values, kind="stable")[: _PIN_LISTED if number else _LISTED]
    return Legend(
        title=f"Probe {number}" if number else "Probe",
        lines=() if number else ("how much the point draws on",),
        values=attention_range(reading.values, len(reading.values), scale),
        rows=tuple((names[keypoint], float(reading.values[keypoint])) for keypoint in order),
        names=names,
        tinted=False,
    )


class Probe:
    """A point that is fixed to a person: it keeps its relative position in the person's box.

    It never moves to another person. People with ids are tracked by id only: while theirs is not in the picture, the
    probe is lost and waits. Without ids it waits for a moment, and is removed then.
    """

    def __init__(self) -> None:
        self.placed = 0
        """Counts how often the user placed or removed it: distinguishes a click from tracking."""
        self._box: Float32Array | None = None
        self.person_id: int | None = None
        """Id of its person; None without ids."""
        self._origin = (0, 0)  # serials of the source and of the pipeline whose ids these are
        self._seen_s = self._seen_at_s = 0.0  # by the clock of the frames, and in the file
        self._is_lost = False
        self._share: Float32Array = np.zeros(2, np.float32)

    @property
    def is_set(self) -> bool:
        """Whether it is fixed to a person, visible at the moment or not."""
        return self._box is not None

    @property
    def is_lost(self) -> bool:
        """Whether its person was not in the last frame; it waits for them."""
        return self.is_set and self._is_lost

    def clear(self) -> None:
        """Remove the probe."""
        self._release()
        self.placed += 1

    def copy(self) -> Probe:
        """An independent copy on the same person."""
        return copy.copy(self)  # its arrays are replaced and never written to

    def place(self, shown: Shown, point_xy: tuple[float, float]) -> bool:
        """Fix the probe to the person at a point in frame px; False, without a change, if there is none."""
        if shown.result is None:
            return False
        point, poses = np.array(point_xy, np.float32), shown.result.poses
        person = person_at(poses, point)
        if person is None:
            return False
        box = poses.boxes_xyxy[person]
        self._remember(shown, poses, person)
        self._share = np.asarray((point - box[:2]) / np.maximum(box[2:] - box[:2], 1), np.float32)
        self.placed += 1
        return True

    def read(self, shown: Shown) -> ProbeReading | None:
        """Attention at the probed point in this frame; None if the person is not found or there are no maps."""
        if self._box is None or shown.result is None:
            return None
        result = shown.result
        person = self._find(shown, result.poses)
        if person is None:
            if self._waits_in_vain(shown):
                self._release()
            self._is_lost = True
            return None
        self._remember(shown, result.poses, person)
        if result.attention is None or result.attention.attention is None:
            return None
        box = result.poses.boxes_xyxy[person]
        point = np.asarray(box[:2] + self._share * (box[2:] - box[:2]), np.float32)
        return ProbeReading(
            point_xy=point,
            keypoints_xy=result.poses.keypoints_xy[person],
            scores=result.poses.scores[person],
            values=attention_at(result.attention, person, point),
        )

    def _waits_in_vain(self, shown: Shown) -> bool:
        """Whether the person, who is not in this frame, cannot be known again."""
        source, pipeline = self._origin
        if shown.shot.serial != source or shown.pipeline != pipeline:
            return True
        if self.person_id is not None or shown.shot.frame.is_still:
            return False
        return shown.shot.frame.timestamp_s - self._seen_s > _WAIT_S

    def _release(self) -> None:
        self._box = self.person_id = None

    def _remember(self, shown: Shown, poses: Poses, person: int) -> None:
        self._box = poses.boxes_xyxy[person]
        self.person_id = None if poses.track_ids is None else int(poses.track_ids[person])
        self._origin = (shown.shot.serial, shown.pipeline)
        self._seen_s, self._seen_at_s = shown.shot.frame.timestamp_s, shown.shot.position_s
        self._is_lost = False

    def _find(self, shown: Shown, poses: Poses) -> int | None:
        """The probed person in another frame: by id if both frames have ids, else by the box that overlaps most."""
        source, pipeline = self._origin
        if len(poses) == 0 or self._box is None or shown.shot.serial != source:
            return None
        if self.person_id is not None and poses.track_ids is not None and shown.pipeline == pipeline:
            same = np.flatnonzero(poses.track_ids == self.person_id)
            return int(same[0]) if len(same) else None
        if shown.shot.frame.is_still and shown.shot.position_s != self._seen_at_s:
            return None  # the person in the same place of another photo is another one
        if self._is_lost and shown.pipeline != pipeline:
            return None
        overlap = overlaps(self._box[None], poses.boxes_xyxy)[0]
        best = int(overlap.argmax())
        return best if overlap[best] >= _SAME_PERSON else None


class Probes:
    """The probe that a click sets, and up to four that were pinned, with numbers from 1."""

    def __init__(self) -> None:
        self.active = Probe()
        self._pins: tuple[tuple[int, Probe], ...] = ()
        self._pinned = 0

    @property
    def placed(self) -> tuple[int, int]:
        """Changes with what the user does, and not with tracking."""
        return self.active.placed, self._pinned

    @property
    def is_set(self) -> bool:
        """Whether there is any."""
        return self.active.is_set or bool(self._pins)

    @property
    def has_pins(self) -> bool:
        """Whether any is pinned, visible or not."""
        return bool(self._pins)

    def copy(self) -> Probes:
        """Independent copies on the same people."""
        other = copy.copy(self)
        other.active = self.active.copy()
        other._pins = tuple((number, probe.copy()) for number, probe in self._pins)
        return other

    def pin(self) -> None:
        """Keep the active probe where it is, under the lowest free number; nothing if four are kept or none is set."""
        free = sorted(set(range(1, MOST_PINS + 1)) - {number for number, _probe in self._pins})
        if self.active.is_set and free:
            self._pins = tuple(sorted((*self._pins, (free[0], self.active)), key=lambda each: each[0]))
            self.active = Probe()
            self._pinned += 1

    def unpin(self) -> None:
        """Remove all pinned ones."""
        self._pins = ()
        self._pinned += 1

    def read(self, shown: Shown) -> tuple[ProbeReading | None, Pins]:
        """The active probe and the pinned ones in this frame; a pin whose person is gone for good is removed."""
        found = []
        for number, probe in self._pins:
            reading = probe.read(shown)
            if reading is not None:
                found.append((number, reading))
        self._pins = tuple(pin for pin in self._pins if pin[1].is_set)
        return self.active.read(shown), tuple(found)


def person_at(poses: Poses, point_xy: Float32Array) -> int | None:
    """The person whose box contains the point; of several the one with the nearest keypoint."""
    if len(poses) == 0:
        return None
    boxes = poses.boxes_xyxy
    inside = ((point_xy >= boxes[:, :2]) & (point_xy <= boxes[:, 2:])).all(axis=1)
    if not inside.any():
        return None
    distances = np.linalg.norm(poses.keypoints_xy - point_xy, axis=2).min(axis=1)
    return int(np.where(inside, distances, np.inf).argmin())
