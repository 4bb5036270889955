"""`python -m train.tradeoff`: AP against the milliseconds of one person, for weights at several sizes.

Both are measured through the runtime that the program would use, so the curve is that of what a user gets.
"""

from __future__ import annotations

import argparse
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.artifacts.write_guard import check_targets
from engine.errors import SourceError
from engine.option_table import add_options
from engine.system.entry import run_command
from engine.system.json_file import read_json
from engine.system.one_line_parser import OneLineParser
from models.checkpoints import write_atomically
from train.command import reports_errors
from train.maintenance.draw_tradeoff import draw_tradeoff, is_shipped, table_of
from train.maintenance.measure_tradeoff import TradeoffOptions, measure


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m train.tradeoff`."""
    parser = OneLineParser(prog="python -m train.tradeoff", description="AP against latency of one person.")
    add_options(parser, TradeoffOptions)
    return parser


def read_report(file: Path) -> list[dict[str, Any]]:
    """The points of an earlier call.

    Raises:
        SourceError: the file cannot be read, or is no such report.
    """
    try:
        points: list[dict[str, Any]] = read_json(file)["points"]
        for point in points:
            point["device"], point["people"], table_of([{**point, "shipped": is_shipped(point)}])
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"{file} is not a report of train.tradeoff: {error!r}") from error
    return points


@reports_errors("train.tradeoff")
def main(argv: list[str] | None = None) -> int:
    """Measure and draw; exit code 2 and one line where the input cannot be used."""
    given = vars(build_parser().parse_args(argv))
    options = TradeoffOptions(**given)
    named = [file for text in options.weights for file in (text, text.partition("=")[2])]
    check_targets(
        (options.report, options.output), inputs=[*named, *options.add, options.data], overwrite=options.overwrite
    )
    points = [point for file in options.add for point in read_report(file)]
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    points += measure(options) if options.weights else []
    for point in points:
        point["shipped"] = is_shipped(point)
    if options.report is not None:
        when = datetime.now(UTC).isoformat(timespec="seconds")
        report = {"date": when, "load_before": load, "cores": os.cpu_count(), "points": points}
        write_atomically(options.report, (json.dumps(report, indent=1) + "\n").encode())
    print("\n" + table_of(points))
    if options.output is not None:
        draw_tradeoff(points, options.output)
        print(options.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
