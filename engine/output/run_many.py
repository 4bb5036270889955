"""`python main.py --video A B C`: one source after another through networks that are opened once, and a table."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.artifacts.folders import is_offline
from engine.artifacts.model_files import find_detector
from engine.detection.given_boxes import NO_DETECTOR
from engine.errors import OptionError, OutputError, SourceError, one_line
from engine.options import Options
from engine.output.export import ExportSummary, export
from engine.output.files import DEFAULT_FOLDER, ExportOptions, resolve_output
from engine.output.live.live_poses import LivePoses
from engine.output.poses_writer import check_poses_path
from engine.output.progress import FrameProgress
from engine.output.run_video import (
    EXIT_SOME_FAILED,
    attention_view,
    check_outputs,
    exit_code,
    export_options,
    live_poses,
    notice_to,
    notify_signal,
    pipeline_options,
    print_error,
    print_line,
    print_notes,
    run_inputs,
    run_video,
    stdout_for_poses,
    what_runs,
    where_to_read,
)
from engine.pipeline.opening import Networks, open_networks
from engine.pipeline.options import check_still
from engine.pipeline.pose_pipeline import PosePipeline
from engine.sources.frame_source import FrameSource, SourceInfo
from engine.sources.requests import SourceRequest, requested
from engine.system.stop_flag import StopFlag


def run_sources(user_options: Options) -> int:
    """Process all sources of the command line.

    Returns:
        0; of several sources 3 where some failed; 130 where Ctrl-C (143 where SIGTERM) ended a file early.

    Raises:
        EngineError: the only source failed, or something that all need.
    """
    requests = requested(user_options.video)
    if len(requests) == 1:
        return run_video(user_options, requests[0])
    return _Batch(user_options, requests).run()


@dataclass(frozen=True, kw_only=True)
class _Row:
    """What became of one source; without a summary, why it failed."""

    name: str
    summary: ExportSummary | None = None
    error: str = ""


class _Batch:
    """Several sources, one after another; one that fails does not end the run."""

    def __init__(self, user_options: Options, requests: Sequence[SourceRequest]) -> None:
        """Check what can be checked without a source.

        Raises:
            OptionError: a name fits one source only.
            ModelError: the pose model does not exist or lacks the wanted maps.
        """
        self._options, self._requests = user_options, requests
        self._wanted = export_options(user_options, attention_view(user_options))
        folder = self._wanted.output
        if folder is not None and (folder.is_file() or (folder.suffix and not folder.is_dir())):
            raise OptionError(f"there are {len(requests)} sources: --output must name a folder, not {folder}")
        self._folder = folder if folder is not None else DEFAULT_FOLDER
        for poses in self._wanted.poses:
            check_poses_path(poses)
        if user_options.boxes is not None:
            raise OptionError(f"--boxes are those of one source; there are {len(requests)}")
        self._attention = attention_view(user_options)
        self._inputs = run_inputs(user_options, *(path for request in requests for path in request.paths))
        self._networks: Networks | None = None
        self._stems: set[str] = set()
        self._rows: list[_Row] = []

    def run(self) -> int:
        """All sources; returns the exit code."""
        quiet = self._options.quiet
        with contextlib.ExitStack() as until_printed:
            stdout = stdout_for_poses(self._options, until_printed)
            guard = until_printed.enter_context(StopFlag())
            live = until_printed.enter_context(live_poses(self._options, stdout, named=True))
            try:
                for number, request in enumerate(self._requests, start=1):
                    if guard.is_set:
                        break
                    self._rows.append(self._row(number, request, guard, live))
            finally:
                if self._networks is not None:
                    self._networks.close()
            live.close()
            if not quiet:
                print_line("\n".join([self._table(), *live.summaries()]))
            live.check()
        stopped = next((exit_code(row.summary) for row in self._rows if row.summary and row.summary.interrupted), 0)
        if stopped or guard.signal_number is not None:
            return stopped or 128 + (guard.signal_number or 0)
        some_failed = any(row.summary is None or row.summary.photos_failed for row in self._rows)
        return EXIT_SOME_FAILED if some_failed else 0

    def _row(self, number: int, request: SourceRequest, guard: StopFlag, live: LivePoses) -> _Row:
        try:
            with request.open() as source:
                if not self._options.quiet:
                    source.watch(notify_signal)
                progress = FrameProgress(quiet=self._options.quiet, before=f"{number}/{len(self._requests)} ")
                summary = self._one(source, progress, guard, live)
        except (SourceError, OutputError) as error:
            print_error(f"error: {error}" if request.name in str(error) else f"error: {request.name}: {error}")
            return _Row(name=request.name, error=str(error))
        print_notes(summary, quiet=self._options.quiet, before=f"{source.info.name}: ")
        return _Row(name=request.name, summary=summary)

    def _one(self, source: FrameSource, progress: FrameProgress, guard: StopFlag, live: LivePoses) -> ExportSummary:
        info = source.info
        if info.is_live and self._options.max_frames is None and self._options.duration is None:
            raise SourceError(f"{info.name} has no end: among several sources add --duration or --max-frames")
        if info.kind == "photos":
            try:
                check_still(self._options)
            except OptionError as error:  # of this source, and not of the others
                raise SourceError(str(error)) from error
        wanted = self._outputs_of(info)
        # What one source of the run has written no other may replace.
        self._inputs += check_outputs(info, wanted, self._inputs)
        pipeline = self._pipeline(info, live)
        return export(source, pipeline, wanted, progress, guard, live=live)

    def _outputs_of(self, info: SourceInfo) -> ExportOptions:
        """The output options for one source: all its files carry its name."""
        first = resolve_output(info, self._folder)
        if info.kind == "photos" and (info.photos or (info.path is not None and info.path.is_dir())):
            stem = "photos" if info.photos else resolve_output(info, None).name.removesuffix("_pose")
        else:
            stem = first.stem.removesuffix("_pose")
        stem = self._unused(stem, info)
        output: Path | None = None
        if self._wanted.pictures and not info.photos:
            folder_of_photos = info.path is not None and info.path.is_dir()
            output = self._folder / f"{stem}_pose{'' if folder_of_photos else first.suffix}"
        elif self._wanted.pictures:
            output = self._folder
        maps = self._wanted.attention_maps
        return replace(
            self._wanted,
            output=output,
            poses=[self._beside(path, stem) for path in self._wanted.poses],
            attention_maps=None if maps is None else self._beside(maps, stem),
        )

    def _unused(self, stem: str, info: SourceInfo) -> str:
        """The name itself or, where an earlier source has it, one with the suffix or a number."""
        suffix = "" if info.path is None else info.path.suffix[1:].lower()
        names = [stem, *([f"{stem}_{suffix}"] if suffix else []), *(f"{stem}_{number}" for number in range(2, 10_000))]
        found = next(name for name in names if name.casefold() not in self._stems)
        self._stems.add(found.casefold())
        return found

    def _beside(self, path: Path, stem: str) -> Path:
        """`poses.csv` as `walk_poses.csv`; in the folder of the outputs, where it names none."""
        folder = self._folder if path.parent == Path() else path.parent
        return folder / f"{stem}_{path.name}"

    def _pipeline(self, info: SourceInfo, live: LivePoses) -> PosePipeline:
        """A pipeline for one source; the first opens the networks."""
        options = pipeline_options(self._options, self._attention, info)
        if self._networks is not None:
            return self._networks.pipeline(options)
        if options.detector != NO_DETECTOR and (not options.download or is_offline()):
            find_detector(options.detector)
        self._networks = open_networks(options, notify=notice_to(self._options))
        pipeline = self._networks.pipeline(options)
        if not self._options.quiet:
            print_line("\n".join([what_runs(pipeline), *where_to_read(live)]))
        return pipeline

    def _table(self) -> str:
        """A line for each source, and one for all."""
        cells = [("source", "frames", "people", "s", "frames/s", "written")]
        for row in self._rows:
            cells.append((one_line(row.name), *self._cells(row)))
        for request in self._requests[len(self._rows) :]:
            cells.append((one_line(request.name), "-", "-", "-", "-", "not begun"))
        widths = [max(len(line[column]) for line in cells) for column in range(5)]
        lines = [
            "  ".join([line[0].ljust(widths[0]), *(line[i].rjust(widths[i]) for i in range(1, 5)), line[5]])
            for line in cells
        ]
        done = [row.summary for row in self._rows if row.summary is not None]
        failed = len(self._rows) - len(done)
        frames, seconds = sum(one.frames for one in done), sum(one.seconds for one in done)
        lines.append(
            f"{len(done)} of {len(self._requests)} sources done, {failed} failed; {frames} frames, {seconds:.1f} s"
        )
        return "\n".join(lines)

    @staticmethod
    def _cells(row: _Row) -> tuple[str, str, str, str, str]:
        summary = row.summary
        if summary is None:
            return "-", "-", "-", "-", f"failed: {row.error}"
        outputs = [one_line(path) for path in summary.outputs]
        written = ", ".join(outputs[:3]) + (f" and {len(outputs) - 3} more" if len(outputs) > 3 else "")
        unread = f" ({summary.unreadable_frames} unreadable)" if summary.unreadable_frames else ""
        stopped = " (stopped early)" if summary.interrupted else ""
        return (
            str(summary.frames),
            str(summary.frames_with_people),
            f"{summary.seconds:.1f}",
            f"{summary.fps:.1f}",
            f"{written}{unread}{stopped}",
        )
