"""Exports a whole file in the background, with a source and a pipeline of its own; no frame is dropped.

The probe is left out: it is fixed to a track id of the window, and the export has ids of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.live.inference import OpeningCancelled, OpenPipeline, cancel_build
from app.live.shots import Unexpected
from engine.errors import EngineError
from engine.output.export import ExportOptions, ExportSummary, export
from engine.overlay.drawing import OverlayOptions
from engine.pipeline.pose_pipeline import PipelineOptions
from engine.sources.frame_source import FrameSource, SourceBase
from engine.types import Frame


@dataclass(frozen=True, kw_only=True)
class ExportProgress:
    """Number of written frames; `total` is None if unknown."""

    done: int
    total: int | None


@dataclass(frozen=True, kw_only=True)
class ExportEnded:
    """An export is over; `summary`, or `error` where there is none."""

    summary: ExportSummary | None
    error: str | None
    cancelled: bool


class _Stoppable(SourceBase):
    """A source with a stop flag: it ends early, and the file is complete up to there."""

    def __init__(self, source: FrameSource, stopped: threading.Event) -> None:
        super().__init__(source.info)
        self._source, self._stopped = source, stopped
        self.cut_off = False

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._source:
            if self._stopped.is_set():
                self.cut_off = True
                return
            yield frame

    @property
    def unreadable_frames(self) -> int:
        """Of the source."""
        return self._source.unreadable_frames

    @property
    def notes(self) -> tuple[str, ...]:
        """Of the source."""
        return self._source.notes

    def frame_path(self, index: int) -> Path | None:
        """Of the source."""
        return self._source.frame_path(index)

    def close(self) -> None:
        """Close the source."""
        self._source.close()


class ExportJob:
    """One export in a thread of its own."""

    def __init__(
        self,
        text: str,
        output: Path,
        *,
        overwrite: bool,
        pipeline_options: PipelineOptions,
        overlay: OverlayOptions,
        open_source: Callable[[str], FrameSource],
        open_pipeline: OpenPipeline,
        emit: Callable[[Any], None],
    ) -> None:
        """Start.

        Args:
            text: the source.
            output: `.mp4`, or a picture for a photo.
            overwrite: whether the person agreed to replace `output`.
            pipeline_options: networks, backend and so on.
            overlay: what is drawn.
            open_source, open_pipeline: open them.
            emit: takes ExportProgress and ExportEnded, in the export's thread.
        """
        self.text, self.output = text, output
        self._overwrite, self._options, self._overlay = overwrite, pipeline_options, overlay
        self._open_source, self._open_pipeline, self._emit = open_source, open_pipeline, emit
        self._stopped = threading.Event()
        self._done = 0
        self._total: int | None = None
        # Not a daemon: the process waits for the file to be complete after the window is closed.
        self._thread = threading.Thread(target=self._run, name=f"export {output.name}")
        self._thread.start()

    def cancel(self) -> None:
        """End early; does not wait."""
        self._stopped.set()
        cancel_build(self._thread)

    @property
    def is_running(self) -> bool:
        """Whether it still writes."""
        return self._thread.is_alive()

    def join(self, limit_s: float | None) -> bool:
        """Wait for the end; None for as long as it takes."""
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def start(self, name: str, total: int | None) -> None:
        """The export starts (Progress of `engine.output.export`)."""
        self._total = total
        self._emit(ExportProgress(done=0, total=total))

    def advance(self) -> None:
        """One more frame is written."""
        self._done += 1
        if self._done % 5 == 0:
            self._emit(ExportProgress(done=self._done, total=self._total))

    def close(self) -> None:
        """The export is over."""

    def _notify(self, _line: str) -> None:
        if self._stopped.is_set():
            raise OpeningCancelled("the export was cancelled")

    def _run(self) -> None:
        summary: ExportSummary | None = None
        error: str | None = None
        try:
            summary = self._export()
        except EngineError as caught:
            error = str(caught)
        except Exception as caught:
            error = (
                f"the export stopped because of an internal error ({type(caught).__name__}); the log has the details"
            )
            self._emit(Unexpected(error=caught, where="the export"))
        self._emit(ExportEnded(summary=summary, error=error, cancelled=self._stopped.is_set()))

    def _export(self) -> ExportSummary:
        with _Stoppable(self._open_source(self.text), self._stopped) as source:
            opened = self._open_pipeline(self._options, notify=self._notify)
            try:
                overlay = self._overlay if opened.has_attention else replace(self._overlay, attention=None)
                options = ExportOptions(output=self.output, overwrite=self._overwrite, quiet=True, overlay=overlay)
                return export(source, opened.pipeline, options, self, is_cut_off=lambda: source.cut_off)
            finally:
                opened.pipeline.close()
