"""The end of the program: a running inference thread, and the order of deletion of windows and application."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

SCRIPT = """
import time
from app.live.inference import Inference, Opened
from engine.system.latest_slot import LatestSlot
from engine.pipeline.pose_pipeline import PipelineOptions
from engine.skeleton import COCO17

class Pipeline:
    skeleton = COCO17
    def describe(self):
        return {}
    def close(self):
        print("closed", flush=True)

def open_slowly(options, *, notify):
    time.sleep(1)  # as a runtime that compiles
    return Opened(pipeline=Pipeline(), has_attention=False, another=lambda options: Pipeline())

Inference(
    PipelineOptions(), serial=1, shots=LatestSlot(), put=print, emit=lambda event: None, open_pipeline=open_slowly,
    wants_attention=lambda: False, newest_shot=lambda: None,
)
print("the program ends", flush=True)
"""


HANGING_DRIVER = """
import time
from PyQt5 import sip
from PyQt5.QtWidgets import QApplication, QMenu
from app.live import camera_search
camera_search.list_cameras = lambda: time.sleep(60)
application = QApplication([])
menu = QMenu()
search = camera_search.CameraSearch(menu)
search.start()
search.wait(0.2)
assert search.is_running
sip.delete(menu)  # as where the window goes
print("the program ends", flush=True)
"""


def test_a_camera_driver_that_hangs_does_not_hold_the_end_of_the_program() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGING_DRIVER], cwd=ROOT, capture_output=True, text=True, check=False, timeout=50
    )
    assert done.stdout == "the program ends\n", done.stderr
    assert done.returncode == 0, done.stderr


def test_a_thread_that_is_still_opening_is_waited_for_when_the_program_ends() -> None:
    """Runtimes abort the process where Python ends a thread that is inside them."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["the program ends", "closed"], done.stderr
    assert done.returncode == 0


def test_the_application_outlives_windows_in_any_order_of_deletion() -> None:
    script = (
        "from PyQt5.QtWidgets import QApplication, QWidget\n"
        "from app.qt_setup import make_application\n"
        "application = make_application(['window'])\n"
        "window = QWidget()\n"
        "del application\n"
        "print(QApplication.instance() is not None)\n"
    )
    offscreen = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, env=offscreen, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr
