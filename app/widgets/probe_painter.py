"""Paints the probe over a picture: the star, and that person's keypoints coloured by attention."""

from __future__ import annotations

import math

import numpy as np
from PyQt5.QtCore import QPointF, QRectF, Qt
from PyQt5.QtGui import QColor, QPainter, QPainterPath, QPen

from app.live.probe import Pins, ProbeReading
from engine.overlay.attention import Scale, attention_range, colors_of
from engine.overlay.placed import transformed
from engine.types import Float32Array

_OUTLINE, _STAR = QColor(20, 22, 28), QColor(255, 236, 94)


def color_of(value: float) -> QColor:
    """Colour of a share of the scale: blue for 0, red for 1."""
    share = value if math.isfinite(value) else 0.0
    blue, green, red = (int(part) for part in colors_of(np.full((1, 1), share, np.float32))[0, 0])
    return QColor(red, green, blue)


def _star(center: QPointF, radius: float) -> QPainterPath:
    path = QPainterPath()
    for number in range(10):
        reach = radius if number % 2 == 0 else radius * 0.45
        angle = math.pi * (number / 5 - 0.5)
        point = QPointF(center.x() + reach * math.cos(angle), center.y() + reach * math.sin(angle))
        if number == 0:
            path.moveTo(point)
        else:
            path.lineTo(point)
    path.closeSubpath()
    return path


def _paint_pin(
    painter: QPainter, number: int, reading: ProbeReading, frame_to_picture: Float32Array, unit_px: float
) -> None:
    center = QPointF(*(float(v) for v in transformed(reading.point_xy, frame_to_picture)))
    radius = unit_px * 10
    painter.setPen(QPen(_OUTLINE, unit_px * 2.2))
    painter.setBrush(_STAR)
    painter.drawEllipse(center, radius, radius)
    font = painter.font()
    font.setPixelSize(max(1, round(radius * 1.5)))
    font.setBold(True)
    painter.setFont(font)
    place = QRectF(center.x() - radius, center.y() - radius, 2 * radius, 2 * radius)
    painter.drawText(place, int(Qt.AlignmentFlag.AlignCenter), str(number))


def paint_probes(
    painter: QPainter,
    reading: ProbeReading | None,
    pins: Pins,
    frame_to_picture: Float32Array,
    *,
    unit_px: float,
    scale: Scale,
    score_threshold: float,
) -> None:
    """Paint pinned probes, and star and circles of the other.

    Args:
        painter: in px of the picture.
        reading: of the probe; None without one.
        pins: numbers and readings of pinned ones.
        frame_to_picture: (2, 3) float32 affine.
        unit_px: px of the picture for one px of the design; scales circles and lines.
        scale: of the colours, blue and red are 1/K and the highest value of this person, or 0 and 1.
        score_threshold: keypoints with a lower score are not painted.
    """
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    for number, pinned in pins:
        _paint_pin(painter, number, pinned, frame_to_picture, unit_px)
    if reading is None:
        return
    values = attention_range(reading.values, len(reading.values), scale)
    points = transformed(reading.keypoints_xy, frame_to_picture)
    star = QPointF(*(float(v) for v in transformed(reading.point_xy, frame_to_picture)))
    shown = np.flatnonzero((reading.scores >= score_threshold) & np.isfinite(points).all(axis=1))
    shares = values.shares(reading.values)
    for keypoint in sorted(shown, key=lambda k: float(reading.values[k])):  # the strongest on top
        share = float(shares[keypoint])
        center = QPointF(float(points[keypoint, 0]), float(points[keypoint, 1]))
        radius = unit_px * (6.5 + 4.5 * math.sqrt(max(0.0, min(1.0, share))))
        painter.setPen(QPen(_OUTLINE, unit_px * 3.6))
        painter.setBrush(color_of(share))
        painter.drawEllipse(center, radius, radius)
        painter.setPen(QPen(QColor(255, 255, 255), unit_px * 1.6))
        painter.drawEllipse(center, radius, radius)
    painter.setPen(
        QPen(_OUTLINE, unit_px * 2.2, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin)
    )
    painter.setBrush(_STAR)
    painter.drawPath(_star(star, unit_px * 13))
