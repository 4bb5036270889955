"""The command line with fake networks: in this process, or as `python -m tests.faults.light ...`.

FAULTS_FRAME_S is the time per frame in seconds; after FAULTS_PRINT_AT frames it prints a line that begins
with "at frame". FAULTS_NOISE=1 fills the frames with noise, which H.264 cannot make small.
FAULTS_MOST_BYTES is how large a file may grow (in a child process, and not on Windows).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import main
from engine.output import run_video
from engine.pipeline.pose_pipeline import PendingFrame, PipelineOptions, PosePipeline
from engine.types import FrameResult
from tests.engine.fakes import BrightestPixel, FixedDetector, boxes, plain_options

DESCRIPTION = {
    "pose_model": "light", "backend": "none", "device": "cpu", "precision": "fp32", "skipped": [],
    "detector": "light", "detector_backend": "none", "detector_device": "cpu", "detector_precision": "fp32",
    "detector_skipped": [],
}  # fmt: skip


class LightPipeline(PosePipeline):
    """The real pipeline with fake networks, with one person in each frame."""

    def __init__(self) -> None:
        box = boxes((0, 0, 1e5, 1e5))
        detector = FixedDetector(box, np.ones(1, np.float32))
        super().__init__(detector, BrightestPixel(), plain_options(), DESCRIPTION)
        self._frame_s = float(os.environ.get("FAULTS_FRAME_S", "0"))
        self._print_at = int(os.environ.get("FAULTS_PRINT_AT", "-1"))
        self._noise = os.environ.get("FAULTS_NOISE") == "1"

    def finish(self, pending: PendingFrame) -> FrameResult:
        frame = pending.frame
        time.sleep(self._frame_s)
        if self._noise:
            random = np.random.default_rng(frame.index)
            frame.image_bgr[:] = random.integers(0, 255, frame.image_bgr.shape, np.uint8)
        if frame.index == self._print_at:
            print(f"at frame {frame.index}", flush=True)
        return super().finish(pending)


def open_light(_options: PipelineOptions, **_notify: object) -> PosePipeline:
    return LightPipeline()


class Outcome(NamedTuple):
    """Exit code and output of a run of the command line."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`main.py` in this process, with light networks; what C libraries print is caught as well."""
    monkeypatch.setattr(run_video, "open_pipeline", open_light)

    def run(*arguments: str | Path) -> Outcome:
        capfd.readouterr()
        code = main.main([str(argument) for argument in arguments])
        return Outcome(code, *capfd.readouterr())

    return run


def limit_files() -> None:
    if os.environ.get("FAULTS_MOST_BYTES"):
        import resource

        most = int(os.environ["FAULTS_MOST_BYTES"])
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


if __name__ == "__main__":
    limit_files()
    # mypy objects to setting a name that another module imported.
    setattr(run_video, "open_pipeline", open_light)  # noqa: B010
    raise SystemExit(main.main(sys.argv[1:]))
