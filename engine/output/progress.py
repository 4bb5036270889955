"""Progress of a run: a bar on a terminal, a line every few seconds elsewhere, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol

from engine.errors import one_line

_LINE_EVERY_S = 5.0


class Progress(Protocol):
    """Receives the progress of a run."""

    def start(self, name: str, total: int | None) -> None:
        """The run begins; `total` frames are expected, None if unknown."""

    def advance(self) -> None:
        """One more frame is done."""

    def close(self) -> None:
        """The run is over."""


class SafeProgress:
    """Wraps another progress and ignores write errors, so that a closed terminal or pipe does not stop the run."""

    def __init__(self, progress: Progress) -> None:
        self._progress: Progress | None = progress

    def start(self, name: str, total: int | None) -> None:
        """The run begins."""
        self._try(lambda progress: progress.start(name, total))

    def advance(self) -> None:
        """One more frame is done."""
        self._try(lambda progress: progress.advance())

    def close(self) -> None:
        """The run is over."""
        self._try(lambda progress: progress.close())

    def _try(self, report: Callable[[Progress], None]) -> None:
        try:
            if self._progress is not None:
                report(self._progress)
        except (OSError, ValueError):
            self._progress = None


class _Lines:
    """A file for tqdm without a terminal: an update that would overwrite the previous line becomes a new line."""

    def write(self, text: str) -> None:
        if text.strip():
            print(text.strip(), file=sys.stderr, flush=True)

    def flush(self) -> None:
        pass


class FrameProgress:
    """Frames, rate and remaining time on stderr: a bar on a terminal, else a line at intervals."""

    def __init__(self, *, quiet: bool = False, every_s: float = _LINE_EVERY_S, before: str = "") -> None:
        """Prepare; `before` stands before the name of the source."""
        self._before = before
        self._quiet = quiet or sys.stderr is None
        self._every_s = every_s
        self._bar: Any = None

    def start(self, name: str, total: int | None) -> None:
        """Start counting."""
        if self._quiet:
            return
        from tqdm import tqdm

        common: dict[str, Any] = {
            "total": total,
            "desc": self._before + one_line(name),
            "unit": " frames",
            "leave": False,
        }
        if sys.stderr.isatty():
            self._bar = tqdm(**common, dynamic_ncols=True, file=sys.stderr)
            return
        count = "{n_fmt} frames" if total is None else "{n_fmt}/{total_fmt} frames"
        left = "" if total is None else ", {remaining} left"
        form = f"{{desc}}: {count}, {{rate_noinv_fmt}}{left}"
        every_s = self._every_s
        self._bar = tqdm(
            **common, file=_Lines(), bar_format=form, mininterval=every_s, delay=every_s, miniters=1, smoothing=0
        )

    def advance(self) -> None:
        """One more frame is done."""
        if self._bar is not None:
            self._bar.update(1)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
