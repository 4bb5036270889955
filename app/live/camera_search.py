"""The search for cameras."""

from __future__ import annotations

from PyQt5.QtCore import QObject

from app.live.search import Search
from engine.errors import EngineError
from engine.sources.opening import CameraInfo, list_cameras


class CameraSearch(Search):
    """Lists the cameras; a driver may take its time.

    Attributes:
        cameras: those found last.
        message: why none could be looked for; empty where that worked.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(self.ask, parent, may_hang=True)
        self.cameras: list[CameraInfo] = []
        self.message = ""

    def ask(self) -> None:
        """List the cameras."""
        try:
            self.cameras, self.message = list_cameras(), ""
        except EngineError as error:
            self.cameras, self.message = [], str(error)
