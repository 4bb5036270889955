"""`python -m train.detector_recall`: how many of the labelled people a detector finds, as the program runs it.

Only recall can be read off data in which not everyone is labelled; precision needs frames labelled in full.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.detector import open_detector
from engine.errors import EngineError
from engine.types import Float32Array
from train.boxes import overlaps
from train.dataset import ImageStore
from train.people import PeopleSet, read_people

OVERLAP = 0.5


def match(truth_xyxy: Float32Array, found_xyxy: Float32Array) -> npt.NDArray[np.bool_]:
    """(N,) bool: which labelled boxes are found; each found box, best first, takes the free label it overlaps most."""
    table = overlaps(found_xyxy, truth_xyxy)
    hit = np.zeros(len(truth_xyxy), bool)
    for row in table:
        free = np.where(hit, -1.0, row)
        if len(free) and free.max() >= OVERLAP:
            hit[int(free.argmax())] = True
    return hit


def measure(
    people: PeopleSet, detector: str, score_threshold: float, input_size: int | None, backend: str
) -> dict[str, Any]:
    """Recall at 0.5 IoU by least height, and the boxes found a picture."""
    images = ImageStore(people, keep=False)
    by_image: dict[int, list[Float32Array]] = {}
    for person in people.people:
        by_image.setdefault(person.image, []).append(person.box_xyxy)
    heights: list[float] = []
    hits: list[bool] = []
    found_boxes = 0
    opened, chosen = open_detector(
        detector, backend=backend, score_threshold=score_threshold, max_people=100, input_size=input_size, say=print
    )
    with opened:
        for image, boxes in by_image.items():
            truth = np.stack(boxes)
            found = opened.detect(images[image])
            found_boxes += len(found)
            heights += list(truth[:, 3] - truth[:, 1])
            hits += list(match(truth, found.boxes_xyxy))
    tall, hit = np.array(heights), np.array(hits)
    recall = {
        f"taller_than_{limit}_px": {"people": int((tall > limit).sum()), "recall": float(hit[tall > limit].mean())}
        for limit in (0, 60, 96)
        if (tall > limit).any()
    }
    return {
        "detector": opened.backend.spec.name,
        "input_size_wh": list(opened.backend.spec.input_size_wh),
        "backend": chosen.backend.name,
        "precision": chosen.backend.precision,
        "score_threshold": score_threshold,
        "overlap": OVERLAP,
        "recall": recall,
        "boxes_per_picture": found_boxes / len(by_image),
    }


def main(argv: list[str] | None = None) -> int:
    """Measure and print; exit code 2 and one line where the input does not serve."""
    parser = argparse.ArgumentParser(prog="python -m train.detector_recall", description="Recall of a detector.")
    parser.add_argument("--detector", required=True, help="a shipped name, FILE.onnx or FILE.pt")
    parser.add_argument("--data", type=Path, required=True, help="folder with SPLIT.json and pictures in SPLIT/")
    parser.add_argument("--split", default="val")
    parser.add_argument("--score-threshold", type=float, default=0.3)
    parser.add_argument("--input-size", type=int, default=None, help="long side of the letterboxed picture in px")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--report", type=Path, default=None, help="write the numbers as JSON")
    arguments = parser.parse_args(argv)
    try:
        people = read_people(arguments.data, arguments.split)
        report = measure(people, arguments.detector, arguments.score_threshold, arguments.input_size, arguments.backend)
    except EngineError as error:
        print(f"train.detector_recall: {error}", file=sys.stderr)
        return 2
    print(json.dumps(report, indent=1))
    if arguments.report is not None:
        arguments.report.parent.mkdir(parents=True, exist_ok=True)
        arguments.report.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
