"""Paints the probe over a picture: the star, that person's keypoints coloured by attention, and the legend."""

from __future__ import annotations

import math

import cv2
import numpy as np
from PyQt5.QtCore import QCoreApplication, QPointF, QRectF, Qt
from PyQt5.QtGui import QColor, QFont, QFontMetricsF, QLinearGradient, QPainter, QPainterPath, QPen

from app.live.compose import transformed
from app.live.probe import ProbeReading
from engine.overlay.attention import Scale, ValueRange, attention_range
from engine.skeleton import Skeleton
from engine.types import Float32Array

_STEPS = 64
_OUTLINE = QColor(20, 22, 28)
_CARD = QColor(18, 20, 24, 214)
_TEXT, _FAINT = QColor(245, 245, 245), QColor(196, 202, 210)
_LISTED = 4


def _make_colors() -> list[QColor]:
    ramp = cv2.applyColorMap(np.linspace(0, 255, _STEPS).astype(np.uint8)[:, None], cv2.COLORMAP_TURBO)[:, 0]
    # The ends of the colour map are almost black on video; the paper uses blue to red.
    return [QColor(int(red), int(green), int(blue)) for blue, green, red in ramp]


_COLORS = _make_colors()[4:-3]


def color_of(value: float) -> QColor:
    """Colour of a share of the scale: blue for 0, red for 1."""
    share = min(1.0, max(0.0, value)) if math.isfinite(value) else 0.0
    return _COLORS[round(share * (len(_COLORS) - 1))]


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


def paint_probe(
    painter: QPainter,
    reading: ProbeReading,
    frame_to_picture: Float32Array,
    *,
    unit_px: float,
    scale: Scale,
    score_threshold: float,
) -> None:
    """Paint star and circles.

    Args:
        painter: in px of the picture.
        reading: of the probe.
        frame_to_picture: (2, 3) float32 affine.
        unit_px: px of the picture for one px of the design; scales circles and lines.
        scale: of the colours, see `value_range`.
        score_threshold: keypoints with a lower score are not painted.
    """
    values = value_range(reading, scale)
    points = transformed(reading.keypoints_xy, frame_to_picture)
    star = QPointF(*(float(v) for v in transformed(reading.point_xy, frame_to_picture)))
    shown = np.flatnonzero((reading.scores >= score_threshold) & np.isfinite(points).all(axis=1))
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
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
    painter.setBrush(QColor(255, 236, 94))
    painter.drawPath(_star(star, unit_px * 13))


def value_range(reading: ProbeReading, scale: Scale) -> ValueRange:
    """What blue and red stand for: 1/K and the highest value of this person, or 0 and 1."""
    return attention_range(reading.values, len(reading.values), scale)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _tr(text: str) -> str:
    return QCoreApplication.translate("ProbeLegend", text)


def strongest(reading: ProbeReading, skeleton: Skeleton, count: int = _LISTED) -> list[tuple[str, float]]:
    """Names and values of the keypoints with the most attention, in falling order."""
    order = np.argsort(-reading.values, kind="stable")[:count]
    return [(_words(skeleton.keypoint_names[k]), float(reading.values[k])) for k in order]


class _Type:
    """The legend's two fonts and its sizes."""

    def __init__(self, font: QFont, unit_px: float) -> None:
        self.plain, self.bold = QFont(font), QFont(font)
        self.plain.setPixelSize(max(1, round(12 * unit_px)))
        self.bold.setPixelSize(max(1, round(13 * unit_px)))
        self.bold.setBold(True)
        self.metrics, self.bold_metrics = QFontMetricsF(self.plain), QFontMetricsF(self.bold)
        self.unit, self.pad, self.line = unit_px, 12 * unit_px, self.metrics.height() * 1.18

    def size(self, title: str, subtitle: str, names: tuple[str, ...], rows: int) -> tuple[float, float]:
        """Width and height without the margins."""
        # As wide as the longest name, so that the width does not change with the values.
        longest = max(self.metrics.horizontalAdvance(name) for name in names)
        width = max(
            self.bold_metrics.horizontalAdvance(title),
            self.metrics.horizontalAdvance(subtitle),
            longest + self.metrics.horizontalAdvance("  0.00") + 18 * self.unit,
        )
        return width, self.bold_metrics.height() + self.line * (2 + rows) + 22 * self.unit


def paint_probe_legend(
    painter: QPainter,
    area: QRectF,
    reading: ProbeReading,
    skeleton: Skeleton,
    *,
    scale: Scale,
    unit_px: float = 1.0,
) -> None:
    """Paint the legend into the lower right corner of an area, if it fits.

    Args:
        painter: in px of the picture.
        area: rectangle of the picture.
        reading: of the probe.
        skeleton: names of the keypoints.
        scale: see `paint_probe`.
        unit_px: see `paint_probe`.
    """
    title, subtitle = _tr("Probe"), _tr("how much the point draws on")
    fonts, rows = _Type(painter.font(), unit_px), strongest(reading, skeleton)
    names = tuple(_words(name) for name in skeleton.keypoint_names)
    width, height = fonts.size(title, subtitle, names, len(rows))
    card = QRectF(0, 0, width + 2 * fonts.pad, height + 2 * fonts.pad)
    if card.width() > area.width() * 0.6 or card.height() > area.height() * 0.7:
        return
    card.moveBottomRight(area.bottomRight() - QPointF(fonts.pad, fonts.pad))
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(_CARD)
    painter.drawRoundedRect(card, 8 * unit_px, 8 * unit_px)
    place = QPointF(card.left() + fonts.pad, card.top() + fonts.pad)
    place = _paint_titles(painter, place, fonts, title, subtitle)
    values = value_range(reading, scale)
    for name, value in rows:
        color = color_of(float(values.shares(np.array([value], np.float32))[0]))
        _paint_row(painter, QRectF(place.x(), place.y(), width, fonts.line), fonts, (name, value), color)
        place += QPointF(0, fonts.line)
    _paint_bar(painter, QRectF(place.x(), place.y() + 6 * unit_px, width, 9 * unit_px), fonts.metrics, values)


def _paint_titles(painter: QPainter, place: QPointF, fonts: _Type, title: str, subtitle: str) -> QPointF:
    """Write both lines; returns the position of the first row."""
    painter.setFont(fonts.bold)
    painter.setPen(_TEXT)
    painter.drawText(place + QPointF(0, fonts.bold_metrics.ascent()), title)
    place = place + QPointF(0, fonts.bold_metrics.height() + 2 * fonts.unit)
    painter.setFont(fonts.plain)
    painter.setPen(_FAINT)
    painter.drawText(place + QPointF(0, fonts.metrics.ascent()), subtitle)
    return place + QPointF(0, fonts.line + 4 * fonts.unit)


def _paint_row(painter: QPainter, row: QRectF, fonts: _Type, named: tuple[str, float], color: QColor) -> None:
    """Paint colour, name and value of a keypoint."""
    name, value = named
    radius, base = 5 * fonts.unit, row.top() + fonts.metrics.ascent()
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(color)
    painter.drawEllipse(QPointF(row.left() + radius, row.top() + fonts.metrics.height() / 2), radius, radius)
    painter.setPen(_TEXT)
    painter.drawText(QPointF(row.left() + 18 * fonts.unit, base), name)
    number = f"{value:.2f}"
    painter.drawText(QPointF(row.right() - fonts.metrics.horizontalAdvance(number), base), number)


def _paint_bar(painter: QPainter, bar: QRectF, metrics: QFontMetricsF, values: ValueRange) -> None:
    """Paint the colour bar from the low to the high value, with three numbers under it."""
    gradient = QLinearGradient(bar.topLeft(), bar.topRight())
    for step in range(9):
        gradient.setColorAt(step / 8, color_of(step / 8))
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(gradient)
    painter.drawRoundedRect(bar, bar.height() / 3, bar.height() / 3)
    painter.setPen(_FAINT)
    base = bar.bottom() + metrics.ascent() + 2
    for share, text in zip((0.0, 0.5, 1.0), values.labels(), strict=True):
        width = metrics.horizontalAdvance(text)
        painter.drawText(QPointF(bar.left() + share * (bar.width() - width), base), text)
