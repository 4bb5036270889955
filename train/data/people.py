"""People with keypoints: the form that all data sets are read into."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.skeleton import Skeleton
from engine.types import Float32Array

# More than this many single complaints help nobody; the total is always said.


@dataclass(frozen=True, kw_only=True, eq=False)
class Person:
    """One labelled person (or hand, animal, part: whatever the data set poses).

    Attributes:
        image: index into `PeopleSet.image_files`.
        image_id, annotation_id: as in the ground truth.
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
    """The labelled people of one split.

    Attributes:
        origin: the file or folder the labels came from.
        image_files: pictures.
        people: those with at least one labelled keypoint.
        ground_truth: the labels as a COCO keypoint data set, for AP.
        complaints: what was skipped and why, a line each.
    """

    origin: Path
    image_files: tuple[Path, ...]
    people: tuple[Person, ...]
    skeleton: Skeleton
    class_names: tuple[str, ...]
    ground_truth: dict[str, Any]
    complaints: tuple[str, ...] = ()


def flip_pairs_by_name(names: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Pairs of keypoints whose names differ in "left" and "right" only."""
    index = {name: i for i, name in enumerate(names)}
    return tuple(
        (i, index[name.replace("left", "right")])
        for i, name in enumerate(names)
        if "left" in name and name.replace("left", "right") in index
    )
