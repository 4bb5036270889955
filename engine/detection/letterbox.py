"""Letterbox: a frame scaled to a detector's input with its aspect kept and padded with grey; boxes mapped back."""

from __future__ import annotations

import cv2
import numpy as np

from engine.geometry import reduced
from engine.types import Float32Array, UInt8Array

_GREY = 114  # what the ultralytics detectors were trained on
_STRIDE = 32


class Letterbox:
    """Scales frames into a reused buffer; keeps the padding from frame to frame while the frame size stays.

    Args:
        size_wh: width and height of the detector's input in px; where the input is open, only the longer one counts.
        fixed: whether the input has exactly that size. Where it is open, the padding only reaches the next
            multiple of 32, because a third of the work on a 16:9 frame would otherwise go into padding.
    """

    def __init__(self, size_wh: tuple[int, int], *, fixed: bool) -> None:
        self._size_wh = size_wh
        self._fixed = fixed
        self._buffer: UInt8Array = np.zeros((0, 0, 3), np.uint8)
        self._placed: tuple[tuple[int, int], tuple[int, int, int, int]] | None = None

    def apply(self, image_bgr: UInt8Array) -> UInt8Array:
        """The letterboxed frame (h, w, 3) uint8; valid until the next call.

        Args:
            image_bgr: (H, W, 3) uint8, neither side 0.
        """
        height, width = image_bgr.shape[:2]
        placement = self._placement((width, height))
        left, top, new_width, new_height = placement
        if self._placed != ((width, height), placement):
            # The padding is filled once per frame size: frames of one size cover the same part of the buffer.
            self._buffer = np.full((*self._buffer_hw(new_width, new_height), 3), _GREY, np.uint8)
            self._placed = ((width, height), placement)
        inside = self._buffer[top : top + new_height, left : left + new_width]
        if (new_width, new_height) == (width, height):
            inside[:] = image_bgr
        else:
            smaller, _ = reduced(image_bgr, new_width / width)
            cv2.resize(smaller, (new_width, new_height), dst=inside, interpolation=cv2.INTER_LINEAR)
        return self._buffer

    def to_frame(self, boxes_xyxy: Float32Array, frame_size_wh: tuple[int, int]) -> Float32Array:
        """Boxes (N, 4) from letterbox px to frame px, clipped to the frame; values that are not finite stay so."""
        left, top, new_width, new_height = self._placement(frame_size_wh)
        width, height = frame_size_wh
        factor = np.array([width / new_width, height / new_height] * 2)
        boxes = (np.asarray(boxes_xyxy, np.float64) - [left, top, left, top]) * factor
        finite = np.isfinite(boxes)
        clipped = np.clip(boxes, 0, [width, height, width, height])
        result: Float32Array = np.where(finite, clipped, boxes).astype(np.float32)
        return result

    def _placement(self, frame_size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
        """Left, top, width and height of the scaled frame in the letterbox, in px."""
        width, height = frame_size_wh
        if self._fixed:
            scale = min(self._size_wh[0] / width, self._size_wh[1] / height)
        else:
            scale = max(self._size_wh) / max(width, height)
        new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
        full_height, full_width = self._buffer_hw(new_width, new_height)
        return (full_width - new_width) // 2, (full_height - new_height) // 2, new_width, new_height

    def _buffer_hw(self, new_width: int, new_height: int) -> tuple[int, int]:
        if self._fixed:
            return self._size_wh[1], self._size_wh[0]
        return -(-new_height // _STRIDE) * _STRIDE, -(-new_width // _STRIDE) * _STRIDE
