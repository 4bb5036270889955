"""Unused memory is freed at once."""

from __future__ import annotations

import gc
import platform
import subprocess
import sys
from pathlib import Path

import av
import pytest

from engine.sources.opening import open_source
from tests.engine.clips import ClipSpec, make_clip

IN_A_PROCESS_OF_ITS_OWN = """
import numpy as np, psutil
from tests.engine.fakes import BrightestPixel, FixedDetector, boxes, plain_pipeline

def memory_mb():
    return psutil.Process().memory_info().rss / 1e6

class Heavy(FixedDetector):  # holds what a runtime holds: many pieces, of which a few outlive it
    def close(self):
        self.left = self.pieces[99::100]
        self.pieces.clear()

detector = Heavy(boxes(), np.zeros(0, np.float32))
before = memory_mb()
# 192 MB in pieces that malloc takes from its heap and does not map one by one
detector.pieces = [np.ones(12_000, np.float32) for _ in range(4000)]
print(memory_mb() - before)
plain_pipeline(detector, BrightestPixel()).close()
print(memory_mb() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep less, or report nothing")
def test_memory_of_a_closed_pipeline_is_returned() -> None:
    """In a separate process: memory freed by other tests would be reused without growth."""
    done = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS_OF_ITS_OWN], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    held, left = (float(line) for line in done.stdout.split())
    assert held > 150
    assert left < 50


@pytest.mark.parametrize("rotation", [0, 90])
def test_read_pictures_are_freed_without_the_garbage_collector(tmp_path: Path, rotation: int) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=40, rotation=rotation))
    gc.collect()
    gc.disable()
    try:
        with open_source(str(clip)) as source:
            frames = iter(source)
            for _ in range(30):
                next(frames)
            kept = sum(type(one) is av.VideoFrame for one in gc.get_objects())
    finally:
        gc.enable()
    assert kept < 10  # those in the decoder's threads
