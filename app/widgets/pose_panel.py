"""The pose panel: networks, backend and precision, detection and tracking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from PyQt5.QtCore import pyqtSignal
from PyQt5.QtWidgets import QComboBox, QFormLayout, QLabel, QWidget

from app.widgets.build_choice import BuildChoice
from app.widgets.live_switch import LiveSwitch
from app.widgets.option_controls import OptionControl, disable_item, make_control
from app.widgets.parts import heading, in_column, single_shot
from app.widgets.value_slider import ValueSlider
from app.wording import in_window_words
from engine.option_table import Option, Place, options_of
from engine.pipeline.options import PipelineOptions

_SETTLE_MS = 350  # a moving slider must not open a pipeline at every step


class PosePanel(QWidget):
    """Choices that need another pipeline; the current one runs until it is open.

    Signals:
        changed: other PipelineOptions, once they have settled.
    """

    changed = pyqtSignal(object)

    def __init__(self, parent: QWidget | None = None, *, options: PipelineOptions | None = None) -> None:
        """Make the controls; `options` are initial values, and their class is the table."""
        super().__init__(parent)
        self._base = options or PipelineOptions()
        self._settle = single_shot(self, self._announce, _SETTLE_MS)  # no lambda: Qt drops a method with its panel
        self.controls: dict[str, OptionControl] = {}
        self._no_precision: Mapping[str, Mapping[str, str]] = {}
        self.running = QLabel()
        self.running.setWordWrap(True)
        self.builds = BuildChoice()
        self.live = LiveSwitch()
        self._layout = in_column(of=self, margins=(16, 8, 9, 16), spacing=6)
        shown = options_of(self._base, Place.PANEL)
        for section in dict.fromkeys(item.control.section for item in shown if item.control is not None):
            self._add_section(section, [item for item in shown if item.control and item.control.section == section])
            if section == "Networks":
                self._layout.addWidget(self.running)
        self._layout.addWidget(heading(self.tr("Build an engine")))
        self._layout.addWidget(self.builds)
        self._layout.addWidget(heading(self.tr("Other programs")))
        self._layout.addWidget(self.live)
        self._layout.addStretch(1)
        self.set_options(self._base)

    def _add_section(self, title: str, options: list[Option]) -> None:
        """A heading, a form with a line for each value, and the switches below it."""
        form = QFormLayout()
        form.setVerticalSpacing(8)
        switches = []
        for item in options:
            look = item.control
            assert look is not None  # noqa: S101 - its section was read from it
            control = self.controls[item.name] = make_control(item, look, self.tr)
            control.touched.connect(self._touched)
            if item.is_switch:
                switches.append(control.widget)
            elif isinstance(control.widget, ValueSlider):
                control.widget.add_to(form, self.tr(look.label), self.tr(look.hint))
            else:
                form.addRow(self.tr(look.label), control.widget)
        self._layout.addWidget(heading(self.tr(title)))
        self._layout.addLayout(form)
        for switch in switches:
            self._layout.addWidget(switch)

    @property
    def options(self) -> PipelineOptions:
        """The chosen options; those not in the panel keep their given values."""
        return replace(self._base, **{name: control.value() for name, control in self.controls.items()})

    def set_options(self, options: PipelineOptions) -> None:
        """Show these choices, without a signal."""
        self._base = options
        self.blockSignals(True)
        for name, control in self.controls.items():
            control.show(getattr(options, name))
        self._grey_precisions()
        self._settle.stop()
        self.blockSignals(False)

    def show_running(self, description: dict[str, Any]) -> None:
        """Show the running networks; the tool tip says why other backends were skipped."""
        if not description:
            self.running.setText("")
            self.running.setToolTip("")
            return
        self.running.setText(
            self.tr("Runs on <b>{backend}</b> · {device} · {precision}").format(
                backend=description.get("backend"),
                device=description.get("device"),
                precision=description.get("precision"),
            )
        )
        passed = [f"{name}: {why}" for name, why in description.get("skipped", [])]
        self.running.setToolTip("\n".join([self.tr("Skipped:"), *passed]) if passed else "")

    def show_unusable(self, backends: Mapping[str, str], precisions: Mapping[str, Mapping[str, str]]) -> None:
        """Grey what cannot run here; the tool tip of each says why.

        Args:
            backends: the reason of each backend that cannot run, by its name.
            precisions: for each backend, the reason of each precision that it does not have.
        """
        self._no_precision = precisions
        _grey(self.controls["backend"].widget, backends)
        self._grey_precisions()

    def _grey_precisions(self) -> None:
        _grey(self.controls["precision"].widget, self._no_precision.get(self.controls["backend"].value(), {}))

    def show_opening(self, line: str) -> None:
        """Show that another pipeline is being opened."""
        self.running.setText(line)

    def _announce(self) -> None:
        self.changed.emit(self.options)

    def _touched(self, *_values: object) -> None:
        for item in options_of(self._base, Place.PANEL):
            if item.control is not None and item.control.needs:
                self.controls[item.name].widget.setEnabled(self.controls[item.control.needs].value())
        self._grey_precisions()
        self._settle.start()


def _grey(box: QComboBox, reasons: Mapping[str, str]) -> None:
    for place in range(box.count()):
        disable_item(box, place, in_window_words(reasons.get(box.itemText(place), "")))
