"""What is not needed any more is free at once, not some time later."""

from __future__ import annotations

import gc
import platform
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest

from engine.pipeline import PosePipeline
from engine.sources import open_source
from engine.types import Float32Array
from tests.engine.clips import ClipSpec, make_clip
from tests.engine.fakes import BrightestPixel, FixedDetector, boxes

PIECES, PIECE_FLOATS = 4000, 12_000  # 192 MB in pieces that malloc takes from its heap and does not map one by one


def memory_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 1e6


@dataclass
class Heavy(FixedDetector):
    """Holds what a runtime holds: many pieces, of which a few outlive it (caches, thread-local buffers)."""

    pieces: list[Float32Array] = field(default_factory=list)
    left: list[Float32Array] = field(default_factory=list)

    def close(self) -> None:
        self.left = self.pieces[99::100]
        self.pieces.clear()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="elsewhere the C library keeps less, or cannot be asked")
def test_memory_of_a_closed_pipeline_is_free_for_others() -> None:
    detector = Heavy(boxes(), np.zeros(0, np.float32))
    before = memory_mb()
    detector.pieces = [np.ones(PIECE_FLOATS, np.float32) for _ in range(PIECES)]
    assert memory_mb() - before > 150
    PosePipeline(detector, BrightestPixel()).close()
    assert memory_mb() - before < 50


@pytest.mark.parametrize("rotation", [0, 90])
def test_pictures_that_were_read_are_not_kept_until_python_looks_for_garbage(tmp_path: Path, rotation: int) -> None:
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
    assert kept < 10  # those that the decoder's threads work on
