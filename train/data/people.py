"""People with keypoints: the form that all data sets are read into."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import OptionError, nearest_hint
from engine.skeleton import Skeleton
from engine.types import Float32Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Person:
    """One labelled person (or hand, animal, part: whatever the data set poses).

    Attributes:
        image: index into `PeopleSet.image_files`.
        image_id, annotation_id: as in the ground truth.
        box_xyxy: (4,) float32, around the person's pixels, clipped to the picture: the left edge of the first pixel is
            at 0, as in COCO. `boxes.outer_pixels` makes a box in pixel centres of it.
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
        image_sizes_wh: width and height of each picture as its labels count them, (0, 0) where they do not state it;
            None where labels are on the picture as its EXIF orientation turns it.
        people: those with at least one labelled keypoint.
        ground_truth: the labels as a COCO keypoint data set, for AP.
        mirrors: whether it is known which keypoints trade places in a mirrored picture; if not, none is mirrored.
        head_sizes: px by annotation id, for PCKh; empty for other data sets than MPII.
        complaints: what was skipped and why, a line each.
    """

    origin: Path
    image_files: tuple[Path, ...]
    people: tuple[Person, ...]
    skeleton: Skeleton
    class_names: tuple[str, ...]
    ground_truth: dict[str, Any]
    image_sizes_wh: tuple[tuple[int, int], ...] | None = None
    mirrors: bool = True
    head_sizes: Mapping[int, float] = field(default_factory=dict)
    complaints: tuple[str, ...] = ()


def sizes_of(images: Sequence[Mapping[str, Any]]) -> tuple[tuple[int, int], ...]:
    """Width and height of the pictures of a COCO file."""
    return tuple((int(image["width"]), int(image["height"])) for image in images)


def check_sources(named: Iterable[str], sources: Iterable[str]) -> None:
    """Refuse a name of `--source-shares` that is none of the sources of a data set.

    Raises:
        OptionError: there is no such source.
    """
    known = {source for source in sources if source}
    for name in named:
        if name not in known:
            hint = nearest_hint(name, known) if known else " Its pictures name no source."
            raise OptionError(f"--source-shares names '{name}', which is no source of the data set.{hint}")


_SIDES = re.compile(r"(?<![a-z])(left|right|l|r)(?![a-z])|left|right", re.IGNORECASE)
_OTHER_SIDE = {"left": "right", "right": "left", "l": "r", "r": "l"}


def flip_pairs_by_name(names: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Pairs of keypoints whose names differ in "left" and "right" (or a separate l and r) only."""
    index = {name.lower(): i for i, name in enumerate(names)}
    pairs = []
    for i, name in enumerate(names):
        other = index.get(_SIDES.sub(lambda side: _OTHER_SIDE[side[0].lower()], name).lower(), i)
        if i < other:
            pairs.append((i, other))
    return tuple(pairs)
