"""The picture of a frame for recordings and snapshots: in its own size, with overlay, probe and legend."""

from __future__ import annotations

from PyQt5.QtGui import QPainter

from app.live.compose import Look, compose
from app.live.probe import Pins, ProbeReading, probe_legends
from app.live.qimages import from_qimage, to_qimage
from app.live.shots import Shown
from app.widgets.probe_painter import paint_probes
from engine.overlay.drawing import DrawingMemory
from engine.types import UInt8Array

_DESIGN_PX = 700
"""Shorter side of the picture that the probe was designed for; larger pictures get larger circles."""


def frame_picture(
    shown: Shown,
    look: Look,
    reading: ProbeReading | None,
    memory: DrawingMemory | None = None,
    *,
    pins: Pins = (),
) -> UInt8Array:
    """Draw a frame with overlay, the probes' readings in it and their legend; may be called in any thread.

    Returns:
        (H, W, 3) uint8 BGR of the frame's size, owned by the caller.
    """
    also = () if shown.skeleton is None else probe_legends(reading, pins, shown.skeleton, look.overlay.scale)
    composed = compose(shown, look, memory=memory, also=also)
    if not also:
        return composed.image_bgr
    height, width = composed.image_bgr.shape[:2]
    canvas = to_qimage(composed.image_bgr)
    unit_px = max(1.0, min(width, height) / _DESIGN_PX)
    painter = QPainter(canvas)
    try:
        paint_probes(
            painter,
            reading,
            pins,
            composed.frame_to_picture,
            unit_px=unit_px,
            scale=look.overlay.scale,
            score_threshold=look.overlay.score_threshold,
        )
    finally:
        painter.end()
    return from_qimage(canvas)
