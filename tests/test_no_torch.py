"""An export or a window on OpenVINO or ONNX Runtime never imports torch: real networks, in a separate process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BACKENDS = ("openvino", "onnxruntime")

EXPORT = """
import json, sys
import main
folder, backend = sys.argv[1:]
code = main.main(["--video", "demo", "--max-frames", "6", "--backend", backend, "--quiet",
                  "--output", folder + "/demo.mp4", "--poses", folder + "/demo.jsonl"])
people = [person["id"] for line in open(folder + "/demo.jsonl") for person in json.loads(line)["people"]]
print(json.dumps({"code": code, "people": len(people), "modules": sorted(sys.modules)}))
"""

WINDOW = """
import json, sys, time
from PyQt5.QtCore import QSettings
from app.qt_setup import make_application
from app.main_window import MainWindow
from app.settings import Settings
from engine.pipeline.options import PipelineOptions
folder, backend = sys.argv[1:]
application = make_application(["window"])
settings = Settings(QSettings(folder + "/settings.ini", QSettings.Format.IniFormat))
window = MainWindow(settings=settings, options=PipelineOptions(backend=backend), report=lambda *event: print(event))
window.show()
window.start("demo")
ends_s = time.monotonic() + 90
while window.statistics.frames_painted_with_people < 5 and time.monotonic() < ends_s:
    application.processEvents()
    time.sleep(0.01)
people = window.statistics.frames_painted_with_people
window.close()
print(json.dumps({"code": 0, "people": people, "modules": sorted(sys.modules)}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("program", [EXPORT, WINDOW], ids=["export", "window"])
def test_torch_is_not_imported(program: str, backend: str, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "QT_QPA_PLATFORM": "offscreen",
        "PYTHONPATH": str(ROOT),
        "XDG_STATE_HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), backend],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["code"] == 0 and found["people"] >= 5
    modules = set(found["modules"])
    assert {backend, "trackers"} <= modules
    assert modules & {"torch", "torchvision", "ultralytics", "lap", "models"} == set()
