"""When to run the detector: on every Nth frame, or as seldom as the scene allows."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from engine.options import DetectEvery
from engine.types import Float32Array, UInt8Array

MOST_FRAMES = 10
"""With "auto", frames between two detector runs at most."""
MOST_S = 0.5
"""With "auto", seconds between two detector runs at most (but this alone never causes runs on two frames in a row)."""

_THUMBNAIL_WH = (64, 48)
_CHANGE = 24  # grey levels, of 255: more than noise and the flicker of lamps
_CHANGED_CELLS = 12  # of the thumbnail's 3072: a person who is worth posing covers more
_MARGIN = 0.15  # around a tracked person, in sizes of the box: their own movement needs no detector run


class DetectSchedule:
    """Decides for each frame whether to run the detector.

    With a number: every so many frames, and on the frame after a person was lost. With "auto": a run that finds as many
    people as were known doubles the interval to the next (2, 4, 8, 10 frames). A run comes early when a person was
    lost, when no person is known, or when the picture changes outside the known people's boxes.
    """

    def __init__(self, every: DetectEvery) -> None:
        self._every = every
        self.reset()

    def reset(self) -> None:
        """Start anew: the detector runs on the next frame."""
        self._due_now = True
        self._since = 0
        self._interval = 1
        self._last_s = -np.inf
        self._thumbnail: npt.NDArray[np.int16] | None = None
        self._found_xyxy: Float32Array = np.zeros((0, 4), np.float32)
        self._patience = 0

    def due(self, image_bgr: UInt8Array, time_s: float, propagated_xyxy: Float32Array) -> bool:
        """Whether to run the detector on this frame.

        Args:
            image_bgr: (H, W, 3) uint8.
            time_s: time of the frame in seconds.
            propagated_xyxy: (N, 4) float32, propagated boxes of the known people, frame px.
        """
        self._since += 1
        if self._due_now or time_s < self._last_s:
            return True
        if self._every != "auto":
            return self._since >= self._every
        if len(propagated_xyxy) == 0 or self._since >= self._interval:
            return True
        if time_s - self._last_s >= MOST_S and self._since >= 2:
            return True
        return self._since > self._patience and self._something_moves(image_bgr, propagated_xyxy)

    def detected(self, image_bgr: UInt8Array, time_s: float, *, known: int, found_xyxy: Float32Array) -> None:
        """Record a detector run: how many people were known before it, and the boxes (N, 4) that it found."""
        if self._every == "auto":
            count_changed = len(found_xyxy) != known
            early = self._since < self._interval
            self._interval = 2 if count_changed else min(2 * max(self._interval, 1), MOST_FRAMES)
            # Movement that is no person (a tree, the camera itself) causes early runs less and less often.
            self._patience = (
                0 if count_changed else min(2 * self._patience + 2, MOST_FRAMES) if early else self._patience // 2
            )
            self._thumbnail, self._found_xyxy = _thumbnail(image_bgr), found_xyxy
        self._due_now, self._since, self._last_s = False, 0, time_s

    def lost(self) -> None:
        """A tracked person is lost: the detector runs on the next frame."""
        self._due_now = True

    def _something_moves(self, image_bgr: UInt8Array, propagated_xyxy: Float32Array) -> bool:
        """Whether the picture has changed since the last detector run, outside the known people's boxes."""
        if self._thumbnail is None:
            return False
        changed = np.abs(_thumbnail(image_bgr) - self._thumbnail) > _CHANGE
        height, width = image_bgr.shape[:2]
        # Both where they are and where they were: the background that they uncover changes, too.
        boxes = np.concatenate([propagated_xyxy, self._found_xyxy])
        margin = _MARGIN * (boxes[:, 2:] - boxes[:, :2])
        scale = np.array([_THUMBNAIL_WH[0] / width, _THUMBNAIL_WH[1] / height])
        low = np.maximum(np.floor((boxes[:, :2] - margin) * scale), 0).astype(int)
        high = np.maximum(np.ceil((boxes[:, 2:] + margin) * scale), 0).astype(int)
        for (x1, y1), (x2, y2) in zip(low.tolist(), high.tolist(), strict=True):
            changed[y1:y2, x1:x2] = False
        return int(changed.sum()) >= _CHANGED_CELLS


def _thumbnail(image_bgr: UInt8Array) -> npt.NDArray[np.int16]:
    """(48, 64) int16, the green channel of the picture, made small."""
    # Every few pixels first: averaging over the whole picture would cost more than it is worth.
    step = max(1, min(image_bgr.shape[0] // (2 * _THUMBNAIL_WH[1]), image_bgr.shape[1] // (2 * _THUMBNAIL_WH[0])))
    green = np.ascontiguousarray(image_bgr[::step, ::step, 1])
    return np.asarray(cv2.resize(green, _THUMBNAIL_WH, interpolation=cv2.INTER_AREA), np.int16)
