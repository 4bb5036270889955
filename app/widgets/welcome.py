"""The page without a video: the reason, and buttons for a file and the demo."""

from __future__ import annotations

from PyQt5.QtCore import Qt, pyqtSignal
from PyQt5.QtWidgets import QLabel, QWidget

from app.widgets.parts import faint, in_column, in_row, push_button


class Welcome(QWidget):
    """A title, a line, and buttons.

    Signals:
        file_requested, demo_requested, again_requested: a button was pressed.
    """

    file_requested = pyqtSignal()
    demo_requested = pyqtSignal()
    again_requested = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._title = QLabel()
        self._title.setObjectName("title")
        self._line = faint("")
        for label in (self._title, self._line):
            label.setAlignment(Qt.AlignmentFlag.AlignCenter)
            label.setWordWrap(True)
            label.setTextFormat(Qt.TextFormat.PlainText)  # names of files are data
        self.open_file = push_button(self.tr("Open a video or photo…"), self.file_requested)
        self.demo = push_button(self.tr("Show the demo"), self.demo_requested)
        self.demo.setObjectName("primary")
        self.again = push_button(self.tr("Try again"), self.again_requested)
        buttons = in_row(1, self.again, self.demo, self.open_file, 1)
        in_column(1, self._title, self._line, buttons, 1, of=self, margins=(40, 20, 40, 20), spacing=14)
        self.show_message(self.tr("Looking for cameras…"), "", busy=True)

    def show_message(self, title: str, line: str, *, busy: bool = False, again: bool = False) -> None:
        """Show this text, and the buttons unless something is being opened; `again`: also the one to try again."""
        self._title.setText(title)
        self._line.setText(line)
        for each in (self.open_file, self.demo):
            each.setVisible(not busy)
        self.again.setVisible(again)

    @property
    def text(self) -> str:
        """Title and line."""
        return f"{self._title.text()}\n{self._line.text()}"
