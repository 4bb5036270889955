"""Pictures, people and maps that the tests of the overlay draw."""

from __future__ import annotations

import numpy as np

from engine.geometry import boxes_to_affines, invert_affines
from engine.overlay.attention import AttentionView
from engine.types import AttentionMaps, Detections, Float32Array, Frame, FrameResult, Poses, UInt8Array

INPUT_WH = (192, 256)
MAP_WH = (48, 64)
S9 = AttentionView(kind="attention", keypoint=9)


def result_of(
    image: UInt8Array,
    points: list[list[tuple[float, float]]],
    *,
    scores: Float32Array | None = None,
    boxes: list[tuple[float, float, float, float]] | None = None,
    ids: list[int] | None = None,
    attention: AttentionMaps | None = None,
) -> FrameResult:
    people = len(points)
    places = np.array(points, np.float32).reshape(people, 17, 2)
    poses = Poses(
        keypoints_xy=places,
        scores=np.full((people, 17), 0.9, np.float32) if scores is None else scores,
        boxes_xyxy=np.array(boxes or [(10, 10, 90, 90)] * people, np.float32).reshape(people, 4),
        box_scores=np.linspace(0.9, 0.5, people, dtype=np.float32),
        person_scores=np.linspace(0.9, 0.5, people, dtype=np.float32),
        track_ids=None if ids is None else np.array(ids, np.int64),
    )
    frame = Frame(image_bgr=image, index=0, timestamp_s=0.0)
    return FrameResult(frame=frame, detections=Detections.empty(), poses=poses, attention=attention)


def grid(left: float, top: float, step: float) -> list[tuple[float, float]]:
    """17 places apart from each other."""
    return [(left + step * (k % 5), top + step * (k // 5)) for k in range(17)]


def grey(width: int, height: int, value: int = 128) -> UInt8Array:
    return np.full((height, width, 3), value, np.uint8)


def changed(before: UInt8Array, after: UInt8Array) -> np.ndarray:
    return np.asarray((before.astype(int) - after).any(axis=2))


def attention_maps(maps: Float32Array, boxes: list[tuple[float, float, float, float]]) -> AttentionMaps:
    """The same maps (N, 17, h, w) as areas and attention, over crops of boxes."""
    to_frame = invert_affines(boxes_to_affines(np.array(boxes, np.float32), INPUT_WH))
    return AttentionMaps(areas=maps, attention=maps, crop_to_frame=to_frame, input_size_wh=INPUT_WH)


def empty_maps(people: int = 1) -> Float32Array:
    return np.zeros((people, 17, MAP_WH[1], MAP_WH[0]), np.float32)
