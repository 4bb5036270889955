"""The data of a frame in the pipeline: frozen dataclasses that validate their arrays.

Letters: N persons, K keypoints, H W frame or crop, h w heatmap. "Frame px" are pixels of the whole frame with the
centre of the top left pixel at (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from engine.errors import ModelError
from engine.skeleton import Skeleton

if TYPE_CHECKING:
    import supervision

T = TypeVar("T", "Detections", "Poses", "AttentionMaps")
Float32Array = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]


def require_finite(values: Any, what: str) -> None:
    """Refuse NaN and infinity where numbers enter, because no comparison after that finds them.

    Raises:
        ModelError: one of the values is no finite number.
    """
    if not np.isfinite(values).all():
        raise ModelError(f"{what} holds values that are not finite numbers (NaN or infinity)")


def _check(name: str, array: Any, shape: tuple[int | None, ...], dtype: type) -> None:
    """Raise ValueError unless `array` has the dtype and the shape (None stands for any length)."""
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} must be a numpy array, not {type(array).__name__}")
    fits = array.ndim == len(shape) and all(
        want is None or have == want for have, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
        raise ValueError(f"{name} has shape {array.shape}, expected {wanted}")
    if array.dtype != dtype:
        raise ValueError(f"{name} has dtype {array.dtype}, expected {np.dtype(dtype)}")


def _taken(one: T, index: Any) -> T:
    """A copy of a dataclass whose arrays, all with one entry for each person, are those of the chosen people."""
    arrays = {name: value[index] for name, value in vars(one).items() if isinstance(value, np.ndarray)}
    return replace(one, **arrays)


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One picture of a source.

    Attributes:
        image_bgr: (H, W, 3) uint8.
        index: number of the frame in its source, from 0.
        timestamp_s: capture time for live sources, presentation time for files, in seconds.
        pts: presentation time stamp in units of the source's time base, where the source has one.
        is_still: a photo, which follows no other picture.
    """

    image_bgr: UInt8Array
    index: int
    timestamp_s: float
    pts: int | None = None
    is_still: bool = False

    def __post_init__(self) -> None:
        _check("image_bgr", self.image_bgr, (None, None, 3), np.uint8)


@dataclass(frozen=True, kw_only=True, eq=False)
class Detections:
    """Boxes of the people of one frame; N = 0 is normal.

    Attributes:
        boxes_xyxy: (N, 4) float32, frame px.
        scores: (N,) float32, 0 to 1.
        class_ids: (N,) int64, index into the detector's class names.
    """

    boxes_xyxy: Float32Array
    scores: Float32Array
    class_ids: Int64Array

    def __post_init__(self) -> None:
        _check("boxes_xyxy", self.boxes_xyxy, (None, 4), np.float32)
        _check("scores", self.scores, (len(self.boxes_xyxy),), np.float32)
        _check("class_ids", self.class_ids, (len(self.boxes_xyxy),), np.int64)

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    @staticmethod
    def empty() -> Detections:
        """No person in the frame."""
        return Detections(
            boxes_xyxy=np.zeros((0, 4), np.float32), scores=np.zeros(0, np.float32), class_ids=np.zeros(0, np.int64)
        )

    def take(self, index: Any) -> Detections:
        """The detections chosen by an integer or boolean index array."""
        return _taken(self, index)


VISIBLE_SCORE = 0.2
"""Keypoints with a higher score count for the score of a person, as in the official evaluation code."""


def mean_visible_scores(keypoint_scores: Float32Array) -> Float32Array:
    """(N,) float32: mean of the keypoint scores (N, K) above VISIBLE_SCORE; 0 if there is none."""
    visible = keypoint_scores > VISIBLE_SCORE
    total = np.where(visible, keypoint_scores, 0).sum(axis=1)
    mean: Float32Array = (total / np.maximum(visible.sum(axis=1), 1)).astype(np.float32)
    return mean


@dataclass(frozen=True, kw_only=True, eq=False)
class Poses:
    """Keypoints of the people of one frame.

    Attributes:
        keypoints_xy: (N, K, 2) float32, frame px.
        scores: (N, K) float32, height of the heatmap's peak, which may exceed 1 a little; at most 1 in a `FrameResult`.
        boxes_xyxy: (N, 4) float32, frame px.
        box_scores: (N,) float32, 0 to 1, of the detections they come from.
        person_scores: (N,) float32, box score x mean of the keypoint scores above VISIBLE_SCORE; likewise.
        track_ids: (N,) int64, or None without tracking.
        followed: (N,) bool, the person who is followed; None where nobody is.
        angle_names: A names of the angles.
        angles_deg: (N, A) float32, 0 to 180, NaN where a keypoint was not seen; None where they were not asked for.
        repetitions: (N,) int64, counted so far; None where nothing is counted.
    """

    keypoints_xy: Float32Array
    scores: Float32Array
    boxes_xyxy: Float32Array
    box_scores: Float32Array
    person_scores: Float32Array
    track_ids: Int64Array | None = None
    followed: npt.NDArray[np.bool_] | None = None
    angle_names: tuple[str, ...] = ()
    angles_deg: Float32Array | None = None
    repetitions: Int64Array | None = None

    def __post_init__(self) -> None:
        _check("keypoints_xy", self.keypoints_xy, (None, None, 2), np.float32)
        people, keypoints = self.keypoints_xy.shape[:2]
        _check("scores", self.scores, (people, keypoints), np.float32)
        _check("boxes_xyxy", self.boxes_xyxy, (people, 4), np.float32)
        _check("box_scores", self.box_scores, (people,), np.float32)
        _check("person_scores", self.person_scores, (people,), np.float32)
        for name, dtype in (("track_ids", np.int64), ("followed", np.bool_), ("repetitions", np.int64)):
            if getattr(self, name) is not None:
                _check(name, getattr(self, name), (people,), dtype)
        if self.angles_deg is not None:
            _check("angles_deg", self.angles_deg, (people, len(self.angle_names)), np.float32)

    def __len__(self) -> int:
        return len(self.keypoints_xy)

    def take(self, index: Any) -> Poses:
        """The people chosen by an integer or boolean index array."""
        return _taken(self, index)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Each person as plain values for JSON, as in a `.jsonl` file: id, box_xyxy, score and keypoints (x, y, score).

        Where they were asked for also `followed` (true, for the followed person only), `angles` (by name, None where it
        is not known) and `repetitions`. Coordinates are rounded to a hundredth of a px, scores to four digits, angles
        to a tenth of a degree. A keypoint that is not finite is (0, 0) with the score 0, because JSON has no NaN.
        """
        finite = np.isfinite(self.keypoints_xy).all(axis=2)
        points, scores = _rounded(self.keypoints_xy, 2), _rounded(np.where(finite, self.scores, 0), 4)
        boxes, person_scores = _rounded(self.boxes_xyxy, 2), _rounded(self.person_scores, 4)
        return [
            {
                "id": None if self.track_ids is None else int(self.track_ids[number]),
                "box_xyxy": boxes[number],
                "score": person_scores[number],
                "keypoints": [[*point, score] for point, score in zip(points[number], scores[number], strict=True)],
                **self._extras(number),
            }
            for number in range(len(self))
        ]

    def _extras(self, number: int) -> dict[str, Any]:
        """What a person's record has only where it was asked for."""
        extras: dict[str, Any] = {}
        if self.followed is not None and self.followed[number]:
            extras["followed"] = True
        if self.angles_deg is not None:
            angles = zip(self.angle_names, self.angles_deg[number].astype(np.float64).tolist(), strict=True)
            extras["angles"] = {name: round(angle, 1) if np.isfinite(angle) else None for name, angle in angles}
        if self.repetitions is not None:
            extras["repetitions"] = int(self.repetitions[number])
        return extras

    @staticmethod
    def empty(num_keypoints: int) -> Poses:
        """No person in the frame."""
        return Poses(
            keypoints_xy=np.zeros((0, num_keypoints, 2), np.float32),
            scores=np.zeros((0, num_keypoints), np.float32),
            boxes_xyxy=np.zeros((0, 4), np.float32),
            box_scores=np.zeros(0, np.float32),
            person_scores=np.zeros(0, np.float32),
        )


def _rounded(values: Any, digits: int) -> Any:
    """Nested lists of finite floats; what is not finite becomes 0."""
    clean = np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return (np.round(clean, digits) + 0.0).tolist()  # + 0.0 makes -0.0 a plain zero


def frame_record(index: int, time_s: float, poses: Poses, file_name: str | None = None) -> dict[str, Any]:
    """The people of a frame as plain values for JSON: what files, live readers and `FrameResult.to_dict` give.

    Args:
        index: number of the frame in its source, from 0.
        time_s: its time from the start, in seconds; rounded to a microsecond.
        poses: its people, frame px.
        file_name: of the photo, for a source of photos.
    """
    name = {} if file_name is None else {"file_name": file_name}
    return {"frame": index, "time_s": round(time_s, 6) + 0.0, **name, "people": poses.to_dicts()}


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionMaps:
    """What a KCAM network attends to, per person and keypoint, on the grid of its heatmaps.

    Attributes:
        areas: (N, K, h, w) float32, the soft keypoint areas G (each map sums to 1 over its pixels), or None.
        attention: (N, K, h, w) float32, the pixel-keypoint attention S (sums to 1 over K at each pixel), or None.
        crop_to_frame: (N, 2, 3) float32, affine from crop px to frame px.
        input_size_wh: width and height of the crop in px; the maps span it evenly.
    """

    areas: Float32Array | None
    attention: Float32Array | None
    crop_to_frame: Float32Array
    input_size_wh: tuple[int, int]

    def __post_init__(self) -> None:
        _check("crop_to_frame", self.crop_to_frame, (None, 2, 3), np.float32)
        for name in ("areas", "attention"):
            maps = getattr(self, name)
            if maps is not None:
                _check(name, maps, (len(self.crop_to_frame), None, None, None), np.float32)

    def take(self, index: Any) -> AttentionMaps:
        """The maps of the people chosen by an integer or boolean index array."""
        return _taken(self, index)


@dataclass(frozen=True, kw_only=True)
class StageTimings:
    """Milliseconds that each stage of one frame took; 0 for a stage that did not run."""

    detect_ms: float = 0.0
    crop_ms: float = 0.0
    pose_ms: float = 0.0
    track_ms: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameResult:
    """All results of the pipeline for one frame.

    Attributes:
        frame: the picture itself, its number and its time.
        detections: boxes of the detector, before any were dropped as false positives.
        poses: the people.
        attention: the maps that were asked for, of the people in `poses`, or None.
        timings: how long the stages took.
        skeleton: names and lines of the keypoints; None only where no pipeline made this result.
    """

    frame: Frame
    detections: Detections
    poses: Poses
    attention: AttentionMaps | None = None
    timings: StageTimings = field(default_factory=StageTimings)
    skeleton: Skeleton | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, as a line of a `.jsonl` file: frame, time_s and people (`Poses.to_dicts`)."""
        return frame_record(self.frame.index, self.frame.timestamp_s, self.poses)

    def to_supervision(self) -> supervision.KeyPoints:
        """The people as `supervision.KeyPoints` (N, K), for that package's annotators and metrics.

        Its `data` has `track_id` (N,) int64 where people have ids.
        """
        import supervision

        poses = self.poses
        return supervision.KeyPoints(
            xy=poses.keypoints_xy,
            class_id=np.zeros(len(poses), np.int64),
            keypoint_confidence=poses.scores,
            detection_confidence=poses.person_scores,
            visible=poses.scores > VISIBLE_SCORE,
            data={} if poses.track_ids is None else {"track_id": poses.track_ids},
        )
