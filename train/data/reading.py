"""Reading a data set from its path: COCO in either layout, MPII, or the pose form of ultralytics."""

from __future__ import annotations

from pathlib import Path

from engine.errors import SourceError
from train.data.coco_data import read_coco
from train.data.mpii_data import annotation_file, read_mpii
from train.data.people import PeopleSet
from train.data.yolo_pose_data import read_yolo_pose

_COMPLAINTS_SHOWN = 10


def read_people(data: Path, split: str) -> PeopleSet:
    """Read a split of a data set in any of the known layouts.

    Args:
        data: a folder with `<split>.json` and pictures in `<split>/`; COCO as downloaded (`annotations/` with
            `person_keypoints_<split>2017.json`, pictures in `<split>2017/`); MPII (`annot/train.json` and `valid.json`,
            pictures in `images/`); or the YAML of an ultralytics pose set.
        split: "train" or "val".

    Raises:
        SourceError: the labels are missing or cannot be read, or nothing in them is usable.
    """
    if data.suffix.lower() in (".yaml", ".yml"):
        people = read_yolo_pose(data, split)
    else:
        small, downloaded = data / f"{split}.json", data / "annotations" / f"person_keypoints_{split}2017.json"
        if small.is_file():
            people = read_coco(small, data / split)
        elif downloaded.is_file():
            people = read_coco(downloaded, data / f"{split}2017")
        elif annotation_file(data, split).is_file():
            people = read_mpii(data, split)
        else:
            raise SourceError(
                f"{small} is missing, and so is {downloaded}: --data takes a folder with {split}.json and pictures in "
                f"{split}/, COCO as downloaded, MPII (annot/ and images/), or the YAML of an ultralytics pose data set"
            )
    for line in people.complaints[:_COMPLAINTS_SHOWN]:
        print(f"skipped: {line}")
    if people.complaints:
        print(f"{people.origin}: {len(people.complaints)} broken pictures or labels skipped")
    if not people.people:
        first = f"; the first: {people.complaints[0]}" if people.complaints else ""
        raise SourceError(f"{people.origin} contains no usable person with a labelled keypoint{first}")
    return people
