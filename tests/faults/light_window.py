"""`python -m tests.faults.light_window FOLDER`: the window without a screen, on fake pictures; records at once.

It prints "recorded N" as the recording grows.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PyQt5.QtCore import QSettings, QTimer

import app.main_window
import app.settings
from app import launch
from app.main_window import MainWindow
from engine.options import Options
from tests.app.fakes import Backstage

FOLDER = Path(sys.argv[1])
EVERY_FRAMES = 25


class RecordingWindow(MainWindow):
    """Starts recording as soon as people are shown."""

    def __init__(self, **arguments: Any) -> None:
        backstage = Backstage()
        super().__init__(**arguments, open_source=backstage.open_source, open_pipeline=backstage.open_pipeline)
        self.outputs.folder = FOLDER
        self._printed = 0
        self._begun = False
        self._clock = QTimer(self)
        self._clock.timeout.connect(self._look)
        self._clock.start(20)

    def _look(self) -> None:
        if self.statistics.frames_painted_with_people == 0:
            return
        if not self._begun:
            self._begun = True
            self.toggle_record()
            self.outputs.toggle_poses()
        elif self.outputs.video is not None and self.outputs.video.frames >= self._printed + EVERY_FRAMES:
            self._printed = self.outputs.video.frames
            print(f"recorded {self._printed}", flush=True)


if __name__ == "__main__":
    setattr(app.main_window, "MainWindow", RecordingWindow)  # noqa: B010 - looked up by `launch` when it begins
    settings = str(FOLDER / "settings.ini")
    setattr(app.settings, "QSettings", lambda *_: QSettings(settings, QSettings.Format.IniFormat))  # noqa: B010
    raise SystemExit(launch.launch(Options(source="clip")))
