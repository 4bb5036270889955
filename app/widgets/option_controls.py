"""Controls for the options of a table, chosen by the option's declaration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PyQt5.QtCore import Qt, pyqtSignal
from PyQt5.QtGui import QStandardItemModel
from PyQt5.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QFileDialog, QLineEdit, QSpinBox

from app.widgets.elided import ElidedCombo
from app.widgets.value_slider import ScoreSlider, ValueSlider
from engine.artifacts.model_files import bundled_detectors, bundled_pose_models, default_models
from engine.errors import EngineError
from engine.option_table import Control, Option

_OTHER = "…"
_LONGEST_S = 7 * 24 * 3600.0
_SHIPPED: Mapping[str, Callable[[], tuple[str, ...]]] = {
    "pose_model": bundled_pose_models,
    "detector": bundled_detectors,
}


def _default(kind: str) -> str | None:
    try:
        return str(getattr(default_models(), kind))
    except EngineError:
        return None


class ModelChoice(ElidedCombo):
    """Shipped models by name, and files.

    Signals:
        chosen: another model was chosen.
    """

    chosen = pyqtSignal()

    def __init__(self, shipped: tuple[str, ...], default: str | None, pattern: str, title: str) -> None:
        super().__init__()
        self._pattern, self._title = pattern, title
        for name in sorted(shipped, key=lambda name: (name != default, name)):
            self.addItem(self.tr("{name} (default)").format(name=name) if name == default else name, name)
        if not shipped:
            self.addItem(self.tr("default"), None)
        self.addItem(self.tr("Open a file…"), _OTHER)
        self._last = 0
        self.activated.connect(self._activated)

    @property
    def choice(self) -> str | None:
        """Name or file of what is chosen; None for the default."""
        found = self.currentData() if self.currentData() != _OTHER else self.itemData(self._last)
        return None if found is None else str(found)

    def set_model(self, model: str | None) -> None:
        """Choose without a signal; files get a line of their own."""
        index = self.findData(model) if model is not None else 0
        if index < 0:
            index = self.count() - 1
            self.insertItem(index, Path(str(model)).name, model)
            self.setItemData(index, str(model), Qt.ItemDataRole.ToolTipRole)
        self.setCurrentIndex(index)
        self._last = index

    def _activated(self, index: int) -> None:
        if self.itemData(index) != _OTHER:
            self._last = index
            self.chosen.emit()
            return
        self.setCurrentIndex(self._last)
        file, _kind = QFileDialog.getOpenFileName(self, self._title, "", self._pattern)
        if file:
            self.set_model(file)
            self.chosen.emit()


@dataclass(frozen=True, kw_only=True, eq=False)
class OptionControl:
    """A widget, functions to read and show its value, and its signal for changes by the user."""

    widget: Any
    value: Callable[[], Any]
    show: Callable[[Any], None]
    touched: Any


def make_control(option: Option, look: Control, tr: Callable[[str], str]) -> OptionControl:
    """The control of an option."""
    widget: Any
    if option.is_switch:
        widget = QCheckBox(tr(look.label))
        made = OptionControl(widget=widget, value=widget.isChecked, show=widget.setChecked, touched=widget.toggled)
    elif look.files is not None:
        title, pattern = look.files
        widget = ModelChoice(_SHIPPED[option.name](), _default(option.name), tr(pattern), tr(title))
        made = OptionControl(widget=widget, value=lambda: widget.choice, show=widget.set_model, touched=widget.chosen)
    elif look.choices:
        widget = QComboBox()
        widget.addItems(list(look.choices))
        made = OptionControl(
            widget=widget,
            value=lambda: None if widget.currentText() == look.none else option.read(widget.currentText()),
            show=lambda value: _choose(widget, look.none if value is None and look.none else str(value)),
            touched=widget.activated,
        )
    elif look.seconds:
        widget = QDoubleSpinBox()
        widget.setDecimals(2)
        widget.setSingleStep(0.5)
        widget.setRange(0, _LONGEST_S)
        widget.setSpecialValueText(tr(look.none))
        widget.setSuffix(tr(" s"))
        made = OptionControl(
            widget=widget,
            value=lambda: widget.value() or None,
            show=lambda value: widget.setValue(value or 0),
            touched=widget.valueChanged,
        )
    elif isinstance(option.default, str):
        widget = QLineEdit()
        made = OptionControl(widget=widget, value=widget.text, show=widget.setText, touched=widget.textChanged)
    elif isinstance(option.default, int):
        widget = QSpinBox()
        widget.setRange(int(look.low), int(look.high))
        made = OptionControl(
            widget=widget, value=widget.value, show=lambda value: _show_number(widget, value),
            touched=widget.valueChanged,
        )  # fmt: skip
    elif look.form:
        widget = ValueSlider(round(look.low / look.step), round(look.high / look.step), _writer(look, tr))
        made = OptionControl(
            widget=widget,
            value=lambda: None if look.none and widget.value() == 0 else round(widget.value() * look.step, 6),
            show=lambda value: widget.setValue(round((value or 0) / look.step)),
            touched=widget.valueChanged,
        )
    else:
        widget = ScoreSlider(round(look.low * 100), round(look.high * 100))
        made = OptionControl(
            widget=widget, value=lambda: widget.score, show=widget.set_score, touched=widget.valueChanged
        )
    widget.setAccessibleName(tr(look.spoken or look.label))
    widget.setToolTip(tr(look.hint))
    return made


def _writer(look: Control, tr: Callable[[str], str]) -> Callable[[int], str]:
    """Formats the value at a slider position."""

    def write(place: int) -> str:
        if look.none and place == 0:
            return tr(look.none)
        return look.form.format(value=place * look.step, percent=place * look.step * 100)

    return write


def disable_item(box: QComboBox, place: int, why_not: str) -> None:
    """Disable a line of a list, with the reason as its tool tip; without a reason, enable it."""
    model = box.model()
    item = model.item(place) if isinstance(model, QStandardItemModel) else None
    if item is not None:
        item.setEnabled(not why_not)
        item.setToolTip(why_not)


def _choose(box: QComboBox, text: str) -> None:
    """Choose a text; the command line may give one that is not listed."""
    if box.findText(text) < 0:
        box.addItem(text)
    box.setCurrentText(text)


def _show_number(box: QSpinBox, value: int) -> None:
    """Show a number; the command line may give one outside the range."""
    box.setMaximum(max(box.maximum(), value))
    box.setValue(value)
