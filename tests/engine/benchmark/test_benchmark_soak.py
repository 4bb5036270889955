"""The measurement of constant delay and memory, on a pipeline with known behaviour."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import main
from engine.benchmark import command as benchmark
from engine.benchmark.measure import Clip, read_clip
from engine.benchmark.report import memory_mib, soak_text
from engine.benchmark.soak import GeneratedSource, growth, soak, soak_export, soak_frames, soak_live
from engine.errors import OptionError
from engine.pipeline.opening import open_pipeline
from engine.pipeline.options import PipelineOptions
from engine.pipeline.pose_pipeline import PosePipeline
from engine.types import Detections, UInt8Array
from tests.engine.clips import ClipSpec, make_clip
from tests.engine.fakes import BrightestPixel, FixedDetector, boxes, plain_pipeline


class Slowing(FixedDetector):
    """One person in the middle; each detection takes longer and keeps more memory than the last."""

    def __init__(self, later_s: float = 0.0, kept_mib: float = 0.0) -> None:
        super().__init__(boxes((100, 40, 180, 220)), np.array([0.9], np.float32))
        self._later_s, self._kept_mib = later_s, kept_mib
        self._looks = 0
        self._kept: list[Any] = []

    def detect(self, image_bgr: UInt8Array) -> Detections:
        self._looks += 1
        time.sleep(0.004 + self._later_s * self._looks)
        if self._kept_mib:
            self._kept.append(np.ones(int(self._kept_mib * 2**20), np.uint8))
        return super().detect(image_bgr)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    video = make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", ClipSpec(frames=24, size_wh=(320, 240)))
    return read_clip(str(video), 20)


def pipeline(detector: FixedDetector, options: PipelineOptions | None = None) -> PosePipeline:
    every = 1 if options is None else options.detect_every
    return plain_pipeline(detector, BrightestPixel(), detect_every=every)


def test_growing_delay_is_detected(clip: Clip) -> None:
    grows = soak_live(pipeline(Slowing(later_s=0.001)), clip, 60)
    assert len(grows["latency_ms_parts_p50"]) == 10
    assert grows["frames"] == 60 and grows["dropped_frames"] > 60, "the source is ten times as fast"
    assert grows["later_over_earlier"] > 1.25 and not grows["flat"]


def test_growing_memory_is_detected(clip: Clip) -> None:
    if memory_mib() is None:
        pytest.skip("this system does not tell how much memory a process holds")
    grows = soak_export(pipeline(Slowing(kept_mib=0.5)), clip, 120)
    assert grows["frames"] == grows["frames_with_people"] == 120
    assert grows["growth_mib"] > 20 and grows["flat"] is False
    stays = soak_export(pipeline(Slowing()), clip, 120)
    assert stays["growth_mib"] < grows["growth_mib"] / 2
    assert len(stays["memory_mib"]) == 11


def test_growth_of_known_numbers() -> None:
    """Memory allocated during the warm-up is no growth."""
    warm = [(i, 100.0 + 900 * min(i, 10) / 10) for i in range(100)]
    assert growth(warm)["growth_mib"] == 0 and growth(warm)["flat"]
    leak = [(i, 100.0 + i) for i in range(100)]
    assert growth(leak)["growth_mib"] == pytest.approx(60) and not growth(leak)["flat"]
    assert growth(leak[:5]) == {"memory_mib": [], "growth_mib": None, "flat": None}


def test_generated_people_move() -> None:
    person = np.full((90, 40, 3), 250, np.uint8)
    reported: list[int] = []
    with GeneratedSource([person], 40, reported.append) as source:
        frames = list(source)
    assert reported == [frame.index for frame in frames] == list(range(40))
    assert source.info.frame_count == 40 and frames[0].image_bgr.shape == (240, 320, 3)
    lefts = [int(np.flatnonzero(frame.image_bgr.max(axis=(0, 2)) > 200)[0]) for frame in frames]
    assert max(lefts) - min(lefts) > 8
    assert len({id(frame.image_bgr) for frame in frames}) == 40, "each frame may be drawn into"


@pytest.mark.parametrize(("text", "frames"), [("2000,20000", (2000, 20000)), (" 0, 50", (0, 50))])
def test_lengths(text: str, frames: tuple[int, int]) -> None:
    assert soak_frames(text) == frames


@pytest.mark.parametrize("text", ["", "5", "a,b", "1,2,3", "-1,5"])
def test_invalid_lengths(text: str) -> None:
    with pytest.raises(OptionError, match="--soak"):
        soak_frames(text)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    video = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=24, size_wh=(320, 240)))
    requested: list[PipelineOptions] = []

    def open_one(options: PipelineOptions, **_notify: object) -> PosePipeline:
        requested.append(options)
        return pipeline(Slowing(), options)

    nothing: dict[str, Any] = {"requested": "none", "error": "left out"}
    monkeypatch.setattr(benchmark, "open_pipeline", open_one)
    monkeypatch.setattr(benchmark, "measure", lambda *_arguments: nothing)
    report = tmp_path / "r.json"
    arguments = ["--benchmark", "--video", str(video), "--soak", "40,60", "--report", str(report)]
    assert main.main(arguments) == 1, "nothing else could be measured"
    reported, found = capsys.readouterr().out, json.loads(report.read_text())["soak"]
    assert found["live"]["frames"] == 40 and found["export"]["frames"] == 60
    assert "live over 40 frames" in reported and "export of 60 generated frames" in reported
    assert [(options.detect_every, options.overlapping) for options in requested] == [("auto", False), (1, True)]
    assert main.main([*arguments[:3], "--soak", "x"]) == 2
    assert "two numbers of frames" in capsys.readouterr().err


@pytest.mark.slow
def test_the_shipped_networks_in_short(videos_dir: Path) -> None:
    """The long run is started manually: python main.py --benchmark --soak --video ... (docs/results.md)."""
    clip = read_clip(str(videos_dir / "signing_walk.mkv"), 40)
    options = PipelineOptions(threads=1)
    found = soak(lambda **fields: open_pipeline(dataclasses.replace(options, **fields)), clip, (60, 200), print)
    assert found["live"]["frames"] == 60 and found["live"]["dropped_frames"] > 60
    assert found["export"]["frames"] == 200
    assert found["export"]["growth_mib"] is None or found["export"]["growth_mib"] < 64
    assert "generated frames" in soak_text(found)
