"""Detectors teach a detector: they label the people whom the data set leaves out.

A picture that lists one of its three people teaches a detector to overlook the other two. With teachers, a box of which
one of them is sure becomes a label like any other; where they see something but none is sure, the picture teaches
neither that there is somebody nor that there is nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from engine.backends.box_suppression import NMS_OVERLAP
from engine.detection.detector import MOST_BOXES, drop_overlapping, open_detector
from engine.errors import ModelError
from engine.geometry import box_areas, overlaps, shared_areas
from engine.system.regular_file import read_regular
from engine.types import Detections, Float32Array, UInt8Array

UNSURE = 1
"""Class of a box of which no teacher is sure; 0 is a person. It never reaches the network or the loss of boxes."""
_SAME = 0.4
"""IoU from which a teacher's box and a labelled one are the same person."""
_WITHIN = 0.8
"""Share of a teacher's box in a labelled one from which it may be a part of that person."""
_NANODET_MEAN = np.array([103.53, 116.28, 123.675], np.float32)
_NANODET_STD = np.array([57.375, 57.12, 58.395], np.float32)


class Teacher(Protocol):
    """What finds people in a picture."""

    def detect(self, image_bgr: UInt8Array) -> Detections:
        """Boxes in px of the picture (H, W, 3), highest score first."""
        ...


class NanoDet:
    """A NanoDet as exported to ONNX, of 80 classes of which the first is a person.

    Args:
        file: one input (1, 3, S, S) float32; for each stride scores (1, n, 80) behind the sigmoid and distances
            (1, n, 4 x bins), in any order.
        score_threshold: boxes below are dropped.

    Raises:
        ModelError: the file cannot be read, or is no NanoDet.
    """

    def __init__(self, file: Path, score_threshold: float) -> None:
        import onnx

        content = read_regular(file)
        try:
            graph = onnx.load_model_from_string(content).graph
            self._network = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
        except Exception as error:  # protobuf and OpenCV raise many kinds for damaged bytes
            raise ModelError(f"{file} is not an ONNX file that can be run") from error
        stored = {tensor.name for tensor in graph.initializer}
        inputs = [_shape(value) for value in graph.input if value.name not in stored]
        self._threshold = score_threshold
        self._levels: dict[int, dict[str, int]] = {}
        """By the number of cells of a stride, the places of its scores and distances among the outputs."""
        for place, shape in enumerate(_shape(value) for value in graph.output):
            if len(shape) == 3:
                self._levels.setdefault(shape[1], {})["scores" if shape[2] == 80 else "distances"] = place
        of_strides = 2 * len(self._levels) == len(graph.output) and all(len(one) == 2 for one in self._levels.values())
        if len(inputs) != 1 or inputs[0][:2] != (1, 3) or not of_strides:
            raise ModelError(f"{file} is no NanoDet: expected one picture, and scores and distances for each stride")
        self._side = inputs[0][3]
        self._names = [value.name for value in graph.output]

    def detect(self, image_bgr: UInt8Array) -> Detections:
        """Boxes of people in px of the picture (H, W, 3), highest score first."""
        height, width = image_bgr.shape[:2]
        factor = self._side / max(height, width)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        board = np.zeros((self._side, self._side, 3), np.float32)
        board[: size[1], : size[0]] = cv2.resize(image_bgr, size, interpolation=method)
        boxes, scores = self._decoded(((board - _NANODET_MEAN) / _NANODET_STD).transpose(2, 0, 1)[None])
        order = np.argsort(-scores, kind="stable")
        boxes, scores = boxes[order], scores[order]
        kept = drop_overlapping(boxes, scores, np.zeros(len(scores), int), NMS_OVERLAP)[:MOST_BOXES]
        in_picture = boxes[kept] * np.array([width / size[0], height / size[1]] * 2, np.float32)
        clipped = np.clip(in_picture, 0, [width, height, width, height]).astype(np.float32)
        return Detections(boxes_xyxy=clipped, scores=scores[kept], class_ids=np.zeros(len(kept), np.int64))

    def _decoded(self, image: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Boxes (N, 4) in px of the network's input and scores (N,), those above the threshold."""
        boxes, scores = [], []
        self._network.setInput(image)
        outputs = self._network.forward(self._names)
        for cells, places in self._levels.items():
            person, distance = outputs[places["scores"]][0, :, 0], outputs[places["distances"]]
            chosen = np.flatnonzero(person >= self._threshold)
            side = round(cells**0.5)
            stride = self._side / side
            bins = distance[0, chosen].reshape(len(chosen), 4, distance.shape[2] // 4)
            shares = np.exp(bins - bins.max(axis=2, keepdims=True))
            shares /= shares.sum(axis=2, keepdims=True)
            sides = (shares * np.arange(bins.shape[2])).sum(axis=2) * stride
            centres = (np.stack([chosen % side, chosen // side], axis=1) + 0.5) * stride
            boxes.append(np.concatenate([centres - sides[:, :2], centres + sides[:, 2:]], axis=1))
            scores.append(person[chosen])
        return np.concatenate(boxes).astype(np.float32), np.concatenate(scores).astype(np.float32)


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)


def open_teacher(name: str, score_threshold: float) -> Teacher:
    """Open a detector that teaches: a NanoDet, or whatever the program itself can run.

    Args:
        name: NANODET.onnx, or as `engine.detection.detector.open_detector` takes it.
        score_threshold: boxes below are dropped.

    Raises:
        EngineError: it does not exist, or can be run by neither way.
    """
    file = Path(name)
    if file.suffix.lower() == ".onnx" and file.is_file():
        try:
            return NanoDet(file, score_threshold)
        except ModelError as error:
            if "no NanoDet" not in str(error):
                raise
    return open_detector(name, score_threshold=score_threshold, notify=print)[0]


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """What labels the people that a data set leaves out.

    Attributes:
        teachers: detectors that keep boxes from half of `threshold` on.
        threshold: score from which a box is a person.
    """

    teachers: tuple[Teacher, ...]
    threshold: float

    def boxes(self, image_bgr: UInt8Array, labelled_xyxy: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Boxes (N, 4) of further people, and boxes (M, 4) of which no teacher is sure; both in px of the picture.

        Args:
            image_bgr: (H, W, 3) uint8.
            labelled_xyxy: (L, 4) float32, the people whom the data set lists.
        """
        found = [teacher.detect(image_bgr) for teacher in self.teachers]
        boxes = np.concatenate([one.boxes_xyxy for one in found]).astype(np.float32)
        scores = np.concatenate([one.scores for one in found]).astype(np.float32)
        order = np.argsort(-scores, kind="stable")
        boxes, scores = boxes[order], scores[order]
        kept = drop_overlapping(boxes, scores, np.zeros(len(scores), int), NMS_OVERLAP)
        boxes, scores = boxes[kept], scores[kept]
        labelled = labelled_xyxy.reshape(-1, 4)
        new = (overlaps(boxes, labelled) < _SAME).all(axis=1)
        areas = np.maximum(box_areas(boxes), 1e-6)
        apart = (shared_areas(boxes, labelled) < _WITHIN * areas[:, None]).all(axis=1)
        sure = (scores >= self.threshold) & apart
        return boxes[new & sure], boxes[new & ~sure]


def open_teaching(names: Iterable[str], threshold: float) -> Teaching | None:
    """Open teachers by name; None without any.

    Raises:
        EngineError: see `open_teacher`.
    """
    teachers = tuple(open_teacher(name, threshold / 2) for name in names)
    return Teaching(teachers=teachers, threshold=threshold) if teachers else None


def teaching_trainer(unsure: Mapping[str, list[list[float]]], base: type) -> type:
    """A trainer of ultralytics whose loss leaves boxes alone of which no teacher is sure, see `tolerate`.

    Args:
        unsure: for each training picture, by file name, boxes x, y (centre), width, height as shares of the picture.
        base: the trainer to extend.
    """

    class TeachingTrainer(base):  # type: ignore[valid-type,misc]
        def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> Any:
            dataset = super().build_dataset(img_path, mode, batch)
            if mode == "train":
                for label in dataset.labels:
                    rows = np.array(unsure.get(Path(label["im_file"]).name, []), np.float32).reshape(-1, 4)
                    label["bboxes"] = np.concatenate([label["bboxes"], rows])
                    classes = np.full((len(rows), 1), UNSURE, label["cls"].dtype)
                    label["cls"] = np.concatenate([label["cls"], classes])
            return dataset

        def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
            ready: dict[str, Any] = super().preprocess_batch(batch)
            is_person = ready["cls"].view(-1) != UNSURE
            ready["unsure"] = torch.cat([ready["batch_idx"].view(-1, 1), ready["bboxes"]], dim=1)[~is_person]
            for key in ("batch_idx", "bboxes", "cls"):
                ready[key] = ready[key][is_person]
            return ready

    return TeachingTrainer


def tolerate(trainer: Any) -> None:
    """A callback for `on_pretrain_routine_end`: no loss for a score that finds somebody in an unsure box.

    It changes the live model only: the average is copied before, and is what is saved.
    """
    from ultralytics.utils.loss import E2ELoss, v8DetectionLoss

    class TolerantLoss(v8DetectionLoss):  # type: ignore[misc]
        def get_assigned_targets_and_loss(self, preds: dict[str, Any], batch: dict[str, Any], **assign: Any) -> Any:
            plain: Any = self.bce
            inside = _inside(preds["feats"], self.stride, batch["unsure"])

            def masked(scores: Tensor, targets: Tensor) -> Tensor:
                loss: Tensor = plain(scores, targets)
                return loss * ~(inside[..., None] & (targets == 0))

            self.bce = masked  # type: ignore[assignment]
            try:
                return super().get_assigned_targets_and_loss(preds, batch, **assign)
            finally:
                self.bce = plain

    model = trainer.model
    before = getattr(model, "criterion", None)  # of a run that goes on, whose branches' shares have changed
    if not isinstance(before or model.init_criterion(), E2ELoss):
        model.criterion = TolerantLoss(model)
        return
    model.criterion = E2ELoss(model, loss_fn=TolerantLoss)
    if before is not None:
        for name in ("updates", "o2m", "o2o"):
            setattr(model.criterion, name, getattr(before, name))


def _inside(features: list[Tensor], strides: Any, unsure: Tensor) -> Tensor:
    """(B, A) bool: cells, of all strides behind one another, whose centre lies in an unsure box of their picture.

    Args:
        features: (B, C, h, w) of each stride.
        strides: px.
        unsure: (N, 5) rows of the picture's number in the batch and x, y (centre), width, height as shares of it.
    """
    from ultralytics.utils.tal import make_anchors

    points, cell_px = make_anchors(features, strides, 0.5)  # type: ignore[no-untyped-call]
    height, width = (length * strides[0] for length in features[0].shape[2:])
    centres = points * cell_px / torch.stack([width, height]).to(points)
    inside = torch.zeros(len(features[0]), len(centres), dtype=torch.bool, device=centres.device)
    for picture, x, y, w, h in unsure.tolist():
        offset = (centres - centres.new_tensor([x, y])).abs()
        inside[int(picture)] |= (offset[:, 0] <= w / 2) & (offset[:, 1] <= h / 2)
    return inside
