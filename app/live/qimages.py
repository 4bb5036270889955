"""Pictures of OpenCV as pictures of Qt."""

from __future__ import annotations

from typing import Any

import cv2
from PyQt5.QtGui import QImage

from engine.types import UInt8Array


def to_qimage(image_bgr: UInt8Array) -> QImage:
    """A QImage that owns its pixels, in the format that Qt paints without a conversion."""
    height, width = image_bgr.shape[:2]
    bgra = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2BGRA)
    pixels: Any = bgra.data  # shared with the QImage until the copy
    return QImage(pixels, width, height, bgra.strides[0], QImage.Format.Format_RGB32).copy()
