"""What lies under the drawing in place of the video."""

from __future__ import annotations

import cv2
import numpy as np

from engine.types import UInt8Array


class Background:
    """A black ground, or a picture that covers the frame."""

    def __init__(self, image_bgr: UInt8Array | None = None) -> None:
        """Take a picture (H, W, 3) uint8 BGR; None for black."""
        self._image = image_bgr
        self._fitted: UInt8Array | None = None

    def covering(self, size_wh: tuple[int, int]) -> UInt8Array:
        """The ground in a size in px, (H, W, 3) uint8 BGR, not to be changed; what sticks out is cut off evenly."""
        width, height = size_wh
        if self._fitted is None or self._fitted.shape[:2] != (height, width):
            self._fitted = (
                np.zeros((height, width, 3), np.uint8) if self._image is None else _covered(self._image, size_wh)
            )
        return self._fitted


def _covered(image: UInt8Array, size_wh: tuple[int, int]) -> UInt8Array:
    factor = max(size_wh[0] / image.shape[1], size_wh[1] / image.shape[0])
    scaled_wh = (max(size_wh[0], round(image.shape[1] * factor)), max(size_wh[1], round(image.shape[0] * factor)))
    scaled = cv2.resize(image, scaled_wh, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    left, top = (scaled_wh[0] - size_wh[0]) // 2, (scaled_wh[1] - size_wh[1]) // 2
    return np.ascontiguousarray(scaled[top : top + size_wh[1], left : left + size_wh[0]])
