"""The people of a shown frame as a table: numbers for the people panel and for its text on the clipboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from app.live.composer import Picture
from engine.angles import angles_of
from engine.skeleton import Skeleton
from engine.types import Poses

PERSON_COLUMNS = ("id", "score", "seen", "x1", "y1", "x2", "y2")
KEYPOINT_COLUMNS = ("keypoint", "x", "y", "score", "probe")
UNKNOWN = "–"


def person_columns(skeleton: Skeleton) -> tuple[str, ...]:
    """Titles of the columns of `person_rows`."""
    return (*PERSON_COLUMNS, *(angle.name.replace("_", " ") for angle in skeleton.named_angles))


def with_angles(poses: Poses, skeleton: Skeleton, score_threshold: float) -> Poses:
    """The same people with the angles of all their joints, from keypoints with at least this score."""
    if poses.angles_deg is not None:
        return poses
    degrees = angles_of(poses.keypoints_xy, poses.scores, skeleton.named_angles, score_threshold)
    return replace(poses, angle_names=tuple(angle.name for angle in skeleton.named_angles), angles_deg=degrees)


def person_rows(poses: Poses, skeleton: Skeleton, score_threshold: float) -> list[list[str]]:
    """A row for each person: id, score, keypoints of at least the threshold, box in frame px, angles in degrees."""
    degrees = with_angles(poses, skeleton, score_threshold).angles_deg
    assert degrees is not None  # noqa: S101 - set above
    seen = (poses.scores >= score_threshold).sum(axis=1)
    return [
        [
            UNKNOWN if poses.track_ids is None else str(poses.track_ids[person]),
            _number(poses.person_scores[person], 2),
            f"{seen[person]}/{skeleton.num_keypoints}",
            *(_number(value, 0) for value in poses.boxes_xyxy[person]),
            *(_number(value, 0) for value in degrees[person]),
        ]
        for person in range(len(poses))
    ]


def keypoint_rows(poses: Poses, person: int, skeleton: Skeleton, probed: Sequence[float] | None) -> list[list[str]]:
    """A row for each keypoint of a person: name, place in frame px, score, and attention of the probed point.

    The latter is `probed` (K,), None where the probe is not on this person.
    """
    return [
        [
            name.replace("_", " "),
            *(_number(value, 1) for value in poses.keypoints_xy[person, keypoint]),
            _number(poses.scores[person, keypoint], 2),
            UNKNOWN if probed is None else _number(probed[keypoint], 3),
        ]
        for keypoint, name in enumerate(skeleton.keypoint_names)
    ]


def probed_person(picture: Picture) -> int | None:
    """Index of the person on whom the probe is in this picture; None without one."""
    result, reading = picture.shown.result, picture.reading
    if result is None or reading is None:
        return None
    same = (result.poses.keypoints_xy == reading.keypoints_xy).all(axis=(1, 2))
    return int(same.argmax()) if same.any() else None


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else UNKNOWN
