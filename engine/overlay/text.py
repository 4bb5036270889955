"""Text on pictures, sized in pixels, and rounded panels behind it."""

from __future__ import annotations

import cv2
import numpy as np

from engine.types import UInt8Array

_FONT = cv2.FONT_HERSHEY_SIMPLEX  # OpenCV 5 draws it with a smooth font of its own
_CAP_HEIGHT = cv2.getTextSize("H", _FONT, 1.0, 1)[0][1]
Color = tuple[int, int, int]
"""BGR, 0 to 255 each."""


def text_width(text: str, height_px: float) -> int:
    """Width in px of a line of text whose capitals are `height_px` high."""
    return int(cv2.getTextSize(text, _FONT, height_px / _CAP_HEIGHT, 1)[0][0])


def put_text(image: UInt8Array, text: str, left_base: tuple[float, float], height_px: float, color: Color) -> None:
    """Write a line of text into (H, W, 3) uint8 BGR.

    Args:
        text: ASCII, because older OpenCV fonts have nothing else.
        left_base: left end of the base line, px.
        height_px: height of the capitals.
    """
    left, base = round(left_base[0]), round(left_base[1])
    cv2.putText(image, text, (left, base), _FONT, height_px / _CAP_HEIGHT, color, 1, cv2.LINE_AA)


def panel(image: UInt8Array, box: tuple[int, int, int, int], radius: int, color: Color, opacity: float) -> None:
    """Lay a rounded panel over part of a picture.

    Args:
        image: (H, W, 3) uint8 BGR, changed.
        box: left, top, right, bottom in px; right and bottom are outside. What lies outside the picture is left out.
        radius: of the corners, px.
        opacity: 0 to 1.
    """
    left, top, right, bottom = box
    height, width = image.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if x0 >= x1 or y0 >= y1:
        return
    radius = max(0, min(radius, (right - left) // 2, (bottom - top) // 2))
    mask = np.zeros((bottom - top, right - left), np.uint8)
    inner = (radius, radius, right - left - 1 - radius, bottom - top - 1 - radius)
    cv2.rectangle(mask, (inner[0], 0), (inner[2], mask.shape[0] - 1), 255, -1)
    cv2.rectangle(mask, (0, inner[1]), (mask.shape[1] - 1, inner[3]), 255, -1)
    for x in (inner[0], inner[2]):
        for y in (inner[1], inner[3]):
            cv2.circle(mask, (x, y), radius, 255, -1, cv2.LINE_AA)
    weight = mask[y0 - top : y1 - top, x0 - left : x1 - left].astype(np.float32) * (opacity / 255)
    area = image[y0:y1, x0:x1]
    flat = np.empty_like(area)
    flat[:] = color
    image[y0:y1, x0:x1] = cv2.blendLinear(area, flat, 1 - weight, weight)
