"""`python -m train.tradeoff`: AP against the milliseconds of one person, for weights at several sizes.

Both are measured through the runtime that the program would use, so the curve is that of what a user gets.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.errors import EngineError, OptionError, SourceError
from engine.system.one_line_parser import OneLineParser
from models.checkpoints import CheckpointError, write_atomically
from train.maintenance.draw_tradeoff import draw_tradeoff, is_shipped, table_of
from train.maintenance.measure_tradeoff import measure


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m train.tradeoff`."""
    parser = OneLineParser(prog="python -m train.tradeoff", description="AP against latency of one person.")
    parser.add_argument("--weights", nargs="+", default=[], help="[LABEL=]FILE or a shipped name, one or more")
    parser.add_argument("--data", type=Path, default=None, help="data set, as python -m train takes it")
    parser.add_argument("--split", default="val")
    parser.add_argument("--input-sizes", default=None, help="height x width, such as 128x96,192x128 (the weights' own)")
    parser.add_argument("--flip", choices=["without", "with", "both"], default="both", help="flip test (both)")
    parser.add_argument("--backend", default="auto", help="torch, openvino, onnxruntime, ... (auto)")
    parser.add_argument("--precision", default="auto", help="auto, fp32, fp16, bf16 or int8, one or more (auto)")
    parser.add_argument("--people", type=int, default=0, help="measure AP on pictures with about so many (0: all)")
    parser.add_argument("--repeats", type=int, default=300, help="timed runs of each, after warming up (300)")
    parser.add_argument("--add", type=Path, nargs="+", default=[], help="reports of earlier calls to draw along")
    parser.add_argument("--report", type=Path, default=None, help="write the numbers as JSON")
    parser.add_argument("--output", type=Path, default=None, help="PNG to draw")
    return parser


def read_report(file: Path) -> list[dict[str, Any]]:
    """The points of an earlier call.

    Raises:
        SourceError: the file cannot be read, or is no such report.
    """
    try:
        points: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["points"]
        for point in points:
            float(point["latency_ms"]["p50"]), float(point["metrics"]["AP"]), str(point["label"])
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{file} is not a report of train.tradeoff: {error!r}") from error
    return points


def main(argv: list[str] | None = None) -> int:
    """Measure and draw; exit code 2 and one line where the input does not serve."""
    arguments = build_parser().parse_args(argv)
    try:
        if not arguments.weights and not arguments.add:
            raise OptionError("nothing to draw; give --weights, or reports of earlier calls with --add")
        if arguments.output is not None and arguments.output.suffix.lower() != ".png":
            raise OptionError(f"--output is {arguments.output}; a name that ends in .png fits")
        points = [point for file in arguments.add for point in read_report(file)]
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        points += measure(arguments) if arguments.weights else []
        for point in points:
            point["shipped"] = is_shipped(point)
        if arguments.report is not None:
            when = datetime.now(UTC).isoformat(timespec="seconds")
            report = {"date": when, "load_before": load, "cores": os.cpu_count(), "points": points}
            write_atomically(arguments.report, (json.dumps(report, indent=1) + "\n").encode())
        print("\n" + table_of(points))
        if arguments.output is not None:
            draw_tradeoff(points, arguments.output)
            print(arguments.output)
    except (EngineError, CheckpointError) as error:
        print(f"train.tradeoff: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"train.tradeoff: {error.filename or 'output'} cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
