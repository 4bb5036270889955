"""The pictures and labels that a data set names, wherever they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.artifacts.documents import read_yaml
from engine.system.json_file import read_json

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
_SPLITS = ("train", "val", "test")


def files_of_data(data: Path) -> Iterator[Path]:
    """Files and folders that a data set names, some of which may not exist; those that can be found of a broken one.

    Args:
        data: the YAML of an ultralytics set, or a folder. Nothing for other files.
    """
    if data.is_dir():
        yield from (data / "images", data / "annot")  # of MPII
        for split in _SPLITS:
            downloaded = data / "annotations" / f"person_keypoints_{split}2017.json"
            for labels, pictures in ((data / f"{split}.json", data / split), (downloaded, data / f"{split}2017")):
                yield from (labels, pictures)  # they may be links
                yield from _pictures_elsewhere(labels, pictures)
    elif data.suffix.lower() in (".yaml", ".yml"):
        yield from _yolo_files(data)


def place_of(settings: dict[str, Any], folder: str, file: Path) -> Path:
    """Where the pictures of an entry of an ultralytics YAML are: a folder, or a list."""
    root = Path(str(settings.get("path", ".")))
    root = root if root.is_absolute() else file.parent / root
    place = root / folder
    if not place.exists() and folder.startswith("../"):  # Roboflow writes ../train/images of what is train/images
        place = root / folder.removeprefix("../")
    return place


def listed_pictures(listing: Path) -> list[Path]:
    """The pictures that a list names, one a line.

    Raises:
        OSError, ValueError: it cannot be read, or is not UTF-8.
    """
    listed = [line.strip() for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [Path(line) if Path(line).is_absolute() else listing.parent / line for line in listed]


def label_file(picture: Path) -> Path:
    """`.../images/a.jpg` has its labels in `.../labels/a.txt`, as ultralytics has it."""
    parts = list(picture.parts)
    for i in range(len(parts) - 1, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _yolo_files(file: Path) -> Iterator[Path]:
    try:
        settings = read_yaml(file)
    except (OSError, ValueError, ImportError):
        return
    if not isinstance(settings, dict):
        return
    for split in _SPLITS:
        named = settings.get(split) or []
        for folder in named if isinstance(named, list) else [named]:
            try:
                place = place_of(settings, str(folder), file)
                if place.is_file():
                    yield place
                    for picture in listed_pictures(place):
                        yield from (picture, label_file(picture))
                elif place.is_dir():
                    yield from (place, label_file(place / "any.jpg").parent)
            except (OSError, ValueError):
                continue


def _pictures_elsewhere(labels: Path, folder: Path) -> Iterator[Path]:
    """Pictures that may lie elsewhere than in the folder of their data set."""
    try:
        names = [str(image["file_name"]) for image in read_json(labels)["images"]]
    except (OSError, ValueError, TypeError, KeyError):
        return
    yield from (folder / name for name in names if Path(name).is_absolute() or ".." in Path(name).parts)
