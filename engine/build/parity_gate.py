"""The parity gate: compares the outputs of every built engine with those of float32, on photos of people.

The photos are the two that the ultralytics package ships, mirrored, rotated and scaled, until a thousand keypoints have
been compared; or the user's own, for networks that do not pose people.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import cv2
import numpy as np

from engine.artifacts.model_spec import sha256_of
from engine.backends import Backend, OpenOptions
from engine.backends.contract import Checked
from engine.build.parity import ParityReport, compare_on
from engine.errors import BackendError, ModelError
from engine.geometry import box_centers_sizes, crop_affines, invert_affines, overlaps, warp_crops
from engine.types import Detections, Float32Array, UInt8Array

LEAST_KEYPOINTS = 1000
_ROTATIONS = (0.0, -30.0, 20.0, -10.0, 35.0, 10.0, -20.0, 30.0)
_SCALES = (1.0, 0.8, 1.25, 0.9, 1.1)
_LEAST_BOXES = 20
_OVERLAP = {"fp32": 0.98, "fp16": 0.9, "int8": 0.8}
_SCORE_DIFFERENCE = {"fp32": 0.01, "fp16": 0.05, "int8": 0.15}

# Boxes of the most visible people of the two photos, in px.
_PEOPLE = {
    "bus.jpg": ((48, 398, 245, 903), (669, 392, 809, 877), (221, 405, 344, 858)),
    "zidane.jpg": ((123, 197, 1110, 711), (746, 41, 1142, 712)),
}


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A photo and the boxes (N, 4) in px of the people in it."""

    image_bgr: UInt8Array
    boxes_xyxy: Float32Array

    @classmethod
    def of_whole(cls, image_bgr: UInt8Array) -> Photo:
        """With one box around the whole picture."""
        height, width = image_bgr.shape[:2]
        return cls(image_bgr=image_bgr, boxes_xyxy=np.array([[0, 0, width, height]], np.float32))

    def mirrored(self) -> Photo:
        """Left and right exchanged."""
        width = self.image_bgr.shape[1]
        boxes = self.boxes_xyxy.copy()
        boxes[:, [0, 2]] = width - 1 - self.boxes_xyxy[:, [2, 0]]
        return Photo(image_bgr=np.ascontiguousarray(self.image_bgr[:, ::-1]), boxes_xyxy=boxes)


def shipped_photos() -> list[Photo]:
    """The photos of the ultralytics package, which is not imported.

    Raises:
        BackendError: they are missing.
    """
    spec = importlib.util.find_spec("ultralytics")
    folder = Path(spec.submodule_search_locations[0]) / "assets" if spec and spec.submodule_search_locations else None
    photos = []
    for name, boxes in _PEOPLE.items():
        image = cv2.imread(str(folder / name)) if folder is not None else None
        if image is None:
            raise BackendError(
                "the parity gate compares on the photos of the ultralytics package, which are not here; "
                "python -m pip install --no-deps ultralytics, or name others with --photos"
            )
        photos.append(Photo(image_bgr=np.asarray(image, np.uint8), boxes_xyxy=np.array(boxes, np.float32)))
    return photos


def photos_of(folder: Path) -> list[Photo]:
    """All pictures of a folder, each with one box around the whole picture.

    Raises:
        ModelError: there are none.
    """
    photos = []
    for file in sorted(folder.glob("*")) if folder.is_dir() else []:
        image = cv2.imread(str(file)) if file.is_file() else None
        if image is not None:
            photos.append(Photo.of_whole(np.asarray(image, np.uint8)))
    if not photos:
        raise ModelError(f"{folder} holds no pictures to compare on")
    return photos


def check(backend: Backend, weights: Path, photos: Sequence[Photo] | None = None) -> Checked:
    """Run the parity gate on an engine.

    Args:
        weights: the file it was built from: `.safetensors` of a pose network, `.onnx` of a detector; or its own
            `.onnx` file, which is then compared with what ONNX Runtime makes of it on the processor.
        photos: the photos to compare on; None for those of the ultralytics package.

    Raises:
        BackendError: float32 cannot run here, or a runtime failed.
        ModelError: the weights are missing, or are not those of the engine.
    """
    known = (backend.spec.weights_sha256, backend.spec.file_sha256)
    if not weights.is_file() or sha256_of(weights) not in known:
        gone = f"its weights are no longer at {weights}"
        raise ModelError(f"{backend.spec.name} cannot be checked, because {gone}; build it again")
    chosen = shipped_photos() if photos is None else list(photos)
    if backend.spec.kind == "detector":
        return _check_detector(backend, weights, chosen)
    report = compare_pose(backend, weights, chosen)
    failures = report.failures(backend.precision)
    if report.keypoints < LEAST_KEYPOINTS:
        seen = f"the photos show {report.keypoints}, {LEAST_KEYPOINTS} wanted"
        failures = [f"keypoints: {seen} (name others with --photos)"]
    return Checked(state="failed" if failures else "passed", report="; ".join(failures) or summary(report))


def summary(report: ParityReport) -> str:
    """A comparison in one line."""
    line = (
        f"{report.keypoints} keypoints: {report.within_1px:.2%} within 1 px, {report.beyond_4px:.2%} beyond 4 px, "
        f"similarity {report.similarity:.4f}"
    )
    return line if report.attention_max_error is None else f"{line}; attention within {report.attention_max_error:.4f}"


def compare_pose(backend: Backend, weights: Path, photos: Sequence[Photo]) -> ParityReport:
    """Compare an engine with float32 on variations of photos, until enough keypoints were compared.

    The reference is PyTorch for `.safetensors`, and ONNX Runtime on the processor for an `.onnx` file.
    """
    if weights.suffix.lower() == ".onnx":
        from engine.backends.onnxruntime import OnnxRuntimeBackend as Reference
    else:
        from engine.backends.torch import TorchBackend as Reference  # type: ignore[assignment]

    spec = backend.spec
    with_crop = "frame" in {tensor.name for tensor in spec.inputs}
    options = OpenOptions(precision="fp32", device="cpu", with_crop=with_crop)
    with Reference(weights, options) as reference:
        inputs = _variations(photos, spec.input_size_wh, with_crop)
        return compare_on(backend, reference, inputs, enough=LEAST_KEYPOINTS)


def _variations(photos: Sequence[Photo], size_wh: tuple[int, int], with_crop: bool) -> Iterator[dict[str, np.ndarray]]:
    """Inputs of a pose network for photos that are mirrored, rotated and scaled."""
    both = [*photos, *(photo.mirrored() for photo in photos)]
    for factor, rotation in product(_SCALES, _ROTATIONS):
        for photo in both:
            centers, sizes = box_centers_sizes(photo.boxes_xyxy, size_wh)
            turned = np.full(len(centers), rotation, np.float32)
            affines = crop_affines(centers, sizes * np.float32(factor), size_wh, turned)
            if with_crop:
                yield {"frame": photo.image_bgr, "crop_to_frame": invert_affines(affines)}
            else:
                yield {"crops": warp_crops(photo.image_bgr, affines, size_wh)}


def _check_detector(backend: Backend, weights: Path, photos: Sequence[Photo]) -> Checked:
    """Every box that float32 detects must be detected at the same position with the same score, within tolerance."""
    from engine.backends.onnxruntime import OnnxRuntimeBackend
    from engine.detection.detector import PersonDetector

    missed = compared = 0
    with OnnxRuntimeBackend(weights, OpenOptions(precision="fp32", device="cpu")) as reference:
        count = len(backend.spec.class_names)
        ours = PersonDetector(backend, class_ids=range(count))
        theirs = PersonDetector(reference, class_ids=range(count))
        for image in _pictures(photos):
            found, expected = ours.detect(image), theirs.detect(image)
            # Boxes close to the threshold may fall on either side of it.
            sure = expected.take(expected.scores > theirs.score_threshold + 0.1)
            compared += len(sure)
            missed += _missed(found, sure, backend.precision)
    if compared < _LEAST_BOXES:
        text = f"boxes: the photos show {compared}, {_LEAST_BOXES} wanted (name others with --photos)"
        return Checked(state="failed", report=text)
    text = f"boxes: {compared - missed} of {compared} as float32 sees them"
    return Checked(state="passed" if missed <= compared * 0.02 else "failed", report=text)


def _pictures(photos: Sequence[Photo]) -> Iterator[UInt8Array]:
    for photo in photos:
        for part in (photo, photo.mirrored()):
            height, width = part.image_bgr.shape[:2]
            for factor in (1.0, 0.8, 0.6):
                size = (max(1, round(width * factor)), max(1, round(height * factor)))
                yield np.asarray(cv2.resize(part.image_bgr, size, interpolation=cv2.INTER_AREA), np.uint8)


def _missed(found: Detections, expected: Detections, precision: str) -> int:
    """How many expected boxes have no counterpart."""
    missed = 0
    for box, score, class_id in zip(expected.boxes_xyxy, expected.scores, expected.class_ids, strict=True):
        same = found.take(found.class_ids == class_id)
        overlap = overlaps(box[None], same.boxes_xyxy)[0]
        near = (overlap >= _OVERLAP[precision]) & (np.abs(same.scores - score) <= _SCORE_DIFFERENCE[precision])
        missed += not near.any()
    return missed
