"""A result in another picture than its frame: scaled, cut out or mirrored by an affine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.overlay.attention import placed_maps
from engine.types import Float32Array, FrameResult, UInt8Array


def transformed(points_xy: Float32Array, affine: Float32Array) -> Float32Array:
    """Points (..., 2) through an affine (2, 3)."""
    return np.asarray(points_xy @ affine[:, :2].T + affine[:, 2], np.float32)


def placed_boxes(boxes_xyxy: Float32Array, affine: Float32Array) -> Float32Array:
    """Boxes (N, 4) through an affine (2, 3) that may mirror."""
    corners = transformed(boxes_xyxy.reshape(-1, 2, 2), affine)
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    return np.asarray(boxes, np.float32).reshape(-1, 4)


def placed_result(result: FrameResult, image_bgr: UInt8Array, affine: Float32Array) -> FrameResult:
    """The people and maps of a result in a picture (H, W, 3), whose px are those of the frame through an affine."""
    poses = result.poses
    return replace(
        result,
        frame=replace(result.frame, image_bgr=image_bgr),
        poses=replace(
            poses,
            keypoints_xy=transformed(poses.keypoints_xy, affine),
            boxes_xyxy=placed_boxes(poses.boxes_xyxy, affine),
        ),
        attention=None if result.attention is None else placed_maps(result.attention, affine),
    )
