"""`python main.py --video ...`: export of a source, with a short summary."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TextIO

from engine.artifacts.compiler import discard_notice
from engine.artifacts.folders import WEIGHTS_DIR, is_offline
from engine.artifacts.model_files import find_detector, resolve_pose_model
from engine.artifacts.part_file import check_writable
from engine.artifacts.weights_info import read_weights_info
from engine.artifacts.write_guard import check_targets
from engine.detection.given_boxes import NO_DETECTOR
from engine.errors import ModelError, OptionError, one_line
from engine.options import DRAWN, Options
from engine.output.export import ExportSummary, check_start, export
from engine.output.files import ExportOptions, photo_targets, resolve_output
from engine.output.live.live_poses import LivePoses
from engine.output.live.standard_output import kept_for_poses
from engine.output.live.targets import STDOUT, split_poses
from engine.output.maps_writer import check_maps_path
from engine.output.poses_writer import Extra, check_poses_path
from engine.overlay.attention import AttentionSheet, AttentionView, parse_attention
from engine.overlay.drawing import Background, OverlayOptions
from engine.pipeline.opening import open_pipeline
from engine.pipeline.options import PipelineOptions, check_still
from engine.pipeline.pose_pipeline import PosePipeline
from engine.sources.frame_source import SignalLoss, SourceInfo
from engine.sources.inputs import source_files
from engine.sources.photos import read_photo
from engine.sources.requests import SourceRequest
from engine.system.console import lead_nowhere
from engine.system.paths import path_from
from engine.system.stop_flag import StopFlag

EXIT_INTERRUPTED = 130
EXIT_SOME_FAILED = 3
NO_PICTURES = "none"
"""The output of a run that writes poses only."""
EXIT_SIGNAL = 128
"""Plus the signal number: the shell convention for a program ended by a signal."""


def run_video(user_options: Options, request: SourceRequest) -> int:
    """Write the pose video (and poses) of one source.

    Whatever can be checked without a network is checked before one is loaded, the fastest checks first.

    Returns:
        0, or 130 where Ctrl-C (143 where SIGTERM) ended a file early; always 0 for a live source. 3 where some of
        several photos could not be read.

    Raises:
        EngineError: the export failed.
    """
    # Constructing the options validates their values.
    export_options(user_options, attention=None)
    pipeline_options(user_options, None, None)
    with contextlib.ExitStack() as until_printed:
        stdout = stdout_for_poses(user_options, until_printed)
        source = until_printed.enter_context(request.open())
        notify = notice_to(user_options)
        if not user_options.quiet:
            source.watch(notify_signal)
        attention = attention_view(user_options)
        if source.info.kind == "photos":
            check_still(user_options)
        options = pipeline_options(user_options, attention, source.info)
        given = options.boxes is not None or options.detector == NO_DETECTOR
        if not given and (not options.download or is_offline()):
            find_detector(options.detector)
        inputs = run_inputs(user_options, *request.paths)
        check_outputs(source.info, export_options(user_options, attention), inputs)
        live = until_printed.enter_context(live_poses(user_options, stdout, named=False))
        with open_pipeline(options, notify=notify) as pipeline:
            if not user_options.quiet:
                print_line("\n".join([what_runs(pipeline), *where_to_read(live)]))
            # From here on a second Ctrl-C must not suppress the summary.
            guard = until_printed.enter_context(StopFlag())
            summary = export(source, pipeline, export_options(user_options, attention), guard=guard, live=live)
        live.close()
        if not user_options.quiet:
            print_line("\n".join([summary_text(summary), *live.summaries()]))
        print_notes(summary, quiet=user_options.quiet)
        live.check()
        if not summary.interrupted and summary.photos_failed:
            return EXIT_SOME_FAILED
        return 0 if source.info.is_live else exit_code(summary)


def exit_code(summary: ExportSummary) -> int:
    """0, or what the shell expects of a program that a signal ended."""
    if not summary.interrupted:
        return 0
    return EXIT_INTERRUPTED if summary.signal_number is None else EXIT_SIGNAL + summary.signal_number


def stdout_for_poses(user_options: Options, until: contextlib.ExitStack) -> int | None:
    """A handle of standard output, where poses are written to it; what else is printed goes to stderr `until` then."""
    _files, targets = split_poses(user_options.poses)
    return until.enter_context(kept_for_poses()) if any(one.scheme == STDOUT for one in targets) else None


def live_poses(user_options: Options, stdout: int | None, *, named: bool) -> LivePoses:
    """What sends poses to the addresses of `--poses`.

    Raises:
        OutputError: an address cannot be opened.
    """
    return LivePoses(
        split_poses(user_options.poses)[1],
        stdout=stdout,
        allow_remote=user_options.allow_remote,
        allow_origins=user_options.allow_origin,
        named=named,
        notify=notice_to(user_options),
    )


def notice_to(user_options: Options) -> Callable[[str], None]:
    """Where lines go that tell of what takes long or goes wrong on the way."""
    return discard_notice if user_options.quiet else print_error


def pipeline_options(
    user_options: Options, attention: AttentionView | AttentionSheet | None, info: SourceInfo | None
) -> PipelineOptions:
    """Pipeline options from the command line, for a source."""
    kinds = {"areas", "attention"} if user_options.attention_maps is not None else set()
    if attention is not None:
        kinds.add(attention.kind)
    return PipelineOptions.of(
        user_options,
        live=info is not None and info.is_live,
        still=info is not None and info.kind == "photos",
        want_areas="areas" in kinds,
        want_attention="attention" in kinds,
    )


def export_options(user_options: Options, attention: AttentionView | AttentionSheet | None) -> ExportOptions:
    """Export options from the command line.

    Raises:
        OptionError: a value does not fit.
        SourceError: the background cannot be read.
    """
    extras: dict[Extra, bool] = {
        "followed": user_options.follow is not None,
        "angles": user_options.angles,
        "repetitions": user_options.count is not None,
    }
    files, live = split_poses(user_options.poses)
    pictures = str(user_options.output) != NO_PICTURES
    if str(user_options.output) == STDOUT:
        raise OptionError("--output names a file; on standard output only poses are written: --poses -")
    if not pictures and not files and not live and user_options.attention_maps is None:
        raise OptionError(f"--output {NO_PICTURES} leaves nothing to write: add --poses")
    return ExportOptions(
        output=user_options.output if pictures else None,
        pictures=pictures,
        poses=files,
        overwrite=user_options.overwrite,
        max_frames=user_options.max_frames,
        start_s=user_options.start,
        duration_s=user_options.duration,
        shorter_px=user_options.size,
        attention_maps=user_options.attention_maps,
        extras=frozenset(name for name, on in extras.items() if on),
        overlay=overlay_options(user_options, attention if isinstance(attention, AttentionView) else None),
        sheet=attention if isinstance(attention, AttentionSheet) else None,
        quiet=user_options.quiet,
        overlap=user_options.threads != 1,
    )


def overlay_options(user_options: Options, attention: AttentionView | None) -> OverlayOptions:
    """What the command line asks to be drawn.

    Raises:
        OptionError: trails without ids.
        SourceError: the background cannot be read.
    """
    ground = None
    if user_options.background == "black":
        ground = Background(None)
    elif user_options.background != "video":
        ground = Background(read_photo(path_from(user_options.background)))
    drawn = {name: name in user_options.draw for name in DRAWN}
    if drawn["trails"] and not user_options.tracking:
        raise OptionError("--draw trails needs ids: leave --no-tracking out")
    drawn["angles"] |= user_options.angles
    return OverlayOptions(
        **drawn,
        line_width=user_options.line_width,
        score_threshold=user_options.keypoint_threshold,
        background=ground,
        legend=user_options.legend,
        attention=attention,
        scale=user_options.attention_scale,
    )


def attention_view(user_options: Options) -> AttentionView | AttentionSheet | None:
    """The view that `--attention` names, from the skeleton in the weights' header; also checks that the model exists.

    Raises:
        ModelError: there is no such model, or it has no maps and some are wanted.
        OptionError: it has no keypoint of that name.
    """
    info = read_weights_info(resolve_pose_model(user_options.pose_model))
    view = None if user_options.attention is None else parse_attention(user_options.attention, info.skeleton)
    if user_options.count is not None:
        info.skeleton.angle_index(user_options.count.angle)
    elif user_options.angles and not info.skeleton.named_angles:
        info.skeleton.angle_index("")
    wanted = "--attention" if view is not None else "--attention-maps" if user_options.attention_maps else None
    if wanted is not None and not info.has_attention:
        raise ModelError(f"pose model '{info.name}' has no attention maps; {wanted} needs a kcam_ model")
    return view


def check_outputs(info: SourceInfo, wanted: ExportOptions, inputs: Iterable[str | Path | None]) -> tuple[Path, ...]:
    """Refuse, before the networks are loaded, outputs that the export would refuse; returns the files to write.

    Raises:
        OptionError: a name does not fit the kind of output.
        OutputError: a file exists, is an input, or cannot be written.
        SourceError: the source has not the start.
    """
    check_start(info, wanted.start_s)
    targets: list[Path] = []
    if wanted.pictures:
        target = resolve_output(info, wanted.output)
        targets += photo_targets(info, target).values() if info.kind == "photos" else [target]
    for poses in wanted.poses:
        check_poses_path(poses)
        targets.append(poses)
    if wanted.attention_maps is not None:
        check_maps_path(wanted.attention_maps)
        targets.append(wanted.attention_maps)
    check_targets(targets, overwrite=wanted.overwrite, inputs=inputs)
    for file in targets if info.kind != "photos" else {file.parent: file for file in targets}.values():
        check_writable(file)
    return tuple(targets)


def run_inputs(user_options: Options, *sources: Path | None) -> tuple[str | Path | None, ...]:
    """All that a run of the program reads, for the guard of what it writes."""
    files = [file for source in sources for file in source_files(source)]
    ground = None if user_options.background in ("video", "black") else user_options.background
    networks = (user_options.pose_model, user_options.detector, WEIGHTS_DIR)
    return (*files, *networks, user_options.boxes, user_options.data, ground)


def what_runs(pipeline: PosePipeline) -> str:
    """The networks, their backends and devices, and the skipped backends."""
    found = pipeline.describe()
    runs_on = f" on {found['detector_backend']} ({found['detector_device']}, {found['detector_precision']})"
    if found["detector_backend"] == "none":
        runs_on = ""
    lines = [
        f"poses:  {found['pose_model']} on {found['backend']} ({found['device']}, {found['precision']})",
        f"people: {found['detector']}{runs_on}",
    ]
    lines += [f"skipped {name}: {reason}" for name, reason in found["skipped"]]
    return "\n".join(lines)


def where_to_read(live: LivePoses) -> list[str]:
    """A line for each address that readers connect to."""
    return [f"live:   {server.address} (in a browser: {server.page})" for server in live.servers]


def summary_text(summary: ExportSummary) -> str:
    """Summary of a run for the console."""
    lines = [one_line(path) for path in summary.outputs[:3]]
    if len(summary.outputs) > 3:
        lines.append(f"and {len(summary.outputs) - 3} more in {one_line(summary.outputs[-1].parent)}")
    frames = f"{summary.frames} {'frame' if summary.frames == 1 else 'frames'}"
    lines.append(
        f"{'stopped after ' if summary.interrupted else ''}{frames}, {summary.frames_with_people} with people, "
        f"{summary.seconds:.1f} s, {summary.fps:.1f} frames/s"
    )
    if summary.unreadable_frames:
        lines.append(f"{summary.unreadable_frames} could not be read")
    if summary.dropped_frames:
        lines.append(f"{summary.dropped_frames} arrived faster than they could be processed and were dropped")
    if summary.audio_note is not None:
        lines.append(summary.audio_note)
    return "\n".join(lines)


def print_notes(summary: ExportSummary, *, quiet: bool, before: str = "") -> None:
    """Tell on stderr what went wrong on the way; with `quiet` only where photos failed, which are files that failed."""
    if not quiet or summary.photos_failed:
        for note in summary.notes:
            print_error(f"{before}{one_line(note)}")


def print_line(text: str, stream: TextIO | None = None) -> None:
    """Print; a closed output (`| head`, a closed terminal) is ignored, because the files matter more."""
    stream = stream or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except OSError:
        with contextlib.suppress(OSError, ValueError):  # else the interpreter reports unflushed output at exit
            lead_nowhere(stream.fileno())


def notify_signal(loss: SignalLoss | None) -> None:
    """Tell that a live source was lost, or is back."""
    print_error("reconnected" if loss is None else f"{loss.message}; trying again in {loss.retry_in_s:.1f} s")


def print_error(line: str) -> None:
    """Print a line on stderr."""
    print_line(line, sys.stderr)
