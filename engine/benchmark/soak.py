"""`--benchmark --soak`: whether the delay of a live source and the memory of a long export stay constant."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from engine.benchmark.measure import Clip, cut_out_people, measure_live, tile
from engine.benchmark.report import MOST_GROWTH_MIB, MOST_LATER, memory_mib
from engine.errors import OptionError
from engine.output.export import export
from engine.output.files import ExportOptions
from engine.pipeline.pose_pipeline import PosePipeline
from engine.sources.frame_source import FrameSource, SourceInfo
from engine.types import Frame, UInt8Array

_PEOPLE = 2
_SIZE_WH = (320, 240)
_RATE = Fraction(30)
_PARTS = 10


def soak_frames(text: str) -> tuple[int, int]:
    """Frames of the live source and of the export, from `2000,20000`; 0 skips one.

    Raises:
        OptionError: not two numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or not all(part.isdecimal() and int(part) <= 10**7 for part in parts):
        raise OptionError(f"--soak {text}: expected two numbers of frames, live and export, such as 2000,20000")
    return int(parts[0]), int(parts[1])


class GeneratedSource(FrameSource):
    """Generated frames of people moving to and fro; `on_frame` receives the number of each."""

    def __init__(self, people: Sequence[UInt8Array], frames: int, on_frame: Callable[[int], None]) -> None:
        super().__init__(
            SourceInfo(
                name="generated", kind="demo", size_wh=_SIZE_WH, frame_rate=_RATE, time_base=1 / _RATE,
                frame_count=frames,
            )
        )  # fmt: skip
        self._scene: UInt8Array = np.zeros((_SIZE_WH[1], _SIZE_WH[0], 3), np.uint8)
        if people:
            self._scene, _ = tile(people, _PEOPLE, _SIZE_WH)
        self._frames = frames
        self._on_frame = on_frame

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._frames):
            self._on_frame(index)
            shift = round(12 * np.sin(index / 20))
            image = np.ascontiguousarray(np.roll(self._scene, shift, axis=1))
            yield Frame(image_bgr=image, index=index, timestamp_s=float(index / _RATE), pts=index)


def soak_live(pipeline: PosePipeline, clip: Clip, frames: int) -> dict[str, Any]:
    """Delay from capture to result in each tenth of the run, with a source ten times faster than the pipeline."""
    found = measure_live(pipeline, clip, frames, parts=_PARTS)
    parts = found["latency_ms_parts_p50"]
    later = max(parts[len(parts) // 2 :]) / max(min(parts[: len(parts) // 2]), 1e-6) if len(parts) > 1 else 1.0
    return {**found, "later_over_earlier": round(later, 3), "flat": later <= MOST_LATER}


def soak_export(pipeline: PosePipeline, clip: Clip, frames: int) -> dict[str, Any]:
    """Memory of this process during the export of a generated video."""
    people = cut_out_people(pipeline.detect, clip)
    pipeline.restart()
    every = max(1, frames // 100)
    samples: list[tuple[int, float]] = []

    def sample(index: int) -> None:
        held = memory_mib() if index % every == 0 else None
        if held is not None:
            samples.append((index, held))

    with tempfile.TemporaryDirectory() as folder, GeneratedSource(people, frames, sample) as source:
        summary = export(source, pipeline, ExportOptions(output=Path(folder) / "soak.mp4", quiet=True))
    return {
        "frames": summary.frames,
        "frames_with_people": summary.frames_with_people,
        "fps": round(summary.fps, 2),
        **growth(samples),
    }


def growth(samples: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """Growth of memory from the end of the warm-up (the first fifth) to the end; None where unknown.

    Args:
        samples: frame number and MiB, in order.
    """
    if len(samples) < 2 * _PARTS:
        return {"memory_mib": [], "growth_mib": None, "flat": None}
    held = np.array([value for _, value in samples])
    fifth = len(held) // 5
    grown = float(np.median(held[-fifth:]) - np.median(held[fifth : 2 * fifth]))
    chosen = np.linspace(0, len(samples) - 1, _PARTS + 1).round().astype(int)
    return {
        "memory_mib": [[samples[i][0], round(samples[i][1], 1)] for i in chosen],
        "growth_mib": round(grown, 1),
        "flat": grown <= MOST_GROWTH_MIB,
    }


def soak(
    open_one: Callable[..., PosePipeline], clip: Clip, frames: tuple[int, int], note: Callable[[str], None]
) -> dict[str, Any]:
    """The live test and the export test, each if its number of frames is not 0.

    Args:
        open_one: opens a pipeline, given fields of PipelineOptions.
        clip: frames of the live source, and the origin of the cut-out people.
        frames: of the live source and of the export; 0 skips one.
    """
    found: dict[str, Any] = {}
    live, long = frames
    if live:
        note(f"live over {live} frames")
        with open_one(detect_every="auto") as pipeline:
            found["live"] = soak_live(pipeline, clip, live)
    if long:
        note(f"export of {long} generated frames")
        with open_one(detect_every=1, overlapping=True) as pipeline:
            found["export"] = soak_export(pipeline, dataclasses.replace(clip, frames=clip.frames[:100]), long)
    return found
