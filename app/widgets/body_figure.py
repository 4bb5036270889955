"""A small figure of the body on which a keypoint is chosen by a click."""

from __future__ import annotations

import math

from PyQt5.QtCore import QPointF, QRectF, QSize, Qt
from PyQt5.QtGui import QColor, QKeyEvent, QPainter, QPaintEvent, QPen
from PyQt5.QtWidgets import QSizePolicy, QWidget

from app.widgets.keypoint_picker import KeypointPicker
from app.widgets.theme import colors
from engine.skeleton import Skeleton

# Keypoints of a standing person seen from the front, so that left of the body is right in the figure; as fractions of
# the figure's width and height.
_PLACES: dict[str, tuple[float, float]] = {
    "nose": (0.50, 0.115), "left_eye": (0.545, 0.08), "right_eye": (0.455, 0.08), "left_ear": (0.605, 0.10),
    "right_ear": (0.395, 0.10), "left_shoulder": (0.66, 0.26), "right_shoulder": (0.34, 0.26),
    "left_elbow": (0.78, 0.41), "right_elbow": (0.22, 0.41), "left_wrist": (0.86, 0.55), "right_wrist": (0.14, 0.55),
    "left_hip": (0.595, 0.53), "right_hip": (0.405, 0.53), "left_knee": (0.615, 0.74), "right_knee": (0.385, 0.74),
    "left_ankle": (0.63, 0.95), "right_ankle": (0.37, 0.95),
}  # fmt: skip
_REACH_PX = 22.0


def has_figure(skeleton: Skeleton) -> bool:
    """Whether the figure has a position for every keypoint."""
    return all(name in _PLACES for name in skeleton.keypoint_names)


class BodyFigure(KeypointPicker):
    """Shows the keypoints of a skeleton; one is chosen, by a click or with the arrow keys."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(self.keypoint_at, parent)
        self._current = 0
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(self.tr("Keypoint of the attention map"))

    def sizeHint(self) -> QSize:
        """Tall enough to separate eyes and nose."""
        return QSize(240, 248)

    def set_skeleton(self, skeleton: Skeleton) -> None:
        """Show another skeleton that has a figure."""
        self._skeleton = skeleton
        self._current = min(self._current, skeleton.num_keypoints - 1)
        self.update()

    def set_current(self, keypoint: int) -> None:
        """Mark a keypoint, without a signal."""
        self._current = keypoint
        self.update()

    def place_of(self, keypoint: int) -> QPointF:
        """Position of a keypoint in the widget."""
        height = self.height() - 20.0
        width = height * 0.74
        x, y = _PLACES[self._skeleton.keypoint_names[keypoint]]
        return QPointF((self.width() - width) / 2 + x * width, 6 + y * height)

    def keypoint_at(self, place: QPointF) -> int | None:
        """The nearest keypoint within reach."""
        offsets = [self.place_of(keypoint) - place for keypoint in range(self._skeleton.num_keypoints)]
        distances = [math.hypot(offset.x(), offset.y()) for offset in offsets]
        best = min(range(len(distances)), key=distances.__getitem__)
        return best if distances[best] <= _REACH_PX else None

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Choose the next or previous keypoint with the arrow keys."""
        if event is None:
            return
        steps = {Qt.Key.Key_Right: 1, Qt.Key.Key_Down: 1, Qt.Key.Key_Left: -1, Qt.Key.Key_Up: -1}
        step = steps.get(Qt.Key(event.key()))
        if step is None:
            super().keyPressEvent(event)
        else:
            self.choose((self._current + step) % self._skeleton.num_keypoints)

    def choose(self, keypoint: int) -> None:
        """Mark a keypoint, and announce it."""
        self.set_current(keypoint)
        super().choose(keypoint)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Paint bones, keypoints and the names of the sides."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        enabled = self.isEnabled()
        painter.setOpacity(1.0 if enabled else 0.4)
        painter.setPen(QPen(QColor(colors().edge), 1))
        painter.setBrush(QColor(colors().raised))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), 8, 8)
        painter.setPen(QPen(QColor(colors().edge), 5, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
        for a, b in self._skeleton.edges:
            painter.drawLine(self.place_of(a), self.place_of(b))
        painter.setPen(QColor(colors().faint))
        sides = QRectF(12, 8, self.width() - 24, 20)
        painter.drawText(sides, int(Qt.AlignmentFlag.AlignLeft), self.tr("right"))
        painter.drawText(sides, int(Qt.AlignmentFlag.AlignRight), self.tr("left"))
        for keypoint in range(self._skeleton.num_keypoints):
            self._paint_keypoint(painter, keypoint)

    def _paint_keypoint(self, painter: QPainter, keypoint: int) -> None:
        blue, green, red = self._skeleton.color_bgr(keypoint)
        place = self.place_of(keypoint)
        if keypoint == self._current:
            painter.setPen(QPen(QColor(colors().accent if self.hasFocus() else colors().text), 2.2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawEllipse(place, 9, 9)
        painter.setPen(QPen(QColor(20, 22, 28), 1.2))
        painter.setBrush(QColor(red, green, blue))
        radius = 6.0 if keypoint in (self._current, self._hovered) else 4.6
        painter.drawEllipse(place, radius, radius)
