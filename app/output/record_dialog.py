"""The dialog that chooses what the record button writes, and where to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PyQt5.QtCore import Qt, pyqtSignal
from PyQt5.QtWidgets import QDialog, QFileDialog, QFormLayout, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from app.output.record_options import RecordOptions
from app.widgets.elided import ElidedLabel
from app.widgets.option_controls import OptionControl, make_control
from app.widgets.overlay_panel import faint, heading
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
        """Show the choices.

        Args:
            options: chosen so far.
            folder: of the recordings.
            source: name of the open source, for an example of a file name.
            can_begin: whether a recording can begin: something is open, and none runs.
            parent: the window.
        """
        super().__init__(parent)
        self.setWindowTitle(self.tr("Recording"))
        self._options, self._folder, self._source = options, folder, source
        self.controls: dict[str, OptionControl] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 12, 20, 16)
        layout.setSpacing(8)
        layout.addWidget(heading(self.tr("The button (R) records together")))
        form = QFormLayout()
        for item in options_of(options, Place.PANEL):
            assert item.control is not None  # noqa: S101 - options in a panel have one
            control = self.controls[item.name] = make_control(item, item.control, self.tr)
            control.show(getattr(options, item.name))
            control.touched.connect(self._touched)
            if item.is_switch:
                layout.addWidget(control.widget)
            else:
                form.addRow(self.tr(item.control.label), control.widget)
        layout.addWidget(heading(self.tr("When and where")))
        layout.addLayout(form)
        self.folder_text, change = ElidedLabel(), QPushButton(self.tr("Change…"))
        self.folder_text.setText(str(folder))
        change.clicked.connect(self._ask_folder)
        line = QHBoxLayout()
        line.addWidget(self.folder_text, 1)
        line.addWidget(change)
        layout.addLayout(line)
        self.note = faint("")
        self.note.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.note.setMinimumHeight(_NOTE_LINES * self.fontMetrics().lineSpacing())  # the dialog keeps its size
        layout.addWidget(self.note)
        self.record, close = QPushButton(self.tr("Record")), QPushButton(self.tr("Close"))
        self.record.setObjectName("primary")
        self.record.setDefault(True)
        self.record.clicked.connect(self._record)
        self.record.setVisible(can_begin)
        close.clicked.connect(self.reject)
        ends = QHBoxLayout()
        ends.addStretch(1)
        ends.addWidget(close)
        ends.addWidget(self.record)
        layout.addLayout(ends)
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

    def _ask_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, self.tr("Folder for recordings"), str(self._folder))
        if name:
            self.set_folder(Path(name))

    def set_folder(self, folder: Path) -> None:
        """Record to another folder."""
        self._folder = folder
        self.folder_text.setText(str(folder))
        self.folder_changed.emit(folder)

    def _record(self) -> None:
        self.accept()
        self.record_requested.emit()
