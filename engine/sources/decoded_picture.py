"""Conversion of a decoded PyAV frame to an upright BGR image, and its colour tags."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideDataType

from engine.sources.frame_source import BT601, BT709, PictureTags
from engine.types import UInt8Array

_UNSPECIFIED = 2
_HD_HEIGHT = 720
_side_data: Any = SideDataContainer  # Any, because its stub declares no arguments


def upright(image: UInt8Array, display_matrix: bytes | None) -> UInt8Array:
    """Rotate (and mirror) an image by its 3x3 display matrix, to the nearest quarter turn.

    Args:
        image: (H, W, 3) uint8 as decoded.
        display_matrix: nine native int32, row by row: x' = a x + c y, y' = b x + d y for rows (a, b, .), (c, d, .).
    """
    if display_matrix is None or len(display_matrix) < 36:
        return image
    (a, b, _), (c, d, _) = np.frombuffer(display_matrix[:36], np.int32).reshape(3, 3)[:2].tolist()
    if abs(a) + abs(d) < abs(b) + abs(c):  # the axes are swapped
        image, a, d = np.asarray(cv2.transpose(image), np.uint8), c, b
    if a < 0 or d < 0:
        image = np.asarray(cv2.flip(image, -1 if a < 0 and d < 0 else (1 if a < 0 else 0)), np.uint8)
    return image


def on_white(image_bgra: UInt8Array) -> UInt8Array:
    """(H, W, 3) uint8 BGR of an (H, W, 4) uint8 BGRA image, blended onto white."""
    alpha = image_bgra[:, :, 3:].astype(np.uint16)
    blended = (image_bgra[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return np.ascontiguousarray(blended.astype(np.uint8))


def fitted(image: UInt8Array, size_wh: tuple[int, int]) -> UInt8Array:
    """An image scaled to another size, (H, W, 3) uint8: aspect ratio kept, centred on black."""
    width, height = size_wh
    if image.shape[:2] == (height, width):
        return image
    scale = min(width / image.shape[1], height / image.shape[0])
    inner_w, inner_h = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inner_w) // 2, (height - inner_h) // 2
    canvas[top : top + inner_h, left : left + inner_w] = cv2.resize(
        image, (inner_w, inner_h), interpolation=interpolation
    )
    return canvas


def _display_matrix(frame: Any) -> bytes | None:
    # Not frame.side_data: its reference cycle keeps the picture alive until the garbage collector runs.
    data = _side_data(frame).get(SideDataType.DISPLAYMATRIX)
    return None if data is None else bytes(data)


def _matrix_of(frame: Any) -> int:
    """BT709 or BT601: the frame's own tag, else what players assume for its height."""
    if int(frame.colorspace) == _UNSPECIFIED:
        return BT709 if frame.height >= _HD_HEIGHT else BT601
    return BT709 if int(frame.colorspace) == BT709 else BT601


def frame_to_bgr(frame: Any) -> UInt8Array:
    """An upright (H, W, 3) uint8 BGR image of a decoded PyAV frame; the caller owns it."""
    options: dict[str, Any] = {}
    if int(frame.colorspace) == _UNSPECIFIED:
        options["src_colorspace"] = "ITU709" if _matrix_of(frame) == BT709 else "ITU601"
    if any(component.is_alpha for component in frame.format.components) or frame.format.has_palette:
        image = on_white(frame.to_ndarray(format="bgra", **options))
    else:
        image = frame.to_ndarray(format="bgr24", **options)
    image = upright(image, _display_matrix(frame))
    return np.ascontiguousarray(image)


def picture_tags(frame: Any, sample_aspect: Fraction | None) -> PictureTags:
    """The tags with which an output looks like this frame."""
    matrix = _matrix_of(frame)
    primaries, transfer = int(frame.color_primaries), int(frame.color_trc)
    aspect = sample_aspect if sample_aspect and sample_aspect > 0 else Fraction(1)
    matrix_bytes = _display_matrix(frame)
    if matrix_bytes is not None:
        (a, b, _) = np.frombuffer(matrix_bytes[:12], np.int32).tolist()
        aspect = 1 / aspect if abs(b) > abs(a) else aspect
    return PictureTags(
        matrix=matrix,
        primaries=matrix if primaries in (0, _UNSPECIFIED) else primaries,
        transfer=matrix if transfer in (0, _UNSPECIFIED) else transfer,
        sample_aspect=aspect,
    )


def upright_size_wh(frame: Any) -> tuple[int, int]:
    """Width and height in px of a frame after it is turned upright."""
    image = upright(np.empty((frame.height, frame.width, 3), np.uint8), _display_matrix(frame))
    return image.shape[1], image.shape[0]
