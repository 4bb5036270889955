"""Draws the angles at the joints: an arc, and the number of degrees beside it."""

from __future__ import annotations

import math

import cv2
import numpy as np

from engine.angles import angle_points, angles_of
from engine.overlay.text import Color, put_text, text_width
from engine.skeleton import Skeleton
from engine.types import Float32Array, Poses, UInt8Array

_OUTLINE_BGR: Color = (28, 24, 22)
_ARC_BGR: Color = (255, 255, 255)
_LARGEST = 2**15


def draw_angles(
    image: UInt8Array, poses: Poses, skeleton: Skeleton, score_threshold: float, density: float = 1.0
) -> None:
    """Draw the angles of all people into (H, W, 3) uint8 BGR; those of keypoints below the threshold are left out."""
    angles = skeleton.named_angles
    degrees = angles_of(poses.keypoints_xy, poses.scores, angles, score_threshold)
    first, vertex, last = angle_points(poses.keypoints_xy, poses.scores, angles, score_threshold)
    for person in range(len(poses)):
        extent = _extent(poses.keypoints_xy[person], poses.scores[person] >= score_threshold)
        radius = float(np.clip(0.05 * extent, 4 * density, 40 * density))
        text_px = float(np.clip(0.028 * extent, 6 * density, 16 * density))
        for column in range(len(angles)):
            points = first[person, column], vertex[person, column], last[person, column]
            if math.isfinite(degrees[person, column]) and np.abs(np.concatenate(points)).max() < _LARGEST:
                _draw_angle(image, points, float(degrees[person, column]), radius, text_px)


def _extent(points_xy: Float32Array, seen: np.ndarray) -> float:
    """Diagonal of the seen keypoints, px."""
    shown = points_xy[seen & np.isfinite(points_xy).all(axis=1)]
    return float(np.hypot(*(shown.max(axis=0) - shown.min(axis=0)))) if len(shown) else 0.0


def _draw_angle(
    image: UInt8Array, points: tuple[np.ndarray, np.ndarray, np.ndarray], degrees: float, radius: float, text_px: float
) -> None:
    first, vertex, last = points
    start = math.degrees(math.atan2(first[1] - vertex[1], first[0] - vertex[0]))
    turn = (math.degrees(math.atan2(last[1] - vertex[1], last[0] - vertex[0])) - start + 180) % 360 - 180
    center = (round(float(vertex[0])), round(float(vertex[1])))
    size = (max(1, round(radius)), max(1, round(radius)))
    for color, thick in ((_OUTLINE_BGR, 3), (_ARC_BGR, 1)):
        cv2.ellipse(image, center, size, 0, start, start + turn, color, thick, cv2.LINE_AA)
    middle, text = math.radians(start + turn / 2), f"{degrees:.0f}"
    x = center[0] + (radius + 1.2 * text_px) * math.cos(middle) - text_width(text, text_px) / 2
    base = center[1] + (radius + 1.2 * text_px) * math.sin(middle) + text_px / 2
    for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):  # an outline, so that it can be read on any ground
        put_text(image, text, (x + dx, base + dy), text_px, _OUTLINE_BGR)
    put_text(image, text, (x, base), text_px, _ARC_BGR)
