"""The data set of a detector in ultralytics' form, made of a COCO-style folder."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from engine.artifacts.documents import reason
from engine.errors import SourceError
from engine.system.json_file import read_json
from engine.system.regular_file import read_regular
from engine.types import Float32Array, UInt8Array
from train.data.linked_pictures import link_or_copy, own_name
from train.data.people import check_sources

UNSURE_FILE = "unsure.json"
"""Boxes of which no teacher is sure, beside data.yaml."""
Row = list[float]
"""x, y of the centre, width and height, as shares of the picture."""
Boxes = Callable[[UInt8Array, Float32Array], tuple[Float32Array, Float32Array]]


def write_yolo_dataset(
    data: Path,
    output: Path,
    *,
    teach: Boxes | None = None,
    shares: Mapping[str, float] = MappingProxyType({}),
    seed: int = 0,
) -> Path:
    """Write the YOLO form (pictures, one label file each, data.yaml) of a COCO-style folder.

    Args:
        data: folder with `train.json`, `val.json` and the pictures in `train/` and `val/`.
        output: folder to write; pictures are hard links where the file system allows it, copies elsewhere.
        teach: from a picture (H, W, 3) BGR and its labelled boxes (L, 4) px, boxes of further people and boxes that
            may show somebody; without it, pictures in which not everybody is meant to be listed are left out.
        shares: with `teach`, the share of a source's training pictures that is taken; all of those not named.
        seed: draws them.

    Returns:
        The path of `data.yaml`.

    Raises:
        SourceError: a file is missing, or is no COCO file.
        OptionError: no picture is of a source that `shares` names.
        OSError: a picture cannot be read, or the folder not be written.
    """
    class_name = ""
    unsure: dict[str, list[list[float]]] = {}
    for split in ("train", "val"):
        file = data / f"{split}.json"
        if not file.is_file():
            raise SourceError(f"{file} is missing: --data wants a folder with train.json and val.json")
        try:
            coco = read_json(file)
            learns = teach is not None and split == "train"
            class_name, labels = _class_name(coco), _labels(coco, all_pictures=learns)
            if learns:
                labels = _drawn(labels, coco, shares, seed)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise SourceError(f"{file} is not a COCO file: {reason(error)}") from error
        for folder in ("images", "labels"):
            (output / folder / split).mkdir(parents=True, exist_ok=True)
        taken: set[str] = set()
        for file_name, rows in tqdm(labels.items(), desc=split, disable=None if learns else True):
            name = own_name(file_name, taken)
            link_or_copy(data / split / file_name, output / "images" / split / name)
            more: list[Row] = []
            if learns and teach is not None:
                more, unsure[name] = _taught(output / "images" / split / name, rows, teach)
            lines = [" ".join(["0", *(f"{share:.6f}" for share in row)]) for row in rows + more]
            (output / "labels" / split / name).with_suffix(".txt").write_text("\n".join(lines))
    (output / UNSURE_FILE).write_text(json.dumps(unsure), encoding="utf-8")
    yaml = output / "data.yaml"
    # JSON strings are YAML strings, whatever is in them.
    path, name = json.dumps(output.resolve().as_posix()), json.dumps(class_name)
    yaml.write_text(f"path: {path}\ntrain: images/train\nval: images/val\nnames:\n  0: {name}\n", encoding="utf-8")
    return yaml


def class_of(data: Path) -> str:
    """The class of a COCO-style folder.

    Raises:
        SourceError: `train.json` is missing, or is no COCO file.
    """
    file = data / "train.json"
    try:
        return _class_name(read_json(file))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise SourceError(f"{file} is not a COCO file: {reason(error)}") from error


def _class_name(coco: dict[str, Any]) -> str:
    return str(_category(coco).get("name", "person"))


def _category(coco: dict[str, Any]) -> dict[str, Any]:
    """The category that is detected: that with keypoints, whose name the pose network has, too, else the first."""
    categories: list[dict[str, Any]] = coco.get("categories") or [{}]
    return next((category for category in categories if "keypoints" in category), categories[0])


def _labels(coco: dict[str, Any], *, all_pictures: bool) -> dict[str, list[Row]]:
    """For each picture, by the name in the file, its labels; unless all are wanted, of those that list everybody.

    A label is the box of one person: crowds and other categories have none, nor boxes outside the picture, for which
    ultralytics would leave out the whole picture.
    """
    category = _category(coco).get("id")
    boxes: dict[Any, list[Any]] = {}
    for annotation in coco["annotations"]:
        is_other = category is not None and annotation.get("category_id", category) != category
        if not is_other and not annotation.get("iscrowd"):
            boxes.setdefault(annotation["image_id"], []).append(annotation["bbox"])
    if coco["annotations"] and not boxes:
        raise ValueError(f"none of its boxes is that of one {_class_name(coco)}")
    labels = {}
    for image in coco["images"]:
        if all_pictures or image.get("source", "coco") == "coco":
            rows = [_yolo_row(box, image["width"], image["height"]) for box in boxes.get(image["id"], [])]
            labels[str(image["file_name"])] = [row for row in rows if min(row[2:]) > 0]
    return labels


def _drawn(
    labels: dict[str, list[Row]], coco: dict[str, Any], shares: Mapping[str, float], seed: int
) -> dict[str, Any]:
    """The pictures without those that the shares of their sources leave out.

    Raises:
        OptionError: no picture is of a source that is named.
    """
    check_sources(shares, (str(image.get("source", "")) for image in coco["images"]))
    rng = np.random.default_rng(seed)
    wanted = {
        str(image["file_name"]): shares.get(str(image.get("source", "")), 1.0) > rng.random()
        for image in coco["images"]
    }
    return {name: rows for name, rows in labels.items() if wanted[name]}


def _taught(file: Path, rows: list[Row], teach: Boxes) -> tuple[list[Row], list[Row]]:
    """Labels of further people in a picture, and of what may be one; none where it cannot be decoded."""
    image: Any = cv2.imdecode(np.frombuffer(read_regular(file), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return [], []
    height, width = image.shape[:2]
    centres, sizes = np.split(np.array(rows).reshape(-1, 4) * ([width, height] * 2), 2, axis=1)
    labelled = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1).astype(np.float32)
    people, unsure = (
        [_yolo_row([x, y, right - x, bottom - y], width, height) for x, y, right, bottom in boxes.tolist()]
        for boxes in teach(image, labelled)
    )
    return people, unsure


def _yolo_row(box_xywh: list[float], width: int, height: int) -> Row:
    """Centre and size, as shares of the picture, of a COCO box clipped to it."""
    x, y, w, h = (float(number) for number in box_xywh)
    if not all(math.isfinite(number) for number in (x, y, w, h)) or min(width, height) < 1:
        raise ValueError(f"the box {box_xywh} in {width}x{height} px")
    left, top = max(0.0, x), max(0.0, y)
    right, bottom = min(float(width), x + w), min(float(height), y + h)
    centre_x, centre_y = (left + right) / 2 / width, (top + bottom) / 2 / height
    return [centre_x, centre_y, (right - left) / width, (bottom - top) / height]
