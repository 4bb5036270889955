"""Export of a source to files: process, draw and write every frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np

from engine.errors import EngineError, SourceError
from engine.output.files import ExportOptions, RunFiles, expected_frames
from engine.output.live.live_poses import LivePoses
from engine.output.progress import FrameProgress, Progress, SafeProgress
from engine.overlay.contact_sheet import contact_sheet
from engine.overlay.drawing import DrawingMemory, draw
from engine.pipeline.file_runner import results
from engine.pipeline.pose_pipeline import PosePipeline
from engine.pipeline.prefetch import Steps
from engine.sources.decoded_picture import fitted
from engine.sources.frame_source import FrameSource, SourceInfo
from engine.system.stop_flag import StopFlag
from engine.types import Frame, FrameResult, UInt8Array

_TICK_S = 1e-6  # of the clocks of files; times that are subtracted are not exact in the last digits


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """Result of a run.

    Attributes:
        frames: frames written.
        frames_with_people: those with at least one person.
        seconds: duration of the run.
        outputs: the files written, under their final names.
        unreadable_frames: frames or photos of the source that could not be read.
        photos_failed: how many of those are photos, files of their own; the notes name each.
        dropped_frames: frames of a live source that arrived faster than they were processed.
        audio_note: one line about the audio; None where there was none.
        notes: further lines for the user.
        interrupted: ended by Ctrl-C or another signal; the files are complete up to there.
        signal_number: of the signal that ended it; None without one.
    """

    frames: int
    frames_with_people: int
    seconds: float
    outputs: tuple[Path, ...]
    unreadable_frames: int = 0
    photos_failed: int = 0
    dropped_frames: int = 0
    audio_note: str | None = None
    notes: tuple[str, ...] = ()
    interrupted: bool = False
    signal_number: int | None = None

    @property
    def fps(self) -> float:
        """Mean frames per second."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0


def export(
    source: FrameSource,
    pipeline: PosePipeline,
    options: ExportOptions,
    progress: Progress | None = None,
    guard: StopFlag | None = None,
    *,
    live: LivePoses | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
    paint: Callable[[FrameResult], UInt8Array] | None = None,
) -> ExportSummary:
    """Write the video (or photos) and the poses of a source.

    Ctrl-C and termination signals act like the end of the source: the files are complete up to there.

    Args:
        progress: called for every frame; None for a bar on stderr.
        guard: an entered stop flag, for callers with further steps that must not be interrupted; None makes one.
        live: gets every frame, beside the files or instead of them.
        is_stopped: asked before each frame, in any thread: whether somebody ends it early, who may not be there to be
            told. The files then get names that say so.
        paint: draws a frame, (H, W, 3) uint8 BGR, in place of what `options` ask for; None for those.

    Raises:
        OptionError: an output's name does not fit what is written.
        OutputError: an output exists, is the input, or cannot be written.
        SourceError: reading failed, or the source has no frame.
        EngineError: another failure; if frames were written before, the message names the kept part files.
    """
    if guard is None:
        with StopFlag() as own:
            return export(source, pipeline, options, progress, own, live=live, is_stopped=is_stopped, paint=paint)
    started_s = time.monotonic()
    if options.start_s:
        check_start(source.info, options.start_s)
        source.seek(options.start_s)  # type: ignore[attr-defined] # files have it
    with Steps(lambda: guard.is_set) as steps:  # threads are joined after the files have their final names
        outputs = RunFiles(source, pipeline.skeleton, options)
        run = _Run(
            source=source,
            pipeline=pipeline,
            options=options,
            outputs=outputs,
            progress=SafeProgress(progress or FrameProgress(quiet=options.quiet)),
            live=live,
            is_stopped=is_stopped,
            paint=paint,
        )
        written = run.from_start_to_end(guard, steps)
    return ExportSummary(
        frames=run.frames,
        frames_with_people=run.frames_with_people,
        seconds=time.monotonic() - started_s,
        outputs=written,
        unreadable_frames=source.unreadable_frames,
        photos_failed=source.unreadable_frames if source.info.kind == "photos" else 0,
        dropped_frames=source.dropped_frames,
        audio_note=outputs.audio_note,
        notes=(*source.notes, *run.notes, *outputs.notes),
        interrupted=run.interrupted,
        signal_number=guard.signal_number if run.interrupted else None,
    )


@dataclass(kw_only=True)
class _Run:
    """The frames of one export; see `export` for the arguments."""

    source: FrameSource
    pipeline: PosePipeline
    options: ExportOptions
    outputs: RunFiles
    progress: Progress
    live: LivePoses | None
    is_stopped: Callable[[], bool]
    paint: Callable[[FrameResult], UInt8Array] | None
    frames: int = 0
    frames_with_people: int = 0
    interrupted: bool = False
    is_cut_off: bool = False
    notes: list[str] = field(default_factory=list)
    memory: DrawingMemory = field(default_factory=DrawingMemory)

    def from_start_to_end(self, guard: StopFlag, steps: Steps) -> tuple[Path, ...]:
        """Process all frames, then finish or abort the files."""
        try:
            try:
                self.all_frames(steps)
            except KeyboardInterrupt:  # where another handler is installed
                self.interrupted = True
            self.interrupted |= guard.is_set
            return self.finish()
        except BaseException as error:
            _fail(error, self.outputs, self.frames)
        finally:
            self.progress.close()

    def all_frames(self, steps: Steps) -> None:
        """The loop over frames: source, pipeline, drawing, files; the stages before drawing prefetch."""
        options = self.options
        info = self.source.info
        total = expected_frames(info, options.max_frames, options.duration_s, start_s=options.start_s or 0.0)
        self.progress.start(info.name, total)
        for result in results(self.pipeline, self._wanted(), steps, live=info.is_live, overlap=options.overlap):
            if self.live is not None:
                self._send(result, self.live)
            image = result.frame.image_bgr
            if options.pictures:
                image = _at_most(self._drawn(result), options.shorter_px)
            self.outputs.write(result, image)
            self.frames += 1
            self.frames_with_people += len(result.poses) > 0
            self.progress.advance()

    def _drawn(self, result: FrameResult) -> UInt8Array:
        overlay, sheet = self.options.overlay, self.options.sheet
        if self.paint is not None:
            return self.paint(result)
        if sheet is not None:
            return contact_sheet(result, self.pipeline.skeleton, sheet, overlay)
        memory = None if self.source.info.kind == "photos" else self.memory  # photos do not follow each other
        # The undrawn frame is not needed any more, so draw into it without a copy.
        return draw(result, self.pipeline.skeleton, overlay, out=result.frame.image_bgr, memory=memory)

    def _send(self, result: FrameResult, live: LivePoses) -> None:
        """Give a frame to live readers.

        Raises:
            BrokenPipeError: the last of them is gone, and nothing else is written.
        """
        live.offer(
            result,
            source=self.source.info.name,
            skeleton=self.pipeline.skeleton,
            time_s=self.outputs.time_s(result),
            file_name=self.outputs.photo_name(self.source.frame_path(result.frame.index)),
        )
        if live.all_ended and not self.outputs.writes_files:
            raise BrokenPipeError

    def _wanted(self) -> Iterator[Frame]:
        """Frames up to the limits, without waiting for one beyond them."""
        first_s: float | None = None
        photos = self.source.info.kind == "photos"
        duration_s = float("inf") if self.options.duration_s is None else self.options.duration_s - _TICK_S
        for number, frame in enumerate(self.source if photos else self._in_one_size(), start=1):
            if self.is_stopped():
                self.is_cut_off = True
                return
            first_s = frame.timestamp_s if first_s is None else first_s
            if frame.timestamp_s - first_s > duration_s:
                return
            yield frame
            if number == self.options.max_frames:
                return

    def _in_one_size(self) -> Iterator[Frame]:
        """Frames at the size of the first, so that video and poses use the same pixel coordinates."""
        first_wh: tuple[int, int] | None = None
        for frame in self.source:
            size_wh = (frame.image_bgr.shape[1], frame.image_bgr.shape[0])
            first_wh = first_wh or size_wh
            if size_wh == first_wh:
                yield frame
                continue
            if not self.notes:
                self.notes.append(
                    f"the picture changes from {first_wh[0]}x{first_wh[1]} to {size_wh[0]}x{size_wh[1]} px"
                    f" at frame {frame.index}: fitted into the first size, in the video and in the poses"
                )
            yield replace(frame, image_bgr=fitted(frame.image_bgr, first_wh))

    def finish(self) -> tuple[Path, ...]:
        """The files under their final names; none if interrupted before the first frame."""
        if self.frames == 0:
            self.outputs.abort()
            if not self.interrupted:
                raise SourceError(f"{self.source.info.name} gave no frame")
            return ()
        if "followed" in self.options.extras and self.frames_with_people == 0:
            self.notes.append("nobody was followed: nobody was found, or nobody has that id in a run with everybody")
        if self.is_cut_off:
            self.outputs.cut_off()
        return self.outputs.finish()


def _fail(error: BaseException, outputs: RunFiles, frames: int) -> NoReturn:
    """Leave no file under a final name, and raise `error` with the path of the frames kept so far."""
    kept = outputs.abort()
    if not kept:
        raise error
    where = " and ".join(str(path) for path in kept)
    text = f"the {frames} frame(s) written so far are kept in {where}"
    if outputs.kept_frames is not None and outputs.kept_frames < frames:  # buffered frames could not be written
        part = f"the first {outputs.kept_frames} of {frames} frame(s)"
        text = f"{part if outputs.kept_frames else f'the poses of {frames} frame(s)'} are kept in {where}"
    if isinstance(error, EngineError):
        raise type(error)(f"{error} ({text})") from error
    error.add_note(text)
    raise error


def check_start(info: SourceInfo, start_s: float | None) -> None:
    """Refuse a start that a source does not have.

    Raises:
        SourceError: it has no other place to begin at, or ends before it.
    """
    if not start_s:
        return
    if info.is_live or info.kind == "photos" or info.read_once:
        what = "a live source has" if info.is_live else "photos have" if info.kind == "photos" else "a pipe has"
        raise SourceError(f"{info.name}: {what} no seconds to skip: leave --start out")
    if info.frame_count is not None and info.frame_rate is not None:
        length_s = float(info.frame_count / info.frame_rate)
        if start_s >= length_s:
            raise SourceError(f"{info.name} is {length_s:.1f} s long, so it has nothing from {start_s:g} s on")


def _at_most(image_bgr: UInt8Array, shorter_px: int | None) -> UInt8Array:
    """The picture with this length of its shorter side, and even sides; itself where it is not larger."""
    height, width = image_bgr.shape[:2]
    if shorter_px is None or min(height, width) <= shorter_px:
        return image_bgr
    factor = shorter_px / min(height, width)
    size_wh = max(2, 2 * round(width * factor / 2)), max(2, 2 * round(height * factor / 2))
    return np.asarray(cv2.resize(image_bgr, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
