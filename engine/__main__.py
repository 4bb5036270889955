"""`python -m engine build`: export a model for the runtimes, in a process of its own.

Progress goes to stdout as JSON lines: {"event": "progress", "message": ...} while it works, then {"event": "done",
"output": ...} or {"event": "error", "kind": ..., "message": ...}. To cancel, terminate the process.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TextIO

from engine.errors import BackendError, EngineError, OptionError, OutputError


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m engine`."""
    parser = argparse.ArgumentParser(prog="python -m engine", description="Prepare models for the runtimes.")
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="export a pose model or a detector")
    what = build.add_mutually_exclusive_group(required=True)
    what.add_argument("--pose-model", metavar="NAME|FILE", help="a shipped name or a .safetensors file")
    what.add_argument("--detector", metavar="NAME|FILE", help="a shipped or official name, a .pt or an .onnx file")
    what.add_argument("--fetch-detector", metavar="NAME.pt", help="only fetch an official detector")
    build.add_argument("--runtime", default="onnx", help="what to build for (onnx)")
    build.add_argument("--output", type=Path, help="file to write (default: a file in the cache)")
    build.add_argument(
        "--input-size", type=int, help="detector: long side of the letterboxed frame in px, unless asked for another"
    )
    build.add_argument("--class-names", help="detector: other names for its classes, separated by commas")
    build.add_argument("--one-to-many", action="store_true", help="detector: the branch whose boxes overlap")
    build.add_argument("--half-weights", action="store_true", help="detector: store weights in float16")
    build.add_argument("--download", action="store_true", help="fetch an official detector that is not here")
    return parser


def build(arguments: argparse.Namespace, events: TextIO) -> Path:
    """Do what the options ask and return the file that was written.

    Raises:
        EngineError: it cannot be done; the message says why.
    """
    from engine import compiler, detector_export
    from engine.model_files import find_detector, resolve_pose_model
    from engine.onnx_export import export_pose

    def say(line: str) -> None:
        _tell(events, event="progress", message=line)

    if arguments.runtime != "onnx":
        raise OptionError(f"--runtime {arguments.runtime} cannot be built here; onnx can")
    if arguments.fetch_detector is not None:
        return detector_export.fetch_official(arguments.fetch_detector)
    if arguments.pose_model is not None:
        weights = resolve_pose_model(arguments.pose_model)
        if arguments.output is None:
            return compiler.ensure_onnx(weights, say=say)
        export_pose(weights, arguments.output)
        return Path(arguments.output)
    if arguments.output is None:
        for option in ("class_names", "half_weights", "one_to_many", "input_size"):
            if getattr(arguments, option):
                raise OptionError(f"--{option.replace('_', '-')} needs --output")
        return compiler.ensure_detector(arguments.detector, download=arguments.download, say=say)
    detector_export.export_detector(
        find_detector(arguments.detector),
        arguments.output,
        input_size=arguments.input_size,
        class_names=arguments.class_names.split(",") if arguments.class_names else None,
        one_to_one=not arguments.one_to_many,
        half_weights=arguments.half_weights,
    )
    return Path(arguments.output)


def _tell(events: TextIO, **values: str) -> None:
    print(json.dumps(values), file=events, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Build; exit code 2 and one line where the input does not serve."""
    arguments = build_parser().parse_args(argv)
    # Packages print to stdout as they please; the events keep the real one, everything else goes to stderr.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as events:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        try:
            output = build(arguments, events)
        except EngineError as error:
            return _fail(events, error)
        except OSError as error:
            target = f" ({error.filename})" if error.filename else ""
            return _fail(events, OutputError(f"{error.strerror or error}{target}"))
        except ImportError as error:
            return _fail(events, BackendError(f"the package {error.name} is missing; pip install -r requirements.txt"))
        _tell(events, event="done", output=str(output.resolve()))
    return 0


def _fail(events: TextIO, error: EngineError) -> int:
    _tell(events, event="error", kind=type(error).__name__, message=str(error))
    print(f"engine: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
