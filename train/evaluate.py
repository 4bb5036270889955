"""`python -m train.evaluate`: COCO keypoint AP of weights, through any backend."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from engine.backends import Backend, OpenedBackend, open_pose_backend
from engine.build import parity_gate
from engine.errors import EngineError, OptionError, SourceError
from engine.heatmap import DECODERS, decoder_for
from engine.system.one_line_parser import OneLineParser
from engine.types import Float32Array, UInt8Array
from models.checkpoints import CheckpointError, write_atomically
from train.data.boxes import PersonBoxes, category_id, crop_areas, labelled_boxes, read_detections, read_pictures
from train.data.dataset import ImageStore, without_broken
from train.data.people import PeopleSet
from train.data.reading import read_people
from train.evaluation.breakdown import breakdown, halves
from train.evaluation.coco_eval import METRIC_NAMES, coco_result, kept_people, keypoint_ap, rescore
from train.evaluation.context import context_report
from train.evaluation.foreign_checkpoint import usable_weights
from train.evaluation.prediction import PredictHeatmaps, flip_averaged, predict_boxes
from train.paper.tables import compare_with_table_3, number, table


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m train.evaluate`."""
    parser = OneLineParser(prog="python -m train.evaluate", description="COCO keypoint AP of weights.")
    weights = parser.add_argument_group("weights")
    weights.add_argument(
        "--weights", required=True, help="a weights file, the name of shipped weights, or a checkpoint (see --model)"
    )
    weights.add_argument(
        "--model", default=None, help="network of an official or MMPose checkpoint: hrnet_w32, resnet50, ..."
    )
    weights.add_argument("--input-size", default=None, help="of such a checkpoint, height x width (256x192)")
    weights.add_argument("--udp", action="store_true", help="such a checkpoint was trained with UDP coordinates")
    weights.add_argument("--save", type=Path, default=None, help="keep it as FILE.safetensors, which main.py takes")
    data = parser.add_argument_group("data")
    data.add_argument("--data", type=Path, required=True, help="data set, as python -m train takes it")
    data.add_argument("--split", default="val", help="val, train, or a split of COCO without labels (test-dev)")
    data.add_argument("--boxes", default="gt", help="gt for the labelled ones, or a detector's DETECTIONS.json")
    test = parser.add_argument_group("test")
    test.add_argument("--flip-test", action="store_true", help="average with the mirrored crop")
    test.add_argument("--decode", choices=sorted(DECODERS), help="heatmap to keypoint (as the weights say)")
    test.add_argument("--backend", default="torch", help="torch, openvino, onnxruntime, ... or auto (torch)")
    test.add_argument("--precision", default="fp32", help="auto, fp32, fp16, bf16 or int8 (fp32)")
    test.add_argument("--batch-size", type=int, default=16)
    out = parser.add_argument_group("output")
    out.add_argument("--results", type=Path, default=None, help="write keypoints, as COCO's servers take them")
    out.add_argument("--report", type=Path, default=None, help="write the numbers as JSON")
    out.add_argument("--compare-paper", action="store_true", help="print the paper's table 3 with this result below")
    return parser


def read_split(data: Path, split: str, boxes: str) -> PeopleSet:
    """The pictures of a split, with their people where they are labelled.

    Raises:
        EngineError: the data set does not serve, or labels are asked for where there are none.
    """
    if not (data / "annotations" / f"image_info_{split}2017.json").is_file():
        return read_people(data, split)
    if boxes == "gt":
        raise OptionError(f"{split} has no labels; give a detector's boxes with --boxes DETECTIONS.json")
    return read_pictures(data, split)


def heatmaps_of(backend: Backend) -> PredictHeatmaps:
    """Heatmaps of crops through a backend."""

    def predict(crops: UInt8Array) -> Float32Array:
        return np.asarray(backend.infer({"crops": crops}, ("heatmaps",))["heatmaps"], np.float32)

    return predict


def predict_results(
    backend: Backend, people: PeopleSet, images: ImageStore, boxes: PersonBoxes, arguments: argparse.Namespace
) -> tuple[list[dict[str, Any]], Float32Array]:
    """Results in COCO's form, rescored and rid of doubles, and the box (N, 4) that each was found in.

    Raises:
        SourceError: none of the pictures can be decoded.
    """
    spec = backend.spec
    size, udp = spec.input_size_wh, spec.udp
    predict = heatmaps_of(backend)
    if arguments.flip_test:
        predict = flip_averaged(predict, people.skeleton.flip_order, udp=udp)
    decode = decoder_for(arguments.decode or spec.decode, sigma=spec.sigma, udp=udp)
    keypoints = predict_boxes(predict, boxes, images, size, batch_size=arguments.batch_size, decode=decode, udp=udp)
    readable = [row for row, image in enumerate(boxes.images) if image not in images.broken]
    if not readable:
        raise SourceError(f"none of the pictures of {people.origin} can be decoded")
    boxes, keypoints = boxes.take(readable), keypoints[readable]
    scores = rescore(boxes.scores, keypoints[:, :, 2])
    areas = crop_areas(boxes.boxes_xyxy, size)
    kept = kept_people(boxes.image_ids, keypoints[:, :, :2], scores, areas, people.skeleton.oks_sigmas)
    category = category_id(people)
    results = [coco_result(boxes.image_ids[i], keypoints[i], scores[i], category) for i in kept]
    return results, boxes.boxes_xyxy[kept]


def evaluate(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Measure; what the report holds, and the results in COCO's form.

    Raises:
        EngineError, CheckpointError: data, weights or backend cannot be used.
    """
    if arguments.batch_size < 1:
        raise OptionError(f"--batch-size is {arguments.batch_size}; at least 1 fits")
    people = read_split(arguments.data, arguments.split, arguments.boxes)
    boxes = labelled_boxes(people) if arguments.boxes == "gt" else read_detections(Path(arguments.boxes), people)
    images = ImageStore(people, keep=False)
    given = (arguments.weights, arguments.model, arguments.input_size, people, arguments.save)
    with usable_weights(*given, udp=arguments.udp) as weights:
        opened = open_pose_backend(
            weights, backend=arguments.backend, precision=arguments.precision, say=print, gate=parity_gate.check
        )
        with opened.backend as backend:
            _check_keypoints(backend, people, arguments.weights)
            results, found_in = predict_results(backend, people, images, boxes, arguments)
            people = without_broken(people, images)
            report = _conditions(arguments, opened, people, boxes)
            report["skipped"] = len(people.complaints)
            if people.people:
                sigmas = people.skeleton.oks_sigmas
                report["metrics"] = keypoint_ap(people.ground_truth, results, sigmas)
                report["breakdown"] = breakdown(people.ground_truth, results, found_in, sigmas)
                report["halves"] = halves(people.ground_truth, results, sigmas)
                report["context"] = context_report(backend, weights, people, images, arguments.batch_size)
    return report, results


def _check_keypoints(backend: Backend, people: PeopleSet, name: str) -> None:
    skeleton = backend.spec.skeleton
    if skeleton is None or skeleton.keypoint_names != people.skeleton.keypoint_names:
        raise OptionError(f"{name} and {people.origin} name different keypoints")


def _conditions(
    arguments: argparse.Namespace, opened: OpenedBackend, people: PeopleSet, boxes: PersonBoxes
) -> dict[str, Any]:
    """What was measured and how."""
    backend = opened.backend
    width, height = backend.spec.input_size_wh
    return {
        "weights": str(arguments.weights),
        "model": backend.spec.name,
        "input_size": f"{height}x{width}",
        "backend": backend.name,
        "device": backend.device,
        "precision": backend.precision,
        "passed_over": [list(reason) for reason in opened.passed_over],
        "data": str(arguments.data),
        "split": arguments.split,
        "people": len(people.people),
        "boxes": arguments.boxes,
        "box_count": len(boxes),
        "flip_test": arguments.flip_test,
        "decode": arguments.decode or backend.spec.decode,
        "udp": backend.spec.udp,
    }


def describe(report: dict[str, Any]) -> str:
    """The conditions of a measurement in one line."""
    labelled = "the labelled ones" if report["boxes"] == "gt" else Path(report["boxes"]).name
    return (
        f"boxes: {labelled} ({report['box_count']}), {'flip test' if report['flip_test'] else 'no flip test'}, "
        f"{report['decode']} decoding, {'UDP, ' if report['udp'] else ''}{report['backend']} {report['precision']} "
        f"on {report['device']}"
    )


def print_report(report: dict[str, Any]) -> None:
    """Tables a person can read."""
    print(f"{report['model']} {report['input_size']} on {report['data']} {report['split']}: {report['people']} people")
    print(describe(report))
    if report["skipped"]:
        print(f"{report['skipped']} broken pictures or labels were skipped")
    if "metrics" not in report:
        print(f"{report['split']} has no labels: results only")
        return
    print("  ".join(f"{name:>6}" for name in METRIC_NAMES))
    print("  ".join(f"{number(report['metrics'][name]):>6}" for name in METRIC_NAMES))
    print("\nby kind of person; the others are left out, with the results on them")
    rows = [
        [kind.replace("_", " "), f"{values['people']:.0f}", *(number(values[name]) for name in ("AP", "AP50", "AR"))]
        for kind, values in report["breakdown"].items()
    ]
    print(table(["", "people", "AP", "AP50", "AR"], rows))
    print("\nby id of the picture: choose by the even half, report the odd one")
    rows = [
        [half, f"{values['people']:.0f}", *(number(values[name]) for name in METRIC_NAMES)]
        for half, values in report["halves"].items()
    ]
    print(table(["", "people", *METRIC_NAMES], rows))
    for name, value in report["context"].items():
        print(f"{name}: {value:.3f}")


def _write_json(path: Path, content: object, indent: int | None) -> None:
    write_atomically(path, (json.dumps(content, indent=indent) + "\n").encode())


def main(argv: list[str] | None = None) -> int:
    """Evaluate; exit code 2 and one line where the input does not serve."""
    arguments = build_parser().parse_args(argv)
    try:
        report, results = evaluate(arguments)
        print_report(report)
        if arguments.compare_paper and "metrics" in report:
            conditions = f"{report['input_size']}, {report['data']} {report['split']}, {describe(report)}"
            print("\n" + compare_with_table_3(report["model"], report["metrics"], conditions))
        if arguments.results is not None:
            _write_json(arguments.results, results, None)
        if arguments.report is not None:
            _write_json(arguments.report, report, 1)
    except (EngineError, CheckpointError) as error:
        print(f"train.evaluate: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a folder that may not be written
        print(f"train.evaluate: {error.filename or 'output'} cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
