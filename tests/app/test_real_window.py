"""A window on a real screen (a virtual one): Qt's xcb plugin beside OpenCV's, and the order of start-up."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.system.missing import XCB_ADVICE, why_no_xcb

ROOT = Path(__file__).resolve().parent.parent.parent

PROGRAM = """
import json, sys, time
from pathlib import Path
from PyQt5.QtCore import QSettings, QTimer
import app.main_window, app.settings
from app import launch
from app.main_window import MainWindow
from engine.options import Options
from tests.app.fakes import Backstage

backstage = Backstage()
found = {"plots_before": "pyqtgraph" in sys.modules, "torch": "torch" in sys.modules}

class Window(MainWindow):
    def __init__(self, **arguments):
        arguments |= {"open_source": backstage.open_source, "open_pipeline": backstage.open_pipeline}
        super().__init__(**arguments)
        self.timer = QTimer(self)
        self.timer.timeout.connect(self.look)
        self.timer.start(20)

    def _painted(self, picture, paint_ms):
        if not self.statistics.frames_painted:
            found["plots_at_first_frame"] = "pyqtgraph" in sys.modules
        super()._painted(picture, paint_ms)

    def look(self):
        if self.statistics.frames_painted_with_people > 5 and self.session.description:
            from PyQt5.QtGui import QGuiApplication
            found["platform"] = QGuiApplication.platformName()
            found["torch"] = "torch" in sys.modules
            self._write_status()
            print(json.dumps(found), flush=True)
            self.close()

app.main_window.MainWindow = Window
app.settings.QSettings = lambda *_: QSettings(sys.argv[1] + "/settings.ini", QSettings.Format.IniFormat)
raise SystemExit(launch.launch(Options(source="clip", status_json=Path(sys.argv[1]) / "status.json")))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="xcb is Linux's")
def test_the_window_opens_with_the_xcb_plugin_after_opencv_was_imported(tmp_path: Path) -> None:
    server = shutil.which("xvfb-run")
    if server is None:
        pytest.skip("Xvfb is not installed (Debian: xvfb and xauth)")
    reason = why_no_xcb()
    if reason is not None:
        pytest.skip(f"Qt's xcb plugin cannot load: {reason}; {XCB_ADVICE}")
    environment = {name: value for name, value in os.environ.items() if name != "QT_QPA_PLATFORM"}
    environment |= {"XDG_STATE_HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [server, "-a", sys.executable, "-c", PROGRAM, str(tmp_path)],
        cwd=ROOT, env={**environment, "QT_QPA_PLATFORM": "xcb"}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["platform"] == "xcb"
    assert found["plots_at_first_frame"] is False and found["torch"] is False
    status = json.loads((tmp_path / "status.json").read_text())
    assert status["backend"] == "openvino" and status["frames_painted_with_people"] > 5
    assert status["latency_ms"]["p95"] >= status["latency_ms"]["p50"] > 0


def test_only_opencvs_plugin_folder_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    from app.qt_setup import drop_opencv_plugins

    monkeypatch.setenv("QT_QPA_PLATFORM_PLUGIN_PATH", "/usr/lib/python3/site-packages/cv2/qt/plugins")
    drop_opencv_plugins()
    assert "QT_QPA_PLATFORM_PLUGIN_PATH" not in os.environ
    monkeypatch.setenv("QT_QPA_PLATFORM_PLUGIN_PATH", "/opt/qt/plugins")
    drop_opencv_plugins()
    assert os.environ["QT_QPA_PLATFORM_PLUGIN_PATH"] == "/opt/qt/plugins"
