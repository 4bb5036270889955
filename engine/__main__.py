"""`python -m engine build | list | check | clean | cost`: prepare models for the runtimes, in a separate process.

Progress of a build goes to stdout in words; with --json as JSON lines, for calling programs: {"event": "progress",
"message": ...} while it works, then {"event": "done", "output": ...} or {"event": "error", "kind": ..., "message":
...}. To cancel, terminate the process.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO

from engine.benchmark.selection import CostOptions
from engine.build.options import DETECTORS, EXPORTS, GROUPS, BuildOptions, check_build, check_export, given_of
from engine.errors import BackendError, EngineError, OptionError, OutputError, nearest_hint
from engine.option_table import add_options, options_of
from engine.options import PRECISIONS
from engine.system.console import stdout_kept
from engine.system.entry import from_outside, run_command
from engine.system.missing import explain_import_error
from engine.system.one_line_parser import OneLineParser
from engine.system.parent_watch import end_with_stdin
from engine.system.paths import path_from


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m engine`."""
    parser = OneLineParser(prog="python -m engine", description="Prepare models for the runtimes.")
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="export or compile a pose model or a detector")
    for title in GROUPS:
        add_options(build.add_argument_group(title) if title else build, BuildOptions, title)
    commands.add_parser("list", help="list compiled models")
    check = commands.add_parser("check", help="compare a built file with float32; of an engine, also measure the speed")
    check.add_argument("engine", type=path_from, help="an .engine or .onnx file; see list for the paths")
    check.add_argument("--weights", type=path_from, help="weights it was built from, if they were moved")
    check.add_argument("--photos", type=path_from, help="folder of pictures to compare on")
    clean = commands.add_parser("clean", help="delete compiled models")
    clean.add_argument("--damaged", action="store_true", help="only engines whose files are damaged")
    clean.add_argument("--yes", action="store_true", help="delete without asking")
    add_options(commands.add_parser("cost", help="measure what KCAM costs over its bare backbone"), CostOptions)
    return parser


def build(options: BuildOptions, events: TextIO) -> Path:
    """Run the build and return the file that was written.

    Raises:
        EngineError: the build failed.
    """
    from engine.build.engine_build import RUNTIMES

    def notify(line: str) -> None:
        if options.json:
            _send(events, event="progress", message=line)
        else:
            print(line, file=events, flush=True)

    named = [options.pose_model, options.detector, options.fetch_detector]
    if options.shipped:
        options = as_shipped(options)
    elif all(name is None for name in named):
        raise OptionError("name what to build: --pose-model or --detector")
    if options.output is not None and options.pose_model is not None and options.detector is not None:
        raise OptionError("--output is one file; build the pose model and the detector one after the other")
    if options.precision not in PRECISIONS:
        raise OptionError(f"unknown precision '{options.precision}'.{nearest_hint(options.precision, PRECISIONS)}")
    if options.calibrate is not None and options.precision != "int8":
        raise OptionError("--calibrate is for --precision int8")
    check_build(options)
    if options.fetch_detector is not None:
        from engine.artifacts.download import fetch

        return fetch(options.fetch_detector, sha256=options.sha256, notify=notify)
    if options.runtime in RUNTIMES:
        return _build_engines(options, notify)
    known = (*EXPORTS, *RUNTIMES)
    if options.runtime not in known:
        raise OptionError(f"--runtime {options.runtime} is not known.{nearest_hint(options.runtime, known)}")
    check_export(options)
    written = _export_pose(options, notify) if options.pose_model is not None else None
    if options.detector is not None:
        detector = _export_detector(options, notify)
        written = written or detector
    assert written is not None  # noqa: S101 - one of them was given
    return written


def as_shipped(options: BuildOptions) -> BuildOptions:
    """The options that export the default network as it ships, beside its `.safetensors` file.

    With weights in float16; with `--precision int8` in INT8, and the layers that stay in float in float32.
    """
    from engine.artifacts.model_files import resolve_pose_model, shipped_export

    given = {item.name for item in options_of(options) if getattr(options, item.name) != item.default}
    if given - {"shipped", "force", "json", "end_with_stdin", "precision", "calibrate"} or (
        options.precision not in ("auto", "int8")
    ):
        raise OptionError(
            "--shipped goes with --force, and with --precision int8 --calibrate, alone: it is the default network, "
            "and where it ships"
        )
    weights, int8 = resolve_pose_model(), options.precision == "int8"
    output = shipped_export(weights, int8=int8)
    return dataclasses.replace(options, pose_model=str(weights), half_weights=not int8, output=output)


def _export_pose(options: BuildOptions, notify: Callable[[str], None]) -> Path:
    from engine.artifacts import compiler
    from engine.artifacts.int8_files import ensure_int8
    from engine.artifacts.model_files import resolve_pose_model
    from engine.build.onnx_export import export_pose

    weights = resolve_pose_model(options.pose_model)
    if options.precision == "int8":
        assert options.calibrate is not None  # noqa: S101 - by check_export
        if options.output is None:
            return ensure_int8(weights, options.calibrate, force=options.force, notify=notify)
        from engine.build.quantize import quantize_pose

        quantize_pose(weights, options.output, options.calibrate, notify)
        return options.output
    if options.output is None:
        return compiler.ensure_onnx(weights, force=options.force, notify=notify)
    export_pose(weights, options.output, half_weights=options.half_weights)
    return options.output


def _export_detector(options: BuildOptions, notify: Callable[[str], None]) -> Path:
    from engine.artifacts import compiler
    from engine.artifacts.int8_files import ensure_int8
    from engine.artifacts.model_files import find_detector
    from engine.build import detector_export

    if options.precision == "int8":
        assert options.calibrate is not None  # noqa: S101 - by check_export
        file = compiler.ensure_detector(options.detector, download=options.download, notify=notify)
        if options.output is None:
            return ensure_int8(file, options.calibrate, force=options.force, notify=notify)
        from engine.build.quantize import quantize_detector

        quantize_detector(file, options.output, options.calibrate, notify)
        return options.output
    if options.output is None:
        for flag in given_of(options, DETECTORS):
            if flag != "--download":
                raise OptionError(f"{flag} needs --output")
        return compiler.ensure_detector(options.detector, download=options.download, force=options.force, notify=notify)
    detector_export.export_detector(
        find_detector(options.detector),
        options.output,
        input_size=options.input_size,
        class_names=[name.strip() for name in options.class_names.split(",")] if options.class_names else None,
        one_to_one=not options.one_to_many,
        half_weights=options.half_weights,
    )
    return options.output


def _build_engines(options: BuildOptions, notify: Callable[[str], None]) -> Path:
    """Compile the given models; returns the pose model's file if there are two."""
    from engine.artifacts import compiler, engine_cache
    from engine.artifacts.model_files import resolve_pose_model
    from engine.build.engine_build import EngineOrder, build_engine

    models = []
    if options.pose_model is not None:
        models.append((resolve_pose_model(options.pose_model), options.with_crop))
    if options.detector is not None:
        file = compiler.ensure_detector(options.detector, download=options.download, notify=notify)
        models.append((file, options.with_crop and options.pose_model is None))
    same = ("runtime", "precision", "max_people", "max_frame", "photos", "force")
    shared: dict[str, Any] = {name: getattr(options, name) for name in same}
    shared["targets"] = tuple(part.strip().lower() for part in options.target.split(",")) if options.target else ()
    orders = [EngineOrder(model=model, with_crop=with_crop, **shared) for model, with_crop in models]
    built = [build_engine(order, notify) for order in orders]
    if options.output is None:
        return built[0]
    engine_cache.copy_out(built[0], options.output)
    return options.output


def _send(events: TextIO, **values: str) -> None:
    print(json.dumps(values), file=events, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command; exit code 2 and one line for unusable input."""
    given = vars(build_parser().parse_args(argv))
    command = given.pop("command")
    if given.get("end_with_stdin"):
        end_with_stdin()
    as_json = command == "build" and given.get("json", False)
    # Only our own output goes to stdout: what packages print there goes to stderr.
    with stdout_kept() as kept, os.fdopen(os.dup(kept), "w", encoding="utf-8", errors="backslashreplace") as output:
        try:
            if command != "build":
                for line in _run_command(command, given):
                    print(line, file=output, flush=True)
                return 0
            written = build(BuildOptions(**given), output)
        except EngineError as error:
            return _fail(as_json, output, error)
        except OSError as error:
            if from_outside(error):
                raise
            target = f" ({error.filename})" if error.filename else ""
            return _fail(as_json, output, OutputError(f"{error.strerror or error}{target}"))
        except ImportError as error:
            return _fail(as_json, output, BackendError(explain_import_error(error) or str(error)))
        if as_json:
            _send(output, event="done", output=str(written.resolve()))
        else:
            print(f"built {written}", file=output, flush=True)
    return 0


def _run_command(command: str, given: dict[str, Any]) -> Iterable[str]:
    """Output lines of the commands other than `build`."""
    from engine.build import commands as engine_commands

    if command == "list":
        return engine_commands.list_engines()
    if command == "clean":
        return engine_commands.clean(only_damaged=given["damaged"], confirm=lambda: given["yes"] or _confirmed())
    if command == "cost":
        from engine.benchmark.kcam_cost import run_cost

        return run_cost(CostOptions(**given))
    return engine_commands.check_engine(
        given["engine"], given["weights"], given["photos"], lambda line: print(line, file=sys.stderr)
    )


def _confirmed() -> bool:
    """Whether the person agrees, who has been told to what; without one to ask, nobody does."""
    if not sys.stdin.isatty():
        return False
    print("delete this? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _fail(as_json: bool, events: TextIO, error: EngineError) -> int:
    if as_json:
        _send(events, event="error", kind=type(error).__name__, message=str(error))
    print(f"engine: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(run_command(main))
