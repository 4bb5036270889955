"""A question that may take long to answer, asked in a thread of its own."""

from __future__ import annotations

import contextlib
import threading

from PyQt5.QtCore import QObject, pyqtSignal


class Search(QObject):
    """Asks in a thread and says when the answer is there; `ask` is what a subclass adds.

    No QThread: one that still runs when its window goes ends the program.

    Signals:
        finished: the answer is there.
    """

    finished = pyqtSignal()
    may_hang = False
    """Whether the answer may never come; the end of the program does not wait for it then."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether it has not answered yet."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def has_begun(self) -> bool:
        """Whether it was started before."""
        return self._thread is not None

    def start(self) -> None:
        """Ask."""
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=self.may_hang)
        self._thread.start()

    def wait(self, limit_s: float) -> None:
        """Wait for the answer up to a limit."""
        if self._thread is not None:
            self._thread.join(limit_s)

    def ask(self) -> None:
        """Find the answer, in the thread."""
        raise NotImplementedError

    def _run(self) -> None:
        self.ask()
        with contextlib.suppress(RuntimeError):  # the window is gone already
            self.finished.emit()
