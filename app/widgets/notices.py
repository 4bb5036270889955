"""Messages over the upper edge of the video: two at a time, the rest in a list; none moves or scales the video."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from PyQt5.QtCore import QEvent, QObject, QRect, Qt, pyqtSignal
from PyQt5.QtWidgets import QFrame, QLabel, QProgressBar, QSizePolicy, QWidget

from app.widgets.parts import in_column, in_row, push_button, scrolled, single_shot
from app.widgets.theme import colors

Level = Literal["error", "warning", "busy", "done"]
Action = tuple[str, Callable[[], object]]
_DONE_SHOWN_MS = 8000
_SHOWN, _WIDEST_PX, _MARGIN_PX = 2, 620, 12
_LIST_SHARE = 0.45  # of the video's height: how far the list of older messages may reach
EXPORT = "export"
"""The subject that has a bar of its own while it is busy, besides the two messages."""


class Notice(QFrame):
    """One message, with a button that closes it and at most one other.

    Signals:
        closed: it is to be removed.
    """

    closed = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("notice")
        self.level: Level = "done"
        self.label = QLabel()
        self.label.setWordWrap(True)
        self.label.setTextFormat(Qt.TextFormat.PlainText)  # names of files are data
        self.label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.label.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self._progress = QProgressBar()
        self._progress.setFixedWidth(110)
        self._progress.setTextVisible(False)
        self.button, self.close_button = push_button("", self._clicked), push_button("✕", self.closed, self.tr("Close"))
        self.close_button.setProperty("flat", True)
        self.close_button.setFixedWidth(30)
        self.close_button.setAccessibleName(self.tr("Close this message"))
        in_row(self.label, self._progress, self.button, self.close_button, of=self, margins=(12, 6, 6, 6))
        self._act: Callable[[], object] | None = None
        self._timer = single_shot(self, self.closed, _DONE_SHOWN_MS)

    def show_message(self, level: Level, text: str, action: Action | None, percent: int | None) -> None:
        """Show a message in place of the one before."""
        self.level, self._act = level, None if action is None else action[1]
        self.label.setText(text)
        self.button.setVisible(action is not None)
        self.button.setText("" if action is None else action[0])
        self._progress.setVisible(level == "busy")
        self._progress.setRange(0, 0 if percent is None else 100)
        self._progress.setValue(percent or 0)
        theme = colors()
        marks = {"error": theme.error, "warning": theme.warning, "busy": theme.accent, "done": theme.good}
        self.setStyleSheet(
            f"#notice {{ background: {theme.raised}; border: 1px solid {theme.edge}; border-radius: 6px;"
            f" border-left: 4px solid {marks[level]}; }} QLabel {{ border: 0; }}"
        )
        if level == "done":
            self._timer.start()
        else:
            self._timer.stop()

    def _clicked(self) -> None:
        act = self._act
        self.closed.emit()
        if act is not None:
            act()


class Notices(QWidget):
    """The messages of a window, by subject, such as "source": a new one replaces the last of its subject.

    Signals:
        reported: level and text of a message that was not shown before.
        made: a Notice, for filters of key events.
        emptied: a message that had the keyboard's focus is gone.
    """

    reported = pyqtSignal(str, str)
    made = pyqtSignal(object)
    emptied = pyqtSignal()

    def __init__(self, parent: QWidget) -> None:
        """Lie over the upper edge of `parent`, outside of its layout."""
        super().__init__(parent)
        self._notices: dict[str, Notice] = {}  # the newest first
        self._is_open = False
        inner, none = QWidget(), (0, 0, 0, 0)
        self._own, self._top = in_column(margins=none, spacing=6), in_column(margins=none, spacing=6)
        self._older = in_column(of=inner, margins=none, spacing=6)
        self.more = push_button("", self._toggle)
        self._list = scrolled(inner)
        self._list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        layout = in_column(self._own, self._top, self._list, of=self, margins=none, spacing=6)
        layout.addWidget(self.more, 0, Qt.AlignmentFlag.AlignLeft)
        parent.installEventFilter(self)
        self._arrange()

    # --- what is reported -------------------------------------------------------------------------------------------

    def report(
        self, level: Level, text: str, *, subject: str, action: Action | None = None, percent: int | None = None
    ) -> None:
        """Show a message in place of the last one of its subject.

        Args:
            level: 'error', 'warning', 'busy' (with a progress bar) or 'done' (removed again after a while).
            text: the message for the user.
            subject: what it is about.
            action: label of a button, and what it does.
            percent: progress of what is busy; None if unknown.
        """
        notice = self._notices.pop(subject, None)
        is_new = notice is None or (notice.level, notice.label.text()) != (level, text)
        stays = notice is not None and notice.level == level == "busy"  # progress does not jump to the top
        if notice is None:
            notice = Notice()
            notice.closed.connect(lambda: self.clear(subject))
            self.made.emit(notice)
        notice.show_message(level, text, action, percent)
        self._notices = {**self._notices, subject: notice} if stays else {subject: notice, **self._notices}
        self._arrange()
        if is_new:
            self.reported.emit(level, text)

    def clear(self, *subjects: str) -> None:
        """Remove the messages about these subjects."""
        for subject in subjects:
            notice = self._notices.pop(subject, None)
            if notice is not None:
                had_focus = notice.isAncestorOf(self.focusWidget()) if self.focusWidget() is not None else False
                notice.hide()
                notice.setParent(None)  # type: ignore[call-overload]
                notice.deleteLater()
                if had_focus:
                    self.emptied.emit()
        self._arrange()

    # --- what is shown ----------------------------------------------------------------------------------------------

    @property
    def text(self) -> str:
        """All messages, one a line, the newest first."""
        return "\n".join(notice.label.text() for notice in self._notices.values())

    def of(self, subject: str) -> Notice | None:
        """The message about a subject."""
        return self._notices.get(subject)

    def has(self, *levels: Level) -> bool:
        """Whether there is a message of one of these levels."""
        return any(notice.level in levels for notice in self._notices.values())

    def _toggle(self) -> None:
        self._is_open = not self._is_open
        self._arrange()

    def _arrange(self) -> None:
        """Put each message in its place: an export's bar, the two newest, and the list of the rest."""
        own = [subject for subject, notice in self._notices.items() if subject == EXPORT and notice.level == "busy"]
        others = [subject for subject in self._notices if subject not in own]
        top, older = others[:_SHOWN], others[_SHOWN:]
        self._is_open = self._is_open and bool(older)
        for part, subjects in ((self._own, own), (self._top, top), (self._older, older)):
            for place, subject in enumerate(subjects):
                part.insertWidget(place, self._notices[subject])
                self._notices[subject].show()
        self._list.setVisible(self._is_open)
        self.more.setVisible(bool(older))
        self.more.setText(
            self.tr("Fewer messages") if self._is_open else self.tr("{count} more…").format(count=len(older))
        )
        self.setVisible(bool(self._notices))
        self._place()

    def _place(self) -> None:
        """Take the width that there is, and the height that the messages need in it."""
        around = self.parentWidget()
        layout = self.layout()
        if around is None or layout is None or not self._notices:
            return
        width = max(1, min(_WIDEST_PX, around.width() - 2 * _MARGIN_PX))
        if self._is_open:
            inner = self._older.heightForWidth(width) if self._older.hasHeightForWidth() else 0
            self._list.setFixedHeight(max(60, min(inner, round(around.height() * _LIST_SHARE))))
        layout.activate()
        height = layout.heightForWidth(width) if layout.hasHeightForWidth() else layout.sizeHint().height()
        self.setGeometry(QRect(_MARGIN_PX, _MARGIN_PX, width, height))
        self.raise_()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Follow the size of what it lies over."""
        if event is not None and event.type() in (QEvent.Type.Resize, QEvent.Type.ChildAdded):
            self._place()
        return super().eventFilter(watched, event)
