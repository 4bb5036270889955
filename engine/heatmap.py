"""Encoding of keypoints as heatmaps and its inverse; shared with training."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np

from engine.geometry import heatmap_stride
from engine.types import Float32Array

Decoder = Callable[[Float32Array, tuple[int, int]], Float32Array]
"""Heatmaps (N, K, h, w) and the crop's width and height to keypoints (N, K, 3), see `decode_heatmaps`."""


def encode_heatmaps(
    keypoints_xy: Float32Array,
    visible: Float32Array,
    input_size_wh: tuple[int, int],
    heatmap_size_wh: tuple[int, int],
    sigma: float,
    *,
    udp: bool = False,
) -> tuple[Float32Array, Float32Array]:
    """Gaussian target maps, as the official code draws them: peak 1 on the rounded px, nothing beyond 3 sigma.

    With `udp` (see geometry.py) the peak stays where the keypoint is, between the px.

    Args:
        keypoints_xy: (K, 2) float32, crop px.
        visible: (K,) float32, above 0 where the keypoint is labelled.
        input_size_wh: width and height of the crop in px.
        heatmap_size_wh: width and height of the maps in px.
        sigma: standard deviation in heatmap px (2 for 48x64, 3 for 72x96).
        udp: see geometry.py.

    Returns:
        heatmaps (K, h, w) float32 and weights (K,) float32: 1 where the map is trained on, 0 where the keypoint is
        not labelled or its Gaussian lies wholly outside.
    """
    width, height = heatmap_size_wh
    stride = np.array(heatmap_stride(input_size_wh, heatmap_size_wh, udp=udp), np.float32)
    exact = np.asarray(keypoints_xy, np.float32) / stride  # (K, 2)
    centers = np.trunc(exact + 0.5)  # int() as in the official code
    radius = sigma * 3
    inside = np.all((centers + radius >= 0) & (centers - radius < [width, height]), axis=1)
    weights = ((np.asarray(visible) > 0) & inside).astype(np.float32)
    dx = np.arange(width, dtype=np.float32)[None] - centers[:, :1]  # (K, w)
    dy = np.arange(height, dtype=np.float32)[None] - centers[:, 1:]  # (K, h)
    shift = exact - centers if udp else np.zeros_like(exact)
    gaussian_x = np.where(np.abs(dx) <= radius, np.exp(-((dx - shift[:, :1]) ** 2) / (2 * sigma**2)), 0)
    gaussian_y = np.where(np.abs(dy) <= radius, np.exp(-((dy - shift[:, 1:]) ** 2) / (2 * sigma**2)), 0)
    heatmaps = gaussian_y[:, :, None] * gaussian_x[:, None, :] * weights[:, None, None]
    return heatmaps.astype(np.float32), weights


def decode_heatmaps(heatmaps: Float32Array, input_size_wh: tuple[int, int], *, udp: bool = False) -> Float32Array:
    """Highest response, moved a quarter px towards the second highest neighbour, as in the paper.

    Args:
        heatmaps: (N, K, h, w) float32.
        input_size_wh: width and height of the crop in px.
        udp: see geometry.py.

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

    # The official code does not shift a peak on the outer px, or on the first px inside the left or top.
    free = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
    shift_x = np.sign(at(y, x + 1) - at(y, x - 1)) * 0.25 * free
    shift_y = np.sign(at(y + 1, x) - at(y - 1, x)) * 0.25 * free
    stride_x, stride_y = heatmap_stride(input_size_wh, (width, height), udp=udp)
    positive = peak > 0
    return np.stack([(x + shift_x) * stride_x * positive, (y + shift_y) * stride_y * positive, peak], axis=-1).astype(
        np.float32
    )


def decode_heatmaps_dark(
    heatmaps: Float32Array, input_size_wh: tuple[int, int], sigma: float = 0.0, *, udp: bool = False
) -> Float32Array:
    """Distribution-aware decoding (Zhang et al., DARK): the maximum of a Gaussian fitted to the map.

    The map is smoothed with the Gaussian of the training targets, so that it has one maximum; the logarithm of a
    Gaussian is a parabola, so one Newton step from the highest px leads to its maximum.

    Args:
        heatmaps: (N, K, h, w) float32.
        input_size_wh: width and height of the crop in px.
        sigma: of the target Gaussians in heatmap px; 0 for the recipe's.
        udp: see geometry.py.

    Returns:
        (N, K, 3) float32 as `decode_heatmaps`. A peak on the two outer px is not moved, nor one around which the
        smoothed map has no maximum (noise, where a Newton step is arbitrary).
    """
    height, width = heatmaps.shape[2:]
    sigma = sigma or recipe_sigma(height)
    decoded = decode_heatmaps(heatmaps, input_size_wh, udp=udp)
    flat = heatmaps.reshape(*heatmaps.shape[:2], height * width)
    index = flat.argmax(axis=2)  # (N, K)
    x, y = index % width, index // width
    patches = _smoothed_patches(heatmaps, x, y, sigma)  # (N, K, 5, 5)
    log = np.log(np.maximum(patches, 1e-10))
    # Derivatives by central differences, the second ones over two px, as in the paper's code.
    dx = (log[..., 2, 3] - log[..., 2, 1]) / 2
    dy = (log[..., 3, 2] - log[..., 1, 2]) / 2
    dxx = (log[..., 2, 4] - 2 * log[..., 2, 2] + log[..., 2, 0]) / 4
    dyy = (log[..., 4, 2] - 2 * log[..., 2, 2] + log[..., 0, 2]) / 4
    dxy = (log[..., 3, 3] - log[..., 1, 3] - log[..., 3, 1] + log[..., 1, 1]) / 4
    determinant = dxx * dyy - dxy**2
    inside = (x > 1) & (x < width - 2) & (y > 1) & (y < height - 2)
    summit = inside & (dxx < 0) & (determinant > 1e-12)
    safe = np.where(summit, determinant, 1)
    step_x = np.where(summit, (dxy * dy - dyy * dx) / safe, 0)
    step_y = np.where(summit, (dxy * dx - dxx * dy) / safe, 0)
    near = (np.abs(step_x) <= DARK_MAX_STEP) & (np.abs(step_y) <= DARK_MAX_STEP)
    positive = decoded[..., 2] > 0
    stride_x, stride_y = heatmap_stride(input_size_wh, (width, height), udp=udp)
    decoded[..., 0] = (x + step_x * near) * stride_x * positive
    decoded[..., 1] = (y + step_y * near) * stride_y * positive
    return decoded


DARK_MAX_STEP = 2.0
"""The maximum of a Gaussian is within half a px of its highest sample; noise and neighbours move it further."""


def _smoothed_patches(heatmaps: Float32Array, x: np.ndarray, y: np.ndarray, sigma: float) -> np.ndarray:
    """(N, K, 5, 5) float64: each map smoothed by a Gaussian, only on the 5x5 px around (x, y).

    The map is zero-padded, and the kernel ends at three sigma.
    """
    height, width = heatmaps.shape[2:]
    columns = _kernel_rows(x, width, sigma)  # (N, K, 5, w)
    rows = _kernel_rows(y, height, sigma)  # (N, K, 5, h)
    return np.asarray(rows @ np.asarray(heatmaps, np.float64) @ columns.swapaxes(2, 3))


def _kernel_rows(center: np.ndarray, length: int, sigma: float) -> np.ndarray:
    """(N, K, 5, length): for each of the five px around `center`, the weights of all px of a line."""
    targets = center[..., None] + np.arange(-2, 3)  # (N, K, 5)
    distance = np.arange(length) - targets[..., None]
    return np.asarray(np.exp(-(distance**2) / (2 * sigma**2)) * (np.abs(distance) <= np.ceil(3 * sigma)))


DECODERS: Mapping[str, Decoder] = {"quarter": decode_heatmaps, "dark": decode_heatmaps_dark}
"""Decoders by name."""


def decoder_for(name: str, *, sigma: float = 0.0, udp: bool = False) -> Decoder:
    """The decoder of that name for a network trained on Gaussians of this sigma in these coordinates."""
    if name == "dark":
        return functools.partial(decode_heatmaps_dark, sigma=sigma, udp=udp)
    return functools.partial(decode_heatmaps, udp=udp)


def recipe_sigma(heatmap_height: int) -> float:
    """Standard deviation of the Gaussians in heatmap px: 2 at 64 px height, 3 at 96; at least 1.5."""
    return max(1.5, 2.0 * heatmap_height / 64)
