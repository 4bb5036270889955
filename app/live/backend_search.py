"""The search for backends that cannot run here, and for precisions that they do not have."""

from __future__ import annotations

from PyQt5.QtCore import QObject

from app.live.search import Search
from engine.backends import probe_backends, probe_precisions
from engine.errors import EngineError


class BackendSearch(Search):
    """Asks each backend what it can run; starting OpenVINO may take long.

    Attributes:
        pose_model: whose precisions are looked for; None for the default.
        unusable: the reason of each backend that runs on no device here, by its name.
        precisions: for each backend and `auto`, the reason of each precision that it does not have.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(self.ask, parent)
        self.pose_model: str | None = None
        self.unusable: dict[str, str] = {}
        self.precisions: dict[str, dict[str, str]] = {}

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
