"""Keypoints to heatmaps and back, side by side: the one must undo the other. Shared with training."""

from __future__ import annotations

import numpy as np

from engine.types import Float32Array


def encode_heatmaps(
    keypoints_xy: Float32Array,
    visible: Float32Array,
    input_size_wh: tuple[int, int],
    heatmap_size_wh: tuple[int, int],
    sigma: float,
) -> tuple[Float32Array, Float32Array]:
    """Gaussian target maps, as the official code draws them: peak 1 on the rounded px, nothing beyond 3 sigma.

    Args:
        keypoints_xy: (K, 2) float32, crop px.
        visible: (K,) float32, above 0 where the keypoint is labelled.
        input_size_wh: width and height of the crop in px.
        heatmap_size_wh: width and height of the maps in px.
        sigma: standard deviation in heatmap px (2 for 48x64, 3 for 72x96).

    Returns:
        heatmaps (K, h, w) float32 and weights (K,) float32: 1 where the map teaches, 0 where the keypoint is not
        labelled or its Gaussian lies wholly outside.
    """
    width, height = heatmap_size_wh
    stride = np.array([input_size_wh[0] / width, input_size_wh[1] / height], np.float32)
    centers = np.trunc(np.asarray(keypoints_xy, np.float32) / stride + 0.5)  # (K, 2); int() as in the official code
    radius = sigma * 3
    inside = np.all((centers + radius >= 0) & (centers - radius < [width, height]), axis=1)
    weights = ((np.asarray(visible) > 0) & inside).astype(np.float32)
    dx = np.arange(width, dtype=np.float32)[None] - centers[:, :1]  # (K, w)
    dy = np.arange(height, dtype=np.float32)[None] - centers[:, 1:]  # (K, h)
    gaussian_x = np.where(np.abs(dx) <= radius, np.exp(-(dx**2) / (2 * sigma**2)), 0)
    gaussian_y = np.where(np.abs(dy) <= radius, np.exp(-(dy**2) / (2 * sigma**2)), 0)
    heatmaps = gaussian_y[:, :, None] * gaussian_x[:, None, :] * weights[:, None, None]
    return heatmaps.astype(np.float32), weights


def decode_heatmaps(heatmaps: Float32Array, input_size_wh: tuple[int, int]) -> Float32Array:
    """Highest response, moved a quarter px towards the second highest neighbour, as in the paper.

    Args:
        heatmaps: (N, K, h, w) float32.
        input_size_wh: width and height of the crop in px.

    Returns:
        (N, K, 3) float32: x, y in crop px and the height of the peak. A map without a positive response gives
        (0, 0) and its (non-positive) height, as in the official code.
    """
    people, keypoints, height, width = heatmaps.shape
    flat = heatmaps.reshape(people, keypoints, height * width)
    index = flat.argmax(axis=2)  # (N, K)
    peak = np.take_along_axis(flat, index[..., None], axis=2)[..., 0]
    x, y = index % width, index // width

    def at(y: np.ndarray, x: np.ndarray) -> Float32Array:
        picked = np.clip(y, 0, height - 1) * width + np.clip(x, 0, width - 1)
        return np.take_along_axis(flat, picked[..., None], axis=2)[..., 0]

    # The official code leaves a peak alone when it lies on the outer px, or on the first px inside the left or top.
    free = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
    shift_x = np.sign(at(y, x + 1) - at(y, x - 1)) * 0.25 * free
    shift_y = np.sign(at(y + 1, x) - at(y - 1, x)) * 0.25 * free
    stride_x, stride_y = input_size_wh[0] / width, input_size_wh[1] / height
    positive = peak > 0
    return np.stack([(x + shift_x) * stride_x * positive, (y + shift_y) * stride_y * positive, peak], axis=-1).astype(
        np.float32
    )
