"""The data set of a detector in ultralytics' form, made of a COCO-style folder."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

from engine.artifacts.documents import reason
from engine.errors import SourceError
from engine.system.json_file import read_json
from engine.system.regular_file import open_regular

_JPEG, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def write_yolo_dataset(data: Path, output: Path) -> Path:
    """Write the YOLO form (pictures, one label file each, data.yaml) of a COCO-style folder.

    Args:
        data: folder with `train.json`, `val.json` and the pictures in `train/` and `val/`.
        output: folder to write; pictures are hard links where the file system allows it, copies elsewhere.

    Returns:
        The path of `data.yaml`.

    Raises:
        SourceError: a file is missing, or is no COCO file.
        OSError: a picture cannot be read, or the folder not be written.
    """
    class_name = ""
    for split in ("train", "val"):
        file = data / f"{split}.json"
        if not file.is_file():
            raise SourceError(f"{file} is missing: --data wants a folder with train.json and val.json")
        try:
            coco = read_json(file)
            class_name, labels = _class_name(coco), _labels(coco)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise SourceError(f"{file} is not a COCO file: {reason(error)}") from error
        for folder in ("images", "labels"):
            (output / folder / split).mkdir(parents=True, exist_ok=True)
        taken: set[str] = set()
        for number, (file_name, rows) in enumerate(labels.items()):
            name = _own_name(file_name, number, taken)
            _link_or_copy(data / split / file_name, output / "images" / split / name)
            (output / "labels" / split / name).with_suffix(".txt").write_text("\n".join(rows))
    yaml = output / "data.yaml"
    # JSON strings are YAML strings, whatever is in them.
    path, name = json.dumps(output.resolve().as_posix()), json.dumps(class_name)
    yaml.write_text(f"path: {path}\ntrain: images/train\nval: images/val\nnames:\n  0: {name}\n", encoding="utf-8")
    return yaml


def _class_name(coco: dict[str, Any]) -> str:
    """The class of a COCO file: that of its keypoints, as the pose network names it, else the first."""
    categories = coco.get("categories") or [{}]
    with_keypoints = [category for category in categories if "keypoints" in category]
    return str((with_keypoints or categories)[0].get("name", "person"))


def _labels(coco: dict[str, Any]) -> dict[str, list[str]]:
    """For each picture, by the name in the file, the lines of its labels."""
    boxes: dict[Any, list[Any]] = {}
    for annotation in coco["annotations"]:
        boxes.setdefault(annotation["image_id"], []).append(annotation["bbox"])
    return {
        str(image["file_name"]): [_yolo_row(box, image["width"], image["height"]) for box in boxes.get(image["id"], [])]
        for image in coco["images"]
        if image.get("source", "coco") == "coco"
    }


def _yolo_row(box_xywh: list[float], width: int, height: int) -> str:
    """One label line from a COCO box: class, centre and size as fractions of the picture, clipped to it."""
    x, y, w, h = (float(number) for number in box_xywh)
    if not all(math.isfinite(number) for number in (x, y, w, h)) or min(width, height) < 1:
        raise ValueError(f"the box {box_xywh} in {width}x{height} px")
    left, top = max(0.0, x), max(0.0, y)
    right, bottom = min(float(width), x + w), min(float(height), y + h)
    centre_x, centre_y = (left + right) / 2 / width, (top + bottom) / 2 / height
    return f"0 {centre_x:.6f} {centre_y:.6f} {(right - left) / width:.6f} {(bottom - top) / height:.6f}"


def _own_name(file_name: str, number: int, taken: set[str]) -> str:
    """The name of a picture without folders, which may lead anywhere; with a number where its labels' name is taken."""
    name = Path(file_name).name
    if not name or Path(name).stem.casefold() in taken:
        name = f"{number}_{name or 'picture'}"
    taken.add(Path(name).stem.casefold())
    return name


def _link_or_copy(source: Path, target: Path) -> None:
    """A hard link; but a copy of a JPEG without its end mark, because ultralytics repairs such a file in place."""
    if target.exists():
        return
    with open_regular(source) as stream:
        begin = stream.read(2)
        stream.seek(-min(2, os.fstat(stream.fileno()).st_size), os.SEEK_END)
        is_whole = begin != _JPEG or stream.read(2) == _JPEG_END
    try:
        if is_whole:
            os.link(source, target)
            return
    except OSError:  # another disk, or one without hard links
        pass
    shutil.copyfile(source, target)
