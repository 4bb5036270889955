"""Icons drawn as shapes, sharp at every pixel density and in the theme's colours."""

from __future__ import annotations

from collections.abc import Callable

from PyQt5.QtCore import QPointF, QRectF, Qt
from PyQt5.QtGui import QColor, QIcon, QPainter, QPainterPath, QPen, QPixmap, QPolygonF

from app.widgets.theme import colors

_SIDE = 64  # every icon is drawn on a square of 24 units


def _polygon(*points: tuple[float, float]) -> QPainterPath:
    path = QPainterPath()
    path.addPolygon(QPolygonF([QPointF(x, y) for x, y in points]))
    path.closeSubpath()
    return path


def _play(painter: QPainter) -> None:
    painter.drawPath(_polygon((7, 4.5), (19.5, 12), (7, 19.5)))


def _pause(painter: QPainter) -> None:
    painter.drawRoundedRect(QRectF(6.5, 5, 4, 14), 1, 1)
    painter.drawRoundedRect(QRectF(13.5, 5, 4, 14), 1, 1)


def _step(painter: QPainter) -> None:
    # A frame, and the direction: not the arrow against a bar that leads to the end of a file.
    painter.drawRoundedRect(QRectF(4.5, 5, 3.2, 14), 1, 1)
    painter.drawPath(_polygon((10.5, 5), (19.5, 12), (10.5, 19)))


def _step_back(painter: QPainter) -> None:
    painter.drawPath(_polygon((13.5, 5), (4.5, 12), (13.5, 19)))
    painter.drawRoundedRect(QRectF(16.3, 5, 3.2, 14), 1, 1)


def _outline(painter: QPainter, width: float = 1.9) -> None:
    painter.setPen(
        QPen(painter.brush().color(), width, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin)
    )
    painter.setBrush(Qt.BrushStyle.NoBrush)


def _loop(painter: QPainter) -> None:
    color = painter.brush().color()
    _outline(painter)
    path = QPainterPath(QPointF(4.5, 12))
    path.cubicTo(4.5, 8, 7, 7, 10, 7)
    path.lineTo(18, 7)
    painter.drawPath(path)
    back = QPainterPath(QPointF(19.5, 12))
    back.cubicTo(19.5, 16, 17, 17, 14, 17)
    back.lineTo(6, 17)
    painter.drawPath(back)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(color)
    painter.drawPath(_polygon((16.5, 3.5), (21, 7), (16.5, 10.5)))
    painter.drawPath(_polygon((7.5, 13.5), (3, 17), (7.5, 20.5)))


def _mirror(painter: QPainter) -> None:
    painter.drawPath(_polygon((10, 6), (10, 18), (3, 18)))
    color = painter.brush().color()
    _outline(painter, 1.6)
    painter.drawPath(_polygon((14, 6), (14, 18), (21, 18)))
    painter.setPen(QPen(color, 1.4, Qt.PenStyle.DotLine))
    painter.drawLine(QPointF(12, 3.5), QPointF(12, 20.5))


def _camera(painter: QPainter) -> None:
    color = painter.brush().color()
    _outline(painter)
    body = QPainterPath()
    body.addRoundedRect(QRectF(3, 7, 18, 12.5), 2.5, 2.5)
    painter.drawPath(body)
    painter.drawPath(_polygon((8, 7), (9.5, 4.5), (14.5, 4.5), (16, 7)))
    painter.setPen(QPen(color, 1.9))
    painter.drawEllipse(QPointF(12, 13.2), 3.4, 3.4)


def _redden(painter: QPainter) -> None:
    if painter.brush().color() != QColor(colors().disabled):
        painter.setBrush(QColor(colors().error))


def _record(painter: QPainter) -> None:
    _redden(painter)
    painter.drawEllipse(QPointF(12, 12), 6.5, 6.5)


def _stop(painter: QPainter) -> None:
    _redden(painter)
    painter.drawRoundedRect(QRectF(6, 6, 12, 12), 2, 2)


def _film(painter: QPainter) -> None:
    color = painter.brush().color()
    _outline(painter, 1.8)
    painter.drawRoundedRect(QRectF(3.5, 5, 17, 14), 2, 2)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(color)
    painter.drawPath(_polygon((10, 8.5), (15.5, 12), (10, 15.5)))


def _poses(painter: QPainter) -> None:
    painter.drawEllipse(QPointF(12, 4.8), 2.4, 2.4)
    _outline(painter)
    painter.drawLine(QPointF(12, 8.5), QPointF(12, 14))
    painter.drawPolyline(QPolygonF([QPointF(5.5, 11.5), QPointF(12, 8.8), QPointF(18.5, 11.5)]))
    painter.drawPolyline(QPolygonF([QPointF(7.5, 20.5), QPointF(12, 14), QPointF(16.5, 20.5)]))


def _export(painter: QPainter) -> None:
    _outline(painter, 2.0)
    painter.drawLine(QPointF(12, 4), QPointF(12, 14.5))
    painter.drawPolyline(QPolygonF([QPointF(7.5, 10.5), QPointF(12, 15), QPointF(16.5, 10.5)]))
    painter.drawPolyline(QPolygonF([QPointF(4, 16), QPointF(4, 20), QPointF(20, 20), QPointF(20, 16)]))


_SHAPES: dict[str, Callable[[QPainter], None]] = {
    "play": _play, "pause": _pause, "step": _step, "step_back": _step_back, "loop": _loop, "mirror": _mirror,
    "camera": _camera, "record": _record, "stop": _stop, "film": _film, "poses": _poses, "export": _export,
}  # fmt: skip


def _pixmap(name: str, color: str) -> QPixmap:
    pixmap = QPixmap(_SIDE, _SIDE)
    pixmap.fill(QColor(0, 0, 0, 0))
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.scale(_SIDE / 24, _SIDE / 24)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(color))
    _SHAPES[name](painter)
    painter.end()
    return pixmap


def icon(name: str) -> QIcon:
    """An icon by its name, in the colours for enabled, checked and disabled."""
    made = QIcon(_pixmap(name, colors().text))
    made.addPixmap(_pixmap(name, colors().on_accent), QIcon.Mode.Normal, QIcon.State.On)
    made.addPixmap(_pixmap(name, colors().disabled), QIcon.Mode.Disabled)
    return made
