"""The video: paints pictures of the drawing thread, and maps clicks to points in the frame."""

from __future__ import annotations

import time

import numpy as np
from PyQt5.QtCore import QCoreApplication, QEvent, QPointF, QRectF, QSize, Qt, pyqtSignal
from PyQt5.QtGui import QColor, QFont, QFontMetrics, QMouseEvent, QPainter, QPaintEvent, QResizeEvent, QWheelEvent
from PyQt5.QtWidgets import QApplication, QSizePolicy, QWidget

from app.live.compose import Zoom
from app.live.composer import Picture
from app.live.pointer import values_at
from app.widgets.probe_painter import paint_probes
from app.widgets.theme import DARK, VIDEO_GROUND
from engine.overlay.attention import AttentionView, Scale
from engine.overlay.legend import LegendCorner
from engine.types import Poses

_LEGEND_MARGIN, _LEGEND_OPACITY = 12, 0.88
_ZOOM_STEP = 1.25  # for a notch of the wheel, which is 120 eighths of a degree
_REACH_PX = 10  # of the mouse, to a keypoint


def waiting_text(picture: Picture) -> str:
    """What is said of a probe whose person is not in the picture; empty if they are."""
    if not picture.probe_lost:
        return ""
    if picture.probed_id is None:
        return QCoreApplication.translate("Probe", "The probed person is not here; the probe waits for them.")
    text = QCoreApplication.translate("Probe", "Person #{number} is not here; the probe waits for them.")
    return text.format(number=picture.probed_id)


class VideoView(QWidget):
    """Paints the newest picture, centred.

    Signals:
        clicked: a point in the picture was clicked; x and y in frame px.
        double_clicked: the same for a double click, whose first click was a click.
        cleared: a click beside the picture, or with the right button.
        zoomed: another Zoom.
        resized: width and height in device px, and device px for one logical px.
        painted: a picture was painted for the first time; with the time that took, in ms.
    """

    clicked = pyqtSignal(float, float)
    double_clicked = pyqtSignal(float, float)
    cleared = pyqtSignal()
    zoomed = pyqtSignal(object)
    resized = pyqtSignal(int, int, float)
    painted = pyqtSignal(object, float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(320, 180)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName(self.tr("Video"))
        self.picture: Picture | None = None
        self._unpainted = False
        self.badge = ""
        self._pointer = Qt.CursorShape.ArrowCursor
        self._corner = LegendCorner()
        self._dragged_to: tuple[float, float] | None = None  # shares of the room that the legends leave
        self._held_at: QPointF | None = None  # where the mouse holds them, from their corner
        self._pressed_at: QPointF | None = None  # on the picture; a click, or the start of a move of it
        self._moved_from: QPointF | None = None
        self._mouse_at: QPointF | None = None
        self.zoom = Zoom()
        self.attention: AttentionView | None = None
        self.scale: Scale = "frame"
        self.score_threshold = 0.2

    def sizeHint(self) -> QSize:
        """16:9 at a medium size."""
        return QSize(960, 540)

    @property
    def poses(self) -> Poses | None:
        """The people in the shown picture; None without a result."""
        return None if self.picture is None else self.picture.shown.poses

    def show_picture(self, picture: Picture) -> None:
        """Paint this picture next; of several the last one."""
        before = self.picture
        if before is not None and not np.array_equal(picture.frame_to_picture, before.frame_to_picture):
            self._corner.unsettle()
        self.picture, self._unpainted = picture, True
        self.update()

    def set_badge(self, text: str) -> None:
        """Show a short text over the video's upper edge, such as a lost signal; empty for none."""
        if text != self.badge:
            self.badge = text
            self.update()

    def set_clickable(self, clickable: bool) -> None:
        """Set the mouse pointer: a cross if a click sets the probe."""
        self._pointer = Qt.CursorShape.CrossCursor if clickable else Qt.CursorShape.ArrowCursor
        self.setCursor(self._pointer)

    def picture_area(self) -> QRectF:
        """Rectangle of the picture in the widget, in logical px."""
        if self.picture is None:
            return QRectF()
        size = self.picture.image.size()
        factor = min(self.width() / size.width(), self.height() / size.height())
        width, height = size.width() * factor, size.height() * factor
        return QRectF((self.width() - width) / 2, (self.height() - height) / 2, width, height)

    def legend_area(self) -> QRectF:
        """Rectangle of the legends: where they were dragged to, else beside the picture, else off people."""
        picture = self.picture
        if picture is None or picture.legend is None:
            return QRectF()
        ratio, area = self.devicePixelRatioF(), self.picture_area()
        width, height = picture.legend.width() / ratio, picture.legend.height() / ratio
        spare = max(0.0, self.width() - width), max(0.0, self.height() - height)
        if self._dragged_to is not None:
            return QRectF(spare[0] * self._dragged_to[0], spare[1] * self._dragged_to[1], width, height)
        if width + 2 * _LEGEND_MARGIN <= self.width() - area.right():
            return QRectF(area.right() + _LEGEND_MARGIN, area.bottom() - _LEGEND_MARGIN - height, width, height)
        if height + 2 * _LEGEND_MARGIN <= self.height() - area.bottom():
            return QRectF(_LEGEND_MARGIN, area.bottom() + _LEGEND_MARGIN, width, height)
        offset = np.array([area.x(), area.y()] * 2, np.float32)
        left, top = self._corner.place(
            (round(width), round(height)),
            (self.width(), self.height()),
            _LEGEND_MARGIN,
            picture.people_xyxy * np.float32(area.width() / picture.image.width()) + offset,
            picture.shown.shot.frame.timestamp_s,
        )
        return QRectF(left, top, width, height)

    def frame_point(self, place: QPointF) -> tuple[float, float] | None:
        """The point in frame px under a point in the widget; None outside the picture."""
        area = self.picture_area()
        if self.picture is None or not area.contains(place):
            return None
        factor = self.picture.image.width() / area.width()
        x, y = (place.x() - area.x()) * factor - 0.5, (place.y() - area.y()) * factor - 0.5
        affine = self.picture.frame_to_picture.astype(np.float64)
        point = np.linalg.solve(affine[:, :2], np.array([x, y]) - affine[:, 2])
        return float(point[0]), float(point[1])

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Left sets the probe when it is let go, or takes hold of legends or picture; right removes the probe."""
        if event is None:
            return
        if event.button() == Qt.MouseButton.LeftButton and self.legend_area().contains(QPointF(event.pos())):
            self._held_at = QPointF(event.pos()) - self.legend_area().topLeft()
            return
        point = self.frame_point(QPointF(event.pos()))
        if event.button() == Qt.MouseButton.LeftButton and point is not None:
            self._pressed_at = QPointF(event.pos())
        else:
            self.cleared.emit()

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Drag the legends, within the video's part of the window, or the picture while it is larger."""
        if event is None:
            return
        area, place = self.legend_area(), QPointF(event.pos())
        self._mouse_at = place
        if self._drag_picture(place):
            return
        self.update()  # the values under it
        if self._held_at is not None:
            room = self.width() - area.width(), self.height() - area.height()
            corner = place - self._held_at
            shares = (at / max(1.0, most) for at, most in zip((corner.x(), corner.y()), room, strict=True))
            across, down = (min(1.0, max(0.0, share)) for share in shares)
            self._dragged_to = across, down
            self.update()
        pointer = Qt.CursorShape.SizeAllCursor if area.contains(place) or self._held_at is not None else self._pointer
        if self.cursor().shape() != pointer:
            self.setCursor(pointer)

    def _drag_picture(self, place: QPointF) -> bool:
        """Move the picture with the mouse that holds it; False where it holds nothing or has hardly moved."""
        if self._pressed_at is None or self.zoom.factor <= 1:
            return False
        if self._moved_from is None:
            if (place - self._pressed_at).manhattanLength() < QApplication.startDragDistance():
                return False
            self._moved_from = self._pressed_at
            self.setCursor(Qt.CursorShape.ClosedHandCursor)
        step, area = place - self._moved_from, self.picture_area()
        self._moved_from = place
        across = step.x() / area.width() * (-1 if self._is_mirrored() else 1)
        self._set_zoom(self.zoom.moved((across, step.y() / area.height())))
        return True

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        """Let go of the legends or of the picture; where that was not moved, it was clicked."""
        pressed_at, was_moved = self._pressed_at, self._moved_from is not None
        self._held_at = self._pressed_at = self._moved_from = None
        if was_moved:
            self.setCursor(self._pointer)
        elif pressed_at is not None:
            point = self.frame_point(pressed_at)
            if point is not None:
                self.clicked.emit(*point)

    def leaveEvent(self, event: QEvent | None) -> None:
        """No values without a mouse."""
        self._mouse_at = None
        self.update()

    # --- zoom -------------------------------------------------------------------------------------------------------

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Zoom; what is under the mouse stays there."""
        area = self.picture_area()
        if event is None or area.isEmpty() or event.angleDelta().y() == 0:
            return
        self.zoom_by(_ZOOM_STEP ** (event.angleDelta().y() / 120), event.position())
        event.accept()

    def zoom_by(self, factor: float, about: QPointF | None = None) -> None:
        """Zoom by a factor about a point in the widget, or the middle."""
        area = self.picture_area()
        if area.isEmpty():
            return
        about = about or area.center()
        x, y = (about.x() - area.x()) / area.width(), (about.y() - area.y()) / area.height()
        x, y = min(1.0, max(0.0, x)), min(1.0, max(0.0, y))
        self._set_zoom(self.zoom.about(self.zoom.factor * factor, (1 - x if self._is_mirrored() else x, y)))

    def zoom_back(self) -> bool:
        """Show all of the picture; False if it was."""
        was_zoomed = self.zoom.factor > 1
        self._set_zoom(Zoom())
        return was_zoomed

    def _set_zoom(self, zoom: Zoom) -> None:
        if zoom != self.zoom:
            self.zoom = zoom
            self.zoomed.emit(zoom)
            self.update()

    def _is_mirrored(self) -> bool:
        return self.picture is not None and bool(self.picture.frame_to_picture[0, 0] < 0)

    def note(self) -> str:
        """What is said in the upper right: the zoom, and the values under the mouse."""
        parts = [f"{self.zoom.factor:.3g}×"] if self.zoom.factor > 1 else []
        picture, mouse = self.picture, self._mouse_at
        point = None if mouse is None else self.frame_point(mouse)
        if picture is not None and point is not None:
            factor = self.picture_area().width() / picture.image.width() * float(abs(picture.frame_to_picture[0, 0]))
            parts.append(values_at(picture.shown, point, self.attention, _REACH_PX / factor))
        return "   ".join(parts)

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:
        """Left follows a person; on the legends it puts them back to where they look for room themselves."""
        if event is not None and self.legend_area().contains(QPointF(event.pos())):
            self._dragged_to = self._held_at = None
            self.update()
            return
        point = None if event is None else self.frame_point(QPointF(event.pos()))
        if event is not None and event.button() == Qt.MouseButton.LeftButton and point is not None:
            self.double_clicked.emit(*point)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Report the new size in device px, so that pictures are made in it."""
        super().resizeEvent(event)
        ratio = self.devicePixelRatioF()
        self.resized.emit(round(self.width() * ratio), round(self.height() * ratio), ratio)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Paint the picture, the probe and the badge."""
        started_s = time.perf_counter()
        painter = QPainter(self)
        self.paint(painter)
        painter.end()
        if self._unpainted and self.picture is not None:
            self._unpainted = False
            self.painted.emit(self.picture, (time.perf_counter() - started_s) * 1000)

    def paint(self, painter: QPainter) -> None:
        """Paint all of it with a painter in logical px of the widget."""
        painter.fillRect(self.rect(), QColor(VIDEO_GROUND))
        picture = self.picture
        if picture is not None:
            area = self.picture_area()
            ratio = self.devicePixelRatioF()
            if abs(area.width() * ratio - picture.image.width()) < 2:
                # Drawn for this size: aligned to device px, not scaled.
                picture.image.setDevicePixelRatio(ratio)
                left, top = round(area.x() * ratio) / ratio, round(area.y() * ratio) / ratio
                painter.drawImage(QPointF(left, top), picture.image)
            else:
                painter.drawImage(area, picture.image, QRectF(picture.image.rect()))
            self._paint_probe(painter, picture, area)
            if picture.legend is not None:
                painter.setOpacity(_LEGEND_OPACITY)
                painter.drawImage(self.legend_area(), picture.legend, QRectF(picture.legend.rect()))
                painter.setOpacity(1.0)
            if picture.probe_lost:
                self._paint_badge(painter, waiting_text(picture), DARK.text, at_top=False)
        self._paint_note(painter, self.note())
        if self.badge:
            self._paint_badge(painter, self.badge, DARK.warning, at_top=True)

    def _paint_probe(self, painter: QPainter, picture: Picture, area: QRectF) -> None:
        if (picture.reading is None and not picture.pins) or picture.shown.skeleton is None:
            return
        factor = area.width() / picture.image.width()
        painter.save()
        painter.setClipRect(area)
        painter.translate(area.topLeft())
        painter.scale(factor, factor)
        paint_probes(
            painter,
            picture.reading,
            picture.pins,
            picture.frame_to_picture,
            unit_px=1 / factor,
            scale=self.scale,
            score_threshold=self.score_threshold,
        )
        painter.restore()

    def _paint_note(self, painter: QPainter, text: str) -> None:
        if not text:
            return
        metrics = painter.fontMetrics()
        width, height = metrics.horizontalAdvance(text) + 16, metrics.height() + 6
        _paint_card(painter, QRectF(self.width() - width - 8, 8, width, height), text, DARK.text, radius=5, opacity=200)

    def badge_area(self, text: str, *, at_top: bool) -> QRectF:
        """Rectangle of a badge at the upper or lower edge; at the lower one above a legend that would be under it."""
        metrics = QFontMetrics(_bold(self.font()))
        width, height = metrics.horizontalAdvance(text) + 32, metrics.height() + 16
        card = QRectF((self.width() - width) / 2, 16 if at_top else self.height() - height - 16, width, height)
        legend = self.legend_area()
        if not at_top and card.intersects(legend):
            card.moveBottom(max(height, legend.top() - 8))
        return card

    def _paint_badge(self, painter: QPainter, text: str, color: str, *, at_top: bool) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(_bold(self.font()))
        card = self.badge_area(text, at_top=at_top)
        _paint_card(painter, card, text, color, radius=card.height() / 2, opacity=225)


def _paint_card(painter: QPainter, card: QRectF, text: str, color: str, *, radius: float, opacity: int) -> None:
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(18, 20, 24, opacity))
    painter.drawRoundedRect(card, radius, radius)
    painter.setPen(QColor(color))
    painter.drawText(card, int(Qt.AlignmentFlag.AlignCenter), text)


def _bold(font: QFont) -> QFont:
    bold = QFont(font)
    bold.setBold(True)
    return bold
