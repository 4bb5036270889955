"""The search for backends that cannot run here."""

from __future__ import annotations

from PyQt5.QtCore import QObject, QThread

from engine.backends import probe_backends


class BackendSearch(QThread):
    """Asks each backend whether it can run, in a thread of its own, because that may take long."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.unusable: dict[str, str] = {}
        """The reason of each backend that runs on no device here, by its name."""

    def run(self) -> None:
        """Ask them all."""
        found: dict[str, list[str]] = {}
        for label, usable, detail in probe_backends():
            found.setdefault(label.partition(" ")[0], []).append("" if usable else detail)
        self.unusable = {name: reasons[0] for name, reasons in found.items() if all(reasons)}
