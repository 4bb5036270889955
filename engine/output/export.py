"""Export of a source to files: process, draw and write every frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn, Protocol

import cv2
import numpy as np

from engine.errors import EngineError, OptionError, SourceError
from engine.output.files import RunFiles, expected_frames
from engine.output.live.live_poses import LivePoses
from engine.output.poses_writer import Extra
from engine.output.progress import FrameProgress, Progress, SafeProgress
from engine.overlay.attention import AttentionSheet
from engine.overlay.contact_sheet import contact_sheet
from engine.overlay.drawing import DrawingMemory, OverlayOptions, draw
from engine.pipeline.file_runner import results
from engine.pipeline.prefetch import Steps
from engine.skeleton import Skeleton
from engine.sources.decoded_picture import fitted
from engine.sources.frame_source import FrameSource, SourceInfo
from engine.system.stop_flag import StopFlag
from engine.types import Frame, FrameResult, UInt8Array

_TICK_S = 1e-6  # of the clocks of files; times that are subtracted are not exact in the last digits
X264_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


class FramePipeline(Protocol):
    """The interface that the export needs of a pipeline."""

    @property
    def skeleton(self) -> Skeleton:
        """Keypoints of the poses."""

    def process(self, frame: Frame) -> FrameResult:
        """Detect the people of a frame and their keypoints."""

    def describe(self) -> dict[str, Any]:
        """The networks, backends and devices that run."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What to write, and its limits.

    Attributes:
        output: video, photo or folder to write; None for `outputs/<name>_pose.mp4` and the like.
        pictures: whether a video, photo or folder is written at all, and frames are drawn.
        poses: `.jsonl`, `.csv` or `.json` files.
        extras: what the poses carry beside keypoints.
        attention_maps: `.npz` file for the maps as numbers; None for none.
        overwrite: existing files may be replaced.
        max_frames: stop after this many frames.
        start_s: begin this many seconds after the start of the source; poses keep the frames and times of the source.
        duration_s: stop after this many seconds of the source.
        overlay: what is drawn on the frames.
        sheet: the maps of all keypoints beside each other, in place of the overlay; None for the overlay.
        shorter_px: length of the shorter side of what is written where the source is larger; poses keep its pixels.
        quiet: no progress output.
        crf: quality of the video, 0 (lossless) to 51.
        preset: x264's trade-off of speed against size.
        overlap: read, process and write concurrently; False for one thread.
    """

    output: Path | None = None
    pictures: bool = True
    poses: Sequence[Path] = ()
    extras: frozenset[Extra] = frozenset()
    attention_maps: Path | None = None
    overwrite: bool = False
    max_frames: int | None = None
    start_s: float | None = None
    duration_s: float | None = None
    overlay: OverlayOptions = field(default_factory=OverlayOptions)
    sheet: AttentionSheet | None = None
    shorter_px: int | None = None
    quiet: bool = False
    crf: int = 20
    preset: str = "veryfast"
    overlap: bool = True

    def __post_init__(self) -> None:
        if self.max_frames is not None and self.max_frames < 1:
            raise OptionError(f"the number of frames must be 1 or more, not {self.max_frames}")
        if self.duration_s is not None and not 0 < self.duration_s < float("inf"):
            raise OptionError(f"the duration must be above 0 seconds, not {self.duration_s}")
        if self.start_s is not None and not 0 <= self.start_s < float("inf"):
            raise OptionError(f"the start must be 0 seconds or more, not {self.start_s}")
        if self.shorter_px is not None and self.shorter_px < 2:
            raise OptionError(f"a picture needs 2 px or more on its shorter side, not {self.shorter_px}")
        if not 0 <= self.crf <= 51:
            raise OptionError(f"the video quality (crf) must lie between 0 and 51, not {self.crf}")
        if self.preset not in X264_PRESETS:
            raise OptionError(f"unknown x264 preset '{self.preset}'. Known: {', '.join(X264_PRESETS)}.")
        if self.output is not None and self.output.resolve() in [path.resolve() for path in self.poses]:
            raise OptionError(f"video and poses cannot both be written to {self.output}")


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
    pipeline: FramePipeline,
    options: ExportOptions,
    progress: Progress | None = None,
    guard: StopFlag | None = None,
    *,
    live: LivePoses | None = None,
    is_cut_off: Callable[[], bool] = lambda: False,
    paint: Callable[[FrameResult], UInt8Array] | None = None,
) -> ExportSummary:
    """Write the video (or photos) and the poses of a source.

    Ctrl-C and termination signals act like the end of the source: the files are complete up to there.

    Args:
        source: opened source.
        pipeline: detects people and their keypoints.
        options: what to write.
        progress: called for every frame; None for a bar on stderr.
        guard: an entered stop flag, for callers with further steps that must not be interrupted; None makes one.
        live: gets every frame, beside the files or instead of them.
        is_cut_off: asked at the end of the source: whether somebody ended it early who may not be there to be told. The
            files then get names that say so.
        paint: draws a frame, (H, W, 3) uint8 BGR, in place of what `options` ask for; None for those.

    Raises:
        OptionError: an output's name does not fit what is written.
        OutputError: an output exists, is the input, or cannot be written.
        SourceError: reading failed, or the source has no frame.
        EngineError: another failure; if frames were written before, the message names the kept part files.
    """
    if guard is None:
        with StopFlag() as own:
            return export(source, pipeline, options, progress, own, live=live, is_cut_off=is_cut_off, paint=paint)
    started_s = time.monotonic()
    if options.start_s:
        _begin_at(source, options.start_s)
    with Steps(lambda: guard.is_set) as steps:  # threads are joined after the files have their final names
        outputs = RunFiles(
            source,
            pipeline.skeleton,
            output=options.output,
            pictures=options.pictures,
            poses=options.poses,
            extras=options.extras,
            attention_maps=options.attention_maps,
            overwrite=options.overwrite,
            crf=options.crf,
            preset=options.preset,
            from_zero=bool(options.start_s),
        )
        shown = SafeProgress(progress or FrameProgress(quiet=options.quiet))
        run = _Run(source, pipeline, options, outputs, shown, live=live, is_cut_off=is_cut_off, paint=paint)
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


class _Run:
    """The frames of one export."""

    def __init__(
        self,
        source: FrameSource,
        pipeline: FramePipeline,
        options: ExportOptions,
        outputs: RunFiles,
        progress: Progress,
        *,
        live: LivePoses | None,
        is_cut_off: Callable[[], bool],
        paint: Callable[[FrameResult], UInt8Array] | None,
    ) -> None:
        self._source, self._pipeline, self._options = source, pipeline, options
        self._paint = paint
        self._outputs, self._is_cut_off, self._progress, self._live = outputs, is_cut_off, progress, live
        # Photos do not follow each other.
        self._memory = None if source.info.kind == "photos" else DrawingMemory()
        self.frames = self.frames_with_people = 0
        self.interrupted = False
        self.notes: list[str] = []

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
            _fail(error, self._outputs, self.frames)
        finally:
            self._progress.close()

    def all_frames(self, steps: Steps) -> None:
        """The loop over frames: source, pipeline, drawing, files; the stages before drawing prefetch."""
        options = self._options
        total = expected_frames(
            self._source.info, options.max_frames, options.duration_s, start_s=options.start_s or 0.0
        )
        self._progress.start(self._source.info.name, total)
        live = self._source.info.is_live
        for result in results(self._pipeline, self._wanted(), steps, live=live, overlap=options.overlap):
            if self._live is not None:
                self._send(result, self._live)
            self._outputs.write(result, self._picture(result) if options.pictures else result.frame.image_bgr)
            self.frames += 1
            self.frames_with_people += len(result.poses) > 0
            self._progress.advance()

    def _picture(self, result: FrameResult) -> UInt8Array:
        return _at_most(self._drawn(result), self._options.shorter_px)

    def _drawn(self, result: FrameResult) -> UInt8Array:
        overlay, sheet = self._options.overlay, self._options.sheet
        if self._paint is not None:
            return self._paint(result)
        if sheet is not None:
            return contact_sheet(result, self._pipeline.skeleton, sheet, overlay)
        # The undrawn frame is not needed any more, so draw into it without a copy.
        return draw(result, self._pipeline.skeleton, overlay, out=result.frame.image_bgr, memory=self._memory)

    def _send(self, result: FrameResult, live: LivePoses) -> None:
        """Give a frame to live readers.

        Raises:
            BrokenPipeError: the last of them is gone, and nothing else is written.
        """
        live.offer(
            result,
            source=self._source.info.name,
            skeleton=self._pipeline.skeleton,
            time_s=self._outputs.time_s(result),
            file_name=self._outputs.photo_name(self._source.frame_path(result.frame.index)),
        )
        if live.all_ended and not self._outputs.writes_files:
            raise BrokenPipeError

    def _wanted(self) -> Iterator[Frame]:
        """Frames up to the limits, without waiting for one beyond them."""
        first_s: float | None = None
        photos = self._source.info.kind == "photos"
        duration_s = float("inf") if self._options.duration_s is None else self._options.duration_s - _TICK_S
        for number, frame in enumerate(self._source if photos else self._in_one_size(), start=1):
            first_s = frame.timestamp_s if first_s is None else first_s
            if frame.timestamp_s - first_s > duration_s:
                return
            yield frame
            if number == self._options.max_frames:
                return

    def _in_one_size(self) -> Iterator[Frame]:
        """Frames at the size of the first, so that video and poses use the same pixel coordinates."""
        first_wh: tuple[int, int] | None = None
        for frame in self._source:
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
            self._outputs.abort()
            if not self.interrupted:
                raise SourceError(f"{self._source.info.name} gave no frame")
            return ()
        if "followed" in self._options.extras and self.frames_with_people == 0:
            self.notes.append("nobody was followed: nobody was found, or nobody has that id in a run with everybody")
        if self._is_cut_off():
            self._outputs.cut_off()
        return self._outputs.finish()


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


def _begin_at(source: FrameSource, start_s: float) -> None:
    """Let a source begin at a time.

    Raises:
        SourceError: it has no other place to begin at, or cannot be read from there.
    """
    check_start(source.info, start_s)
    source.seek(start_s)  # type: ignore[attr-defined] # files have it


def _at_most(image_bgr: UInt8Array, shorter_px: int | None) -> UInt8Array:
    """The picture with this length of its shorter side, and even sides; itself where it is not larger."""
    height, width = image_bgr.shape[:2]
    if shorter_px is None or min(height, width) <= shorter_px:
        return image_bgr
    factor = shorter_px / min(height, width)
    size_wh = max(2, 2 * round(width * factor / 2)), max(2, 2 * round(height * factor / 2))
    return np.asarray(cv2.resize(image_bgr, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
