"""The bar above the video: expected errors, warnings, and the progress of what takes long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from PyQt5.QtCore import Qt, QTimer
from PyQt5.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QSizePolicy, QWidget

from app.widgets.theme import ACCENT, ERROR, GOOD, RAISED, WARNING

Level = Literal["error", "warning", "busy", "done"]
_COLORS: dict[Level, str] = {"error": ERROR, "warning": WARNING, "busy": ACCENT, "done": GOOD}
_DONE_SHOWN_MS = 8000


class NoticeBar(QWidget):
    """One message with at most one button; hidden when there is none."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("notice")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._text = QLabel()
        self._text.setWordWrap(True)
        self._text.setTextFormat(Qt.TextFormat.PlainText)  # names of files are data
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._text.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self._progress = QProgressBar()
        self._progress.setFixedWidth(110)
        self._progress.setTextVisible(False)
        self.button = QPushButton()
        self._close = QPushButton("✕")
        self._close.setProperty("flat", True)
        self._close.setFixedWidth(30)
        self._close.setToolTip(self.tr("Close"))
        self._close.setAccessibleName(self.tr("Close this message"))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(12, 6, 6, 6)
        layout.addWidget(self._text)
        for widget in (self._progress, self.button, self._close):
            layout.addWidget(widget)
        self._act: Callable[[], None] | None = None
        self.button.clicked.connect(self._clicked)
        self._close.clicked.connect(self.clear)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.clear)
        self.level: Level | None = None
        self.hide()

    @property
    def text(self) -> str:
        """The message; empty when it is hidden."""
        return self._text.text() if self.level is not None else ""

    def report(
        self,
        level: Level,
        text: str,
        *,
        action: tuple[str, Callable[[], None]] | None = None,
        percent: int | None = None,
    ) -> None:
        """Show a message in place of the one before.

        Args:
            level: 'error', 'warning', 'busy' (with a progress bar) or 'done' (hidden again after a while).
            text: the message for the user.
            action: label of a button, and what it does.
            percent: progress of what is busy; None if unknown.
        """
        self.level, self._act = level, None if action is None else action[1]
        self._text.setText(text)
        self.button.setVisible(action is not None)
        self.button.setText("" if action is None else action[0])
        self._progress.setVisible(level == "busy")
        self._progress.setRange(0, 0 if percent is None else 100)
        self._progress.setValue(percent or 0)
        self.setStyleSheet(
            f"#notice {{ background: {RAISED}; border-left: 4px solid {_COLORS[level]}; }} QLabel {{ border: 0; }}"
        )
        self._timer.stop()
        if level == "done":
            self._timer.start(_DONE_SHOWN_MS)
        self.show()

    def clear(self) -> None:
        """Hide the bar."""
        self.level, self._act = None, None
        self._timer.stop()
        self.hide()

    def clear_level(self, *levels: Level) -> None:
        """Hide the bar if it shows one of these."""
        if self.level in levels:
            self.clear()

    def _clicked(self) -> None:
        act = self._act
        self.clear()
        if act is not None:
            act()
