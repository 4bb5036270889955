"""Exports files in the background, each with a source and a pipeline of its own; no frame is dropped.

What is written is what the command line would write with the same options; what is drawn is what the window draws.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.live.compose import Look
from app.live.inference import Opened, OpeningCancelled, OpenPipeline
from app.live.probe import Probes
from app.live.shots import Shot, Shown, Unexpected
from app.output.frame_picture import frame_picture
from engine.artifacts.compiler import end_builds_of
from engine.errors import EngineError, ModelError
from engine.option_table import options_of
from engine.options import Options, PoseOptions
from engine.output.export import ExportSummary, export
from engine.output.run_video import check_outputs, export_options, run_inputs
from engine.overlay.drawing import DrawingMemory, OverlayOptions
from engine.pipeline.options import PipelineOptions
from engine.skeleton import Skeleton
from engine.sources.frame_source import FrameSource
from engine.types import FrameResult, UInt8Array

_NO_PIPELINE = -1  # of the window: ids of the export are unrelated to its
_TICK_S = 1e-3


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


@dataclass(frozen=True, kw_only=True, eq=False)
class ExportProbes:
    """The probes of the window, for an export.

    Attributes:
        probes: independent copies.
        serial: number of their source.
        from_s: position in the file where they were seen: before it nobody knows whom they are on.
    """

    probes: Probes
    serial: int
    from_s: float


@dataclass(frozen=True, kw_only=True, eq=False)
class ExportRequest:
    """One file to export.

    Attributes:
        text: the source.
        options: of the command line, with the names of all files; what they draw is replaced by `overlay`.
        overlay: what is drawn.
        probes: to draw, too; None for none.
    """

    text: str
    options: Options
    overlay: OverlayOptions
    probes: ExportProbes | None = None


class ExportJob:
    """Exports one after another, in a thread of its own; the networks stay open while the next file needs the same."""

    def __init__(
        self,
        *,
        open_source: Callable[[str], FrameSource],
        open_pipeline: OpenPipeline,
        emit: Callable[[Any], None],
    ) -> None:
        """Start the thread.

        Args:
            emit: takes ExportProgress and ExportEnded, in the export's thread.
        """
        self._open_source, self._open_pipeline, self._emit = open_source, open_pipeline, emit
        self._requests: queue.SimpleQueue[tuple[ExportRequest, Sequence[Path | None]] | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._opened: Opened | None = None
        self._opened_for: PoseOptions | None = None
        self._done = 0
        self._total: int | None = None
        # Not a daemon: the process waits for the file to be complete after the window is closed.
        self._thread = threading.Thread(target=self._run, name="export")
        self._thread.start()

    def write(self, request: ExportRequest, also_read: Sequence[Path | None] = ()) -> None:
        """Write a file, after the end of the one before.

        Args:
            also_read: files that others read and that must not be replaced.
        """
        self._stopped.clear()
        self._requests.put((request, also_read))

    def cancel(self) -> None:
        """End the file early; does not wait."""
        self._stopped.set()
        end_builds_of(self._thread.ident)

    def end(self) -> None:
        """Close the networks after this file; does not wait."""
        self._requests.put(None)

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
        try:
            while (work := self._requests.get()) is not None:
                self._emit(self._one(*work))
        finally:
            self._close_networks()

    def _one(self, request: ExportRequest, also_read: Sequence[Path | None]) -> ExportEnded:
        summary: ExportSummary | None = None
        error: str | None = None
        self._done, self._total = 0, None
        try:
            summary = self._export(request, also_read)
        except EngineError as caught:
            error = str(caught)
        except Exception as caught:
            error = (
                f"the export stopped because of an internal error ({type(caught).__name__}); the log has the details"
            )
            self._emit(Unexpected(error=caught, where="the export"))
        return ExportEnded(summary=summary, error=error, cancelled=self._stopped.is_set())

    def _export(self, request: ExportRequest, also_read: Sequence[Path | None]) -> ExportSummary:
        options = request.options
        with self._open_source(request.text) as source:
            info = source.info
            still = info.kind == "photos"
            wanted = replace(export_options(options, None), quiet=True, overlay=request.overlay)
            check_outputs(info, wanted, run_inputs(options, info.path, *also_read))
            opened = self._networks(options, still=still)
            try:
                if wanted.attention_maps is not None and not opened.has_attention:
                    raise ModelError("this pose model has no attention maps to write; kcam_ models have")
                if not opened.has_attention:
                    wanted = replace(wanted, overlay=replace(wanted.overlay, attention=None))
                probes = request.probes if opened.has_attention else None
                has_maps = wanted.overlay.attention is not None or wanted.attention_maps is not None
                opened.pipeline.fetch_attention(has_maps or probes is not None)
                paint = None
                if probes is not None and wanted.pictures:
                    paint = _Painter(probes, wanted.overlay, opened.pipeline.skeleton, still=still)
                return export(source, opened.pipeline, wanted, self, is_stopped=self._stopped.is_set, paint=paint)
            except BaseException:
                self._close_networks()  # the next file shall not depend on what failed
                raise

    def _networks(self, options: Options, *, still: bool) -> Opened:
        """A pipeline of the networks that are open, where these options name the same, else of others."""
        named = PoseOptions(**{item.name: getattr(options, item.name) for item in options_of(PoseOptions)})
        wanted = PipelineOptions.of(options, live=False, still=still)
        if self._opened is not None and self._opened_for == named:
            self._opened = replace(self._opened, pipeline=self._opened.another(wanted))
        else:
            self._close_networks()
            self._opened, self._opened_for = self._open_pipeline(wanted, notify=self._notify), named
        return self._opened

    def _close_networks(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.pipeline.close()


class _Painter:
    """Draws frames with the probes of the window, from where they were seen on."""

    def __init__(self, given: ExportProbes, overlay: OverlayOptions, skeleton: Skeleton, *, still: bool) -> None:
        self._given, self._skeleton, self._still = given, skeleton, still
        self._look = Look(overlay=overlay, mirror=False)
        self._memory = None if still else DrawingMemory()

    def __call__(self, result: FrameResult) -> UInt8Array:
        """The picture of a result."""
        given, time_s = self._given, result.frame.timestamp_s
        shot = Shot(frame=result.frame, captured_s=0.0, position_s=time_s, serial=given.serial)
        shown = Shown(shot=shot, result=result, skeleton=self._skeleton, pipeline=_NO_PIPELINE)
        reading, pins = (None, ()) if time_s < given.from_s - _TICK_S else given.probes.read(shown)
        return frame_picture(shown, self._look, reading, self._memory, pins=pins)
