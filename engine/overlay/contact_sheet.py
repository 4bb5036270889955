"""The contact sheet: the maps of all keypoints of a frame, or of one person, beside each other, in one scale."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np

from engine.geometry import invert_affines, warp_crops
from engine.overlay.attention import (
    AttentionSheet,
    AttentionView,
    Scale,
    ValueRange,
    attention_range,
    num_keypoints,
    tint,
)
from engine.overlay.drawing import OverlayOptions
from engine.overlay.legend import draw_bar
from engine.overlay.placed import placed_result
from engine.overlay.text import panel, put_text, text_width
from engine.skeleton import Skeleton
from engine.types import AttentionMaps, Float32Array, FrameResult, UInt8Array

_ASPECT = 16 / 9  # of the sheet, as near as whole tiles come
_SHEET_PX = 1920  # width that is enough for a screen
_SMALLEST_TILE_PX = 200
_SMALLEST_TEXT_PX = 4
_GROUND_BGR, _TEXT_BGR, _FAINT_BGR = (24, 20, 18), (245, 245, 245), (200, 200, 200)
_RING_BGR, _OUTLINE_BGR = (255, 255, 255), (28, 24, 22)


def sheet_layout(count: int, frame_wh: tuple[int, int]) -> tuple[int, int, tuple[int, int]]:
    """Columns, rows and the size (width, height) of a tile in px, for so many tiles of a frame."""

    def distance(columns: int) -> float:
        rows = -(-count // columns)
        return abs(math.log(columns * frame_wh[0] / (rows * frame_wh[1]) / _ASPECT)) + 0.02 * (columns * rows - count)

    columns = min(range(1, count + 1), key=distance)
    width = min(frame_wh[0], max(_SMALLEST_TILE_PX, _SHEET_PX // columns))
    return columns, -(-count // columns), (width, max(1, round(frame_wh[1] * width / frame_wh[0])))


def contact_sheet(
    result: FrameResult, skeleton: Skeleton, sheet: AttentionSheet, options: OverlayOptions
) -> UInt8Array:
    """A tile for each keypoint: the frame, tinted by the keypoint's map, with a ring where the keypoint was found.

    All tiles share one scale, which the last one shows.

    Args:
        options: the scale of their colours (`frame` reaches up to the highest value of all keypoints), the score below
            which keypoints have no ring, background, legend.

    Returns:
        (H, W, 3) uint8 BGR, of another size than the frame, the same for each frame of a video.
    """
    image, scale = result.frame.image_bgr, options.scale
    frame_wh = (image.shape[1], image.shape[0])
    columns, rows, (width, height) = sheet_layout(skeleton.num_keypoints + 1, frame_wh)
    factors = np.array([width / frame_wh[0], height / frame_wh[1]], np.float32)
    affine = np.concatenate([np.diag(factors), factors[:, None] / 2 - 0.5], axis=1).astype(np.float32)
    small = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    tiles, values = map_tiles(placed_result(result, small, affine), sheet, options)
    canvas = np.empty((rows * height, columns * width, 3), np.uint8)
    canvas[:] = _GROUND_BGR
    text_px = _text_px((width, height))
    for keypoint, (tile, name) in enumerate(zip(tiles, skeleton.keypoint_names, strict=True)):
        _draw_name(tile, name.replace("_", " "), text_px)
        top, left = keypoint // columns * height, keypoint % columns * width
        canvas[top : top + height, left : left + width] = tile
    if values is None and scale == "paper":
        values = ValueRange()
    last = skeleton.num_keypoints
    left_top = (last % columns * width, last // columns * height)
    if options.legend:
        _draw_key(canvas, (*left_top, width, height), _key_lines(sheet, scale, last), values)
    return canvas


def map_tiles(
    result: FrameResult, sheet: AttentionSheet, options: OverlayOptions
) -> tuple[list[UInt8Array], ValueRange | None]:
    """The frame once for each keypoint, tinted by its map, with a ring where it was found.

    Args:
        options: the scale of the colours, the score below which keypoints have no ring, background.

    Returns:
        K pictures (H, W, 3) uint8 BGR of the frame's size, and the values of the colours that all of them share; None
        where each has its own (shares of each person's peak) or there are no maps.
    """
    image, poses = result.frame.image_bgr, result.poses
    size_wh = (image.shape[1], image.shape[0])
    if options.background is not None:
        image = options.background.covering(size_wh)
    values, radius = _shared_range(result.attention, sheet, options.scale), max(2.0, _text_px(size_wh) / 3)
    tiles = []
    for keypoint in range(poses.keypoints_xy.shape[1]):
        tile = image.copy()
        tint(tile, result.attention, AttentionView(kind=sheet.kind, keypoint=keypoint), options.scale, values)
        shown = poses.scores[:, keypoint] >= options.score_threshold
        _draw_rings(tile, poses.keypoints_xy[shown, keypoint], radius)
        tiles.append(tile)
    return tiles, values


def person_crop(result: FrameResult, person: int, size_wh: tuple[int, int], *, mirror: bool = False) -> FrameResult:
    """One person as the network saw them, with their keypoints and maps, in a frame that is their crop alone.

    Args:
        result: with maps.
        size_wh: of the crop in px; the aspect ratio is that of the network's input, or it is distorted.

    Raises:
        ValueError: the result has no maps.
    """
    if result.attention is None:
        raise ValueError("a person's crop is known from the maps, and the result has none")
    one, own = np.array([person]), result.attention.input_size_wh
    sx, sy = (size / side for size, side in zip(size_wh, own, strict=True))
    scale = np.array([[sx, 0, sx / 2 - 0.5], [0, sy, sy / 2 - 0.5], [0, 0, 1]])
    if mirror:
        scale[0] = (-sx, 0, size_wh[0] - 1 - scale[0, 2])
    to_crop = invert_affines(result.attention.crop_to_frame[one])[0]
    affine = np.asarray(scale[:2] @ np.vstack([to_crop, [0, 0, 1]]), np.float32)
    cropped = warp_crops(result.frame.image_bgr, affine[None], size_wh)[0]
    taken = replace(result, poses=result.poses.take(one), attention=result.attention.take(one))
    return placed_result(taken, cropped, affine)


def _text_px(tile_wh: tuple[int, int]) -> float:
    return float(np.clip(min(tile_wh) / 24, 7, 14))


def _shared_range(attention: AttentionMaps | None, sheet: AttentionSheet, scale: Scale) -> ValueRange | None:
    """The values of the colours of all tiles; None where each tile has its own (shares of each person's peak)."""
    maps = None if attention is None else (attention.areas if sheet.kind == "areas" else attention.attention)
    if attention is None or maps is None or len(maps) == 0:
        return None
    if sheet.kind == "attention":
        return attention_range(np.nan_to_num(maps), num_keypoints(attention), scale)
    return None if scale == "paper" else ValueRange(high=float(np.nan_to_num(maps).max(initial=0.0)))


def _draw_rings(tile: UInt8Array, points_xy: Float32Array, radius: float) -> None:
    for x, y in points_xy[np.isfinite(points_xy).all(axis=1) & (np.abs(points_xy).max(axis=1, initial=0) < 2**15)]:
        for color, thick in ((_OUTLINE_BGR, 3), (_RING_BGR, 1)):
            cv2.circle(tile, (round(float(x)), round(float(y))), round(radius), color, thick, cv2.LINE_AA)


def _draw_name(tile: UInt8Array, name: str, text_px: float) -> None:
    pad = max(2, round(text_px * 0.5))
    panel(tile, (0, 0, text_width(name, text_px) + 2 * pad, round(text_px) + 2 * pad), 0, _GROUND_BGR, 0.78)
    put_text(tile, name, (pad, pad + text_px), text_px, _TEXT_BGR)


def _key_lines(sheet: AttentionSheet, scale: Scale, num_keypoints: int) -> list[str]:
    if sheet.kind == "attention":
        of_frame = [f"1/{num_keypoints}: no preference", "red: the highest here"]
        return ["Attention S", *(["0 to 1, as in the paper"] if scale == "paper" else of_frame)]
    of_frame = ["0: outside the area", "red: the highest here"]
    return ["Areas G", *(["share of each person's peak"] if scale == "paper" else of_frame)]


def _draw_key(
    canvas: UInt8Array, place: tuple[int, int, int, int], lines: list[str], values: ValueRange | None
) -> None:
    """What the colours mean, into the tile at (left, top, width, height); nothing where it could not be read."""
    left, top, width, height = place
    text_px = float(np.clip(min(width, height) / 20, 7, 20))
    while max(text_width(line, text_px) for line in lines) > width - 4 * text_px or height < 9 * text_px:
        text_px *= 0.9
        if text_px < _SMALLEST_TEXT_PX:
            return
    x, y = left + 2 * text_px, top + height / 2 - 3.5 * text_px
    for number, line in enumerate(lines):
        put_text(canvas, line, (x, y), text_px, _FAINT_BGR if number else _TEXT_BGR)
        y += 1.95 * text_px
    draw_bar(canvas, (round(x), round(y - 0.5 * text_px)), max(1, round(width - 4 * text_px)), text_px, values)
