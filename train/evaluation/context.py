"""What KCAM does on a data set: whether its areas are sharp and its attention is not flat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from engine.backends import Backend
from engine.geometry import apply_affines, heatmap_stride, invert_affines
from engine.types import Float32Array
from models.checkpoints import load_pose_model
from train.data.boxes import PersonBoxes, labelled_boxes
from train.data.dataset import ImageStore
from train.data.people import PeopleSet
from train.evaluation.prediction import iterate_crops, normalize_crops
from train.loss import context_statistics

_SEEN = 3
"""Times 1 / K: from this value on S counts as attending to a keypoint."""
_NEAR = 0.1
"""Of the heatmap's height: pixels farther from every labelled keypoint are background."""

# Means over so many people are good to a digit more than anyone reads; all of COCO would double the time.
_MOST_PEOPLE = 1000


def context_report(
    backend: Backend, weights: Path, people: PeopleSet, images: ImageStore, batch_size: int
) -> dict[str, float | str]:
    """Statistics of G, S and R on the labelled boxes, at most 1000 of them, evenly picked; empty for a bare network.

    Returns:
        median over the labelled keypoints of peak x pixels of G (1 = uniform); mean over people and pixels of the
        entropy of S / log K (1 = flat); share of the visible keypoints at whose own place their S is 3 / K or more;
        which keypoint has the highest S on most of the background, and on how much of it; where the file is ours, mean
        cosine between the K representations of a person (1 = all alike). The representations are no output of a
        compiled graph, so that part always runs in PyTorch.
    """
    if "areas" not in backend.spec.output_names:
        return {}
    chosen = np.unique(np.linspace(0, len(people.people) - 1, _MOST_PEOPLE).astype(int)).tolist()
    boxes = labelled_boxes(people).take(chosen)
    keypoints = np.stack([people.people[i].keypoints for i in chosen])
    labelled = keypoints[..., 2] > 0
    peaks: list[Float32Array] = []
    entropies: list[float] = []
    attended: list[npt.NDArray[np.bool_]] = []
    highest = np.zeros(labelled.shape[1], np.int64)  # pixels of the background on which each keypoint has the highest S
    size_wh, udp = backend.spec.input_size_wh, backend.spec.udp
    for batch in iterate_crops(boxes, images, size_wh, batch_size, udp=udp):
        maps = backend.infer({"crops": batch.crops}, ("areas", "attention"))
        areas, attention = maps["areas"], maps["attention"]
        peaks.append((areas.max(axis=(2, 3)) * areas.shape[2] * areas.shape[3])[labelled[batch.indices]])
        entropy = -(attention * np.log(np.maximum(attention, 1e-12))).sum(axis=1)
        entropies += list(entropy.mean(axis=(1, 2)) / np.log(max(2, attention.shape[1])))
        map_wh = (attention.shape[3], attention.shape[2])
        in_crop = apply_affines(invert_affines(batch.crop_to_image), keypoints[batch.indices][..., :2])
        in_map = np.rint(in_crop / heatmap_stride(size_wh, map_wh, udp=udp)).astype(int)
        for person, row in enumerate(batch.indices):
            attended.append(_attended(attention[person], in_map[person], keypoints[row, :, 2] == 2))
            highest += _highest_on_background(attention[person], in_map[person], labelled[row])
    report: dict[str, float | str] = {
        "area_peak_times_pixels_median": float(np.median(np.concatenate(peaks))),
        "attention_entropy_mean": float(np.mean(entropies)),
        "attention_at_keypoints_share": float(np.mean(np.concatenate(attended))),
        "attention_background_share": float(highest.max() / max(1, highest.sum())),
        "attention_background_keypoint": people.skeleton.keypoint_names[int(highest.argmax())],
    }
    if weights.suffix == ".safetensors":
        report["representation_cosine_mean"] = _representation_cosine(weights, boxes, images, batch_size)
    return report


def _attended(
    attention: Float32Array, in_map: npt.NDArray[np.int_], visible: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """For each visible keypoint inside the crop whether its S (K, h, w) at its own place is high."""
    count, height, width = attention.shape
    inside = visible & (in_map >= 0).all(axis=1) & (in_map < (width, height)).all(axis=1)
    rows = np.flatnonzero(inside)
    return np.asarray(attention[rows, in_map[rows, 1], in_map[rows, 0]] >= _SEEN / count)


def _highest_on_background(
    attention: Float32Array, in_map: npt.NDArray[np.int_], labelled: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int_]:
    """On how many pixels of the background each keypoint has the highest S (K, h, w).

    People with less than half of the keypoints labelled are left out: what is background there, nobody knows.
    """
    count, height, width = attention.shape
    if labelled.sum() * 2 < count:
        return np.zeros(count, int)
    rows, columns = np.indices((height, width))
    x, y = in_map[labelled].T[:, :, None, None]
    nearest = np.hypot(columns - x, rows - y).min(axis=0)
    return np.bincount(attention.argmax(axis=0)[nearest > _NEAR * height], minlength=count)


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
