"""The search for backends that cannot run here, and for precisions that they do not have."""

from __future__ import annotations

import contextlib
import threading

from PyQt5.QtCore import QObject, pyqtSignal

from engine.backends import probe_backends, probe_precisions
from engine.errors import EngineError


class BackendSearch(QObject):
    """Asks each backend what it can run, in a thread of its own, because starting OpenVINO may take long.

    No QThread: one that still runs when its window goes ends the program.

    Signals:
        finished: the answers are there.

    Attributes:
        pose_model: whose precisions were looked for last; None for the default.
        unusable: the reason of each backend that runs on no device here, by its name.
        precisions: for each backend and `auto`, the reason of each precision that it does not have.
    """

    finished = pyqtSignal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.pose_model: str | None = None
        self.unusable: dict[str, str] = {}
        self.precisions: dict[str, dict[str, str]] = {}
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether it has not answered yet."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def has_begun(self) -> bool:
        """Whether it was started before."""
        return self._thread is not None

    def start(self, pose_model: str | None) -> None:
        """Ask about a pose model."""
        self.pose_model = pose_model
        self._thread = threading.Thread(target=self._run, name="backend search")
        self._thread.start()

    def wait(self, limit_s: float) -> None:
        """Wait for the answers up to a limit."""
        if self._thread is not None:
            self._thread.join(limit_s)

    def _run(self) -> None:
        self.ask()
        with contextlib.suppress(RuntimeError):  # the window is gone already
            self.finished.emit()

    def ask(self) -> None:
        """Ask them all."""
        found: dict[str, list[str]] = {}
        for label, usable, detail in probe_backends():
            found.setdefault(label.partition(" ")[0], []).append("" if usable else detail)
        self.unusable = {name: reasons[0] for name, reasons in found.items() if all(reasons)}
        try:
            self.precisions = probe_precisions(self.pose_model)
        except EngineError:  # a model that cannot be read is reported when it is opened
            self.precisions = {}
