"""Angles at the joints of people, from keypoints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.skeleton import Angle
from engine.types import Float32Array

_SHORTEST_PX = 1e-6


def angles_of(
    keypoints_xy: Float32Array, scores: Float32Array, angles: Sequence[Angle], threshold: float
) -> Float32Array:
    """Angles (N, A) float32 in degrees, 0 to 180: between the lines from the vertex to the first and the last point.

    NaN where a keypoint has a score below the threshold or two of the points coincide. They are angles in the picture:
    of a limb that points towards the camera they say little.

    Args:
        keypoints_xy: (N, K, 2) px, of square pixels.
        scores: (N, K).
        angles: A definitions.
        threshold: least score of a keypoint.
    """
    first, vertex, last = angle_points(keypoints_xy, scores, angles, threshold)
    one, other = first - vertex, last - vertex
    cross = np.abs(one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0])
    degrees = np.degrees(np.arctan2(cross, (one * other).sum(axis=2)))
    lengths = np.minimum(np.linalg.norm(one, axis=2), np.linalg.norm(other, axis=2))
    return np.asarray(np.where(lengths > _SHORTEST_PX, degrees, np.nan), np.float32)


def angle_points(
    keypoints_xy: Float32Array, scores: Float32Array, angles: Sequence[Angle], threshold: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """First point, vertex and last point, each (N, A, 2) float64 px; NaN where a keypoint was not seen.

    The arguments are those of `angles_of`. A point that stands straight up from the vertex is 1 px above it.
    """
    seen = np.where((scores >= threshold)[..., None], keypoints_xy, np.nan).astype(np.float64)
    seen[~np.isfinite(seen).all(axis=2)] = np.nan
    points = np.full((3, len(keypoints_xy), len(angles), 2), np.nan)
    for column, angle in enumerate(angles):
        for number, indices in enumerate((angle.first, angle.vertex, angle.last)):
            above = points[1, :, column] - (0, 1)
            points[number, :, column] = seen[:, list(indices)].mean(axis=1) if indices else above
    return points[0], points[1], points[2]
