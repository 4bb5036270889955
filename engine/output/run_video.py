"""`python main.py --video ...`: from the options to the files, with a summary of a few lines."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TextIO

from engine.artifacts.folders import WEIGHTS_DIR, is_offline
from engine.artifacts.model_files import find_detector, resolve_pose_model
from engine.artifacts.part_file import check_writable
from engine.artifacts.weights_info import read_weights_info
from engine.artifacts.write_guard import check_targets
from engine.errors import ModelError, OptionError, one_line
from engine.options import Options, PoseOptions
from engine.output.export import ExportOptions, ExportSummary, export
from engine.output.files import photo_targets, resolve_output
from engine.output.poses_writer import check_poses_path
from engine.overlay.drawing import AttentionView, OverlayOptions, parse_view
from engine.pipeline.opening import open_pipeline
from engine.pipeline.options import PipelineOptions
from engine.pipeline.pose_pipeline import PosePipeline
from engine.sources.frame_source import SignalLoss, SourceInfo
from engine.sources.inputs import source_files
from engine.sources.opening import open_source
from engine.system.stop_flag import StopFlag

EXIT_INTERRUPTED = 130
EXIT_SIGNAL = 128
"""And the number of the signal: what shells expect of a program that a signal ended."""


def run_video(user_options: Options) -> int:
    """Write the pose video (and poses) that the command line asks for.

    Errors that need no network are reported before one is loaded, the quickest checks first.

    Returns:
        0, or 130 where Ctrl-C (143 where SIGTERM) ended a file early; a live source has no other end: there it is 0.

    Raises:
        EngineError: it cannot be done; the message says why.
    """
    if user_options.video is None:
        raise OptionError("name what to read: --video SOURCE")
    # Values first: they are checked when the options are made.
    export_options(user_options, attention=None)
    pipeline_options(user_options, None, None)
    with open_source(user_options.video) as source, contextlib.ExitStack() as until_printed:
        if not user_options.quiet:
            source.watch(_say_signal)
        attention = attention_view(user_options.attention, user_options.pose_model)
        options = pipeline_options(user_options, attention, source.info)
        if not options.download or is_offline():
            find_detector(options.detector)
        check_outputs(source.info, user_options)
        with open_pipeline(options, say=_silence if user_options.quiet else _say) as pipeline:
            if not user_options.quiet:
                _print(what_runs(pipeline))
            # From here on a second Ctrl-C must not keep a person from reading where the files are.
            guard = until_printed.enter_context(StopFlag())
            summary = export(source, pipeline, export_options(user_options, attention), guard=guard)
        if not user_options.quiet:
            _print(summary_text(summary))
        if not summary.interrupted or source.info.is_live:
            return 0
        return EXIT_INTERRUPTED if summary.signal_number is None else EXIT_SIGNAL + summary.signal_number


def pipeline_options(
    user_options: Options, attention: AttentionView | None, info: SourceInfo | None
) -> PipelineOptions:
    """The part of the command line that says what runs, for a source."""
    return PipelineOptions.of(
        user_options,
        live=info is not None and info.is_live,
        still=info is not None and info.kind == "photos",
        want_areas=attention is not None and attention.kind == "areas",
        want_attention=attention is not None and attention.kind == "attention",
    )


def export_options(user_options: Options, attention: AttentionView | None) -> ExportOptions:
    """The part of the command line that says what is written."""
    return ExportOptions(
        output=user_options.output,
        poses=user_options.poses,
        overwrite=user_options.overwrite,
        max_frames=user_options.max_frames,
        duration_s=user_options.duration,
        overlay=OverlayOptions(attention=attention, scale="auto" if user_options.attention_scale == "auto" else "unit"),
        quiet=user_options.quiet,
        overlap=user_options.threads != 1,
    )


def attention_view(text: str | None, pose_model: str | None) -> AttentionView | None:
    """The view that `--attention` names, looked up in the header of the weights; the model itself is checked as well.

    Raises:
        ModelError: there is no such model, or it has no such maps.
        OptionError: no keypoint of its has that name.
    """
    info = read_weights_info(resolve_pose_model(pose_model))
    if text is None:
        return None
    view = parse_view(text, info.skeleton)
    if not info.has_attention:
        raise ModelError(f"pose model '{info.name}' has no attention maps; --attention needs a kcam_ model")
    return view


def check_outputs(info: SourceInfo, user_options: Options) -> None:
    """Refuse outputs now that the export would refuse after the networks were loaded.

    Raises:
        OptionError: a name does not fit what is written.
        OutputError: a file exists, is the input, or cannot be written.
    """
    poses = user_options.poses
    target = resolve_output(info, user_options.output)
    targets = list(photo_targets(info, target).values()) if info.kind == "photos" else [target]
    if poses is not None:
        check_poses_path(poses)
        targets.append(poses)
    inputs = run_inputs(user_options, info.path)
    check_targets(targets, overwrite=user_options.overwrite, inputs=inputs)
    for file in targets if info.kind != "photos" else {file.parent: file for file in targets}.values():
        check_writable(file)


def run_inputs(user_options: PoseOptions, source: Path | None) -> tuple[str | Path | None, ...]:
    """All that a run of the program reads, for the guard of what it writes."""
    return (*source_files(source), user_options.pose_model, user_options.detector, WEIGHTS_DIR)


def what_runs(pipeline: PosePipeline) -> str:
    """The networks and where they run, and the skipped backends."""
    found = pipeline.describe()
    lines = [
        f"poses:  {found['pose_model']} on {found['backend']} ({found['device']}, {found['precision']})",
        f"people: {found['detector']} on {found['detector_backend']} "
        f"({found['detector_device']}, {found['detector_precision']})",
    ]
    lines += [f"skipped {name}: {reason}" for name, reason in found["passed_over"]]
    return "\n".join(lines)


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
        lines.append(f"{summary.dropped_frames} came faster than they could be worked on and were dropped")
    if summary.audio_note is not None:
        lines.append(summary.audio_note)
    return "\n".join([*lines, *map(one_line, summary.notes)])


def _print(text: str, stream: TextIO | None = None) -> None:
    """Print; a closed output (`| head`, a closed terminal) is ignored, because the files are what counts."""
    stream = stream or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except OSError:
        with contextlib.suppress(OSError, ValueError):  # or the interpreter would complain about the rest at its end
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _say_signal(loss: SignalLoss | None) -> None:
    _say("the pictures come again" if loss is None else f"{loss.message}; trying again in {loss.retry_in_s:.1f} s")


def _say(line: str) -> None:
    _print(line, sys.stderr)


def _silence(_line: str) -> None:
    """Nobody listens."""
