"""From a source to files: every frame through the pipeline, drawn, written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn, Protocol

from engine.errors import EngineError, OptionError, SourceError
from engine.output.files import RunFiles, expected_frames
from engine.output.progress import FrameProgress, Progress, Unfailing
from engine.overlay.drawing import OverlayOptions, draw
from engine.pipeline.file_runner import results
from engine.pipeline.prefetch import Steps
from engine.skeleton import Skeleton
from engine.sources.decoded_picture import fitted
from engine.sources.frame_source import FrameSource
from engine.system.stop_flag import StopFlag
from engine.types import Frame, FrameResult

X264_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


class FramePipeline(Protocol):
    """What the export needs of a pipeline."""

    @property
    def skeleton(self) -> Skeleton:
        """Keypoints of the poses."""

    def process(self, frame: Frame) -> FrameResult:
        """Find the people of a frame and their keypoints."""

    def describe(self) -> dict[str, Any]:
        """What really runs."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What to write, and how much.

    Attributes:
        output: video, photo or folder to write; None for `outputs/<name>_pose.mp4` and the like.
        poses: `.jsonl`, `.csv` or `.json` file; None for no poses file.
        overwrite: existing files may be replaced.
        max_frames: stop after as many frames.
        duration_s: stop after as many seconds of the source.
        overlay: how frames are drawn.
        quiet: no progress.
        crf: quality of the video, 0 (lossless) to 51.
        preset: x264's trade of speed against size.
        overlap: read, work and write at the same time; False for one thing after another in one thread.
    """

    output: Path | None = None
    poses: Path | None = None
    overwrite: bool = False
    max_frames: int | None = None
    duration_s: float | None = None
    overlay: OverlayOptions = field(default_factory=OverlayOptions)
    quiet: bool = False
    crf: int = 20
    preset: str = "veryfast"
    overlap: bool = True

    def __post_init__(self) -> None:
        if self.max_frames is not None and self.max_frames < 1:
            raise OptionError(f"the number of frames must be 1 or more, not {self.max_frames}")
        if self.duration_s is not None and not 0 < self.duration_s < float("inf"):
            raise OptionError(f"the duration must be above 0 seconds, not {self.duration_s}")
        if not 0 <= self.crf <= 51:
            raise OptionError(f"the video quality (crf) must lie between 0 and 51, not {self.crf}")
        if self.preset not in X264_PRESETS:
            raise OptionError(f"unknown x264 preset '{self.preset}'. Known: {', '.join(X264_PRESETS)}.")
        if self.output is not None and self.poses is not None and self.output.resolve() == self.poses.resolve():
            raise OptionError(f"video and poses cannot both be written to {self.output}")


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """What a run did.

    Attributes:
        frames: frames written.
        frames_with_people: those of them in which someone was found.
        seconds: time the run took.
        outputs: the files written, under their final names.
        unreadable_frames: frames or photos of the source that could not be read.
        dropped_frames: frames of a live source that came faster than they were worked on.
        audio_note: what became of the sound; None where there was none.
        notes: further lines for the person.
        interrupted: ended by Ctrl-C or the like; what was done until then is whole.
        signal_number: of the signal that ended it; None where the interrupt came in another way.
    """

    frames: int
    frames_with_people: int
    seconds: float
    outputs: tuple[Path, ...]
    unreadable_frames: int = 0
    dropped_frames: int = 0
    audio_note: str | None = None
    notes: tuple[str, ...] = ()
    interrupted: bool = False
    signal_number: int | None = None

    @property
    def fps(self) -> float:
        """Frames per second of the whole run."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0


def export(
    source: FrameSource,
    pipeline: FramePipeline,
    options: ExportOptions,
    progress: Progress | None = None,
    guard: StopFlag | None = None,
    *,
    is_cut_off: Callable[[], bool] = lambda: False,
) -> ExportSummary:
    """Write the video (or photos) and the poses of a source.

    Ctrl-C and requests to end the process end the run as the end of the source does: the files are whole up to there.

    Args:
        source: what is read.
        pipeline: finds people and their keypoints.
        options: what is written.
        progress: called for every frame; None for a bar on stderr.
        guard: of a caller who has more to do that must not be interrupted, entered; None for one of its own.
        is_cut_off: asked at the end of the source: whether somebody ended it early who may not be there to be told. The
            files then get names that say so.

    Raises:
        OptionError: an output's name does not fit what is written.
        OutputError: an output exists, is the input, or cannot be written.
        SourceError: reading failed, or no frame came.
        EngineError: whatever else failed; when frames were written before, the message names the kept part files.
    """
    if guard is None:
        with StopFlag() as own:
            return export(source, pipeline, options, progress, own, is_cut_off=is_cut_off)
    started_s = time.monotonic()
    with Steps(lambda: guard.asked) as steps:  # the threads are waited for when the files have their names
        outputs = RunFiles(
            source,
            pipeline.skeleton,
            output=options.output,
            poses=options.poses,
            overwrite=options.overwrite,
            crf=options.crf,
            preset=options.preset,
        )
        shown = Unfailing(progress or FrameProgress(quiet=options.quiet))
        run = _Run(source, pipeline, options, outputs, shown, is_cut_off=is_cut_off)
        written = run.from_start_to_end(guard, steps)
    return ExportSummary(
        frames=run.frames,
        frames_with_people=run.frames_with_people,
        seconds=time.monotonic() - started_s,
        outputs=written,
        unreadable_frames=source.unreadable_frames,
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
        is_cut_off: Callable[[], bool],
    ) -> None:
        self._source, self._pipeline, self._options = source, pipeline, options
        self._outputs, self._is_cut_off, self._progress = outputs, is_cut_off, progress
        self.frames = self.frames_with_people = 0
        self.interrupted = False
        self.notes: list[str] = []

    def from_start_to_end(self, guard: StopFlag, steps: Steps) -> tuple[Path, ...]:
        """Work, and put the files in order however it ends."""
        try:
            try:
                self.all_frames(steps)
            except KeyboardInterrupt:  # where somebody else handles signals
                self.interrupted = True
            self.interrupted |= guard.asked
            return self.finish()
        except BaseException as error:
            _fail(error, self._outputs, self.frames)
        finally:
            self._progress.close()

    def all_frames(self, steps: Steps) -> None:
        """The loop over frames: source, pipeline, drawing, files; the steps before drawing prefetch."""
        options = self._options
        total = expected_frames(self._source.info, options.max_frames, options.duration_s)
        self._progress.start(self._source.info.name, total)
        live = self._source.info.is_live
        for result in results(self._pipeline, self._wanted(), steps, live=live, overlap=options.overlap):
            # The undrawn frame is not needed any more, so draw into it without a copy.
            image = draw(result, self._pipeline.skeleton, options.overlay, out=result.frame.image_bgr)
            self._outputs.write(result, image)
            self.frames += 1
            self.frames_with_people += len(result.poses) > 0
            self._progress.advance()

    def _wanted(self) -> Iterator[Frame]:
        """Frames up to the limits; none beyond them is waited for."""
        first_s: float | None = None
        photos = self._source.info.kind == "photos"
        for number, frame in enumerate(self._source if photos else self._in_one_size(), start=1):
            first_s = frame.timestamp_s if first_s is None else first_s
            if self._options.duration_s is not None and frame.timestamp_s - first_s >= self._options.duration_s:
                return
            yield frame
            if number == self._options.max_frames:
                return

    def _in_one_size(self) -> Iterator[Frame]:
        """Frames in the size of the first, so that video and poses speak of the same pixels."""
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
        """The files under their names; none where Ctrl-C came before the first frame."""
        if self.frames == 0:
            self._outputs.abort()
            if not self.interrupted:
                raise SourceError(f"{self._source.info.name} gave no frame")
            return ()
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
    if outputs.kept_frames is not None and outputs.kept_frames < frames:  # the disk did not take the buffered frames
        part = f"the first {outputs.kept_frames} of {frames} frame(s)"
        text = f"{part if outputs.kept_frames else f'the poses of {frames} frame(s)'} are kept in {where}"
    if isinstance(error, EngineError):
        raise type(error)(f"{error} ({text})") from error
    error.add_note(text)
    raise error
