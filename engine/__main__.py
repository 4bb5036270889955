"""`python -m engine build | list | check | clean | cost`: prepare models for the runtimes, in a process of its own.

Progress of a build goes to stdout as JSON lines: {"event": "progress", "message": ...} while it works, then {"event":
"done", "output": ...} or {"event": "error", "kind": ..., "message": ...}. To cancel, terminate the process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TextIO

from engine.build.checks import check_for_detectors, check_for_tensorrt, check_output
from engine.errors import BackendError, EngineError, OptionError, OutputError, nearest_hint
from engine.options import PRECISIONS
from engine.system.one_line_parser import OneLineParser
from engine.system.parent_watch import end_with_stdin


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m engine`."""
    parser = OneLineParser(prog="python -m engine", description="Prepare models for the runtimes.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_build_options(commands.add_parser("build", help="export or compile a pose model or a detector"))
    commands.add_parser("list", help="what has been compiled")
    check = commands.add_parser("check", help="compare an engine with float32 PyTorch, and measure its speed")
    check.add_argument("engine", type=Path, help="an .engine file; list shows where they stand")
    check.add_argument("--weights", type=Path, help="what it was made of, if that was moved since")
    check.add_argument("--photos", type=Path, help="folder of pictures to compare on")
    clean = commands.add_parser("clean", help="delete what has been compiled")
    clean.add_argument("--damaged", action="store_true", help="only engines whose files are damaged")
    _add_cost_options(commands.add_parser("cost", help="measure what KCAM costs over its bare backbone"))
    return parser


def _add_cost_options(cost: argparse.ArgumentParser) -> None:
    cost.add_argument("--pose-model", metavar="NAME|FILE", help="weights, or the name of a network for random ones")
    cost.add_argument("--input-size", metavar="HxW", help="of the crops in px, as in 256x192")
    cost.add_argument("--deconv-channels", type=int, metavar="N", help="of a ResNet with random weights")
    cost.add_argument("--people", default="1,4", help="lengths of the batches (1,4)")
    cost.add_argument(
        "--runtime", default="openvino,onnxruntime,torch", help="some of openvino,onnxruntime,torch (all)"
    )
    cost.add_argument("--precision", default="all", help="some of fp32,bf16,fp16 (what each runtime can do)")
    cost.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:N")
    cost.add_argument("--threads", type=int, default=1, help="of one inference (1: nothing waits for another thread)")
    cost.add_argument("--rounds", type=int, default=40, help="how often each network runs (40)")
    cost.add_argument("--report", type=Path, metavar="FILE.json", help="keep the numbers")


def _add_build_options(build: argparse.ArgumentParser) -> None:
    build.add_argument("--pose-model", metavar="NAME|FILE", help="a shipped name or a .safetensors file")
    build.add_argument("--detector", metavar="NAME|FILE", help="a shipped or official name, a .pt or an .onnx file")
    build.add_argument("--fetch-detector", metavar="NAME.pt", help="only fetch an official detector")
    build.add_argument("--sha256", metavar="HEX", help="of what is fetched, where it is not known here")
    build.add_argument(
        "--runtime", default="onnx", help="tensorrt, tensorrt-rtx, torch2trt, openvino or onnx (default)"
    )
    build.add_argument("--precision", default="auto", help="auto, fp16, bf16, fp32 or int8 (with --calibrate)")
    build.add_argument(
        "--calibrate",
        metavar="VIDEO|FOLDER",
        help="for int8: people to measure with, from a video, photos, or a data set with train.json",
    )
    build.add_argument("--output", type=Path, help="file to write (default: a file in the cache)")
    build.add_argument("--force", action="store_true", help="build even what is there already, and replace --output")
    build.add_argument(
        "--end-with-stdin", action="store_true", help="for programs that run this: end when they close its stdin"
    )
    engines = build.add_argument_group("TensorRT")
    engines.add_argument("--max-people", type=int, default=16, help="length of the largest batch (16)")
    engines.add_argument("--target", help="tensorrt-rtx: compute capabilities, e.g. sm86,sm89 (default: this GPU's)")
    engines.add_argument("--with-crop", action="store_true", help="take whole frames and cut people out on the GPU")
    engines.add_argument("--max-frame", type=int, default=1920, help="with --with-crop: longest side in px (1920)")
    engines.add_argument("--photos", type=Path, help="folder of pictures for the parity gate")
    detectors = build.add_argument_group("detectors")
    detectors.add_argument(
        "--input-size", type=int, help="long side of the letterboxed frame in px, unless asked for another"
    )
    detectors.add_argument("--class-names", help="other names for its classes, separated by commas")
    detectors.add_argument("--one-to-many", action="store_true", help="the branch whose boxes overlap")
    detectors.add_argument("--half-weights", action="store_true", help="store weights in float16")
    detectors.add_argument("--download", action="store_true", help="fetch an official detector that is not here")


def build(arguments: argparse.Namespace, events: TextIO) -> Path:
    """Do what the options ask and return the file that was written.

    Raises:
        EngineError: it cannot be done; the message says why.
    """
    from engine.build.engine_build import RUNTIMES

    def say(line: str) -> None:
        _tell(events, event="progress", message=line)

    named = [arguments.pose_model, arguments.detector, arguments.fetch_detector]
    if all(name is None for name in named):
        raise OptionError("name what to build: --pose-model or --detector")
    if arguments.output is not None and arguments.pose_model is not None and arguments.detector is not None:
        raise OptionError("--output is one file; build the pose model and the detector one after the other")
    if arguments.precision not in PRECISIONS:
        raise OptionError(f"unknown precision '{arguments.precision}'.{nearest_hint(arguments.precision, PRECISIONS)}")
    if arguments.calibrate is not None and arguments.precision != "int8":
        raise OptionError("--calibrate is for --precision int8")
    check_output(arguments)
    check_for_detectors(arguments)
    if arguments.fetch_detector is not None:
        from engine.artifacts.download import fetch

        return fetch(arguments.fetch_detector, sha256=arguments.sha256, say=say)
    if arguments.runtime in RUNTIMES:
        return _build_engines(arguments, say)
    known = ("onnx", "openvino", *RUNTIMES)
    if arguments.runtime not in known:
        raise OptionError(f"--runtime {arguments.runtime} is not known.{nearest_hint(arguments.runtime, known)}")
    check_for_tensorrt(arguments)
    # OpenVINO lowers the exported float32 graph to bfloat16 when it opens it.
    able = ("auto", "fp32", "int8") if arguments.runtime == "onnx" else ("auto", "fp32", "bf16", "int8")
    if arguments.precision not in able:
        raise OptionError(f"--runtime {arguments.runtime} exports in fp32 and int8, not in {arguments.precision}")
    _check_calibration(arguments)
    written = _export_pose(arguments, say) if arguments.pose_model is not None else None
    if arguments.detector is not None:
        detector = _export_detector(arguments, say)
        written = written or detector
    assert written is not None  # noqa: S101 - one of them was named
    return written


def _check_calibration(arguments: argparse.Namespace) -> None:
    is_int8 = arguments.precision == "int8"
    if is_int8 and (arguments.pose_model is None or arguments.detector is not None):
        raise OptionError("int8 is for pose models, one at a time: --pose-model W --precision int8")
    if is_int8 and arguments.calibrate is None:
        raise OptionError("int8 needs people to measure with: --calibrate VIDEO|FOLDER")


def _export_pose(arguments: argparse.Namespace, say: Callable[[str], None]) -> Path:
    from engine.artifacts import compiler
    from engine.artifacts.int8_files import ensure_int8
    from engine.artifacts.model_files import resolve_pose_model
    from engine.build.onnx_export import export_pose

    weights = resolve_pose_model(arguments.pose_model)
    if arguments.precision == "int8":
        if arguments.output is None:
            return ensure_int8(weights, arguments.calibrate, force=arguments.force, say=say)
        from engine.build.quantize import quantize_pose

        quantize_pose(weights, arguments.output, arguments.calibrate, say)
        return Path(arguments.output)
    if arguments.output is None:
        return compiler.ensure_onnx(weights, force=arguments.force, say=say)
    export_pose(weights, arguments.output)
    return Path(arguments.output)


def _export_detector(arguments: argparse.Namespace, say: Callable[[str], None]) -> Path:
    from engine.artifacts import compiler
    from engine.artifacts.model_files import find_detector
    from engine.build import detector_export

    if arguments.output is None:
        for option in ("class_names", "half_weights", "one_to_many", "input_size"):
            if getattr(arguments, option):
                raise OptionError(f"--{option.replace('_', '-')} needs --output")
        return compiler.ensure_detector(arguments.detector, download=arguments.download, force=arguments.force, say=say)
    detector_export.export_detector(
        find_detector(arguments.detector),
        arguments.output,
        input_size=arguments.input_size,
        class_names=arguments.class_names.split(",") if arguments.class_names else None,
        one_to_one=not arguments.one_to_many,
        half_weights=arguments.half_weights,
    )
    return Path(arguments.output)


def _build_engines(arguments: argparse.Namespace, say: Callable[[str], None]) -> Path:
    """Compile what is named; the pose model's file is the one that is returned where both are."""
    from engine.artifacts import compiler, engine_cache
    from engine.artifacts.model_files import resolve_pose_model
    from engine.build.engine_build import EngineOrder, build_engine

    models = []
    if arguments.pose_model is not None:
        models.append((resolve_pose_model(arguments.pose_model), arguments.with_crop))
    if arguments.detector is not None:
        file = compiler.ensure_detector(arguments.detector, download=arguments.download, say=say)
        models.append((file, arguments.with_crop and arguments.pose_model is None))
    orders = [
        EngineOrder(
            model=model,
            runtime=arguments.runtime,
            precision=arguments.precision,
            max_people=arguments.max_people,
            targets=tuple(part.strip().lower() for part in arguments.target.split(",")) if arguments.target else (),
            with_crop=with_crop,
            max_frame=arguments.max_frame,
            photos=arguments.photos,
            force=arguments.force,
        )
        for model, with_crop in models
    ]
    built = [build_engine(order, say) for order in orders]
    if arguments.output is None:
        return built[0]
    engine_cache.copy_out(built[0], arguments.output)
    return Path(arguments.output)


def _tell(events: TextIO, **values: str) -> None:
    print(json.dumps(values), file=events, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Do what was asked; exit code 2 and one line where the input does not serve."""
    arguments = build_parser().parse_args(argv)
    if arguments.command == "build" and arguments.end_with_stdin:
        end_with_stdin()
    with _own_stdout() as output:
        try:
            if arguments.command != "build":
                _tend(arguments, output)
                return 0
            written = build(arguments, output)
        except EngineError as error:
            return _fail(arguments, output, error)
        except OSError as error:
            target = f" ({error.filename})" if error.filename else ""
            return _fail(arguments, output, OutputError(f"{error.strerror or error}{target}"))
        except ImportError as error:
            advice = "pip install -r requirements.txt"
            return _fail(arguments, output, BackendError(f"the package {error.name} is missing; {advice}"))
        _tell(output, event="done", output=str(written.resolve()))
    return 0


@contextlib.contextmanager
def _own_stdout() -> Iterator[TextIO]:
    """The real stdout for what is meant for it: packages print there as they please, and are sent to stderr instead."""
    sys.stdout.flush()
    number = sys.stdout.fileno()
    with os.fdopen(os.dup(number), "w", encoding="utf-8") as real:
        os.dup2(sys.stderr.fileno(), number)
        try:
            yield real
        finally:
            sys.stdout.flush()
            real.flush()
            os.dup2(real.fileno(), number)


def _tend(arguments: argparse.Namespace, output: TextIO) -> None:
    """The commands that are for people: plain lines."""
    from engine.build import commands as engine_commands

    if arguments.command == "list":
        lines: Iterable[str] = engine_commands.list_engines()
    elif arguments.command == "clean":
        lines = [engine_commands.clean(only_damaged=arguments.damaged)]
    elif arguments.command == "cost":
        from engine.benchmark.kcam_cost import run_cost

        lines = run_cost(arguments)
    else:
        lines = engine_commands.check_engine(
            arguments.engine, arguments.weights, arguments.photos, lambda line: print(line, file=sys.stderr)
        )
    for line in lines:
        print(line, file=output, flush=True)


def _fail(arguments: argparse.Namespace, events: TextIO, error: EngineError) -> int:
    if arguments.command == "build":
        _tell(events, event="error", kind=type(error).__name__, message=str(error))
    print(f"engine: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
