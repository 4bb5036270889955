"""Sliders that show their value."""

from __future__ import annotations

from collections.abc import Callable

from PyQt5.QtCore import Qt
from PyQt5.QtWidgets import QFormLayout, QLabel, QSlider, QWidget

from app.widgets.parts import in_row

_RIGHT = Qt.Alignment(Qt.AlignmentFlag.AlignRight) | Qt.AlignmentFlag.AlignVCenter


class ValueSlider(QSlider):
    """A slider for a row of a form, with its name and its value."""

    def __init__(self, low: int, high: int, text_of: Callable[[int], str]) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.setRange(low, high)
        self._text_of, self._text = text_of, QLabel()
        self._text.setMinimumWidth(40)
        self._text.setAlignment(_RIGHT)
        self.valueChanged.connect(self._write)
        self._write(self.value())

    def add_to(self, form: QFormLayout, name: str, tip: str = "") -> None:
        """Add a row with name, slider and value, and a tool tip on each."""
        self.setAccessibleName(name)
        label = QLabel(name)
        label.setBuddy(self)
        form.addRow(label, in_row((self, 1), self._text, spacing=10))
        parts: tuple[QWidget, ...] = (label, self, self._text)
        for part in parts:
            part.setToolTip(tip)

    def _write(self, value: int) -> None:
        self._text.setText(self._text_of(value))


class ScoreSlider(ValueSlider):
    """A score in steps of 0.01; a given score that is finer or out of range is kept until the slider is moved."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__(low, high, lambda value: f"{value / 100:.2f}")
        self._given, self._place = 0.0, low

    @property
    def score(self) -> float:
        """The chosen score."""
        return self._given if self.value() == self._place else self.value() / 100

    def set_score(self, score: float) -> None:
        """Show a score."""
        self.setValue(round(score * 100))
        self._given, self._place = score, self.value()
        self._text.setText(f"{score:.3g}" if round(score, 2) != score else f"{score:.2f}")
