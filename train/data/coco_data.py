"""COCO keypoint annotations: as downloaded, and in the small layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.artifacts.documents import reason
from engine.errors import ModelError, SourceError
from engine.skeleton import COCO17, Skeleton
from engine.system.json_file import read_json
from train.data.people import PeopleSet, Person, sizes_of
from train.data.skeletons import make_skeleton, report_unknown_sides

# COCO's constants run from 0.025 (eyes) to 0.107 (hips); a keypoint without one gets the middle.
_UNKNOWN_SIGMA = 0.05
_AREA_SHARE = 0.53  # of a box, the mean over COCO
_WRONG = (ValueError, KeyError, TypeError, AttributeError, OverflowError, MemoryError)


def read_coco(annotation_file: Path, image_folder: Path) -> PeopleSet:
    """Read a COCO keypoint file; labels that cannot be used are skipped and reported.

    Args:
        annotation_file: with images, annotations and one category that has keypoints; that category, or the file, may
            also contain `sigmas`, `flip_idx` and `upper_body`, see `skeletons.make_skeleton`.
        image_folder: of the pictures.

    Raises:
        SourceError: the file cannot be read as COCO keypoints at all.
    """
    try:
        coco = read_json(annotation_file)
        category = next(category for category in coco["categories"] if "keypoints" in category)
        names = tuple(str(name) for name in category["keypoints"])
        images = {_whole_number(image["id"]): (index, image) for index, image in enumerate(coco["images"])}
        files = tuple(image_folder / image["file_name"] for image in coco["images"])
        sizes = sizes_of(coco["images"])
        annotations = list(coco["annotations"])
        for each in coco["categories"]:
            _whole_number(each["id"])
        skeleton, mirrors = _skeleton(coco, category, names)
    except (*_WRONG, StopIteration, OSError, ModelError) as error:
        raise SourceError(f"{annotation_file} is not a COCO keypoint file: {reason(error)}") from error
    if not mirrors:
        report_unknown_sides(annotation_file)
    people, complaints, broken = [], [], set()
    for number, annotation in enumerate(annotations):
        try:
            person = _person(annotation, images, len(names))
            _complete(annotation)
        except (*_WRONG, IndexError) as error:
            label = annotation.get("id", f"number {number}") if isinstance(annotation, dict) else f"number {number}"
            complaints.append(f"annotation {label} of {annotation_file.name}: {reason(error)}")
            broken.add(number)
            continue
        if person is not None:
            people.append(person)
    coco["annotations"] = [annotation for i, annotation in enumerate(annotations) if i not in broken]
    coco.setdefault("info", {})
    return PeopleSet(
        origin=annotation_file,
        image_files=files,
        image_sizes_wh=sizes,
        people=tuple(people),
        skeleton=skeleton,
        class_names=(str(category.get("name", "person")),),
        ground_truth=coco,
        mirrors=mirrors,
        complaints=tuple(complaints),
    )


def _whole_number(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"the id {str(value)[:40]} is not a whole number")
    return value


def _check_numbers(values: Any) -> None:
    """Refuse text among numbers, which NumPy would read and pycocotools does not."""
    if not isinstance(values, list) or any(
        isinstance(one, bool) or not isinstance(one, (int, float)) for one in values
    ):
        raise ValueError(f"{str(values)[:40]} is not a list of numbers")


def _complete(annotation: dict[str, Any]) -> None:
    """Add what pycocotools needs of every annotation and some files leave out."""
    _whole_number(annotation["id"]), _whole_number(annotation["image_id"])
    for name in ("bbox", "keypoints"):
        _check_numbers(annotation[name])
    _, _, width, height = (float(number) for number in annotation["bbox"])
    area = annotation.get("area")
    if isinstance(area, bool) or not isinstance(area, (int, float)) or area <= 0:
        annotation["area"] = _AREA_SHARE * width * height
    count = annotation.get("num_keypoints")
    if type(count) is not int or count < 0:
        annotation["num_keypoints"] = sum(value > 0 for value in annotation["keypoints"][2::3])
    annotation["iscrowd"] = int(bool(annotation.get("iscrowd")))
    _whole_number(annotation.setdefault("category_id", 1))


def _person(annotation: dict[str, Any], images: dict[int, tuple[int, dict[str, Any]]], keypoints: int) -> Person | None:
    """The person of one annotation; None for a crowd, no labelled keypoint or, as in the official code, no area."""
    values = np.array(annotation["keypoints"], np.float32)
    if values.size != keypoints * 3:
        raise ValueError(f"{values.size} numbers for {keypoints} keypoints, {keypoints * 3} were expected")
    if not np.isfinite(values).all():
        raise ValueError("a keypoint is not a finite number")
    if annotation.get("iscrowd") or annotation.get("area", 1) <= 0 or not values[2::3].any():
        return None
    index, image = images[annotation["image_id"]]
    x, y, width, height = (float(number) for number in annotation["bbox"])
    box = [max(0.0, x), max(0.0, y), min(float(image["width"]), x + width), min(float(image["height"]), y + height)]
    if not np.isfinite(box).all() or box[2] <= box[0] or box[3] <= box[1]:
        raise ValueError(f"the box {annotation['bbox']} has no area inside the picture")
    return Person(
        image=index,
        image_id=int(annotation["image_id"]),
        annotation_id=int(annotation["id"]),
        box_xyxy=np.array(box, np.float32),
        keypoints=values.reshape(keypoints, 3),
        source=str(image.get("source", "")),
    )


def _skeleton(coco: dict[str, Any], category: dict[str, Any], names: tuple[str, ...]) -> tuple[Skeleton, bool]:
    """The skeleton, and whether mirroring is known; `sigmas` and the like may stand in the category or beside it."""
    settings = {key: category.get(key, coco.get(key)) for key in ("sigmas", "flip_idx", "upper_body", "angles")}
    settings = {key: value for key, value in settings.items() if value is not None}
    if names == COCO17.keypoint_names and not settings:
        return COCO17, True
    edges = tuple((int(a) - 1, int(b) - 1) for a, b in category.get("skeleton") or ())
    return make_skeleton(settings, names, edges, _UNKNOWN_SIGMA)
