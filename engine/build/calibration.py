"""What INT8 graphs are calibrated with: crops of people, detected in a video or photos, or labelled in a data set, for
pose networks; whole pictures of the same sources for detectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engine.artifacts.compiler import Notify
from engine.artifacts.documents import reason
from engine.artifacts.model_files import default_score_threshold
from engine.artifacts.model_spec import ModelSpec
from engine.detection.detector import open_detector
from engine.errors import OptionError, SourceError
from engine.geometry import boxes_to_affines, warp_crops
from engine.sources.frame_source import SourceInfo
from engine.sources.opening import open_source
from engine.system.json_file import read_json
from engine.system.paths import path_from
from engine.system.regular_file import read_regular
from engine.types import Float32Array, UInt8Array

_Pictures = Iterator[tuple[UInt8Array, Float32Array]]

SIDE_PX = 24  # the activations of a smaller, blurred person are not typical
_MOST_FRAMES = 4000  # limit for a video, because the detector is slow
_LABELS = ("train.json", "annotations/person_keypoints_train2017.json")


def calibration_crops(source: str, spec: ModelSpec, *, least: int, most: int, notify: Notify) -> UInt8Array:
    """Crops (N, H, W, 3) uint8 BGR of people, cut as for inference and sampled uniformly from the whole source.

    Args:
        source: a video, a photo or a folder of photos, in which the default detector finds the people; or the folder
            of a data set in COCO format, whose labelled boxes of the training split are used.
        least, most: how many crops are needed, and how many are enough.

    Raises:
        SourceError: the source cannot be read, or shows too few people.
        OptionError: the source is live, or the detector does not detect the classes that the network poses.
    """
    labels = _labels_of(source)
    sample = _Sample(spec, most)
    for stride in _strides(source, labels, most):
        sample = _Sample(spec, most)
        pictures = _labelled(labels, most, notify) if labels is not None else _detected(source, spec, stride, notify)
        for image, boxes in pictures:
            sample.add(image, boxes)
        if sample.seen >= most:
            break
    if sample.seen < least:
        raise SourceError(
            f"{source} shows {sample.seen} people large enough to calibrate with, {least} are needed; name a longer "
            "video, more photos, or a data set with a train.json"
        )
    return sample.crops()


def calibration_pictures(source: str, *, longest_px: int, least: int, most: int, notify: Notify) -> list[UInt8Array]:
    """Pictures (H, W, 3) uint8 BGR from the whole source, in random order, at most `most`.

    Args:
        source: a video, a folder of photos, or the folder of a data set in COCO format, of whose training split those
            with labelled people are used.
        longest_px: longer pictures are made smaller, so that hundreds of frames in 4K fit into memory.
        least: how many are needed.

    Raises:
        SourceError: the source cannot be read, or has too few pictures.
        OptionError: the source is live.
    """
    labels = _labels_of(source)
    found: list[UInt8Array] = []
    if labels is not None:
        folder = _pictures_of(labels)
        notify(f"taking pictures from {folder}")
        names = list(dict.fromkeys(name for name, _ in _labelled_boxes(labels)))
        for index in np.random.default_rng(0).permutation(len(names)):
            image = _picture(folder / names[index])
            if image is not None:
                found.append(_at_most(image, longest_px))
            if len(found) == most:
                break
    else:
        with open_source(source) as opened:
            _refuse_live(source, opened.info)
            rng = np.random.default_rng(0)
            for number, frame in enumerate(opened):  # reservoir sampling: each frame is equally likely
                place = number if number < most else int(rng.integers(number + 1))
                if place < most:
                    found[place : place + 1] = [_at_most(frame.image_bgr, longest_px)]
        found = [found[index] for index in rng.permutation(len(found))]
    if len(found) < least:
        raise SourceError(
            f"{source} has {len(found)} pictures to calibrate with, {least} are needed; name a longer video, more "
            "photos, or a data set with a train.json"
        )
    return found


def _at_most(image: UInt8Array, longest_px: int) -> UInt8Array:
    """A copy, or the picture made smaller to that long side."""
    height, width = image.shape[:2]
    factor = longest_px / max(height, width)
    if factor >= 1:
        return image.copy()
    size_wh = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


class _Sample:
    """A sample of at most `most` crops: reservoir sampling with a fixed seed, each person equally likely."""

    def __init__(self, spec: ModelSpec, most: int) -> None:
        width, height = spec.input_size_wh
        self._spec = spec
        self._kept = np.empty((most, height, width, 3), np.uint8)
        self._rng = np.random.default_rng(0)
        self.seen = 0

    def add(self, image: UInt8Array, boxes: Float32Array) -> None:
        """Offer the people of a picture, boxes (N, 4) in px."""
        sides = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
        for box in boxes[sides >= SIDE_PX]:
            place = self.seen if self.seen < len(self._kept) else int(self._rng.integers(self.seen + 1))
            self.seen += 1
            if place < len(self._kept):
                size = self._spec.input_size_wh
                warp_crops(
                    image,
                    boxes_to_affines(box[None], size, udp=self._spec.udp),
                    size,
                    out=self._kept[place : place + 1],
                )

    def crops(self) -> UInt8Array:
        """(N, H, W, 3) uint8 BGR, in random order."""
        kept = self._kept[: self.seen]
        return kept[self._rng.permutation(len(kept))]


def _strides(source: str, labels: Path | None, most: int) -> Sequence[int]:
    """Frame strides to try, the largest first: long videos are sampled sparsely, and again more densely if needed."""
    if labels is not None:
        return (1,)
    with open_source(source) as opened:
        _refuse_live(source, opened.info)
        wanted = max(1, (opened.info.frame_count or 0) // most)
    return (1,) if wanted == 1 else (wanted, max(1, wanted // 8))


def _detected(source: str, spec: ModelSpec, stride: int, notify: Notify) -> _Pictures:
    """Frames of a video or photos, and the boxes of the detected people."""
    classes = None if "person" in spec.class_names else ",".join(spec.class_names)
    detector, _ = open_detector(classes=classes, score_threshold=default_score_threshold(), notify=notify)
    pictures = people = 0
    with detector, open_source(source) as opened:
        for frame in opened:
            if frame.index % stride:
                continue
            boxes = detector.detect(frame.image_bgr).boxes_xyxy
            yield frame.image_bgr, boxes
            pictures, people = pictures + 1, people + len(boxes)
            if pictures % 100 == 0:
                notify(f"detecting people to calibrate with: {people} in {pictures} pictures of {opened.info.name}")
            if pictures >= _MOST_FRAMES:
                break


def _labelled(labels: Path, most: int, notify: Notify) -> _Pictures:
    """Pictures of a COCO data set's training split and their labelled boxes; unreadable pictures are skipped."""
    found, folder = _labelled_boxes(labels), _pictures_of(labels)
    notify(f"cropping the people labelled in {labels.name} from {folder}")
    # Twice as many as needed, because some are too small or unreadable.
    chosen = np.random.default_rng(0).permutation(len(found))[: 2 * most]
    for index in chosen:
        name, box = found[index]
        image = _picture(folder / name)
        if image is not None:
            height, width = image.shape[:2]
            yield image, np.clip([box], 0, [width, height, width, height]).astype(np.float32)


def _labels_of(source: str) -> Path | None:
    """The labels of the data set that a source is; None for a video or photos."""
    folder = path_from(source)
    return next((folder / name for name in _LABELS if (folder / name).is_file()), None)


def _pictures_of(labels: Path) -> Path:
    return labels.parent / "train" if labels.name == "train.json" else labels.parent.parent / "train2017"


def _labelled_boxes(labels: Path) -> list[tuple[str, tuple[float, float, float, float]]]:
    """Name of the picture and box in px of each person with labelled keypoints."""
    try:
        content: dict[str, Any] = read_json(labels)
        files = {image["id"]: str(image["file_name"]) for image in content["images"]}
        found = []
        for label in content["annotations"]:
            x, y, width, height = (float(number) for number in label["bbox"])
            if not label.get("iscrowd") and any(label["keypoints"][2::3]):
                found.append((files[label["image_id"]], (x, y, x + width, y + height)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise SourceError(f"{labels} is not a COCO keypoint file: {reason(error)}") from error
    return found


def _refuse_live(source: str, info: SourceInfo) -> None:
    if info.is_live:
        raise OptionError(f"--calibrate {source} has no end; expected a video, a folder of photos or a data set")


def _picture(file: Path) -> UInt8Array | None:
    try:
        image = cv2.imdecode(np.frombuffer(read_regular(file), np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        return None
    return None if image is None else np.asarray(image, np.uint8)
