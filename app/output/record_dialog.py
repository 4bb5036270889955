"""The dialog that chooses what the record button writes, and where to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PyQt5.QtCore import Qt, pyqtSignal
from PyQt5.QtWidgets import QDialog, QFormLayout, QWidget

from app.output.folder_choice import FolderChoice
from app.output.record_options import RecordOptions
from app.widgets.option_controls import OptionControl, make_control
from app.widgets.parts import faint, heading, in_column, in_row, push_button
from engine.errors import OptionError
from engine.option_table import Place, options_of

_NOTE_LINES = 4


class RecordDialog(QDialog):
    """Choices for recordings; they hold at once, and in the next run.

    Signals:
        changed: other RecordOptions.
        folder_changed: another folder, a Path.
        record_requested: the recording is to begin.
    """

    changed = pyqtSignal(object)
    folder_changed = pyqtSignal(object)
    record_requested = pyqtSignal()

    def __init__(
        self, options: RecordOptions, folder: Path, source: str, *, can_begin: bool, parent: QWidget | None = None
    ) -> None:
        """Show the choices, and how a recording of `source` would be named; `can_begin`: one is open, and none runs."""
        super().__init__(parent)
        self.setWindowTitle(self.tr("Recording"))
        self._options, self._source = options, source
        self.controls: dict[str, OptionControl] = {}
        switches, form = in_column(), QFormLayout()
        for item in options_of(options, Place.PANEL):
            assert item.control is not None  # noqa: S101 - options in a panel have one
            control = self.controls[item.name] = make_control(item, item.control, self.tr)
            control.show(getattr(options, item.name))
            control.touched.connect(self._touched)
            if item.is_switch:
                switches.addWidget(control.widget)
            else:
                form.addRow(self.tr(item.control.label), control.widget)
        self.folder = FolderChoice(folder, self.tr("Folder for recordings"))
        self.folder.changed.connect(self.folder_changed)
        self.note = faint("")
        self.note.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.note.setMinimumHeight(_NOTE_LINES * self.fontMetrics().lineSpacing())  # the dialog keeps its size
        self.record = push_button(self.tr("Record"), self._record)
        self.record.setObjectName("primary")
        self.record.setDefault(True)
        self.record.setVisible(can_begin)
        in_column(
            heading(self.tr("The button (R) records together")),
            switches,
            heading(self.tr("When and where")),
            form,
            self.folder,
            self.note,
            in_row(1, push_button(self.tr("Close"), self.reject), self.record),
            of=self,
            margins=(20, 12, 20, 16),
            spacing=8,
        )
        self.resize(460, self.sizeHint().height())
        self._touched()

    def _touched(self, *_values: object) -> None:
        values = {name: control.value() for name, control in self.controls.items()}
        try:
            options = replace(self._options, **values)
        except OptionError as error:
            self.note.setText(str(error))
            self.record.setEnabled(False)
            return
        ends = [".mp4"] * options.overlay + ["_raw.mp4"] * options.raw + [".jsonl"] * options.poses
        stem = options.stem(self._source)
        self.note.setText("\n".join([self.tr("Written as"), *(f"{stem}{end}" for end in ends)]))
        self.record.setEnabled(True)
        if options != self._options:
            self._options = options
            self.changed.emit(options)

    def _record(self) -> None:
        self.accept()
        self.record_requested.emit()
