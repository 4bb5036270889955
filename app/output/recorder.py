"""Records the displayed frames, in its own thread: the annotated video, the raw one, the poses, or all together."""

from __future__ import annotations

import contextlib
import queue
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from app.live.compose import Look
from app.live.probe import Pins, ProbeReading, Probes
from app.live.shots import Shown, Unexpected
from app.output.frame_picture import frame_picture
from engine.artifacts.part_file import PartFile
from engine.errors import EngineError
from engine.output.part_writer import PartWriter
from engine.output.poses_writer import PosesWriter
from engine.output.video_writer import VideoWriter
from engine.overlay.drawing import DrawingMemory
from engine.skeleton import Skeleton
from engine.sources.frame_source import SourceInfo

_TIME_BASE = Fraction(1, 90_000)
_ROOM = 16
"""Frames that may wait for the encoder; more are dropped and counted, so that the window never waits for a disk."""
_LEAST_DISK_BYTES = 200_000_000


@dataclass(frozen=True, kw_only=True)
class RecordedFiles:
    """The files of a recording: the annotated video, the raw one (`.mp4`), the poses (`.jsonl`); None for none."""

    overlay: Path | None = None
    raw: Path | None = None
    poses: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them."""
        return tuple(path for path in (self.overlay, self.raw, self.poses) if path is not None)


class RecordingEnded(NamedTuple):
    """A recording is over; `error` is the reason if the user did not stop it."""

    recording: Recording
    paths: tuple[Path, ...]
    frames: int
    dropped: int
    error: str | None


class Recording:
    """Writes the same frames to all files. `offer` may be called from any thread; only `join` blocks."""

    def __init__(
        self,
        files: RecordedFiles,
        *,
        info: SourceInfo,
        look: Callable[[], Look],
        probes: Callable[[], Probes],
        emit: Callable[[Any], None],
    ) -> None:
        """Start.

        Args:
            files: one at least.
            info: of the source.
            look: returns the current look; called in the recording thread.
            probes: returns the probes of the newest picture; called in the recording thread, which copies them.
            emit: takes RecordingEnded, in the recording thread.

        Raises:
            OutputError: a file cannot be written.
        """
        self.files = files
        self._look, self._newest_probes, self._emit = look, probes, emit
        self._probes = probes().copy()
        self._memory = DrawingMemory()
        self._info = SourceInfo(
            name=info.name, kind="camera", frame_rate=info.frame_rate, time_base=_TIME_BASE, tags=info.tags,
            is_live=True,
        )  # fmt: skip
        self._parts: dict[Path, PartFile] = {}
        try:
            for path in files.paths:
                self._parts[path] = PartFile(path)
        except BaseException:
            for part in self._parts.values():
                part.discard()
            raise
        self._overlay, self._raw = self._video(files.overlay), self._video(files.raw)
        self._poses: PosesWriter | None = None
        self._queue: queue.Queue[Shown | None] = queue.Queue(_ROOM)
        self._clock: tuple[int, float] | None = None  # serial of the source, and what to add to its time stamps
        self._last_s = -1.0
        self._stopped = threading.Event()
        self.started_s = time.monotonic()
        self.frames = self.dropped = 0
        # Not a daemon: the process waits for the file to be complete after the window is closed.
        self._thread = threading.Thread(target=self._run, name=f"recording {files.paths[0].name}")
        self._thread.start()

    def _video(self, path: Path | None) -> VideoWriter | None:
        return None if path is None else VideoWriter(self._parts[path], self._info, keep_audio=False)

    def offer(self, shown: Shown) -> None:
        """Queue a frame, or drop it if the queue is full."""
        if self._stopped.is_set() or (self._overlay is None and self._raw is None and shown.result is None):
            return
        try:
            self._queue.put_nowait(shown)
        except queue.Full:
            self.dropped += 1

    def stop(self) -> None:
        """Write the queued frames, and end."""
        self._stopped.set()

    @property
    def is_running(self) -> bool:
        """Whether it still writes."""
        return self._thread.is_alive()

    def join(self, limit_s: float | None) -> bool:
        """Wait for the end; None for as long as it takes."""
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    @property
    def elapsed_s(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started_s

    def disk_left_bytes(self) -> int:
        """Free space on the disk of the files; 0 if the folder is gone."""
        try:
            return shutil.disk_usage(self.files.paths[0].parent).free
        except OSError:
            return 0

    def _run(self) -> None:
        error: str | None = None
        paths: tuple[Path, ...] = ()
        try:
            error = self._write_all()
            paths = self._finish()
        except EngineError as caught:
            error = self._give_up(caught)
        except Exception as caught:
            error = self._give_up(caught)
            self._emit(Unexpected(error=caught, where="the recording thread"))
        finally:
            self._stopped.set()
            with contextlib.suppress(RuntimeError):  # the window is gone already
                self._emit(RecordingEnded(self, paths, self.frames, self.dropped, error))

    def _write_all(self) -> str | None:
        """Write frames until the end; returns the reason if the user did not stop it."""
        while True:
            try:
                shown = self._queue.get(timeout=0.1)
            except queue.Empty:
                if self._stopped.is_set():
                    return None
                continue
            if shown is not None:
                self._write(shown)
            if self.frames % 30 == 0 and self.disk_left_bytes() < _LEAST_DISK_BYTES:
                # Completing the file needs some space, too.
                first = self.files.paths[0]
                return (
                    f"the disk of {first.parent} is almost full: recording stopped,"
                    f" {self.frames} frame(s) are in {first.name}"
                )

    def _write(self, shown: Shown) -> None:
        time_s = self._time_s(shown)
        pts = round(time_s / _TIME_BASE)
        if self._raw is not None:
            self._raw.write(shown.shot.frame.image_bgr, pts)
        if self._overlay is not None:
            reading, pins = self._read_probes(shown)
            self._overlay.write(frame_picture(shown, self._look(), reading, self._memory, pins=pins), pts)
        if self.files.poses is not None and shown.result is not None and shown.skeleton is not None:
            poses = self._poses_writer(self.files.poses, shown.skeleton)
            poses.write(self.frames, time_s, shown.result.poses)
        self.frames += 1

    def _read_probes(self, shown: Shown) -> tuple[ProbeReading | None, Pins]:
        """The probes in this frame; tracked separately, because the window skips frames and runs before the encoder."""
        newest = self._newest_probes()
        if newest.placed != self._probes.placed:
            self._probes = newest.copy()
        return self._probes.read(shown)

    def _poses_writer(self, path: Path, skeleton: Skeleton) -> PosesWriter:
        if self._poses is None:
            self._poses = PosesWriter(self._parts[path], skeleton)
        return self._poses

    def _time_s(self, shown: Shown) -> float:
        """Seconds from the first frame; strictly increasing, also over a change of source."""
        stamp = shown.shot.frame.timestamp_s
        if self._clock is None or self._clock[0] != shown.shot.serial:
            self._clock = (shown.shot.serial, (0.0 if self._last_s < 0 else self._last_s + 1 / 30) - stamp)
        time_s = stamp + self._clock[1]
        if time_s <= self._last_s:
            time_s = self._last_s + 0.001
        self._last_s = time_s
        return time_s

    def _finish(self) -> tuple[Path, ...]:
        """Close all files and give them their final names; those that got no frame are removed."""
        writers = self._writers()
        begun = {part for part, writer in writers.items() if writer.frames}
        for path, part in self._parts.items():
            if path not in begun:
                part.discard()
        for path in begun:
            writers[path].finish()
        return tuple(writers[path].commit() for path in self.files.paths if path in begun)

    def _writers(self) -> dict[Path, PartWriter]:
        files = (self.files.overlay, self._overlay), (self.files.raw, self._raw), (self.files.poses, self._poses)
        return {path: writer for path, writer in files if path is not None and writer is not None}

    def _give_up(self, error: Exception) -> str:
        writers, kept = self._writers(), []
        for path, part in self._parts.items():
            with contextlib.suppress(EngineError, OSError):
                if path not in writers:
                    part.discard()
                elif (left := writers[path].abort()) is not None:
                    kept.append(str(left))
        return f"{error} (what was written is kept in {' and '.join(kept)})" if kept else str(error)
