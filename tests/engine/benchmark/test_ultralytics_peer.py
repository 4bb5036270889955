"""Importing ultralytics must not change OpenCV's number of threads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2

from engine.benchmark.ultralytics_peer import opencv_threads_kept

ROOT = Path(__file__).parents[3]


def test_opencv_keeps_its_threads() -> None:
    threads = cv2.getNumThreads()
    try:
        with opencv_threads_kept():
            cv2.setNumThreads(0)
            assert cv2.getNumThreads() == threads
        cv2.setNumThreads(threads + 1)
        assert cv2.getNumThreads() == threads + 1
    finally:
        cv2.setNumThreads(threads)


def test_importing_ultralytics_does_not_crash_opencv_in_other_threads() -> None:
    """OpenCV divides by its number of threads: 0 for a moment ends the process where another thread computes."""
    script = """
import sys
import cv2
from engine.benchmark.ultralytics_peer import opencv_threads_kept
from engine.system.ultralytics_env import prepare_ultralytics

asked = []
real = cv2.setNumThreads
cv2.setNumThreads = lambda count: (asked.append(count), real(count))
prepare_ultralytics()
with opencv_threads_kept():
    import ultralytics.utils
print("ultralytics.utils" in sys.modules, asked)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[0] == "True []", done.stderr
