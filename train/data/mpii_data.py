"""MPII Human Pose in the JSON form of the official SimpleBaseline and HRNet code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import SourceError
from engine.system.json_file import read_json
from engine.types import Float32Array
from train.data.people import PeopleSet, Person
from train.data.skeletons import MPII_NAMES, make_skeleton

_SPLITS = {"train": "train", "val": "valid"}
_EDGES = (
    (0, 1), (1, 2), (2, 6), (6, 3), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9), (8, 12), (12, 11), (11, 10), (8, 13),
    (13, 14), (14, 15),
)  # fmt: skip
_NECK, _HEAD_TOP = 8, 9
_PERSON_PX = 200
"""MPII's scale is the height of a person in units of so many px."""
_HEAD_SIZE_OF_BOX = 0.6
"""MPII's head size: this share of the diagonal of the head box."""


def annotation_file(data: Path, split: str) -> Path:
    """The labels of a split in a folder of MPII."""
    return data / "annot" / f"{_SPLITS.get(split, split)}.json"


def read_mpii(data: Path, split: str) -> PeopleSet:
    """Read `annot/train.json` or `annot/valid.json`, with pictures in `images/`.

    Coordinates become 0-based. As in the official code, the box is a square of 200 px times the scale, moved down by
    15 px times the scale. Head sizes for PCKh come from `annot/gt_valid.mat` if it is there, else from the distance
    between upper neck and head top.

    Raises:
        SourceError: a file cannot be read.
    """
    file = annotation_file(data, split)
    try:
        entries = read_json(file)
        parsed = [_parse(entry) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise SourceError(f"{file} is not a file of MPII labels: {error!r}") from error
    boxes_file = file.with_name(f"gt_{file.stem}.mat")
    sizes = _head_sizes(boxes_file, len(parsed)) if boxes_file.is_file() else [_neck_to_top(kp) for *_, kp in parsed]
    names = sorted({name for name, *_ in parsed})
    index_of = {name: index for index, name in enumerate(names)}
    people: list[Person] = []
    head_sizes: dict[int, float] = {}
    annotations = []
    for number, (name, box, keypoints) in enumerate(parsed):
        labelled = keypoints[keypoints[:, 2] > 0, :2]
        if len(labelled) == 0:
            continue
        image, identity = index_of[name], number + 1
        person = Person(
            image=image, image_id=image + 1, annotation_id=identity, box_xyxy=box, keypoints=keypoints, source=""
        )
        people.append(person)
        head_sizes[identity] = sizes[number]
        width, height = (float(length) for length in np.maximum(labelled.max(axis=0) - labelled.min(axis=0), 1))
        annotations.append(
            {
                "id": identity,
                "image_id": image + 1,
                "category_id": 1,
                "iscrowd": 0,
                "bbox": [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])],
                "area": width * height,
                "num_keypoints": len(labelled),
                "keypoints": [float(value) for value in keypoints.reshape(-1)],
            }
        )
    skeleton, mirrors = make_skeleton({"upper_body": range(7, 16)}, MPII_NAMES, _EDGES, 0.05)
    images = [{"id": i + 1, "file_name": name, "width": 0, "height": 0} for i, name in enumerate(names)]
    category = {"id": 1, "name": "person", "keypoints": list(MPII_NAMES), "skeleton": []}
    return PeopleSet(
        origin=file,
        image_files=tuple(data / "images" / name for name in names),
        image_sizes_wh=((0, 0),) * len(names),  # not stated; pixels are counted as stored
        people=tuple(people),
        skeleton=skeleton,
        class_names=("person",),
        ground_truth={"info": {}, "images": images, "annotations": annotations, "categories": [category]},
        mirrors=mirrors,
        head_sizes=head_sizes,
    )


def _parse(entry: dict[str, Any]) -> tuple[str, Float32Array, Float32Array]:
    """Name of the picture, box (4,) and keypoints (16, 3) of one person."""
    scale = float(entry["scale"])
    center = np.array(entry["center"], np.float32) - 1  # MPII counts from 1
    center[1] += 15 * scale
    half = scale * _PERSON_PX / 2
    # `boxes.outer_pixels` takes one px off the far side, which the official code does not do here.
    box = np.concatenate([center - half, center + half + 1])
    xy = np.array(entry["joints"], np.float32) - 1
    visible = np.array(entry["joints_vis"], np.float32)
    if xy.shape != (len(MPII_NAMES), 2) or visible.shape != (len(MPII_NAMES),) or not np.isfinite(xy).all():
        raise ValueError(f"{entry['image']}: {len(MPII_NAMES)} joints were expected")
    keypoints = np.concatenate([xy, np.where(visible > 0, 2, 0)[:, None]], axis=1)
    return str(entry["image"]), box.astype(np.float32), keypoints.astype(np.float32)


def _neck_to_top(keypoints: Float32Array) -> float:
    """Head size (px) from two keypoints; 0 where one of them is not labelled."""
    neck, top = keypoints[_NECK], keypoints[_HEAD_TOP]
    return float(np.linalg.norm(neck[:2] - top[:2])) if neck[2] > 0 and top[2] > 0 else 0.0


def _head_sizes(file: Path, people: int) -> list[float]:
    """Head size (px) of each person from MPII's head boxes."""
    from scipy.io import loadmat  # type: ignore[import-untyped]

    try:
        boxes = np.asarray(loadmat(str(file))["headboxes_src"], float)  # (2 corners, x and y, N)
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        raise SourceError(f"{file} does not contain MPII's head boxes: {error!r}") from error
    if boxes.shape != (2, 2, people):
        raise SourceError(f"{file} contains head boxes of shape {boxes.shape}, (2, 2, {people}) was expected")
    return [float(size) for size in np.linalg.norm(boxes[1] - boxes[0], axis=0) * _HEAD_SIZE_OF_BOX]
