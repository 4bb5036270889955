"""Files that are exported one after another, with the state of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from PyQt5.QtCore import QObject, pyqtSignal

from app.live.inference import OpenPipeline
from app.live.shots import Unexpected
from app.output.export_job import ExportEnded, ExportJob, ExportProgress, ExportRequest
from engine.sources.frame_source import FrameSource
from engine.sources.opening import path_of

State = Literal["waiting", "running", "done", "failed", "cancelled"]
_FEWEST_FRAMES = 10  # before which a rate says nothing


@dataclass(kw_only=True, eq=False)
class ExportItem:
    """One file of the queue.

    Attributes:
        request: what is written.
        state: "cancelled" also where a whole file of what was done until then is kept.
        done, total: frames; the total is None where it is unknown.
        outputs: the files written, under their final names.
        size_bytes: of these files.
        error: why it failed.
    """

    request: ExportRequest
    state: State = "waiting"
    done: int = 0
    total: int | None = None
    outputs: tuple[Path, ...] = ()
    size_bytes: int = 0
    error: str = ""
    began_s: float = field(default_factory=time.monotonic)

    @property
    def percent(self) -> int | None:
        """How much is done; None if unknown."""
        return min(100, 100 * self.done // self.total) if self.total else None

    @property
    def left_s(self) -> float | None:
        """Seconds to the end at the mean rate so far; None if unknown."""
        if self.state != "running" or not self.total or self.done < _FEWEST_FRAMES:
            return None
        return (time.monotonic() - self.began_s) / self.done * max(0, self.total - self.done)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is written of it."""
        return self.state not in ("waiting", "running")


class ExportQueue(QObject):
    """Runs one export at a time. Methods are called in the GUI thread; only `join` blocks.

    Signals:
        changed: the state of an item, or the items.
        ended: an ExportItem is done, failed or cancelled, with the ExportEnded of its job.
    """

    changed = pyqtSignal()
    ended = pyqtSignal(object, object)
    _event = pyqtSignal(object)

    def __init__(
        self,
        *,
        open_source: Callable[[str], FrameSource],
        open_pipeline: OpenPipeline,
        report: Callable[[BaseException, str], None],
        shown: Callable[[], str | None],
        parent: QObject,
    ) -> None:
        """Make an empty queue.

        Args:
            report: receives unexpected exceptions, each with its origin.
            shown: the source that the window plays; it is not replaced.
        """
        super().__init__(parent)
        self._shown = shown
        self._open_source, self._open_pipeline, self._report = open_source, open_pipeline, report
        self.items: list[ExportItem] = []
        self.job: ExportJob | None = None
        self._closed = False
        self._event.connect(self._act)

    @property
    def running(self) -> ExportItem | None:
        """The item that is being exported."""
        return next((item for item in self.items if item.state == "running"), None)

    @property
    def waiting(self) -> list[ExportItem]:
        """Items that have not begun."""
        return [item for item in self.items if item.state == "waiting"]

    def add(self, *requests: ExportRequest) -> list[ExportItem]:
        """Put files at the end; where nothing runs the first of them begins, and replaces none of the others."""
        added = [ExportItem(request=request) for request in requests]
        self.items += added
        self._begin_next()
        self.changed.emit()
        return added

    def cancel(self, item: ExportItem) -> None:
        """Leave out an item, or end it early; the others go on."""
        if item.state == "waiting":
            item.state = "cancelled"
        elif item.state == "running" and self.job is not None:
            self.job.cancel()
        self.changed.emit()

    def cancel_all(self) -> None:
        """End the running export early, and begin no other."""
        for item in self.waiting:
            item.state = "cancelled"
        if self.job is not None:
            self.job.cancel()
        self.changed.emit()

    def close(self) -> ExportJob | None:
        """Cancel all; returns the job that may still write, to be joined."""
        self._closed = True
        self.cancel_all()
        if self.job is not None:
            self.job.end()
        return self.job

    def _begin_next(self) -> None:
        waiting = self.waiting
        if self.running is not None or self._closed or not waiting:
            return
        item = waiting[0]
        item.state, item.began_s = "running", time.monotonic()
        read = [path_of(text) for text in (self._shown(), *(other.request.text for other in self.items))]
        if self.job is None:
            self.job = ExportJob(
                open_source=self._open_source, open_pipeline=self._open_pipeline, emit=self._event.emit
            )
        self.job.write(item.request, read)

    def _act(self, event: Any) -> None:
        item = self.running
        if isinstance(event, Unexpected):
            self._report(event.error, event.where)
        elif isinstance(event, ExportProgress) and item is not None:
            if event.done == 0:  # the networks are open now: their time says nothing about frames
                item.began_s = time.monotonic()
            item.done, item.total = event.done, event.total
            self.changed.emit()
        elif isinstance(event, ExportEnded) and item is not None:
            self._end(item, event)

    def _end(self, item: ExportItem, ended: ExportEnded) -> None:
        if ended.summary is not None:
            item.done, item.outputs = ended.summary.frames, ended.summary.outputs
            # Once: the dialog shows it with every few frames of the next file, and a folder may have thousands.
            item.size_bytes = sum(path.stat().st_size for path in item.outputs if path.is_file())
        item.state = "cancelled" if ended.cancelled else "done" if item.outputs else "failed"
        item.error = ended.error or ""
        self._begin_next()
        if self.running is None and self.job is not None:
            self.job.end()
            self.job.join(None)  # it has nothing more to do than close the networks
            self.job = None
        self.ended.emit(item, ended)
        self.changed.emit()
