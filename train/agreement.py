"""`python -m train.agreement`: how far runtimes' keypoints are from those of float32 PyTorch, on labelled people."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from engine.artifacts.write_guard import check_targets
from engine.backends import open_pose_backend
from engine.build import parity_gate
from engine.build.parity import ParityReport, compare
from engine.system.entry import run_command
from engine.system.one_line_parser import OneLineParser
from engine.types import UInt8Array
from models.checkpoints import write_atomically
from train.command import reports_errors
from train.data.boxes import labelled_boxes
from train.data.dataset import ImageStore
from train.data.people import PeopleSet
from train.data.reading import read_people
from train.evaluation.prediction import iterate_crops

_DEFAULT = "openvino:fp32,onnxruntime:fp32,openvino:bf16,torch:bf16"


def crops_of(people: PeopleSet, input_size_wh: tuple[int, int], *, udp: bool = False) -> UInt8Array:
    """(N, H, W, 3) uint8 BGR: everybody's upright crop."""
    images = ImageStore(people, keep=False)
    batches = iterate_crops(labelled_boxes(people), images, input_size_wh, 32, udp=udp)
    return np.concatenate([batch.crops for batch in batches])


def row(name: str, report: ParityReport) -> str:
    """A line of a Markdown table."""
    attention = ""
    if report.attention_max_error is not None and report.attention_mean_error is not None:
        attention = f"{report.attention_max_error:.1g} / {report.attention_mean_error:.1g}"
    return f"| {name} | {report.within_1px:.2%} | {report.beyond_4px:.2%} | {report.similarity:.4f} | {attention} |"


def measure(weights: str, people: PeopleSet, runtimes: list[tuple[str, str]]) -> dict[str, ParityReport]:
    """A report for each (backend, precision).

    Raises:
        EngineError: the weights cannot be used, or a runtime cannot run them as asked.
    """
    reports = {}
    with open_pose_backend(weights, backend="torch", precision="fp32", device="cpu", notify=print).backend as reference:
        crops = crops_of(people, reference.spec.input_size_wh, udp=reference.spec.udp)
        for name, precision in runtimes:
            with open_pose_backend(
                weights, backend=name, precision=precision, notify=print, gate=parity_gate.check
            ).backend as backend:
                reports[f"{backend.name} {backend.precision}"] = compare(backend, reference, crops)
    return reports


@reports_errors("train.agreement")
def main(argv: list[str] | None = None) -> int:
    """Print a table; exit code 2 and one line where the input cannot be used."""
    parser = OneLineParser(prog="python -m train.agreement", description="Runtimes against float32 PyTorch.")
    parser.add_argument("--weights", required=True, help="a shipped name or a .safetensors file")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--runtimes", default=_DEFAULT, help=f"BACKEND:PRECISION,... ({_DEFAULT})")
    parser.add_argument("--report", type=Path, help="write the numbers as JSON")
    parser.add_overwrite()
    arguments = parser.parse_args(argv)
    runtimes = [(name, precision or "auto") for name, _, precision in
                (word.partition(":") for word in arguments.runtimes.split(","))]  # fmt: skip
    check_targets([arguments.report], inputs=[arguments.weights, arguments.data], overwrite=arguments.overwrite)
    people = read_people(arguments.data, arguments.split)
    reports = measure(arguments.weights, people, runtimes)
    content: dict[str, Any] = {name: dataclasses.asdict(report) for name, report in reports.items()}
    if arguments.report:
        write_atomically(arguments.report, (json.dumps(content, indent=1) + "\n").encode())
    count = next(iter(reports.values())).keypoints
    print(f"{len(people.people)} people, {count} keypoints that PyTorch scores above 0.2\n")
    print("| backend, precision | within 1 px of the crop | off by more than 4 px | similarity per keypoint | "
          "attention, worst / mean |\n|---|---|---|---|---|")  # fmt: skip
    print("\n".join(row(name, report) for name, report in reports.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
