"""The search for cameras."""

from __future__ import annotations

from PyQt5.QtCore import QObject, QThread

from engine.errors import EngineError
from engine.sources.opening import CameraInfo, list_cameras


class CameraSearch(QThread):
    """Lists the cameras in a thread of its own, because that may take long."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.cameras: list[CameraInfo] = []
        self.message = ""

    def run(self) -> None:
        """List the cameras."""
        try:
            self.cameras, self.message = list_cameras(), ""
        except EngineError as error:
            self.cameras, self.message = [], str(error)
