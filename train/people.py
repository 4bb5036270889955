"""People with keypoints out of a COCO-style folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import SourceError
from engine.skeleton import COCO17, Skeleton
from engine.types import Float32Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Person:
    """One labelled person.

    Attributes:
        image: index into `PeopleSet.image_files`.
        image_id, annotation_id: as in the annotation file.
        box_xyxy: (4,) float32, clipped to the picture, px.
        keypoints: (K, 3) float32: x, y in px, and 0 for not labelled, 1 for hidden, 2 for visible.
        source: name of the data set the picture came from, "" where the file does not say.
    """

    image: int
    image_id: int
    annotation_id: int
    box_xyxy: Float32Array
    keypoints: Float32Array
    source: str


@dataclass(frozen=True, kw_only=True, eq=False)
class PeopleSet:
    """The labelled people of one split."""

    annotation_file: Path
    image_files: tuple[Path, ...]
    people: tuple[Person, ...]
    skeleton: Skeleton
    class_names: tuple[str, ...]


def read_people(data: Path, split: str) -> PeopleSet:
    """Read the people who have at least one labelled keypoint.

    Args:
        data: folder with `<split>.json` and the pictures in `<split>/`.
        split: "train" or "val".

    Raises:
        SourceError: the annotation file is missing or cannot be read, or holds no usable person.
    """
    file = data / f"{split}.json"
    if not file.is_file():
        raise SourceError(f"{file} is missing: --data wants a folder with {split}.json and pictures in {split}/")
    try:
        coco = json.loads(file.read_text(encoding="utf-8"))
        category = coco["categories"][0]
        names = tuple(str(name) for name in category["keypoints"])
        images = {image["id"]: (index, image) for index, image in enumerate(coco["images"])}
        people = [
            _person(annotation, images, len(names))
            for annotation in coco["annotations"]
            if not annotation.get("iscrowd") and any(annotation["keypoints"][2::3])
        ]
        files = tuple(data / split / image["file_name"] for image in coco["images"])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise SourceError(f"{file} is not a COCO keypoint file: {error!r}") from error
    if not people:
        raise SourceError(f"{file} lists no person with a labelled keypoint")
    return PeopleSet(
        annotation_file=file,
        image_files=files,
        people=tuple(people),
        skeleton=_skeleton(category, names),
        class_names=(str(category["name"]),),
    )


def _person(annotation: dict[str, Any], images: dict[int, tuple[int, dict[str, Any]]], keypoints: int) -> Person:
    index, image = images[annotation["image_id"]]
    values = np.array(annotation["keypoints"], np.float32)
    if values.size != keypoints * 3:
        raise ValueError(f"annotation {annotation['id']} has {values.size} numbers for {keypoints} keypoints")
    x, y, width, height = annotation["bbox"]
    box = [max(0.0, x), max(0.0, y), min(float(image["width"]), x + width), min(float(image["height"]), y + height)]
    return Person(
        image=index,
        image_id=int(annotation["image_id"]),
        annotation_id=int(annotation["id"]),
        box_xyxy=np.array(box, np.float32),
        keypoints=values.reshape(keypoints, 3),
        source=str(image.get("source", "")),
    )


def _skeleton(category: dict[str, Any], names: tuple[str, ...]) -> Skeleton:
    """COCO's own constants for COCO's keypoints; for others what the file says and a uniform OKS sigma."""
    if names == COCO17.keypoint_names:
        return COCO17
    index = {name: i for i, name in enumerate(names)}
    pairs = tuple(
        (i, index[name.replace("left", "right")])
        for i, name in enumerate(names)
        if "left" in name and name.replace("left", "right") in index
    )
    return Skeleton(
        keypoint_names=names,
        edges=tuple((int(a) - 1, int(b) - 1) for a, b in category.get("skeleton", [])),
        flip_pairs=pairs,
        oks_sigmas=(0.05,) * len(names),
    )
