"""People cut out of the training pictures and pasted into others, so that a detector sees small and many people.

The ultralytics package pastes along segments alone: on labels that are boxes its `copy_paste` gives every picture back
as it is. Here the outline is drawn around the keypoints, and softened, so that no edge gives a pasted person away.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engine.errors import ModelError, SourceError
from engine.geometry import box_areas, overlaps, shared_areas
from engine.skeleton import Skeleton
from engine.types import Float32Array, UInt8Array
from train.data.dataset import ImageStore
from train.data.people import PeopleSet, Person

_LEAST_HEIGHT_PX = 64.0
_LONG_SIDE_PX = 256
_MARGIN = 0.1
"""Of the box's size: so far beyond the box a cut-out reaches, for its soft edge."""
_CROWD_OVERLAP = 0.1
_TRUNK = ("shoulder", "hip")
_LEAST_TRUNK = 0.3
"""Of the root of the box's area: a trunk seen from its end counts as at least this long."""
_HEIGHTS = (0.06, 0.5)
"""Of a pasted person, as shares of the picture's shorter side; small ones are as likely as large ones."""
_MOST_PASTED = 8
_MOST_COVERED = 0.3
_TRIES = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class CutOut:
    """A person without the surroundings.

    Attributes:
        image: (h, w, 3) uint8 BGR.
        alpha: (h, w) float32, 1 on the person, 0 beyond.
        box_xyxy: (4,) float32, around the person in px of `image`.
    """

    image: UInt8Array
    alpha: Float32Array
    box_xyxy: Float32Array


def cut_outs(people: PeopleSet, images: ImageStore, most: int, seed: int) -> list[CutOut]:
    """Cut out up to so many people who stand alone, evenly from the sources that the data set names.

    Raises:
        SourceError: no person is tall enough, without overlap, and has enough labels.
    """
    by_source: dict[str, list[Person]] = {}
    for person in _alone(people):
        by_source.setdefault(person.source, []).append(person)
    rng = np.random.default_rng(seed)
    chosen: list[CutOut] = []
    for source in sorted(by_source):
        candidates = by_source[source]
        for index in rng.permutation(len(candidates))[: math.ceil(most / len(by_source))]:
            image = images.readable(candidates[index].image)
            if image is not None:
                chosen.append(cut_out(candidates[index], image, people.skeleton))
    if not chosen:
        raise SourceError(
            f"{people.origin} contains no person to paste: expected people of {_LEAST_HEIGHT_PX:.0f} px or more "
            "without overlap, with labelled shoulders and hips and half of all keypoints"
        )
    return chosen[:most]


def _alone(people: PeopleSet) -> list[Person]:
    """People tall enough, labelled at shoulders, hips and half of all keypoints, whose box holds no one else.

    Somebody whose trunk lies outside the box altogether has a wrong label, and no outline in it.
    """
    trunk = _rows(people.skeleton, _TRUNK)
    if not trunk.any():
        return []
    by_image: dict[int, list[Person]] = {}
    for person in people.people:
        by_image.setdefault(person.image, []).append(person)
    found = []
    for members in by_image.values():
        boxes = np.stack([person.box_xyxy for person in members])
        table = overlaps(boxes, boxes)
        np.fill_diagonal(table, 0)
        for person, row in zip(members, table, strict=True):
            tall = person.box_xyxy[3] - person.box_xyxy[1] >= _LEAST_HEIGHT_PX
            labelled = person.keypoints[:, 2] > 0
            xy = person.keypoints[trunk, :2]
            inside = ((xy >= person.box_xyxy[:2]) & (xy < person.box_xyxy[2:])).all(axis=1).any()
            whole = labelled.mean() >= 0.5 and labelled[trunk].all() and inside
            if tall and row.max() < _CROWD_OVERLAP and whole:
                found.append(person)
    return found


def cut_out(person: Person, image: UInt8Array, skeleton: Skeleton) -> CutOut:
    """One person with a soft outline around the labelled limbs, trunk and head."""
    low, high = person.box_xyxy[:2], person.box_xyxy[2:]
    margin = (high - low) * _MARGIN
    left, top = np.maximum(low - margin, 0).astype(int)
    right, bottom = np.minimum(high + margin + 1, image.shape[1::-1]).astype(int)
    window = image[top:bottom, left:right]
    factor = min(1.0, _LONG_SIDE_PX / max(window.shape[:2]))
    size = tuple(max(1, round(length * factor)) for length in window.shape[1::-1])
    keypoints = person.keypoints.copy()
    keypoints[:, :2] = (keypoints[:, :2] - [left, top]) * factor
    least = _LEAST_TRUNK * math.sqrt(float(np.prod(high - low))) * factor
    alpha = _outline(size, keypoints, skeleton, least)
    # The labelled box may hold legs behind a table that the outline leaves out, and the outline some of what is around.
    shown_x, shown_y = (np.flatnonzero((alpha > 0.5).any(axis=axis)) for axis in (0, 1))
    shown = np.array([shown_x[0], shown_y[0], shown_x[-1] + 1, shown_y[-1] + 1])
    box = (person.box_xyxy - [left, top, left, top]) * factor
    box = np.concatenate([np.maximum(box[:2], shown[:2]), np.minimum(box[2:], shown[2:])])
    resized = cv2.resize(window, size, interpolation=cv2.INTER_AREA)
    return CutOut(image=np.asarray(resized, np.uint8), alpha=alpha, box_xyxy=box.astype(np.float32))


def _outline(size_wh: tuple[int, ...], keypoints: Float32Array, skeleton: Skeleton, least_trunk: float) -> Float32Array:
    """(h, w) float32 between 0 and 1 around keypoints (K, 3); widths go by the length of the trunk, as bodies do."""
    points, labelled = keypoints[:, :2], keypoints[:, 2] > 0
    shoulders, hips = (points[_rows(skeleton, (part,)) & labelled].mean(axis=0) for part in ("shoulder", "hip"))
    up = (shoulders - hips) / max(1e-6, float(np.linalg.norm(shoulders - hips)))
    trunk = max(float(np.linalg.norm(shoulders - hips)), least_trunk)
    mask = np.zeros((size_wh[1], size_wh[0]), np.float32)
    for a, b in skeleton.edges:
        if labelled[a] and labelled[b]:
            cv2.line(mask, _px(points[a]), _px(points[b]), 1.0, max(1, round(0.42 * trunk)))
    cv2.fillConvexPoly(mask, cv2.convexHull(points[_rows(skeleton, _TRUNK) & labelled]).astype(np.int32), 1.0)
    for end in points[_rows(skeleton, ("wrist", "ankle")) & labelled]:  # hands and feet reach beyond
        cv2.circle(mask, _px(end), max(1, round(0.32 * trunk)), 1.0, -1)
    face = _rows(skeleton, ("nose", "eye", "ear")) & labelled
    head = points[face].mean(axis=0) if face.any() else shoulders + 0.4 * trunk * up
    cv2.circle(mask, _px(head), max(1, round(0.4 * trunk)), 1.0, -1)
    return np.asarray(
        cv2.GaussianBlur(mask, (0, 0), max(0.5, 0.05 * trunk), borderType=cv2.BORDER_REPLICATE), np.float32
    )


def _rows(skeleton: Skeleton, parts: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """(K,) bool: the keypoints named after one of the parts, on either side."""
    return np.array([name.rpartition("_")[2] in parts for name in skeleton.keypoint_names])


def _px(point: Float32Array) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def paste(
    image: UInt8Array, boxes_xyxy: Float32Array, people: Sequence[CutOut], rng: np.random.Generator
) -> Float32Array:
    """Paste one to eight people at random places and sizes into a picture, which is written to.

    Nobody who is there, pasted ones included, is covered by more than 30 % of the box; who finds no place is left out.

    Args:
        image: (H, W, 3) uint8 BGR.
        boxes_xyxy: (N, 4) float32, of all people in the picture, px.

    Returns:
        boxes (M, 4) float32 of those pasted, px.
    """
    there = boxes_xyxy.reshape(-1, 4)
    shorter = min(image.shape[:2])
    for _ in range(rng.integers(1, _MOST_PASTED + 1)):
        person = people[int(rng.integers(len(people)))]
        height = shorter * math.exp(rng.uniform(math.log(_HEIGHTS[0]), math.log(_HEIGHTS[1])))
        shrunk = _shrunk(person, height, mirrored=bool(rng.random() < 0.5))
        place = _place(image, shrunk, there, rng)
        if place is None:
            continue
        x, y = place
        h, w = shrunk.alpha.shape
        under, alpha = image[y : y + h, x : x + w], shrunk.alpha[..., None]
        under[:] = (under * (1 - alpha) + shrunk.image * alpha + 0.5).astype(np.uint8)
        there = np.concatenate([there, shrunk.box_xyxy[None] + np.array([x, y, x, y], np.float32)])
    return np.asarray(there[len(boxes_xyxy) :], np.float32)


def _shrunk(person: CutOut, height_px: float, mirrored: bool) -> CutOut:
    """The person with a box of a height, never larger than cut out."""
    factor = min(1.0, height_px / float(person.box_xyxy[3] - person.box_xyxy[1]))
    size = tuple(max(1, round(length * factor)) for length in person.alpha.shape[::-1])
    scale = np.array(size, np.float32) / person.alpha.shape[::-1]
    image = cv2.resize(person.image, size, interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(person.alpha, size, interpolation=cv2.INTER_AREA)
    box = person.box_xyxy * np.tile(scale, 2)
    if mirrored:
        image, alpha = image[:, ::-1], alpha[:, ::-1]
        box = np.array([size[0] - box[2], box[1], size[0] - box[0], box[3]])
    return CutOut(
        image=np.asarray(image, np.uint8), alpha=np.asarray(alpha, np.float32), box_xyxy=box.astype(np.float32)
    )


def _place(image: UInt8Array, person: CutOut, there: Float32Array, rng: np.random.Generator) -> tuple[int, int] | None:
    """Left and top px at which a cut-out fits and hides little of other people; None if none was found."""
    room = np.array(image.shape[1::-1]) - person.alpha.shape[::-1]
    if (room < 0).any():
        return None
    for _ in range(_TRIES):
        x, y = (int(rng.integers(space + 1)) for space in room)
        box = person.box_xyxy + np.array([x, y, x, y], np.float32)
        covered = shared_areas(box[None], there)[0]
        if (covered <= _MOST_COVERED * np.maximum(box_areas(there), 1e-6)).all():
            return x, y
    return None


class PastePeople:
    """A step of ultralytics' transforms: with a probability, people are pasted into a picture and its labels.

    Draws from Python's random numbers, which ultralytics seeds in each loader process.
    """

    def __init__(self, people: Sequence[CutOut], probability: float) -> None:
        self._people = people
        self._probability = probability

    def __call__(self, labels: dict[str, Any]) -> dict[str, Any]:
        """The labels of a picture ("img", "cls", "instances"), with the pasted people's boxes behind the others."""
        from ultralytics.utils.instance import Instances

        if random.random() >= self._probability:
            return labels
        image: UInt8Array = labels["img"].copy()  # the one given may be the cached picture itself
        instances = labels["instances"]
        instances.convert_bbox(format="xyxy")
        instances.denormalize(*image.shape[1::-1])
        boxes = paste(image, instances.bboxes, self._people, np.random.default_rng(random.getrandbits(64)))
        pasted = Instances(boxes, bbox_format="xyxy", normalized=False)
        labels["img"] = image
        labels["instances"] = Instances.concatenate([instances, pasted])
        labels["cls"] = np.concatenate([labels["cls"], np.zeros((len(boxes), 1), labels["cls"].dtype)])
        return labels


def pasting_trainer(people: Sequence[CutOut], probability: float, base: type) -> type:
    """A trainer of ultralytics whose training pictures get people pasted; the last epochs, without mosaic, do not."""

    class PastingTrainer(base):  # type: ignore[valid-type,misc]
        def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> Any:
            dataset = super().build_dataset(img_path, mode, batch)
            if mode == "train":
                _insert(dataset.transforms, PastePeople(people, probability))
            return dataset

    return PastingTrainer


def _insert(transforms: Any, step: PastePeople) -> None:
    """Put a step where ultralytics has its own copy-paste: behind the mosaic, before the random turn and scale.

    Raises:
        ModelError: this version of ultralytics has its transforms in another order.
    """
    first = transforms.transforms[0]
    names = [type(one).__name__ for one in getattr(first, "transforms", [])]
    if names[:2] != ["Mosaic", "CopyPaste"]:
        raise ModelError(f"--paste-people: ultralytics begins its transforms with {names}; expected Mosaic, CopyPaste")
    first.insert(1, step)
