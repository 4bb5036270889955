"""`python -m tests.endurance`: a long run of the real window on the demo that checks for growth of memory and latency.

Prints a line per minute; exit code 1 if memory grew by more than 50 MB after the first minute or latency increased.
Without a screen, start it inside Xvfb.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from PyQt5.QtCore import QSettings

from app.error_report import ErrorReport
from app.live.status_file import memory_mb
from app.main_window import MainWindow
from app.qt_setup import make_application
from app.settings import Settings
from app.widgets.theme import apply_theme
from engine.errors import OptionError, reports_errors
from engine.pipeline.pose_pipeline import PipelineOptions
from engine.system.entry import run_command
from engine.system.one_line_parser import OneLineParser
from tests.screenshots import has_people, live_for, wait_for

_MOST_GROWTH_MB = 50.0
_MOST_DELAY_RATIO, _MOST_DELAY_MS = 1.25, 10.0
_OPEN_LIMIT_S = 180.0


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The window at one time: latency in ms over the last seconds, memory in MB (None if unknown)."""

    at_s: float
    memory_mb: float | None
    latency_p50: float
    latency_p95: float
    fps: float
    frames: int

    def line(self) -> str:
        """One line of text."""
        memory = "memory unknown" if self.memory_mb is None else f"{self.memory_mb:.0f} MB"
        return (
            f"{self.at_s:6.0f} s  {memory}  delay p50 {self.latency_p50:.1f} p95 {self.latency_p95:.1f} ms  "
            f"{self.fps:.1f} frames/s  {self.frames} painted"
        )


def verdict(samples: list[Sample]) -> list[str]:
    """What failed, one text each; the first sample is the one after the first minute."""
    first, last = samples[0], samples[-1]
    wrong = []
    if first.memory_mb is not None and last.memory_mb is not None:
        growth = last.memory_mb - first.memory_mb
        if growth > _MOST_GROWTH_MB:
            wrong.append(f"memory grew by {growth:.0f} MB, at most {_MOST_GROWTH_MB:.0f} allowed")
    limit = max(first.latency_p50 * _MOST_DELAY_RATIO, first.latency_p50 + _MOST_DELAY_MS)
    if last.latency_p50 > limit:
        wrong.append(f"the delay went from {first.latency_p50:.1f} to {last.latency_p50:.1f} ms")
    if last.frames <= first.frames:
        wrong.append("no more frames were painted")
    return wrong


def _sample(window: MainWindow, started_s: float) -> Sample:
    snapshot = window.statistics.snapshot()
    latency = snapshot.latency
    return Sample(
        at_s=time.monotonic() - started_s,
        memory_mb=memory_mb(),
        latency_p50=0.0 if latency is None else latency.p50,
        latency_p95=0.0 if latency is None else latency.p95,
        fps=snapshot.fps,
        frames=snapshot.frames_painted,
    )


def run(minutes: float, every_s: float, *, panels: bool = False) -> list[Sample]:
    """Samples of a run; the first is taken after a minute, or after a third of a run shorter than three minutes.

    Args:
        minutes: length of the run.
        every_s: time between two samples.
        panels: with the probe, the maps of all keypoints and the plot.
    """
    errors = ErrorReport()
    application = make_application([sys.argv[0]])
    apply_theme(application)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(QSettings(str(Path(folder) / "settings.ini"), QSettings.Format.IniFormat))
        window = MainWindow(settings=settings, options=PipelineOptions(), report=errors.report)
        window.show()
        window.start("demo")
        try:
            wait_for(application, lambda: has_people(window), _OPEN_LIMIT_S, "person on the screen")
            if panels:
                window.look_control.probe_next()
                window.show_tab(4)
                window.plot_panel.show()
            started_s = time.monotonic()
            live_for(application, min(60.0, minutes * 20))
            samples = [_sample(window, started_s)]
            print(samples[0].line(), flush=True)
            while samples[-1].at_s < minutes * 60:
                live_for(application, min(every_s, max(0.1, minutes * 60 - samples[-1].at_s)))
                samples.append(_sample(window, started_s))
                print(samples[-1].line(), flush=True)
            return samples
        finally:
            window.close()


@reports_errors("endurance", TimeoutError)
def main(argv: list[str] | None = None) -> int:
    """Run; 0 if nothing grew, 1 if something did, 2 if it could not run."""
    parser = OneLineParser(prog="python -m tests.endurance", description="A long run of the window.")
    parser.add_argument("--minutes", type=float, default=10.0, help="duration (10)")
    parser.add_argument("--every", type=float, default=60.0, help="seconds between lines (60)")
    parser.add_argument("--panels", action="store_true", help="with probe, maps of all keypoints and plot")
    arguments = parser.parse_args(argv)
    if not (0.05 <= arguments.minutes <= 10_000 and arguments.every >= 1):
        raise OptionError("--minutes must be 0.05 or more and --every 1 or more")
    samples = run(arguments.minutes, arguments.every, panels=arguments.panels)
    wrong = verdict(samples)
    print("; ".join(wrong) or "no growth of memory beyond 50 MB, no increase of delay")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
