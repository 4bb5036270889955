"""Keys and the mouse wheel among the controls: what a focused control uses itself, and what scrolls the panel.

Keys that the focused control uses, such as Space on a check box, do not trigger the window's shortcuts. The wheel
changes no control, which could open other networks unasked: over a list or a slider it scrolls the panel.
"""

from __future__ import annotations

from PyQt5.QtCore import QEvent, QObject, Qt
from PyQt5.QtGui import QKeyEvent
from PyQt5.QtWidgets import QAbstractButton, QAbstractSlider, QAbstractSpinBox, QComboBox, QScrollBar, QWidget

from app.widgets.body_figure import BodyFigure

_ARROWS = (Qt.Key.Key_Left, Qt.Key.Key_Right, Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_Home, Qt.Key.Key_End)
_OWN_KEYS: tuple[tuple[type[QWidget], tuple[int, ...]], ...] = (
    (QAbstractButton, (Qt.Key.Key_Space,)),
    (QAbstractSlider, _ARROWS),
    (QComboBox, (*_ARROWS, Qt.Key.Key_Space)),
    (QAbstractSpinBox, _ARROWS),
    (BodyFigure, _ARROWS),
)


_WHEEL_CHANGES = (QAbstractSlider, QComboBox, QAbstractSpinBox)


class FocusKeys(QObject):
    """An event filter on the controls of a window."""

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self.add(window)

    def add(self, window: QWidget) -> None:
        """Filter the controls of another widget, too."""
        for control in window.findChildren(QWidget):
            if isinstance(control, QScrollBar):
                continue
            if any(isinstance(control, kind) for kind, _keys in _OWN_KEYS):
                if not isinstance(control, (BodyFigure, QAbstractSpinBox)):
                    # A click does not move the focus, so that Space still plays and pauses.
                    control.setFocusPolicy(Qt.FocusPolicy.TabFocus)
                control.installEventFilter(self)

    def eventFilter(self, control: QObject | None, event: QEvent | None) -> bool:
        """Give a control its keys before the shortcuts get them, and its panel the wheel."""
        if event is not None and event.type() == QEvent.Type.Wheel and isinstance(control, _WHEEL_CHANGES):
            event.ignore()  # goes on to the widget around it
            return True
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.ShortcutOverride:
            for kind, keys in _OWN_KEYS:
                if isinstance(control, kind) and event.key() in keys:
                    event.accept()
                    return True
        return False
