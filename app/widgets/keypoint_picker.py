"""A widget in which each keypoint has a place: the mouse names them, and a click chooses one."""

from __future__ import annotations

from collections.abc import Callable

from PyQt5.QtCore import QEvent, QPointF, Qt, pyqtSignal
from PyQt5.QtGui import QMouseEvent
from PyQt5.QtWidgets import QToolTip, QWidget

from engine.skeleton import COCO17, Skeleton


class KeypointPicker(QWidget):
    """The base of what shows keypoints.

    Args:
        keypoint_at: the keypoint at a point of the widget, None where there is none.

    Signals:
        keypoint_chosen: index of the keypoint that was chosen.
    """

    keypoint_chosen = pyqtSignal(int)

    def __init__(self, keypoint_at: Callable[[QPointF], int | None], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._keypoint_at = keypoint_at
        self._skeleton: Skeleton = COCO17
        self._hovered: int | None = None
        self.setMouseTracking(True)

    def choose(self, keypoint: int) -> None:
        """Choose a keypoint, as a click does."""
        self.keypoint_chosen.emit(keypoint)

    def _name(self, keypoint: int) -> str:
        return self._skeleton.keypoint_names[keypoint].replace("_", " ")

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Name the keypoint under the mouse."""
        found = None if event is None else self._keypoint_at(QPointF(event.pos()))
        if event is not None and found != self._hovered:
            self._hovered = found
            self.setCursor(Qt.CursorShape.ArrowCursor if found is None else Qt.CursorShape.PointingHandCursor)
            QToolTip.showText(event.globalPos(), "" if found is None else self._name(found), self)
            self.update()

    def leaveEvent(self, event: QEvent | None) -> None:
        """Mark none without a mouse."""
        self._hovered = None
        self.update()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Choose the keypoint under the mouse."""
        found = None if event is None else self._keypoint_at(QPointF(event.pos()))
        if found is not None:
            self.choose(found)
