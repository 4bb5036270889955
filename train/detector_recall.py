"""`python -m train.detector_recall`: how many of the labelled people a detector finds, as the program runs it.

Only recall can be read off data in which not everyone is labelled; precision needs frames labelled in full.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.artifacts.write_guard import check_targets
from engine.detection.detector import open_detector
from engine.geometry import overlaps
from engine.option_table import finite_number
from engine.system.entry import run_command
from engine.system.one_line_parser import OneLineParser
from engine.types import Detections, Float32Array
from models.checkpoints import write_atomically
from train.command import reports_errors
from train.data.boxes import category_id, image_indices
from train.data.dataset import ImageStore
from train.data.people import PeopleSet
from train.data.reading import read_people

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
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Recall at 0.5 IoU by least height and the boxes found a picture; and all boxes, in SimpleBaseline's form.

    Pictures that cannot be decoded are named, left out and counted.
    """
    images = ImageStore(people, keep=False)
    by_image: dict[int, list[Float32Array]] = {}
    for person in people.people:
        by_image.setdefault(person.image, []).append(person.box_xyxy)
    heights: list[float] = []
    hits: list[bool] = []
    boxes: list[dict[str, Any]] = []
    opened, chosen = open_detector(
        detector, backend=backend, score_threshold=score_threshold, input_size=input_size, notify=print
    )
    with opened:
        for image_id, index in image_indices(people).items():
            image = images.readable(index)
            if image is None:
                continue
            truth = np.stack(by_image[index]) if index in by_image else np.zeros((0, 4), np.float32)
            found = opened.detect(image)
            boxes += detection_entries(image_id, category_id(people), found)
            heights += list(truth[:, 3] - truth[:, 1])
            hits += list(match(truth, found.boxes_xyxy))
    tall, hit = np.array(heights), np.array(hits)
    recall = {
        f"taller_than_{limit}_px": {"people": int((tall > limit).sum()), "recall": float(hit[tall > limit].mean())}
        for limit in (0, 60, 96)
        if (tall > limit).any()
    }
    report = {
        "detector": opened.backend.spec.name,
        "input_size_wh": list(opened.backend.spec.input_size_wh),
        "backend": chosen.backend.name,
        "precision": chosen.backend.precision,
        "score_threshold": score_threshold,
        "overlap": OVERLAP,
        "recall": recall,
        "boxes_per_picture": len(boxes) / max(1, len(people.ground_truth["images"]) - len(images.broken)),
        "broken_pictures": len(images.broken),
    }
    return report, boxes


def detection_entries(image_id: int, category: int, found: Detections) -> list[dict[str, Any]]:
    """The boxes of one picture as `train.evaluate --boxes` takes them: x, y, width, height in px, and score."""
    entries = []
    for (left, top, right, bottom), score in zip(found.boxes_xyxy.tolist(), found.scores.tolist(), strict=True):
        box = [round(value, 2) for value in (left, top, right - left, bottom - top)]
        entries.append({"image_id": image_id, "category_id": category, "bbox": box, "score": score})
    return entries


@reports_errors("train.detector_recall")
def main(argv: list[str] | None = None) -> int:
    """Measure and print; exit code 2 and one line where the input cannot be used."""
    parser = OneLineParser(prog="python -m train.detector_recall", description="Recall of a detector.")
    parser.add_argument("--detector", required=True, help="a shipped name, FILE.onnx or FILE.pt")
    parser.add_argument("--data", type=Path, required=True, help="folder with SPLIT.json and pictures in SPLIT/")
    parser.add_argument("--split", default="val")
    parser.add_argument(
        "--score-threshold", type=finite_number, default=0.3, help="0.3; for --detections 0.01 is usual"
    )
    parser.add_argument("--input-size", type=int, default=None, help="long side of the letterboxed picture in px")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--report", type=Path, default=None, help="write the numbers as JSON")
    parser.add_argument("--detections", type=Path, default=None, help="write the boxes for train.evaluate --boxes")
    parser.add_overwrite()
    arguments = parser.parse_args(argv)
    check_targets(
        (arguments.report, arguments.detections),
        inputs=[arguments.detector, arguments.data],
        overwrite=arguments.overwrite,
    )
    people = read_people(arguments.data, arguments.split)
    report, boxes = measure(
        people, arguments.detector, arguments.score_threshold, arguments.input_size, arguments.backend
    )
    if arguments.report is not None:
        write_atomically(arguments.report, (json.dumps(report, indent=1) + "\n").encode())
    if arguments.detections is not None:
        write_atomically(arguments.detections, json.dumps(boxes).encode())
    print(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
