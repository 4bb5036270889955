"""The page without a video: the reason, and buttons for a file and the demo."""

from __future__ import annotations

from PyQt5.QtCore import Qt, pyqtSignal
from PyQt5.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app.widgets.overlay_panel import faint


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
        self.open_file = QPushButton(self.tr("Open a video or photo…"))
        self.demo = QPushButton(self.tr("Show the demo"))
        self.demo.setObjectName("primary")
        self.again = QPushButton(self.tr("Try again"))
        self.again.clicked.connect(self.again_requested)
        self.open_file.clicked.connect(self.file_requested)
        self.demo.clicked.connect(self.demo_requested)
        row = QHBoxLayout()
        row.addStretch(1)
        for button in (self.again, self.demo, self.open_file):
            row.addWidget(button)
        row.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setSpacing(14)
        layout.setContentsMargins(40, 20, 40, 20)
        layout.addStretch(1)
        layout.addWidget(self._title)
        layout.addWidget(self._line)
        layout.addLayout(row)
        layout.addStretch(1)
        self.show_message(self.tr("Looking for cameras…"), "", busy=True)

    def show_message(self, title: str, line: str, *, busy: bool = False, again: bool = False) -> None:
        """Show this text, and the buttons unless something is being opened; `again`: also the one to try again."""
        self._title.setText(title)
        self._line.setText(line)
        for button in (self.open_file, self.demo):
            button.setVisible(not busy)
        self.again.setVisible(again)

    @property
    def text(self) -> str:
        """Title and line."""
        return f"{self._title.text()}\n{self._line.text()}"
