"""`python -m train.evaluate`: COCO keypoint AP of weights, through any backend."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.artifacts.write_guard import check_targets
from engine.backends import Backend, OpenedBackend, open_pose_backend
from engine.build import parity_gate
from engine.errors import OptionError, SourceError
from engine.heatmap import DECODERS, decoder_for
from engine.option_table import AT_LEAST_1, add_options, check_options, described, option
from engine.system.entry import run_command
from engine.system.one_line_parser import OneLineParser
from engine.types import Float32Array, UInt8Array
from models.checkpoints import write_atomically
from models.foreign_weights import CHANNEL_ORDERS, ChannelOrder
from train.command import reports_errors
from train.data.boxes import PersonBoxes, category_id, crop_areas, labelled_boxes, read_detections, read_pictures
from train.data.dataset import ImageStore, without_broken
from train.data.people import PeopleSet
from train.data.reading import read_people
from train.evaluation.breakdown import breakdown, halves
from train.evaluation.coco_eval import MAIN_METRICS, METRIC_NAMES, coco_result, kept_people, keypoint_ap, rescore
from train.evaluation.context import context_report
from train.evaluation.foreign_checkpoint import usable_weights
from train.evaluation.pckh import pckh
from train.evaluation.prediction import PredictHeatmaps, flip_averaged, predict_boxes
from train.paper.tables import compare_with_table_3, number, table

WEIGHTS, DATA, TEST, OUTPUT = "weights", "data", "test", "output"


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """An evaluation."""

    weights: str = field(
        metadata=described(
            "a weights file, the name of shipped weights, or a checkpoint (see --model)", group=WEIGHTS, required=True
        )
    )
    model: str | None = option(
        None, "network of an official or MMPose checkpoint: hrnet_w32, resnet50, ...", group=WEIGHTS
    )
    input_size: str | None = option(
        None, "of such a checkpoint, height x width, such as 256x192 (as its name contains it)", group=WEIGHTS
    )
    channel_order: ChannelOrder | None = option(
        None,
        "of the pictures such a checkpoint was trained on (bgr for official pose_resnet files, else rgb)",
        group=WEIGHTS,
        metavar="{rgb,bgr}",
        choices=CHANNEL_ORDERS,
    )
    udp: bool = option(False, "such a checkpoint was trained with UDP coordinates", group=WEIGHTS)
    save: Path | None = option(None, "keep it as FILE.safetensors, which main.py takes", Path, group=WEIGHTS)
    data: Path = field(metadata=described("data set, as python -m train takes it", Path, group=DATA, required=True))
    split: str = option("val", "val, train, or a split of COCO without labels (test-dev)", group=DATA)
    boxes: str = option("gt", "gt for the labelled ones, or a detector's DETECTIONS.json", group=DATA)
    flip_test: bool = option(False, "average with the mirrored crop, as in the paper", group=TEST)
    decode: str | None = option(
        None,
        "how heatmaps become keypoints (as stored in the weights)",
        group=TEST,
        metavar="{dark,quarter}",
        choices=tuple(sorted(DECODERS)),
    )
    backend: str = option("torch", "torch, openvino, onnxruntime, ... or auto (torch)", group=TEST)
    precision: str = option("fp32", "auto, fp32, fp16, bf16 or int8 (fp32)", group=TEST)
    batch_size: int = option(16, read=int, group=TEST, within=AT_LEAST_1)
    results: Path | None = option(None, "write keypoints, as COCO's servers take them", Path, group=OUTPUT)
    report: Path | None = option(None, "write the numbers as JSON", Path, group=OUTPUT)
    overwrite: bool = option(False, "replace files that exist", group=OUTPUT)
    compare_paper: bool = option(False, "print the paper's table 3 with this result below", group=OUTPUT)

    def __post_init__(self) -> None:
        check_options(self)


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m train.evaluate`."""
    parser = OneLineParser(prog="python -m train.evaluate", description="COCO keypoint AP of weights.")
    for title in (WEIGHTS, DATA, TEST, OUTPUT):
        add_options(parser.add_argument_group(title), EvaluateOptions, title)
    return parser


def read_split(data: Path, split: str, boxes: str) -> PeopleSet:
    """The pictures of a split, with their people where they are labelled.

    Raises:
        EngineError: the data set cannot be used, or the labelled boxes of a split without labels are wanted.
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


def predict_keypoints(
    backend: Backend,
    people: PeopleSet,
    images: ImageStore,
    boxes: PersonBoxes,
    *,
    flip_test: bool,
    decode: str | None = None,
    batch_size: int = 16,
) -> Float32Array:
    """(N, K, 3) float32: x, y in picture px and score, for every box; zeros where the picture cannot be decoded.

    Raises:
        SourceError: none of the pictures can be decoded.
    """
    spec = backend.spec
    size, udp = spec.input_size_wh, spec.udp
    predict = heatmaps_of(backend)
    if flip_test:
        predict = flip_averaged(predict, people.skeleton.flip_order, udp=udp)
    decoder = decoder_for(decode or spec.decode, sigma=spec.sigma, udp=udp)
    keypoints = predict_boxes(predict, boxes, images, size, batch_size=batch_size, decode=decoder, udp=udp)
    if all(image in images.broken for image in boxes.images):
        raise SourceError(f"none of the pictures of {people.origin} can be decoded")
    return keypoints


def results_of(
    keypoints: Float32Array,
    people: PeopleSet,
    images: ImageStore,
    boxes: PersonBoxes,
    input_size_wh: tuple[int, int],
) -> tuple[list[dict[str, Any]], Float32Array]:
    """Results in COCO's form, rescored and without duplicates, and the box (N, 4) that each was found in."""
    readable = [row for row, image in enumerate(boxes.images) if image not in images.broken]
    boxes, keypoints = boxes.take(readable), keypoints[readable]
    scores = rescore(boxes.scores, keypoints[:, :, 2])
    areas = crop_areas(boxes.boxes_xyxy, input_size_wh)
    kept = kept_people(boxes.image_ids, keypoints[:, :, :2], scores, areas, people.skeleton.oks_sigmas)
    category = category_id(people)
    results = [coco_result(boxes.image_ids[i], keypoints[i], scores[i], category) for i in kept]
    return results, boxes.boxes_xyxy[kept]


def evaluate(options: EvaluateOptions) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Measure; returns the content of the report, and the results in COCO's form.

    Raises:
        EngineError, CheckpointError: data, weights or backend cannot be used.
    """
    people = read_split(options.data, options.split, options.boxes)
    boxes = labelled_boxes(people) if options.boxes == "gt" else read_detections(Path(options.boxes), people)
    images = ImageStore(people, keep=False)
    given = (options.weights, options.model, options.input_size, people, options.save)
    with usable_weights(*given, udp=options.udp, channel_order=options.channel_order) as weights:
        opened = open_pose_backend(
            weights, backend=options.backend, precision=options.precision, notify=print, gate=parity_gate.check
        )
        with opened.backend as backend:
            _check_keypoints(backend, people, options.weights)
            flip_test = options.flip_test and people.mirrors
            keypoints = predict_keypoints(
                backend,
                people,
                images,
                boxes,
                flip_test=flip_test,
                decode=options.decode,
                batch_size=options.batch_size,
            )
            results, found_in = results_of(keypoints, people, images, boxes, backend.spec.input_size_wh)
            report = _conditions(options, opened, boxes)
            report["flip_test"] = flip_test
            if people.head_sizes and options.boxes == "gt":
                report["pckh"] = pckh(people, keypoints)
            people = without_broken(people, images)
            report["people"], report["skipped"] = len(people.people), len(people.complaints)
            if people.people:
                sigmas = people.skeleton.oks_sigmas
                report["metrics"] = keypoint_ap(people.ground_truth, results, sigmas)
                report["breakdown"] = breakdown(people.ground_truth, results, found_in, sigmas)
                report["halves"] = halves(people.ground_truth, results, sigmas)
                report["context"] = context_report(backend, weights, people, images, options.batch_size)
    return report, results


def _check_keypoints(backend: Backend, people: PeopleSet, name: str) -> None:
    skeleton = backend.spec.skeleton
    if skeleton is None or skeleton.keypoint_names != people.skeleton.keypoint_names:
        raise OptionError(f"{name} and {people.origin} name different keypoints")


def _conditions(options: EvaluateOptions, opened: OpenedBackend, boxes: PersonBoxes) -> dict[str, Any]:
    """The conditions of the measurement."""
    backend = opened.backend
    width, height = backend.spec.input_size_wh
    return {
        "weights": str(options.weights),
        "model": backend.spec.name,
        "input_size": f"{height}x{width}",
        "backend": backend.name,
        "device": backend.device,
        "precision": backend.precision,
        "passed_over": [list(reason) for reason in opened.skipped],
        "data": str(options.data),
        "split": options.split,
        "boxes": options.boxes,
        "box_count": len(boxes),
        "flip_test": options.flip_test,
        "decode": options.decode or backend.spec.decode,
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
    """Print the report as tables."""
    print(f"{report['model']} {report['input_size']} on {report['data']} {report['split']}: {report['people']} people")
    print(describe(report))
    if report["skipped"]:
        print(f"{report['skipped']} broken pictures or labels were skipped")
    if "metrics" not in report:
        print(f"{report['split']} has no labels: results only")
        return
    print("  ".join(f"{name:>6}" for name in METRIC_NAMES))
    print("  ".join(f"{number(report['metrics'][name]):>6}" for name in METRIC_NAMES))
    if "pckh" in report:
        print("\nPCKh@0.5")
        print(table(["", *report["pckh"]], [["", *(number(value) for value in report["pckh"].values())]]))
    print("\nby kind of person; the others are left out, with the results on them")
    rows = [
        [kind.replace("_", " "), f"{values['people']:.0f}", *(number(values[name]) for name in ("AP", "AP50", "AR"))]
        for kind, values in report["breakdown"].items()
    ]
    print(table(["", "people", "AP", "AP50", "AR"], rows))
    print("\nby id of the picture: choose by the even half, report the odd one")
    rows = [
        [half, f"{values['people']:.0f}", *(number(values[name]) for name in MAIN_METRICS)]
        for half, values in report["halves"].items()
    ]
    print(table(["", "people", *MAIN_METRICS], rows))
    for name, value in report["context"].items():
        print(f"{name}: {value}" if isinstance(value, str) else f"{name}: {value:.3f}")


def _write_json(path: Path, content: object, indent: int | None) -> None:
    write_atomically(path, (json.dumps(content, indent=indent) + "\n").encode())


@reports_errors("train.evaluate")
def main(argv: list[str] | None = None) -> int:
    """Evaluate; exit code 2 and one line where the input cannot be used."""
    given = vars(build_parser().parse_args(argv))
    options = EvaluateOptions(**given)
    check_targets(
        (options.results, options.report, options.save),
        inputs=[options.weights, options.data, options.boxes],
        overwrite=options.overwrite,
    )
    report, results = evaluate(options)
    print_report(report)
    if options.compare_paper and "metrics" in report:
        conditions = f"{report['input_size']}, {report['data']} {report['split']}, {describe(report)}"
        print("\n" + compare_with_table_3(report["model"], report["metrics"], conditions))
    if options.results is not None:
        _write_json(options.results, results, None)
    if options.report is not None:
        _write_json(options.report, report, 1)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
