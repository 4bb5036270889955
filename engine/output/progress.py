"""How far a run is: a bar on a terminal, a line every few seconds elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

_LINE_EVERY_S = 5.0


class Progress(Protocol):
    """What a run tells about its progress."""

    def start(self, name: str, total: int | None) -> None:
        """The run begins; `total` frames are expected, None where nobody knows."""

    def advance(self) -> None:
        """One more frame is done."""

    def close(self) -> None:
        """The run is over."""


class Unfailing:
    """Tells what another does, until the terminal or pipe that it tells it to is gone: a run goes on all the same."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def start(self, name: str, total: int | None) -> None:
        """The run begins."""
        self._try(lambda: self._progress.start(name, total))

    def advance(self) -> None:
        """One more frame is done."""
        self._try(self._progress.advance)

    def close(self) -> None:
        """The run is over."""
        self._try(self._progress.close)

    def _try(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except (OSError, ValueError):
            self._progress = SilentProgress()


class SilentProgress:
    """Tells nothing."""

    def start(self, name: str, total: int | None) -> None:
        """Nothing."""

    def advance(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class BarProgress:
    """A bar on stderr with frames per second and the time left."""

    def __init__(self) -> None:
        self._bar: Any = None

    def start(self, name: str, total: int | None) -> None:
        """Show the bar."""
        from tqdm import tqdm

        self._bar = tqdm(total=total, desc=name, unit=" frames", dynamic_ncols=True, leave=False, file=sys.stderr)

    def advance(self) -> None:
        """Move it by a frame."""
        self._bar.update(1)

    def close(self) -> None:
        """Take it away."""
        if self._bar is not None:
            self._bar.close()


class LineProgress:
    """A line on stderr every few seconds, for logs."""

    def __init__(self, every_s: float = _LINE_EVERY_S) -> None:
        self._every_s = every_s
        self._name = ""
        self._total: int | None = None
        self._start_s = self._told_s = time.monotonic()
        self._frames = 0

    def start(self, name: str, total: int | None) -> None:
        """Begin to count."""
        self._name, self._total = name, total
        self._start_s = self._told_s = time.monotonic()

    def advance(self) -> None:
        """Count a frame, and tell where it is time to."""
        self._frames += 1
        now_s = time.monotonic()
        if now_s - self._told_s >= self._every_s:
            self._told_s = now_s
            print(self.line(now_s - self._start_s), file=sys.stderr, flush=True)

    def line(self, elapsed_s: float) -> str:
        """The line to tell after a number of seconds."""
        rate = self._frames / max(elapsed_s, 1e-6)
        if self._total is None:
            return f"{self._name}: {self._frames} frames, {rate:.1f} frames/s"
        left_s = max(0, self._total - self._frames) / max(rate, 1e-6)
        left = f"{int(left_s) // 60}:{int(left_s) % 60:02d} left"
        return f"{self._name}: {self._frames}/{self._total} frames, {rate:.1f} frames/s, {left}"

    def close(self) -> None:
        """Nothing is left to tell."""


def default_progress(*, quiet: bool) -> Progress:
    """Nothing if quiet, a bar where stderr is a terminal, else lines."""
    if quiet:
        return SilentProgress()
    return BarProgress() if sys.stderr is not None and sys.stderr.isatty() else LineProgress()
