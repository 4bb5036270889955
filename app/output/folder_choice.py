"""A line with the folder that files go to, and a button that asks for another."""

from __future__ import annotations

from pathlib import Path

from PyQt5.QtCore import pyqtSignal
from PyQt5.QtWidgets import QFileDialog, QHBoxLayout

from app.widgets.elided import ElidedLabel
from app.widgets.parts import push_button


class FolderChoice(QHBoxLayout):
    """Shows a folder.

    Signals:
        changed: another folder was chosen, a Path.
    """

    changed = pyqtSignal(object)

    def __init__(self, path: Path, title: str) -> None:
        """Show a folder; `title` is that of the dialog that asks for another."""
        super().__init__()
        self.path, self._title = path, title
        self.text = ElidedLabel()
        self.text.setText(str(path))
        self.addWidget(self.text, 1)
        self.addWidget(push_button(self.tr("Change…"), self._ask))

    def set_path(self, path: Path) -> None:
        """Choose another folder."""
        self.path = path
        self.text.setText(str(path))
        self.changed.emit(path)

    def _ask(self) -> None:
        name = QFileDialog.getExistingDirectory(self.parentWidget(), self._title, str(self.path))
        if name:
            self.set_path(Path(name))
