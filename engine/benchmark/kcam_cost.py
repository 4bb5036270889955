"""`python -m engine cost`: cost of KCAM over its bare backbone, in the exported (folded) form and in the paper's.

The three networks alternate in one process, so that other load on the machine affects all alike; ratios are taken
within single rounds. docs/decisions/0007-folded-attention.md has the results.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from engine.artifacts.write_guard import check_targets
from engine.backends import Backend
from engine.benchmark.kcam_forms import FORMS, open_forms, write_forms
from engine.benchmark.report import machine, table, write_json
from engine.benchmark.selection import CostOptions, people_of
from engine.errors import BackendError
from engine.output.run_video import print_error
from engine.types import UInt8Array

RATIOS = (("unfolded", "bare"), ("folded", "bare"), ("folded", "unfolded"))
_WARM_UP_ROUNDS = 12  # OpenVINO compiles for a shape at its eighth occurrence


def run_cost(options: CostOptions) -> Iterator[str]:
    """Measure, write the report if a path is given, and yield the table line by line.

    Raises:
        EngineError: the measurement failed.
    """
    check_targets([options.report], inputs=[options.pose_model], overwrite=options.overwrite)
    found = {"command": " ".join(["python -m engine", *sys.argv[1:]]), **measure_cost(options, print_error)}
    yield report_text(found)
    if options.report is not None:
        write_json(options.report, found)
        yield str(options.report)


def measure_cost(options: CostOptions, notify: Callable[[str], None]) -> dict[str, Any]:
    """The report: model, machine, and one row per runtime, precision and batch size.

    Raises:
        OptionError, ModelError: the network cannot be built with these options.
        BackendError: no runtime could run it.
    """
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="kcam-cost-") as folder:
        notify("exporting the three forms")
        model = write_forms(options, Path(folder))
        for runtime, precision in options.rows():
            notify(f"{runtime}, {precision}")
            try:
                with open_forms(runtime, precision, options, Path(folder)) as backends:
                    rows += [_row(backends, count, options.rounds) for count in people_of(options.people)]
            except BackendError as error:
                rows.append({"runtime": runtime, "precision": precision, "error": str(error)})
    if all("error" in row for row in rows):
        raise BackendError("; ".join(f"{row['runtime']}, {row['precision']}: {row['error']}" for row in rows))
    settings = {"rounds": options.rounds, "threads": options.threads}
    return {"machine": machine(), "model": model, **settings, "rows": rows}


def _row(backends: Mapping[str, Backend], people: int, rounds: int) -> dict[str, Any]:
    """One batch size: medians in ms, and medians and quartiles of the ratios within single rounds."""
    backend = backends["folded"]
    width, height = backend.spec.input_size_wh
    crops: UInt8Array = np.random.default_rng(0).integers(0, 256, (people, height, width, 3), np.uint8)
    calls = {form: partial(backends[form].infer, {"crops": crops}, ("keypoints",)) for form in FORMS}
    wall, processor = interleaved(calls, rounds)
    row: dict[str, Any] = {"runtime": backend.name, "precision": backend.precision, "device": backend.device}
    row["people"] = people
    for clock, times in (("wall", wall), ("processor", processor)):
        row[clock] = {
            "ms": {form: round(float(np.median(values)) * 1000, 3) for form, values in times.items()},
            "ratios": {f"{over}/{under}": _quartiles(times[over], times[under]) for over, under in RATIOS},
        }
    return row


def interleaved(
    calls: Mapping[str, Callable[[], object]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Wall and processor seconds of each call in each round.

    The order changes from round to round, so that no call always follows the same one.
    """
    wall: dict[str, list[float]] = {name: [] for name in calls}
    processor: dict[str, list[float]] = {name: [] for name in calls}
    orders = itertools.cycle(itertools.permutations(calls))
    for number, order in zip(range(_WARM_UP_ROUNDS + rounds), orders, strict=False):
        for name in order:
            started, used = time.perf_counter(), time.process_time()
            calls[name]()
            ended, used_then = time.perf_counter(), time.process_time()
            if number >= _WARM_UP_ROUNDS:
                wall[name].append(ended - started)
                processor[name].append(used_then - used)
    return wall, processor


def _quartiles(over: Sequence[float], under: Sequence[float]) -> dict[str, float]:
    low, middle, high = np.percentile(np.divide(over, np.maximum(under, 1e-9)), (25, 50, 75)).round(4).tolist()
    return {"median": middle, "p25": low, "p75": high}


def report_text(report: Mapping[str, Any]) -> str:
    """The report as text."""
    model, host = report["model"], report["machine"]
    wide = "" if model["deconv_channels"] is None else f", {model['deconv_channels']} deconvolution channels"
    lines = [
        f"{model['name']} ({model['weights']}), {model['input_size']}{wide}; {report['rounds']} alternating rounds, "
        f"{report['threads']} thread(s); {host['processor']}, load {host['load_before']}",
        "wall-clock ms; ratios of wall-clock time, in brackets of processor time",
    ]
    rows = []
    for row in report["rows"]:
        if "error" in row:
            lines.append(f"{row['runtime']}, {row['precision']}: {row['error']}")
            continue
        cells = [f"{row['runtime']} {row['precision']}", row["people"], *(row["wall"]["ms"][form] for form in FORMS)]
        for over, under in RATIOS:
            wall, processor = (row[clock]["ratios"][f"{over}/{under}"]["median"] for clock in ("wall", "processor"))
            cells.append(f"{wall:.3f} ({processor:.3f})")
        rows.append(cells)
    head = ("runtime", "people", *(f"{form} ms" for form in FORMS), *(f"{over}/{under}" for over, under in RATIOS))
    return "\n".join([*lines, "", table(rows, head)])
