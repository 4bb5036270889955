"""The command line: poses for a video, photos or a camera, or a report on what this machine can run.

Only arguments are read here, with the standard library alone; everything else is imported once it is needed, so that
`--help` is quick and a missing package ends in one line that says so.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

VERSION = "0.1.0"

EXIT_FAILURE = 1
"""Something unexpected: a fault of the program."""
EXIT_BAD_INPUT = 2
"""A person can put it right: the one line on stderr says how."""
EXIT_INTERRUPTED = 130
"""Ctrl-C before the end of a file; what was read until then is written and whole. On a live source it is 0."""

EPILOG = """\
examples:
  python main.py --video demo
  python main.py --video walk.mp4 --output walk_pose.mp4 --poses walk.jsonl
  python main.py --video walk.mp4 --attention left_wrist
  python main.py --video 0 --duration 10
  python main.py --doctor

Ctrl-C ends a run early; what was done until then is kept as a whole file.
Exit codes: 0 done; 1 a fault of the program; 2 something to put right (one line says what); 130 stopped by Ctrl-C
(143 by SIGTERM).
"""


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line; the whole usage is one `--help` away."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_BAD_INPUT, f"error: {one_line(message)} (see {self.prog} --help)\n")


def whole_number(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text) if text.strip().isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return number


def frames_or_auto(text: str) -> int | str:
    """A whole number of at least 1, or "auto"."""
    if text == "auto":
        return text
    try:
        return whole_number(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"'{text}' is neither a whole number of at least 1 nor auto") from None


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to 1")
    return number


def seconds(text: str) -> float:
    """A number of seconds above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds above 0")
    return number


def build_parser() -> argparse.ArgumentParser:
    """Every option of the program."""
    parser = OneLineParser(
        prog="main.py",
        description="Human pose in real time, with a look into what the network attends to.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what to do (the window opens when none is given)").add_mutually_exclusive_group()
    what.add_argument(
        "--video", metavar="SOURCE", help="write a pose video of: FILE, FOLDER, PHOTO, CAMERA_INDEX, URL or demo"
    )
    what.add_argument("--source", metavar="SOURCE", help="what the window shows first; the same choices")
    what.add_argument("--doctor", action="store_true", help="what runs on this machine, and what to do about the rest")
    what.add_argument("--version", action="version", version=f"kcam-pose {VERSION}")
    parser.add_argument(
        "--status-json", type=Path, metavar="FILE", help="the window writes its numbers there once a second"
    )
    _add_benchmark_options(parser.add_argument_group("benchmark (measures on --video FILE, or on demo)"))
    _add_output_options(parser.add_argument_group("output"))
    _add_network_options(parser.add_argument_group("networks and where they run"))
    _add_time_options(parser.add_argument_group("from frame to frame"))
    talk = parser.add_argument_group("messages")
    talk.add_argument("--quiet", action="store_true", help="no progress bar and no summary")
    talk.add_argument("--verbose", action="store_true", help="show the traceback of an error")
    return parser


def _add_benchmark_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--benchmark", action="store_true", help="measure how fast this machine is; --backend all: each")
    group.add_argument("--people", default="1,4,8,16", metavar="N,N", help="also with so many people (1,4,8,16)")
    group.add_argument("--frames", type=whole_number, default=200, metavar="N", help="frames to measure with (200)")
    group.add_argument("--report", type=Path, metavar="FILE.json", help="keep the numbers, and a plot beside them")
    group.add_argument("--plot", type=Path, metavar="FILE.png", help="draw frames/s against people, a line a backend")
    group.add_argument(
        "--soak",
        nargs="?",
        const="2000,20000",
        metavar="LIVE,EXPORT",
        help="also whether delay and memory stay flat over so many frames (2000,20000)",
    )
    group.add_argument("--compare", metavar="NAMES", help="also against: ultralytics, serial (one core, one thread)")


def _add_output_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--output", type=Path, metavar="FILE", help="the video or photo to write (outputs/<name>_pose.mp4)"
    )
    group.add_argument("--poses", type=Path, metavar="FILE", help="also write keypoints: .jsonl, .csv or .json (COCO)")
    group.add_argument(
        "--attention",
        metavar="KEYPOINT",
        help="tint people by the attention map of a keypoint, such as left_wrist; areas:left_wrist for its soft area",
    )
    group.add_argument(
        "--attention-scale",
        choices=("unit", "auto"),
        default="unit",
        help="colours span 0 to 1 as in the paper (unit), or 0 to the highest value in the frame (auto)",
    )
    group.add_argument("--max-frames", type=whole_number, metavar="N", help="stop after N frames")
    group.add_argument("--duration", type=seconds, metavar="S", help="stop after S seconds of the source")
    group.add_argument("--overwrite", action="store_true", help="replace files that exist")


def _add_network_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--pose-model", metavar="NAME|FILE", help="pose network (the shipped one)")
    group.add_argument("--detector", metavar="NAME|FILE", help="person detector: name, .onnx or .pt (the shipped one)")
    group.add_argument("--classes", metavar="NAMES", help="what to detect, with commas between (person)")
    group.add_argument("--backend", default="auto", metavar="NAME", help="auto, openvino, onnxruntime, torch, ...")
    group.add_argument("--precision", default="auto", metavar="NAME", help="auto, fp32, fp16, bf16 or int8")
    group.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, ...")
    group.add_argument(
        "--score-threshold", type=fraction, metavar="X", help="leave out person boxes with a lower score, 0 to 1"
    )
    group.add_argument(
        "--person-threshold", type=fraction, metavar="X", help="leave out people whom detector and pose doubt more"
    )
    group.add_argument("--max-people", type=whole_number, default=16, metavar="N", help="most people in a frame (16)")
    group.add_argument("--download", action="store_true", help="let a missing detector be fetched from its publisher")
    group.add_argument("--offline", action="store_true", help="fetch nothing, whatever else is asked")


def _add_time_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--detect-every",
        type=frames_or_auto,
        metavar="N|auto",
        help="look for people on every Nth frame, or as seldom as the scene allows (files: 1, cameras: auto)",
    )
    group.add_argument("--no-tracking", action="store_true", help="no ids for people, and so no smoothing either")
    group.add_argument(
        "--tracker", default="bytetrack", metavar="NAME", help="bytetrack, ocsort, botsort, cbiou or sort (bytetrack)"
    )
    group.add_argument("--no-smoothing", action="store_true", help="keypoints as the network gives them")
    group.add_argument(
        "--threads",
        type=whole_number,
        metavar="N",
        help="processor threads of the networks; 1: one step at a time (all)",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036 - the checkout runs under whatever `python` is
        print("error: Python 3.11 or newer is needed, this is " + sys.version.split()[0], file=sys.stderr)
        return EXIT_BAD_INPUT
    parser = build_parser()
    arguments = parser.parse_args(argv)
    for option in ("output", "poses", "attention"):
        if getattr(arguments, option) is not None and arguments.video is None:
            parser.error(f"--{option} needs --video")
    if arguments.benchmark and (arguments.doctor or arguments.source is not None):
        parser.error("--benchmark goes with neither --doctor nor --source")
    for option in ("report", "compare"):
        if getattr(arguments, option) is not None and not arguments.benchmark:
            parser.error(f"--{option} needs --benchmark")
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        return _report(error, arguments.verbose)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.offline:
        os.environ["KCAM_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "1"  # child processes inherit it
    if arguments.doctor:
        from engine.doctor import run_doctor

        return run_doctor()
    if arguments.benchmark:
        from engine.benchmark.command import run_benchmark

        return run_benchmark(arguments)
    if arguments.video is not None:
        from engine.output.run_video import run_video

        return run_video(arguments)
    from app.launch import launch

    return launch(arguments)


def _report(error: Exception, verbose: bool) -> int:
    """One line for a person, the traceback when it is wanted."""
    from engine.errors import EngineError
    from engine.system.missing import explain_import_error

    if verbose:
        traceback.print_exception(error)
    if isinstance(error, EngineError):
        print(f"error: {one_line(error)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    advice = explain_import_error(error) if isinstance(error, ImportError) else None
    if advice is not None:
        print(f"error: {advice}", file=sys.stderr)
        return EXIT_BAD_INPUT
    hint = "" if verbose else " (a fault of the program; --verbose shows where)"
    print(f"error: {type(error).__name__}: {one_line(error)}{hint}", file=sys.stderr)
    return EXIT_FAILURE


def one_line(message: Exception | str) -> str:
    """A message without line breaks, and without signs that a terminal would obey (names of files may hold any)."""
    words = " ".join(str(message).split())
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in words)


if __name__ == "__main__":
    raise SystemExit(main())
