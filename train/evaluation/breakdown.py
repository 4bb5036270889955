"""AP of the people of one kind: tall or short, cut off by the picture's border, or in a crowd; of halves of a split.

pycocotools knows how to leave people out: whoever is marked as having no labelled keypoint is still there to be
matched, but neither found nor missed. That alone is not enough: a result on a left-out person that is not good enough
to match would count as a false alarm. So a result belongs to the labelled box that its own box overlaps most and is
left out with it; results on nobody stay and are false alarms for every kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.geometry import overlaps
from engine.types import Float32Array
from train.evaluation.coco_eval import keypoint_ap

Bools = npt.NDArray[np.bool_]

TALL_PX = 128.0
CROWD_OVERLAP = 0.1
_BORDER_PX = 1.0
"""A labelled box that ends so near the border ends there because the picture does."""
_NOBODY = 0.1
"""Overlap below which a result's box belongs to no label."""


def _tall(boxes: Float32Array, _size: Float32Array) -> Bools:
    return np.asarray(boxes[:, 3] - boxes[:, 1] > TALL_PX)


def _short(boxes: Float32Array, size: Float32Array) -> Bools:
    return ~_tall(boxes, size)


def _truncated(boxes: Float32Array, size: Float32Array) -> Bools:
    """Boxes that reach the border of the picture, whose size is (2,) width and height."""
    begin, end = boxes[:, :2] <= _BORDER_PX, boxes[:, 2:] >= size - _BORDER_PX
    return np.asarray((begin | end).any(axis=1))


def _crowded(boxes: Float32Array, _size: Float32Array) -> Bools:
    table = overlaps(boxes, boxes)
    np.fill_diagonal(table, 0)
    return np.asarray((table > CROWD_OVERLAP).any(axis=1))


KINDS: Mapping[str, Callable[[Float32Array, Float32Array], Bools]] = {
    f"taller_than_{TALL_PX:.0f}_px": _tall,
    f"up_to_{TALL_PX:.0f}_px": _short,
    "truncated": _truncated,
    "in_crowds": _crowded,
}
"""Which of the labelled boxes (M, 4) xyxy of one picture of a size (2,) are of a kind."""


def breakdown(
    ground_truth: Mapping[str, Any],
    results: Sequence[dict[str, Any]],
    boxes_xyxy: Float32Array,
    sigmas: Sequence[float],
) -> dict[str, dict[str, float]]:
    """For each kind the number of people with labelled keypoints, AP, AP50 and AR in percent (-1: nobody).

    Args:
        ground_truth: a COCO keypoint data set.
        results: N, as `coco_results` gives them.
        boxes_xyxy: (N, 4) float32, the box that each result was found in, px.
        sigmas: K OKS constants.
    """
    labels = [label for label in ground_truth["annotations"] if not label.get("iscrowd")]
    owners = _owners(labels, results, boxes_xyxy)
    report = {}
    for kind, members in _members(ground_truth, labels).items():
        of_kind = [
            label if member else {**label, "num_keypoints": 0} for label, member in zip(labels, members, strict=True)
        ]
        crowds = [label for label in ground_truth["annotations"] if label.get("iscrowd")]
        counted = [result for result, owner in zip(results, owners, strict=True) if owner is None or members[owner]]
        people = sum(bool(label["num_keypoints"]) for label in of_kind)
        metrics = keypoint_ap({**ground_truth, "annotations": of_kind + crowds}, counted, sigmas)
        chosen = {name: metrics[name] if people else -1.0 for name in ("AP", "AP50", "AR")}
        report[kind] = {"people": float(people), **chosen}
    return report


def halves(
    ground_truth: Mapping[str, Any], results: Sequence[dict[str, Any]], sigmas: Sequence[float]
) -> dict[str, dict[str, float]]:
    """For "even" and "odd" ids of the pictures the number of people with labelled keypoints, and AP and its kin.

    Whoever chooses between networks by one half can report the other, which had no say.

    Args:
        ground_truth: a COCO keypoint data set.
        results: as `coco_results` gives them.
        sigmas: K OKS constants.
    """
    report = {}
    for parity, name in enumerate(("even", "odd")):
        images = [image for image in ground_truth["images"] if image["id"] % 2 == parity]
        labels = [label for label in ground_truth["annotations"] if label["image_id"] % 2 == parity]
        counted = [result for result in results if result["image_id"] % 2 == parity]
        people = sum(bool(label["num_keypoints"]) for label in labels if not label.get("iscrowd"))
        metrics = keypoint_ap({**ground_truth, "images": images, "annotations": labels}, counted, sigmas)
        report[name] = {"people": float(people), **(metrics if people else dict.fromkeys(metrics, -1.0))}
    return report


def _members(ground_truth: Mapping[str, Any], labels: Sequence[dict[str, Any]]) -> dict[str, Bools]:
    """For each kind, which labels are of it."""
    sizes = {  # 0: not stated
        image["id"]: np.array([image["width"] or np.inf, image["height"] or np.inf], np.float32)
        for image in ground_truth["images"]
    }
    members = {kind: np.zeros(len(labels), bool) for kind in KINDS}
    for image_id, rows in _by_image(labels).items():
        boxes = _xyxy([labels[row] for row in rows])
        for kind, belongs in KINDS.items():
            members[kind][rows] = belongs(boxes, sizes[image_id])
    return members


def _owners(
    labels: Sequence[dict[str, Any]], results: Sequence[dict[str, Any]], boxes_xyxy: Float32Array
) -> list[int | None]:
    """For each result the label that its box overlaps most, None where there is hardly any overlap."""
    labelled = _by_image(labels)
    owners: list[int | None] = [None] * len(results)
    for image_id, rows in _by_image(results).items():
        candidates = labelled.get(image_id)
        if candidates is None:
            continue
        table = overlaps(boxes_xyxy[rows], _xyxy([labels[row] for row in candidates]))
        for row, best, value in zip(rows, table.argmax(axis=1), table.max(axis=1), strict=True):
            if value >= _NOBODY:
                owners[row] = candidates[int(best)]
    return owners


def _by_image(entries: Sequence[dict[str, Any]]) -> dict[int, list[int]]:
    rows: dict[int, list[int]] = {}
    for row, entry in enumerate(entries):
        rows.setdefault(int(entry["image_id"]), []).append(row)
    return rows


def _xyxy(labels: Sequence[dict[str, Any]]) -> Float32Array:
    boxes = np.array([label["bbox"] for label in labels], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes
