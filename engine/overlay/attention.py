"""The network's attention maps over the frame: a tint for each person."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from engine.errors import OptionError
from engine.geometry import apply_affines, invert_affines
from engine.options import AttentionScale
from engine.skeleton import Skeleton
from engine.types import AttentionMaps, Float32Array, UInt8Array

Scale = AttentionScale
SCALES: tuple[Scale, ...] = ("frame", "paper")

_MOST_OPAQUE = 0.8
# Of the scale: below the first nothing is tinted, from the second on the tint is strongest. The uniform 1/K of a pixel
# without attention to one keypoint must not paint a box around every person.
_TINT_FROM, _TINT_FULL = 0.03, 0.6
_TURBO_ENDS = 16, 243
_TURBO = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_TURBO)  # else made at each call
_LEAST_SPAN = 0.01  # of values: where attention is even, rounding must not be stretched to all colours


@dataclass(frozen=True, kw_only=True)
class AttentionView:
    """Which maps are shown.

    Attributes:
        kind: 'attention' for S (how strongly each pixel attends to the keypoint), 'areas' for G (which pixels make up
            the keypoint's representation).
        keypoint: index of the keypoint.
    """

    kind: Literal["attention", "areas"]
    keypoint: int

    def __post_init__(self) -> None:
        if self.kind not in ("attention", "areas"):
            raise OptionError(f"unknown attention view '{self.kind}'. Known: areas, attention.")
        if self.keypoint < 0:
            raise OptionError(f"the index of a keypoint must be 0 or more, not {self.keypoint}")


@dataclass(frozen=True, kw_only=True)
class AttentionSheet:
    """All keypoints beside each other, each with its map; `kind` as in AttentionView."""

    kind: Literal["attention", "areas"]


def parse_attention(text: str, skeleton: Skeleton) -> AttentionView | AttentionSheet:
    """`left_wrist` (or `attention:left_wrist`) shows S of that keypoint, `areas:left_wrist` G, `all` S of all of them.

    Raises:
        OptionError: unknown keypoint or kind; the message names the nearest.
    """
    kind, colon, name = text.partition(":")
    kind, name = (kind.strip().lower(), name) if colon else ("attention", text)
    if kind not in ("attention", "areas"):
        raise OptionError(f"unknown attention view '{kind}'. Known: areas, attention.")
    chosen: Literal["attention", "areas"] = "areas" if kind == "areas" else "attention"
    if name.strip().lower() == "all" and "all" not in skeleton.keypoint_names:
        return AttentionSheet(kind=chosen)
    return AttentionView(kind=chosen, keypoint=skeleton.keypoint_index(name))


def num_keypoints(attention: AttentionMaps) -> int:
    """K of the maps; 0 where there are none."""
    maps = attention.attention if attention.attention is not None else attention.areas
    return 0 if maps is None else maps.shape[1]


def chosen_maps(attention: AttentionMaps | None, view: AttentionView) -> Float32Array | None:
    """(N, h, w) float32 maps of the chosen keypoint; None where the result has none."""
    maps = None if attention is None else (attention.areas if view.kind == "areas" else attention.attention)
    if maps is None:
        return None
    if view.keypoint >= maps.shape[1]:
        raise OptionError(f"there is no keypoint {view.keypoint}: the network has {maps.shape[1]} (from 0)")
    chosen: Float32Array = np.nan_to_num(maps[:, view.keypoint])
    return chosen


@dataclass(frozen=True, kw_only=True)
class ValueRange:
    """The values between which colours span: blue for `low`, red for `high`.

    Attributes:
        low, high: values of a map.
        even_of: K where `low` is 1/K, the attention of a pixel that prefers no keypoint; 0 otherwise.
    """

    low: float = 0.0
    high: float = 1.0
    even_of: int = 0

    def shares(self, values: Float32Array) -> Float32Array:
        """Positions of values in the range, float32 from 0 up; above 1 where they exceed `high`."""
        span = self.high - self.low
        return np.asarray(np.maximum(values - self.low, 0) / (span if span > 0 else 1), np.float32)

    def labels(self) -> tuple[str, str, str]:
        """Numbers for the low end, the middle and the high end of a colour bar."""
        low = f"1/{self.even_of}" if self.even_of else _number(self.low)
        return low, _number((self.low + self.high) / 2), _number(self.high)


def attention_range(values: Float32Array, num_keypoints: int, scale: Scale) -> ValueRange:
    """The range of colours for values of S of a network with K keypoints."""
    if scale == "paper":
        return ValueRange()
    even = 1 / num_keypoints
    return ValueRange(low=even, high=max(float(values.max(initial=0.0)), even + _LEAST_SPAN), even_of=num_keypoints)


def scaled_maps(
    maps: Float32Array, view: AttentionView, scale: Scale, num_keypoints: int
) -> tuple[Float32Array, ValueRange]:
    """Maps (N, h, w) of a keypoint scaled to 0..1, and the values that 0 and 1 stand for.

    'frame' spans from 1/K (for G: from 0) to the highest value among all people. 'paper' leaves S as it is; G sums to 1
    over its pixels, which makes single values tiny, and is shown as the share of each person's own peak.
    """
    if view.kind == "attention":
        values = attention_range(maps, num_keypoints, scale)
        return values.shares(maps), values
    if scale == "frame":
        values = ValueRange(high=float(maps.max(initial=0.0)))
        return values.shares(maps), values
    peaks = maps.max(axis=(1, 2), keepdims=True, initial=0.0)
    return np.asarray(maps / np.where(peaks > 0, peaks, 1), np.float32), ValueRange()


def placed_maps(maps: AttentionMaps, affine: Float32Array) -> AttentionMaps:
    """The maps in a picture whose px are those of the frame through an affine (2, 3)."""
    whole = np.vstack([affine, [0, 0, 1]]).astype(np.float32)
    lifted = np.concatenate([maps.crop_to_frame, np.tile([[[0, 0, 1]]], (len(maps.crop_to_frame), 1, 1))], axis=1)
    return replace(maps, crop_to_frame=np.asarray((whole @ lifted)[:, :2], np.float32))


def heatmap_to_frame(attention: AttentionMaps, map_size_wh: tuple[int, int]) -> Float32Array:
    """(N, 2, 3) float32 affines from heatmap px to frame px.

    Heatmap px (i, j) is crop px (i W / w, j H / h), as in `heatmap.decode_heatmaps`, so that a peak lands where the
    keypoint decoded from it lands.
    """
    stride = np.diag([attention.input_size_wh[0] / map_size_wh[0], attention.input_size_wh[1] / map_size_wh[1], 1.0])
    return (attention.crop_to_frame.astype(np.float64) @ stride).astype(np.float32)


def attention_at(maps: AttentionMaps, person: int, point_xy: Float32Array) -> Float32Array:
    """(K,) float32: S of a person at a point (2,) in frame px, bilinear between the four nearest pixels of the map.

    Outside the map its nearest pixel is taken.
    """
    if maps.attention is None:
        raise OptionError("there are no attention maps; choose a kcam_ model")
    attention = maps.attention[person]  # (K, h, w)
    height, width = attention.shape[1:]
    frame_to_map = invert_affines(heatmap_to_frame(maps, (width, height))[person : person + 1])
    found = apply_affines(frame_to_map, point_xy.reshape(1, 1, 2))[0, 0]
    x, y = float(np.clip(found[0], 0, width - 1)), float(np.clip(found[1], 0, height - 1))
    left, top = min(int(x), width - 2), min(int(y), height - 2)
    dx, dy = x - left, y - top
    near = attention[:, top : top + 2, left : left + 2].astype(np.float32)
    weights = np.array([[(1 - dx) * (1 - dy), dx * (1 - dy)], [(1 - dx) * dy, dx * dy]], np.float32)
    return np.asarray((near * weights).sum(axis=(1, 2)), np.float32)


def values_on_frame(maps: Float32Array, affines: Float32Array, frame_size_wh: tuple[int, int]) -> Float32Array:
    """(H, W) float32: maps (N, h, w) of all people in their places in the frame, the highest where people overlap."""
    width, height = frame_size_wh
    field = np.zeros((height, width), np.float32)
    map_height, map_width = maps.shape[1:]
    corners = np.array([[-1, -1], [map_width, -1], [-1, map_height], [map_width, map_height]], np.float64)
    for values, affine in zip(maps, affines, strict=True):
        placed = corners @ affine[:, :2].astype(np.float64).T + affine[:, 2]
        left, top = np.clip(np.floor(placed.min(axis=0)).astype(int), 0, [width, height])
        right, bottom = np.clip(np.ceil(placed.max(axis=0)).astype(int) + 1, 0, [width, height])
        if left >= right or top >= bottom:
            continue
        local = affine.copy()
        local[:, 2] -= (left, top)
        size = (int(right - left), int(bottom - top))
        # Cubic, because straight interpolation of few px over many shows as diamonds; it may swing below 0.
        warped = cv2.warpAffine(values, local, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
        part = field[top:bottom, left:right]
        np.maximum(part, warped, out=part)
    np.minimum(field, 1.0, out=field)
    return field


def opacity_of(values: Float32Array) -> Float32Array:
    """How strongly a value (0 to 1) covers what lies under it."""
    share = np.clip((values - _TINT_FROM) / (_TINT_FULL - _TINT_FROM), 0, 1)
    return np.asarray(share * share * (3 - 2 * share) * _MOST_OPAQUE, np.float32)


def colors_of(values: Float32Array) -> UInt8Array:
    """Colours, (H, W, 3) uint8 BGR, of values 0 to 1: blue is 0 and red is 1, as in the paper, even in between."""
    # Without the ends of the colour map, which are almost black on video.
    low, high = _TURBO_ENDS
    index = np.round(low + np.clip(values, 0, 1) * (high - low)).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(index, _TURBO), np.uint8)


def tint(
    image: UInt8Array,
    attention: AttentionMaps | None,
    view: AttentionView,
    scale: Scale,
    given: ValueRange | None = None,
) -> ValueRange | None:
    """Tint the people of a frame, (H, W, 3) uint8 BGR, in place.

    Args:
        scale: what the colours span, unless `given` says it.
        given: values for the colours, where several pictures share them.

    Returns:
        The values that the colours stand for; None where there is nobody to tint.
    """
    maps = chosen_maps(attention, view)
    if attention is None or maps is None or len(maps) == 0:
        return None
    if given is None:
        maps, values = scaled_maps(maps, view, scale, num_keypoints(attention))
    else:
        maps, values = given.shares(maps), given
    affines = heatmap_to_frame(attention, (maps.shape[2], maps.shape[1]))
    _blend(image, maps, affines, _coarseness(affines))
    return values


def _coarseness(affines: Float32Array) -> int:
    """Side in frame px of the squares in which values may be worked out, for affines (N, 2, 3) from heatmap px.

    A heatmap px that spans many frame px says nothing finer: two squares for it look as smooth as one for each px.
    """
    finest = np.abs(np.linalg.det(affines[:, :, :2].astype(np.float64))).min() ** 0.5
    return int(np.clip(finest // 2, 1, 8))


def _blend(image: UInt8Array, maps: Float32Array, affines: Float32Array, step: int) -> None:
    """Lay the colours of maps (N, h, w) over (H, W, 3) uint8 BGR, worked out on squares of `step` px."""
    height, width = image.shape[:2]
    coarse = affines / np.float32(step)
    coarse[:, :, 2] += 0.5 / step - 0.5  # the centre of a square, not of its first px
    values = values_on_frame(maps, coarse, (-(-width // step), -(-height // step)))
    left, top, columns, rows = cv2.boundingRect((values > _TINT_FROM).astype(np.uint8))  # the rest stays as it is
    if not columns or not rows:
        return
    left, top, right, bottom = max(0, left - 1), max(0, top - 1), left + columns + 1, top + rows + 1
    part = values[top:bottom, left:right]
    weight, colors = opacity_of(part), colors_of(part)
    area = image[top * step : bottom * step, left * step : right * step]
    if step > 1:
        size = (part.shape[1] * step, part.shape[0] * step)
        weight = np.asarray(cv2.resize(weight, size), np.float32)[: area.shape[0], : area.shape[1]]
        colors = np.asarray(cv2.resize(colors, size), np.uint8)[: area.shape[0], : area.shape[1]]
        weight, colors = np.ascontiguousarray(weight), np.ascontiguousarray(colors)
    area[:] = cv2.blendLinear(np.ascontiguousarray(area), colors, 1 - weight, weight)


def _number(value: float) -> str:
    return f"{value:.2g}" if 0 < value < 1 else f"{value:.0f}"
