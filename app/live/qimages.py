"""Pictures of OpenCV as pictures of Qt, and back."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from PyQt5.QtGui import QImage

from engine.types import UInt8Array


def to_qimage(image: UInt8Array) -> QImage:
    """A picture (H, W, 3) uint8 BGR or (H, W, 4) BGRA that owns its pixels, in a format that Qt need not convert."""
    height, width, channels = image.shape
    bgra = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA) if channels == 3 else np.ascontiguousarray(image)
    kind = QImage.Format.Format_RGB32 if channels == 3 else QImage.Format.Format_ARGB32
    pixels: Any = bgra.data  # shared with the QImage until the copy
    return QImage(pixels, width, height, bgra.strides[0], kind).copy()


def from_qimage(image: QImage) -> UInt8Array:
    """The pixels of a picture without transparency: (H, W, 3) uint8 BGR, owned by the caller."""
    image = image.convertToFormat(QImage.Format.Format_RGB32)
    pointer = image.constBits()
    assert pointer is not None  # noqa: S101 - a picture has a size
    pointer.setsize(image.sizeInBytes())
    bgra = np.frombuffer(pointer.asstring(), np.uint8).reshape(image.height(), image.width(), 4)
    return np.asarray(cv2.cvtColor(bgra, cv2.COLOR_BGRA2BGR), np.uint8)
