"""The boxes that people are cropped by: the labelled ones, or a detector's from a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.artifacts.documents import reason
from engine.errors import SourceError
from engine.geometry import box_centers_sizes
from engine.skeleton import COCO17
from engine.system.json_file import read_json
from engine.types import Float32Array
from train.data.people import PeopleSet, sizes_of


@dataclass(frozen=True, kw_only=True, eq=False)
class PersonBoxes:
    """Boxes to crop people by.

    Attributes:
        images: N indices into `PeopleSet.image_files`.
        image_ids: N, ids of the pictures in the ground truth.
        boxes_xyxy: (N, 4) float32, picture px.
        scores: (N,) float32, 1 for labelled boxes.
    """

    images: Sequence[int]
    image_ids: Sequence[int]
    boxes_xyxy: Float32Array
    scores: Float32Array

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Sequence[int]) -> PersonBoxes:
        """Some of the boxes."""
        chosen = np.asarray(indices, np.intp)
        return PersonBoxes(
            images=[self.images[i] for i in chosen],
            image_ids=[self.image_ids[i] for i in chosen],
            boxes_xyxy=self.boxes_xyxy[chosen],
            scores=self.scores[chosen],
        )


def outer_pixels(boxes_xyxy: Float32Array) -> Float32Array:
    """Boxes (N, 4) through the centres of their outer pixels, from labelled boxes around these pixels.

    The official code takes width - 1 and height - 1 of a COCO box. Coordinates are those of pixel centres, so this is
    what puts the centre of the crop on the centre of the box.
    """
    return np.asarray(boxes_xyxy - np.array([0, 0, 1, 1], np.float32), np.float32)


def labelled_boxes(people: PeopleSet) -> PersonBoxes:
    """The box of every labelled person, in order, see `outer_pixels`."""
    return PersonBoxes(
        images=[person.image for person in people.people],
        image_ids=[person.image_id for person in people.people],
        boxes_xyxy=outer_pixels(np.stack([person.box_xyxy for person in people.people])),
        scores=np.ones(len(people.people), np.float32),
    )


def read_detections(file: Path, people: PeopleSet) -> PersonBoxes:
    """A detector's boxes in the form that SimpleBaseline published: a list of image_id, category_id, bbox and score.

    Boxes of other categories and of pictures outside the split are left out; `bbox` is x, y, width, height in px, and
    taken as it is, as in the official code.

    Raises:
        SourceError: the file cannot be read, or no box of it belongs to the split.
    """
    try:
        listed = read_json(file)
        if not isinstance(listed, list):
            raise ValueError(f"a list of boxes was expected, found {type(listed).__name__}")
        category = category_id(people)
        index_of = image_indices(people)
        chosen = [box for box in listed if box["category_id"] == category and box["image_id"] in index_of]
        boxes = np.array([box["bbox"] for box in chosen], np.float64).reshape(-1, 4)
        scores = np.array([box["score"] for box in chosen], np.float32)
        if not np.isfinite(boxes).all() or not np.isfinite(scores).all():
            raise ValueError("a number is not finite")
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}") from error
    except KeyError as error:
        raise SourceError(f"{file} is not a file of person boxes: an entry has no {error}") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise SourceError(f"{file} is not a file of person boxes: {reason(error)}") from error
    if not chosen:
        raise SourceError(
            f"{file} contains no box of category {category} in any of the {len(index_of)} pictures of {people.origin}"
        )
    boxes[:, 2:] += boxes[:, :2]
    return PersonBoxes(
        images=[index_of[box["image_id"]] for box in chosen],
        image_ids=[box["image_id"] for box in chosen],
        boxes_xyxy=boxes.astype(np.float32),
        scores=scores,
    )


def category_id(people: PeopleSet) -> int:
    """Id of the category with keypoints in ground truth and results."""
    categories: list[dict[str, Any]] = people.ground_truth.get("categories", [])
    return next((int(category["id"]) for category in categories if "keypoints" in category), 1)


def image_indices(people: PeopleSet) -> dict[int, int]:
    """Index into `PeopleSet.image_files` by id of the picture in the ground truth."""
    images = people.ground_truth["images"]
    if len(images) == len(people.image_files):
        return {image["id"]: index for index, image in enumerate(images)}
    by_file = {file: index for index, file in enumerate(people.image_files)}  # of an ultralytics set some were skipped
    return {image["id"]: by_file[Path(image["file_name"])] for image in images}


def read_pictures(data: Path, split: str) -> PeopleSet:
    """The pictures of a COCO split whose labels are not public, such as test-dev: no people, only pictures.

    Raises:
        SourceError: the list of pictures is missing or cannot be read.
    """
    file = data / "annotations" / f"image_info_{split}2017.json"
    try:
        images = read_json(file)["images"]
        files = tuple(data / f"{split.partition('-')[0]}2017" / str(image["file_name"]) for image in images)
        sizes = sizes_of(images)
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{file} is not a list of COCO pictures: {reason(error)}") from error
    return PeopleSet(
        origin=file,
        image_files=files,
        image_sizes_wh=sizes,
        people=(),
        skeleton=COCO17,
        class_names=("person",),
        ground_truth={"images": images, "annotations": [], "categories": []},
    )


def crop_areas(boxes_xyxy: Float32Array, input_size_wh: tuple[int, int] = (192, 256)) -> Float32Array:
    """(N,) float32: area in px squared that the crop of each box covers, the scale that OKS-NMS compares by."""
    _, sizes = box_centers_sizes(boxes_xyxy, input_size_wh)
    return np.asarray(sizes[:, 0] * sizes[:, 1], np.float32)
