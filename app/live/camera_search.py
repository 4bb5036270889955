"""The search for cameras: names first, frame sizes as the cameras answer."""

from __future__ import annotations

from PyQt5.QtCore import QObject, QThread, pyqtSignal

from engine.errors import EngineError
from engine.sources.opening import CameraInfo, CameraSizes, list_cameras, measured


class CameraSearch(QThread):
    """Lists the cameras in a thread of its own, because that may take long.

    Signals:
        named: names are known, and sizes of cameras that were asked before; with `finished`, the other sizes too.
    """

    named = pyqtSignal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.cameras: list[CameraInfo] = []
        self.message = ""
        self._sizes = CameraSizes()

    def run(self) -> None:
        """List the cameras."""
        try:
            found, self.message = list_cameras(), ""
        except EngineError as error:
            found, self.message = [], str(error)
        self.cameras = measured(found, self._sizes, limit_s=0)
        self.named.emit()
        self.cameras = measured(found, self._sizes)
