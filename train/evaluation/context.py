"""What KCAM does on a data set: whether its areas are sharp and its attention is not flat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from engine.backends import Backend
from engine.types import Float32Array
from models.checkpoints import load_pose_model
from train.data.boxes import PersonBoxes, labelled_boxes
from train.data.dataset import ImageStore
from train.data.people import PeopleSet
from train.evaluation.prediction import iterate_crops, normalize_crops
from train.loss import context_statistics

# Means over so many people are good to a digit more than anyone reads; all of COCO would double the time.
_MOST_PEOPLE = 1000


def context_report(
    backend: Backend, weights: Path, people: PeopleSet, images: ImageStore, batch_size: int
) -> dict[str, float]:
    """Statistics of G, S and R on the labelled boxes, at most 1000 of them, evenly picked; empty for a bare network.

    Returns:
        median over the labelled keypoints of peak x pixels of G (1 = uniform); mean over people and pixels of the
        entropy of S / log K (1 = flat); where the file is ours, mean cosine between the K representations of a person
        (1 = all alike). The representations are no output of a compiled graph, so that part always runs in PyTorch.
    """
    if "areas" not in backend.spec.output_names:
        return {}
    chosen = np.unique(np.linspace(0, len(people.people) - 1, _MOST_PEOPLE).astype(int)).tolist()
    boxes = labelled_boxes(people).take(chosen)
    labelled = np.stack([people.people[i].keypoints[:, 2] > 0 for i in chosen])
    peaks: list[Float32Array] = []
    entropies: list[float] = []
    for batch in iterate_crops(boxes, images, backend.spec.input_size_wh, batch_size, udp=backend.spec.udp):
        maps = backend.infer({"crops": batch.crops}, ("areas", "attention"))
        areas, attention = maps["areas"], maps["attention"]
        peaks.append((areas.max(axis=(2, 3)) * areas.shape[2] * areas.shape[3])[labelled[batch.indices]])
        entropy = -(attention * np.log(np.maximum(attention, 1e-12))).sum(axis=1)
        entropies += list(entropy.mean(axis=(1, 2)) / np.log(max(2, attention.shape[1])))
    report = {
        "area_peak_times_pixels_median": float(np.median(np.concatenate(peaks))),
        "attention_entropy_mean": float(np.mean(entropies)),
    }
    if weights.suffix == ".safetensors":
        report["representation_cosine_mean"] = _representation_cosine(weights, boxes, images, batch_size)
    return report


def _representation_cosine(weights: Path, boxes: PersonBoxes, images: ImageStore, batch_size: int) -> float:
    checkpoint = load_pose_model(weights)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (checkpoint.mean, checkpoint.std))
    values = []
    with torch.inference_mode():
        config = checkpoint.config
        for batch in iterate_crops(boxes, images, config.input_size_wh, batch_size, udp=config.udp):
            output = checkpoint.model(normalize_crops(torch.from_numpy(batch.crops), mean, std))
            values.append(context_statistics(output)["representation_cosine"])
    return float(torch.cat(values).mean())
