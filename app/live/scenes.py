"""Whether two frames show the same scene, or lie on two sides of a cut."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from engine.types import UInt8Array

Thumbnail = npt.NDArray[np.int16]

_SIZE_WH = (32, 24)
_CUT = 32.0  # grey levels, of 255; people who move fast reach 20, two pictures of different things 50 and more


def thumbnail(image_bgr: UInt8Array) -> Thumbnail:
    """(24, 32) int16: the green channel of a picture (H, W, 3) uint8, made small, without its mean brightness."""
    # Every few pixels first: averaging over the whole picture would cost more than it is worth.
    step = max(1, min(image_bgr.shape[0] // (4 * _SIZE_WH[1]), image_bgr.shape[1] // (4 * _SIZE_WH[0])))
    green = np.ascontiguousarray(image_bgr[::step, ::step, 1])
    small = cv2.resize(green, _SIZE_WH, interpolation=cv2.INTER_AREA).astype(np.int16)
    return np.asarray(small - np.int16(small.mean()), np.int16)


def is_cut(before: Thumbnail, after: Thumbnail) -> bool:
    """Whether two thumbnails show different scenes."""
    return difference(before, after) > _CUT


def difference(before: Thumbnail, after: Thumbnail) -> float:
    """Mean difference of two thumbnails in grey levels."""
    return float(np.abs(before - after).mean())
