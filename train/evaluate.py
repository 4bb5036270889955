"""`python -m train.evaluate`: COCO keypoint AP of weights, through any backend."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.backends import Backend, open_pose_backend
from engine.errors import EngineError, OptionError
from engine.model_files import resolve_pose_model
from engine.types import Float32Array, UInt8Array
from models.checkpoints import CheckpointError, load_pose_model
from train.coco_eval import METRIC_NAMES
from train.dataset import ImageStore
from train.loss import context_statistics
from train.module import score_people
from train.people import PeopleSet, read_people
from train.prediction import PredictHeatmaps, flip_averaged, iterate_crops, normalize_crops, predict_people


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m train.evaluate`."""
    parser = argparse.ArgumentParser(prog="python -m train.evaluate", description="COCO keypoint AP of weights.")
    parser.add_argument("--weights", required=True, help="a weights file, or the name of shipped weights")
    parser.add_argument("--data", type=Path, required=True, help="folder with SPLIT.json and pictures in SPLIT/")
    parser.add_argument("--split", default="val")
    parser.add_argument("--boxes", default="gt", choices=["gt"], help="person boxes: the labelled ones")
    parser.add_argument("--flip-test", action="store_true", help="average with the mirrored crop")
    parser.add_argument("--backend", default="torch", help="torch, openvino, onnxruntime, ... or auto")
    parser.add_argument("--precision", default="fp32", help="auto, fp32, fp16, bf16 or int8")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--report", type=Path, default=None, help="write the numbers as JSON")
    return parser


def heatmaps_of(backend: Backend) -> PredictHeatmaps:
    """Heatmaps of crops through a backend."""

    def predict(crops: UInt8Array) -> Float32Array:
        return np.asarray(backend.infer({"crops": crops}, ("heatmaps",))["heatmaps"], np.float32)

    return predict


def measure_context(backend: Backend, people: PeopleSet, images: ImageStore, batch_size: int) -> dict[str, float]:
    """What KCAM does on a split, seen through its outputs; empty for a bare network.

    Returns:
        median over the labelled keypoints of peak x pixels of G (1 = uniform); mean over people and pixels of the
        entropy of S / log K (1 = flat).
    """
    if "areas" not in backend.spec.output_names:
        return {}
    peaks: list[Float32Array] = []
    entropies: list[float] = []
    for batch in iterate_crops(people, images, backend.spec.input_size_wh, batch_size):
        maps = backend.infer({"crops": batch.crops}, ("areas", "attention"))
        areas, attention = maps["areas"], maps["attention"]
        visible = np.stack([people.people[i].keypoints[:, 2] > 0 for i in batch.indices])
        peaks.append((areas.max(axis=(2, 3)) * areas.shape[2] * areas.shape[3])[visible])
        entropy = -(attention * np.log(np.maximum(attention, 1e-12))).sum(axis=1)
        entropies += list(entropy.mean(axis=(1, 2)) / np.log(max(2, attention.shape[1])))
    return {
        "area_peak_times_pixels_median": float(np.median(np.concatenate(peaks))),
        "attention_entropy_mean": float(np.mean(entropies)),
    }


def representation_cosine(weights: Path, people: PeopleSet, images: ImageStore, batch_size: int) -> float | None:
    """Mean cosine between the K representations of a person (1 = all alike); None for a bare network.

    They are no output of a compiled graph, so this part always runs in PyTorch.
    """
    checkpoint = load_pose_model(weights)
    if not checkpoint.config.has_kcam:
        return None
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (checkpoint.mean, checkpoint.std))
    values = []
    with torch.inference_mode():
        for batch in iterate_crops(people, images, checkpoint.config.input_size_wh, batch_size):
            output = checkpoint.model(normalize_crops(torch.from_numpy(batch.crops), mean, std))
            values.append(context_statistics(output)["representation_cosine"])
    return float(torch.cat(values).mean())


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure, print, and return what the report holds.

    Raises:
        EngineError: data, weights or backend cannot be used.
    """
    weights = resolve_pose_model(arguments.weights)
    people = read_people(arguments.data, arguments.split)
    images = ImageStore(people, keep=True)
    opened = open_pose_backend(weights, backend=arguments.backend, precision=arguments.precision, say=print)
    with opened.backend as backend:
        skeleton = backend.spec.skeleton
        if skeleton is None or skeleton.keypoint_names != people.skeleton.keypoint_names:
            raise OptionError(f"{arguments.weights} and {people.origin} name different keypoints")
        predict = heatmaps_of(backend)
        if arguments.flip_test:
            predict = flip_averaged(predict, skeleton.flip_order)
        keypoints = predict_people(predict, people, images, backend.spec.input_size_wh, arguments.batch_size)
        report: dict[str, Any] = {
            "weights": str(arguments.weights),
            "model": backend.spec.name,
            "input_size": f"{backend.spec.input_size_wh[1]}x{backend.spec.input_size_wh[0]}",
            "backend": backend.name,
            "device": backend.device,
            "precision": backend.precision,
            "data": str(arguments.data),
            "split": arguments.split,
            "people": len(people.people),
            "boxes": arguments.boxes,
            "flip_test": arguments.flip_test,
            "metrics": score_people(people, keypoints),
            "context": measure_context(backend, people, images, arguments.batch_size),
        }
    cosine = None
    if weights.suffix == ".safetensors":
        cosine = representation_cosine(weights, people, images, arguments.batch_size)
    if cosine is not None:
        report["context"]["representation_cosine_mean"] = cosine
    return report


def print_report(report: dict[str, Any]) -> None:
    """One table a person can read."""
    flip = "flip test" if report["flip_test"] else "no flip test"
    print(
        f"{report['model']} {report['input_size']} on {report['data']} {report['split']}: {report['people']} people, "
        f"boxes: {report['boxes']}, {flip}, {report['backend']} {report['precision']} on {report['device']}"
    )
    print("  ".join(f"{name:>6}" for name in METRIC_NAMES))
    print("  ".join(f"{report['metrics'][name]:6.2f}" for name in METRIC_NAMES))
    for name, value in report["context"].items():
        print(f"{name}: {value:.3f}")


def main(argv: list[str] | None = None) -> int:
    """Evaluate; exit code 2 and one line where the input does not serve."""
    arguments = build_parser().parse_args(argv)
    try:
        report = evaluate(arguments)
        print_report(report)
        if arguments.report is not None:
            arguments.report.parent.mkdir(parents=True, exist_ok=True)
            arguments.report.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    except (EngineError, CheckpointError) as error:
        print(f"train.evaluate: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
