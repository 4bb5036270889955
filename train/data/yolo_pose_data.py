"""Pose data sets in ultralytics' form: a YAML, pictures, and a text file of labels for each picture.

A label line is `class cx cy w h` and then `x y` or `x y visible` for each keypoint, all as shares of the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engine.artifacts.data_set_files import PICTURES, label_file, listed_pictures, place_of
from engine.artifacts.documents import read_yaml, reason
from engine.errors import ModelError, SourceError
from engine.skeleton import COCO17, MOST_KEYPOINTS, Skeleton
from engine.system.regular_file import read_regular
from train.data.people import PeopleSet, Person
from train.data.skeletons import make_skeleton, report_unknown_sides


def read_yolo_pose(file: Path, split: str) -> PeopleSet:
    """Read a split of an ultralytics pose data set.

    Args:
        file: YAML with `train`, `val`, `names`, `kpt_shape` (or `kpt_names` alone, for K of three numbers each), and
            optionally `path`, `skeleton` (pairs of keypoint indices from 0), and `flip_idx`, `sigmas`, `upper_body` and
            `angles`, see `skeletons.make_skeleton`.
        split: "train" or "val".

    Raises:
        SourceError: the YAML or the folder of pictures is missing or cannot be used.
    """
    settings = _settings(file)
    try:
        shape = settings.get("kpt_shape") or (len(_keypoint_names(settings) or ()), 3)
        keypoints, dimensions = (int(number) for number in shape)
        if not 1 <= keypoints <= MOST_KEYPOINTS:
            raise ValueError(f"{keypoints} keypoints; 1 to {MOST_KEYPOINTS} fit")
        class_names = _names(settings["names"])
        skeleton, mirrors = _skeleton(settings, keypoints)
        folders = settings[split] if isinstance(settings[split], list) else [settings[split]]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, ModelError) as error:
        raise SourceError(f"{file} is not the YAML of a pose data set: {reason(error)}") from error
    if dimensions not in (2, 3):
        raise SourceError(f"{file}: kpt_shape is [{keypoints}, {dimensions}]; expected [K, 2] or [K, 3]")
    if not mirrors:
        report_unknown_sides(file)
    files = [picture for folder in folders for picture in _pictures(place_of(settings, str(folder), file), file)]
    people: list[Person] = []
    complaints: list[str] = []
    images: list[dict[str, Any]] = []
    for index, picture in enumerate(files):
        size = _size(picture)
        if size is None:
            complaints.append(f"{picture}: not a picture that can be decoded")
            continue
        images.append({"id": index + 1, "file_name": str(picture), "width": size[0], "height": size[1]})
        for number, line in _label_lines(picture):
            try:
                box, points = _parse(line, size, keypoints, dimensions, len(class_names))
            except ValueError as error:
                complaints.append(f"{label_file(picture)} line {number}: {error}")
                continue
            if points[:, 2].any():
                people.append(
                    Person(
                        image=index,
                        image_id=index + 1,
                        annotation_id=len(people) + 1,
                        box_xyxy=box,
                        keypoints=points,
                        source="",
                    )
                )
    return PeopleSet(
        origin=file,
        image_files=tuple(files),
        people=tuple(people),
        skeleton=skeleton,
        class_names=class_names,
        ground_truth=_ground_truth(images, people, skeleton),
        mirrors=mirrors,
        complaints=tuple(complaints),
    )


def _settings(file: Path) -> dict[str, Any]:
    try:
        settings = read_yaml(file)
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SourceError(f"{file} is not the YAML of a pose data set: {error}") from error
    if not isinstance(settings, dict):
        raise SourceError(f"{file} is not the YAML of a pose data set: it holds no fields")
    return settings


def _names(names: Any) -> tuple[str, ...]:
    values = [names[key] for key in sorted(names)] if isinstance(names, dict) else list(names)
    return tuple(str(value) for value in values)


def _keypoint_names(settings: dict[str, Any]) -> Any:
    """`kpt_names`; ultralytics lists them by class, and all classes of a set share their keypoints."""
    names = settings.get("kpt_names")
    return next(iter(names.values()), None) if isinstance(names, dict) else names


def _skeleton(settings: dict[str, Any], keypoints: int) -> tuple[Skeleton, bool]:
    """The skeleton as far as the YAML states it, and whether mirroring is known; COCO's for 17 keypoints without names.

    An unknown OKS sigma is 1 / K, as in ultralytics.
    """
    names = _keypoint_names(settings)
    flip = settings.get("flip_idx")
    if names is None and keypoints == COCO17.num_keypoints and (flip is None or tuple(flip) == COCO17.flip_order):
        if not settings.get("angles"):
            return COCO17, True
        named = make_skeleton({"angles": settings["angles"]}, COCO17.keypoint_names, COCO17.edges, 1.0)[0]
        return replace(COCO17, angles=named.angles), True
    labels = tuple(str(name) for name in names) if names else tuple(f"keypoint_{i}" for i in range(keypoints))
    if len(labels) != keypoints:
        raise ValueError(f"{len(labels)} kpt_names for {keypoints} keypoints")
    edges = tuple((int(a), int(b)) for a, b in settings.get("skeleton") or ())
    return make_skeleton(settings, labels, edges, 1.0 / keypoints)


def _pictures(place: Path, file: Path) -> list[Path]:
    if place.is_file() and place.suffix == ".txt":
        try:
            return listed_pictures(place)
        except (OSError, ValueError) as error:
            raise SourceError(f"{place}, named by {file}, cannot be read: {reason(error)}") from error
    if not place.is_dir():
        raise SourceError(f"{place}, named by {file}, is not a folder of pictures")
    return sorted(path for path in place.rglob("*") if path.suffix.lower() in PICTURES)


def _size(picture: Path) -> tuple[int, int] | None:
    """Width and height of a picture, or None where it cannot be decoded."""
    try:
        image = cv2.imdecode(np.frombuffer(read_regular(picture), np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        return None
    return None if image is None else (image.shape[1], image.shape[0])


def _label_lines(picture: Path) -> Iterator[tuple[int, str]]:
    labels = label_file(picture)
    if not labels.is_file():  # a picture without people
        return
    for number, line in enumerate(labels.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if line.strip():
            yield number, line


def _parse(
    line: str, size: tuple[int, int], keypoints: int, dimensions: int, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Box (4,) xyxy and keypoints (K, 3) in px, float32, of one label line."""
    values = np.array([float(number) for number in line.split()])
    expected = 5 + keypoints * dimensions
    if len(values) != expected:
        raise ValueError(f"{len(values)} numbers, {expected} were expected")
    if not np.isfinite(values).all() or not 0 <= values[0] < classes:
        raise ValueError("a number is not finite, or the class is not one of the set's")
    width, height = size
    x, y, w, h = values[1:5] * [width, height, width, height]
    box = np.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0, [width, height, width, height])
    if box[2] <= box[0] or box[3] <= box[1]:
        raise ValueError("the box has no area inside the picture")
    points = values[5:].reshape(keypoints, dimensions)
    visible = points[:, 2] if dimensions == 3 else np.where(points.any(axis=1), 2.0, 0.0)
    xy = points[:, :2] * [width, height]
    return box.astype(np.float32), np.concatenate([xy, visible[:, None]], axis=1).astype(np.float32)


def _ground_truth(images: list[dict[str, Any]], people: list[Person], skeleton: Skeleton) -> dict[str, Any]:
    """The labels as a COCO keypoint data set. Without segments, an area is 0.53 of its box, the mean over COCO."""
    annotations = []
    for person in people:
        left, top, right, bottom = (float(number) for number in person.box_xyxy)
        annotations.append(
            {
                "id": person.annotation_id,
                "image_id": person.image_id,
                "category_id": 1,
                "iscrowd": 0,
                "bbox": [left, top, right - left, bottom - top],
                "area": 0.53 * (right - left) * (bottom - top),
                "num_keypoints": int((person.keypoints[:, 2] > 0).sum()),
                "keypoints": [float(number) for number in person.keypoints.reshape(-1)],
            }
        )
    category = {"id": 1, "name": "person", "keypoints": list(skeleton.keypoint_names), "skeleton": []}
    return {"info": {}, "images": images, "annotations": annotations, "categories": [category]}
