"""Frame rate, latency and counts of the window over the last seconds."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from engine.types import StageTimings

WINDOW_S = 5.0
STAGES = ("detect", "crop", "pose", "track", "draw", "paint")


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Median and 95th percentile, in ms."""

    p50: float
    p95: float


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The last seconds in numbers.

    Attributes:
        fps: new frames painted in a second.
        people: number in the newest frame.
        latency: from capture to screen.
        stages: of those that ran, by name.
        frames_painted: new frames since the start.
        frames_painted_with_people: those with at least one person.
        frames_painted_with_pipeline: those that a pipeline had processed.
    """

    fps: float
    people: int
    latency: Spread | None
    stages: dict[str, Spread]
    frames_painted: int
    frames_painted_with_people: int
    frames_painted_with_pipeline: int


@dataclass(frozen=True)
class _Sample:
    painted_s: float
    latency_ms: float
    stages_ms: tuple[float, ...]


class Statistics:
    """Collects a sample for each new frame that is painted; used in the GUI thread."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()
        self.frames_painted = 0
        self.frames_painted_with_people = 0
        self.frames_painted_with_pipeline = 0
        self.people = 0

    def add(
        self,
        *,
        painted_s: float,
        captured_s: float,
        timings: StageTimings | None,
        people: int,
        draw_ms: float,
        paint_ms: float,
    ) -> None:
        """Count a frame that was painted; by `time.monotonic()`; `timings` None if no pipeline has processed it."""
        self.frames_painted += 1
        self.frames_painted_with_people += people > 0
        self.frames_painted_with_pipeline += timings is not None
        self.people = people
        ran = timings or StageTimings()
        stages_ms = (ran.detect_ms, ran.crop_ms, ran.pose_ms, ran.track_ms, draw_ms, paint_ms)
        self._samples.append(_Sample(painted_s, (painted_s - captured_s) * 1000, stages_ms))
        self._forget(painted_s)

    def _forget(self, now_s: float) -> None:
        while self._samples and now_s - self._samples[0].painted_s > WINDOW_S:
            self._samples.popleft()

    def clear_window(self) -> None:
        """Forget the last seconds, not the counts, for another source or pipeline."""
        self._samples.clear()

    def snapshot(self, now_s: float | None = None) -> Snapshot:
        """The last seconds in numbers."""
        now_s = time.monotonic() if now_s is None else now_s
        self._forget(now_s)
        samples = list(self._samples)
        span_s = now_s - samples[0].painted_s if samples else 0.0
        stages: dict[str, Spread] = {}
        for number, name in enumerate(STAGES):
            values = [sample.stages_ms[number] for sample in samples if sample.stages_ms[number] > 0]
            if values:
                stages[name] = spread(values)
        return Snapshot(
            fps=len(samples) / span_s if span_s > 0.2 else 0.0,
            people=self.people,
            latency=spread([sample.latency_ms for sample in samples]) if samples else None,
            stages=stages,
            frames_painted=self.frames_painted,
            frames_painted_with_people=self.frames_painted_with_people,
            frames_painted_with_pipeline=self.frames_painted_with_pipeline,
        )


def spread(values: list[float]) -> Spread:
    """Median and 95th percentile of at least one value."""
    p50, p95 = np.percentile(np.asarray(values, np.float64), [50, 95])
    return Spread(p50=float(p50), p95=float(p95))
