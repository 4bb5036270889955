"""A question that may take long to answer, asked in a thread of its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from PyQt5.QtCore import QObject, pyqtSignal


class Search(QObject):
    """Asks in a thread and says when the answer is there.

    No QThread: one that still runs when its window goes ends the program.

    Args:
        ask: finds the answer, in the thread.
        may_hang: whether the answer may never come; the end of the program does not wait for it then.

    Signals:
        finished: the answer is there.
    """

    finished = pyqtSignal()

    def __init__(self, ask: Callable[[], None], parent: QObject | None = None, *, may_hang: bool = False) -> None:
        super().__init__(parent)
        self._ask, self._may_hang = ask, may_hang
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
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=self._may_hang)
        self._thread.start()

    def wait(self, limit_s: float) -> None:
        """Wait for the answer up to a limit."""
        if self._thread is not None:
            self._thread.join(limit_s)

    def _run(self) -> None:
        self._ask()
        with contextlib.suppress(RuntimeError):  # the window is gone already
            self.finished.emit()
