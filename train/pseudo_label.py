"""`python -m train.pseudo_label`: a data set in COCO form, labelled by a trained network instead of by people.

Pictures without labels get the boxes of a detector and the keypoints of a pose network. In a labelled data set
(`--data`) the same fills gaps: people without a label, and keypoints that a labelled person lacks. Labels stay as they
are.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from engine.artifacts.model_files import resolve_pose_model
from engine.artifacts.write_guard import check_new_folder
from engine.detection.detector import PersonDetector, open_detector
from engine.errors import OptionError, SourceError
from engine.geometry import apply_affines, boxes_to_affines, invert_affines, overlaps, warp_crops
from engine.heatmap import decoder_for
from engine.option_table import AT_LEAST_1, NOT_NEGATIVE, SHARE, add_options, check_options, described, option
from engine.skeleton import COCO17, Skeleton
from engine.sources.photos import photos_in, read_photo
from engine.system.entry import run_command
from engine.system.one_line_parser import OneLineParser
from engine.tracking.false_positives import FalsePositiveFilter, confidences
from engine.types import Float32Array, Poses, UInt8Array, mean_visible_scores
from models.checkpoints import write_atomically
from train.command import reports_errors
from train.data.boxes import image_indices, outer_pixels
from train.data.dataset import ImageStore
from train.data.linked_pictures import link_or_copy, own_name
from train.data.people import PeopleSet
from train.data.reading import read_people
from train.distillation import Teacher

_SAME_PERSON = 0.5
"""Overlap (IoU) from which a detected box is the person that a label describes."""
_HELD_OUT = 10
"""Without a labelled data set, every so many pictures become val."""
_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class PseudoLabelOptions:
    """The options of `python -m train.pseudo_label`."""

    images: Path | None = option(None, "folder of photos without labels", Path)
    data: Path | None = option(None, "labelled data set whose gaps are filled, as python -m train takes it", Path)
    weights: str = field(
        metadata=described("the network that labels: a shipped name or a .safetensors file", required=True)
    )
    detector: str | None = option(None, "a shipped name, FILE.onnx or FILE.pt (the shipped one)")
    output: Path = field(metadata=described("folder to write; a new one, or an empty one", Path, required=True))
    box_threshold: float = option(0.3, "least score of a box ({default})", float, within=SHARE)
    person_threshold: float = option(
        0.5, "least confidence of a person, of box and keypoints together ({default})", float, within=SHARE
    )
    keypoint_threshold: float = option(0.4, "least score of a keypoint ({default})", float, within=SHARE)
    min_keypoints: int = option(6, "least number of such keypoints of a person ({default})", int, within=AT_LEAST_1)
    min_height: float = option(48.0, "least height of a box in px ({default})", float, within=NOT_NEGATIVE)

    def __post_init__(self) -> None:
        check_options(self)
        if self.images is None and self.data is None:
            raise OptionError("nothing to label; give --images, --data, or both")


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A picture to label.

    Attributes:
        file: where it is.
        entry: its entry in a COCO file; `id`, `file_name`, `width` and `height` are written anew.
        annotations: its labels.
    """

    file: Path
    entry: dict[str, Any]
    annotations: list[dict[str, Any]]


class Labeller:
    """Labels pictures with a detector and a pose network; counts what it adds and what it leaves out.

    Args:
        detector: finds people.
        teacher: finds their keypoints; averaged over the crop and its mirror image.
        skeleton: of both networks and the data set.
        options: thresholds.
    """

    def __init__(
        self, detector: PersonDetector, teacher: Teacher, skeleton: Skeleton, options: PseudoLabelOptions
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._detector, self._teacher, self._skeleton, self._options = detector, teacher, skeleton, options
        config = teacher.config
        self._decode = decoder_for(config.decode, sigma=config.sigma, udp=config.udp)
        self._filter = FalsePositiveFilter(threshold=options.person_threshold, oks_sigmas=skeleton.oks_sigmas)

    def label(self, image_bgr: UInt8Array, annotations: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The labels of a picture with their gaps filled, and new ones for further people; none has an id yet."""
        labelled = [one for one in annotations if not one.get("iscrowd") and any(one["keypoints"][2::3])]
        known = np.array([_corners(one["bbox"]) for one in annotations], np.float32).reshape(-1, 4)
        boxes, scores = self._new_boxes(image_bgr, known)
        every = np.concatenate(
            [np.array([_corners(one["bbox"]) for one in labelled], np.float32).reshape(-1, 4), boxes]
        )
        if not len(every):
            return annotations
        keypoints = self._keypoints(image_bgr, outer_pixels(every))
        filled = {
            id(one): self._filled(one, found) for one, found in zip(labelled, keypoints[: len(labelled)], strict=True)
        }
        kept = [filled.get(id(one), one) for one in annotations]
        return kept + self._new_people(boxes, scores, keypoints[len(labelled) :])

    def _new_boxes(self, image_bgr: UInt8Array, known_xyxy: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Boxes (N, 4) of people without a label, and their scores (N,)."""
        found = self._detector.detect(image_bgr)
        boxes = found.boxes_xyxy
        fresh = (
            (overlaps(boxes, known_xyxy) < _SAME_PERSON).all(axis=1) if len(known_xyxy) else np.ones(len(boxes), bool)
        )
        tall = boxes[:, 3] - boxes[:, 1] >= self._options.min_height
        self.counts["boxes below --min-height"] += int((fresh & ~tall).sum())
        return boxes[fresh & tall], found.scores[fresh & tall]

    def _keypoints(self, image_bgr: UInt8Array, boxes_xyxy: Float32Array) -> Float32Array:
        """(N, K, 3) float32: x, y in picture px and score, for boxes (N, 4)."""
        config = self._teacher.config
        width, height = config.input_size_wh
        affines = boxes_to_affines(boxes_xyxy, (width, height), udp=config.udp)
        parts = []
        for start in range(0, len(affines), _BATCH):
            part = affines[start : start + _BATCH]
            crops = torch.from_numpy(warp_crops(image_bgr, part, (width, height)))
            maps = self._teacher.heatmaps(crops, (width // 4, height // 4)).cpu().numpy()
            decoded = self._decode(maps, (width, height))
            decoded[..., :2] = apply_affines(invert_affines(part), decoded[..., :2])
            parts.append(decoded)
        return np.concatenate(parts)

    def _filled(self, annotation: dict[str, Any], found: Float32Array) -> dict[str, Any]:
        """A label with the keypoints that it lacks and that were found (K, 3) surely inside its box."""
        labels = np.array(annotation["keypoints"], np.float64).reshape(-1, 3)
        x1, y1, x2, y2 = _corners(annotation["bbox"])
        inside = (found[:, 0] >= x1) & (found[:, 0] < x2) & (found[:, 1] >= y1) & (found[:, 1] < y2)
        chosen = np.flatnonzero((labels[:, 2] == 0) & (found[:, 2] >= self._options.keypoint_threshold) & inside)
        if not len(chosen):
            return annotation
        self.counts["keypoints added to labelled people"] += len(chosen)
        labels[chosen, :2], labels[chosen, 2] = found[chosen, :2].round(2), 2
        return {
            **annotation,
            "keypoints": labels.reshape(-1).tolist(),
            "num_keypoints": int((labels[:, 2] > 0).sum()),
            "pseudo_keypoints": chosen.tolist(),
        }

    def _new_people(self, boxes: Float32Array, scores: Float32Array, keypoints: Float32Array) -> list[dict[str, Any]]:
        """Labels for people who had none: each person once, with keypoints that are sure."""
        if not len(boxes):
            return []
        peaks = np.ascontiguousarray(keypoints[..., 2])
        poses = Poses(
            keypoints_xy=np.ascontiguousarray(keypoints[..., :2]),
            scores=peaks,
            boxes_xyxy=boxes,
            box_scores=scores,
            person_scores=(scores * mean_visible_scores(peaks)).astype(np.float32),
        )
        confidence = confidences(poses)
        kept = self._filter.kept(poses, confidence)
        people = np.arange(len(boxes)) if kept is None else kept
        self.counts["boxes below --person-threshold, or second ones on a person"] += len(boxes) - len(people)
        added = []
        for index in people:
            sure = peaks[index] >= self._options.keypoint_threshold
            if sure.sum() < self._options.min_keypoints:
                self.counts["people with too few sure keypoints"] += 1
                continue
            x1, y1, x2, y2 = (float(value) for value in boxes[index])
            values = np.where(
                sure[:, None], np.concatenate([keypoints[index, :, :2].round(2), np.full((len(sure), 1), 2)], axis=1), 0
            )
            added.append(
                {
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
                    "area": round(0.53 * (x2 - x1) * (y2 - y1), 2),
                    "keypoints": values.reshape(-1).tolist(),
                    "num_keypoints": int(sure.sum()),
                    "score": round(float(confidence[index]), 4),
                    "keypoint_scores": peaks[index].round(4).tolist(),
                }
            )
        self.counts["people added"] += len(added)
        return added


def _corners(bbox: Any) -> tuple[float, float, float, float]:
    x, y, width, height = (float(value) for value in bbox)
    return x, y, x + width, y + height


def _labelled_pictures(people: PeopleSet) -> list[Picture]:
    by_image: dict[Any, list[dict[str, Any]]] = {}
    for annotation in people.ground_truth["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    indices = image_indices(people)
    return [
        Picture(
            file=people.image_files[indices[entry["id"]]], entry=dict(entry), annotations=by_image.get(entry["id"], [])
        )
        for entry in people.ground_truth["images"]
    ]


class _SplitWriter:
    """Collects one split in COCO form: `NAME.json` and the pictures in `NAME/`, as links where the disk allows them."""

    def __init__(self, folder: Path, name: str, category: dict[str, Any]) -> None:
        self._file, self._pictures = folder / f"{name}.json", folder / name
        self._pictures.mkdir(parents=True)
        self._names: set[str] = set()
        self.content: dict[str, Any] = {"info": {}, "images": [], "annotations": [], "categories": [category]}

    def add(self, picture: Picture, annotations: list[dict[str, Any]], size_wh: tuple[int, int]) -> None:
        """Add a picture and its labels."""
        number = len(self.content["images"]) + 1
        name = own_name(picture.file.name, self._names)
        link_or_copy(picture.file, self._pictures / name)
        known = {"id": number, "file_name": name, "width": size_wh[0], "height": size_wh[1]}
        self.content["images"].append({**picture.entry, **known})
        for annotation in annotations:
            own = {"id": len(self.content["annotations"]) + 1, "image_id": number}
            self.content["annotations"].append(
                {**annotation, **own, "category_id": self.content["categories"][0]["id"]}
            )

    def write(self) -> None:
        """Write the labels."""
        write_atomically(self._file, json.dumps(self.content).encode())


def pseudo_label(options: PseudoLabelOptions) -> Counter[str]:
    """Write the data set and return what was added and left out.

    Raises:
        EngineError, CheckpointError: pictures, networks or options cannot be used.
        OSError: the folder cannot be written.
    """
    from engine.backends.pose_graph import load_pose

    check_new_folder(options.output)
    weights = resolve_pose_model(options.weights)
    if weights.suffix.lower() != ".safetensors":
        raise OptionError(f"--weights is {weights}; expected a .safetensors file or a shipped name")
    checkpoint, skeleton = load_pose(weights)
    sets = {name: read_people(options.data, name) for name in ("train", "val")} if options.data is not None else {}
    for people in sets.values():
        if people.skeleton.keypoint_names != skeleton.keypoint_names:
            raise OptionError(f"{weights} and {people.origin} name different keypoints")
    photos = [] if options.images is None else photos_in(options.images)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    teacher = Teacher(checkpoint, options.keypoint_threshold, weights).to(device)
    detector, _ = open_detector(options.detector, score_threshold=options.box_threshold, notify=print)
    with detector:
        labeller = Labeller(detector, teacher, skeleton, options)
        category = _category(sets, skeleton, checkpoint.class_names[0])
        train, val = (_SplitWriter(options.output, name, category) for name in ("train", "val"))
        if sets:
            for picture, _, size_wh in _read(_labelled_pictures(sets["val"]), sets["val"], labeller.counts):
                val.add(picture, picture.annotations, size_wh)
            for picture, image, size_wh in _read(_labelled_pictures(sets["train"]), sets["train"], labeller.counts):
                train.add(picture, labeller.label(image, picture.annotations), size_wh)
        for number, file in enumerate(tqdm(photos, desc="photos", disable=None, mininterval=1)):
            try:
                image = read_photo(file)
            except SourceError:
                labeller.counts["pictures that cannot be read"] += 1
                continue
            picture = Picture(file=file, entry={"source": "pseudo"}, annotations=[])
            split = val if not sets and number % _HELD_OUT == _HELD_OUT - 1 else train
            split.add(picture, labeller.label(image, []), (image.shape[1], image.shape[0]))
    for split in (train, val):
        split.write()
    return labeller.counts


def _read(
    pictures: list[Picture], people: PeopleSet, counts: Counter[str]
) -> Iterator[tuple[Picture, UInt8Array, tuple[int, int]]]:
    """The pictures that can be decoded, as training sees them, with their sizes."""
    images = ImageStore(people, keep=False)
    index_of = {file: index for index, file in enumerate(people.image_files)}
    for picture in tqdm(pictures, desc=people.origin.name, disable=None, mininterval=1):
        image = images.readable(index_of[picture.file])
        if image is None:
            counts["pictures that cannot be read"] += 1
        else:
            yield picture, image, (image.shape[1], image.shape[0])


def _category(sets: dict[str, PeopleSet], skeleton: Skeleton, class_name: str) -> dict[str, Any]:
    """The category of the data set that is filled, or one for the network's; reading it gives the skeleton again."""
    own: dict[str, Any] = {"id": 1, "name": class_name}
    mirrors = bool(skeleton.flip_pairs)
    if sets:
        people = sets["train"]
        own = next(one for one in people.ground_truth["categories"] if "keypoints" in one)
        own = {**own, "name": people.class_names[0]}
        skeleton, mirrors = people.skeleton, people.mirrors
    names = skeleton.keypoint_names
    category = {**own, "keypoints": list(names), "skeleton": [[a + 1, b + 1] for a, b in skeleton.edges]}
    if skeleton == COCO17:
        return category
    category |= {"sigmas": list(skeleton.oks_sigmas), "upper_body": list(skeleton.upper_body)}
    if mirrors:
        category["flip_idx"] = list(skeleton.flip_order)
    if skeleton.angles:
        category["angles"] = {
            angle.name: ["+".join(names[i] for i in point) or "up" for point in (angle.first, angle.vertex, angle.last)]
            for angle in skeleton.angles
        }
    return category


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m train.pseudo_label`."""
    parser = OneLineParser(prog="python -m train.pseudo_label", description="Label pictures with trained networks.")
    add_options(parser, PseudoLabelOptions)
    return parser


@reports_errors("train.pseudo_label")
def main(argv: list[str] | None = None) -> int:
    """Label and report; exit code 2 and one line where the input cannot be used."""
    given = vars(build_parser().parse_args(argv))
    options = PseudoLabelOptions(**given)
    counts = pseudo_label(options)
    for name, count in counts.items():
        print(f"{count} {name}")
    print(options.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
