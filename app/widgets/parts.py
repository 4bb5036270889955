"""The small parts of which panels and dialogs are made: labels, buttons, rows and columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from PyQt5.QtCore import QObject, Qt, QTimer, pyqtBoundSignal
from PyQt5.QtWidgets import QBoxLayout, QHBoxLayout, QLabel, QLayout, QPushButton, QScrollArea, QVBoxLayout, QWidget

Slot = Callable[..., Any] | pyqtBoundSignal
Part = QWidget | QLayout | int
_Box = TypeVar("_Box", bound=QBoxLayout)
_Margins = tuple[int, int, int, int]


def heading(text: str) -> QLabel:
    """A small title of a group."""
    label = QLabel(text)
    label.setObjectName("heading")
    label.setContentsMargins(0, 8, 0, 0)
    return label


def faint(text: str) -> QLabel:
    """A line of explanation."""
    label = QLabel(text)
    label.setObjectName("faint")
    label.setWordWrap(True)
    return label


def push_button(text: str, slot: Slot, tip: str = "") -> QPushButton:
    """A button, and what a click does."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.clicked.connect(slot)
    return made


def single_shot(parent: QObject, slot: Slot, after_ms: int = 0) -> QTimer:
    """A timer that calls once, after each start."""
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(after_ms)
    timer.timeout.connect(slot)
    return timer


def in_row(
    *parts: Part | tuple[Part, int], of: QWidget | None = None, margins: _Margins | None = None, spacing: int = -1
) -> QHBoxLayout:
    """A layout from left to right.

    Args:
        parts: widgets and layouts, each perhaps with its stretch; a number is empty space with that stretch.
        of: the widget that it lays out; None for a part of another layout.
        margins: left, top, right and bottom in px; None for the style's.
        spacing: px between the parts; -1 for the style's.
    """
    return _filled(QHBoxLayout(of), parts, margins, spacing)


def in_column(
    *parts: Part | tuple[Part, int], of: QWidget | None = None, margins: _Margins | None = None, spacing: int = -1
) -> QVBoxLayout:
    """A layout from top to bottom; arguments as of `in_row`."""
    return _filled(QVBoxLayout(of), parts, margins, spacing)


def _filled(box: _Box, parts: tuple[Part | tuple[Part, int], ...], margins: _Margins | None, spacing: int) -> _Box:
    if margins is not None:
        box.setContentsMargins(*margins)
    box.setSpacing(spacing)
    for each in parts:
        part, stretch = each if isinstance(each, tuple) else (each, 0)
        if isinstance(part, int):
            box.addStretch(part)
        elif isinstance(part, QWidget):
            box.addWidget(part, stretch)
        else:
            box.addLayout(part, stretch)
    return box


def scrolled(widget: QWidget) -> QScrollArea:
    """A widget that scrolls up and down where it is higher than its room."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(widget)
    return area
