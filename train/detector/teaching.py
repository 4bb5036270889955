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

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine.backends.box_suppression import NMS_OVERLAP
from engine.detection.detector import drop_overlapping, open_detector
from engine.errors import ModelError, OptionError
from engine.geometry import box_areas, overlaps, shared_areas
from engine.types import Detections, Float32Array, UInt8Array
from train.detector.nanodet import NanoDet

UNSURE = 1
"""Class of a box of which no teacher is sure; 0 is a person. It never reaches the network or the loss of boxes."""
_SAME = 0.4
"""IoU from which a teacher's box and a labelled one are the same person."""
_WITHIN = 0.8
"""Share of a teacher's box in a labelled one from which it may be a part of that person."""
_LEAST_CELL_SCORE = 0.1
"""Of the dense teacher, from which the box of its cell is learned."""


class Teacher(Protocol):
    """What finds people in a picture."""

    def detect(self, image_bgr: UInt8Array) -> Detections:
        """Boxes in px of the picture (H, W, 3), highest score first."""
        ...


def open_teacher(name: str, score_threshold: float, class_name: str = "person") -> Teacher:
    """Open a detector that teaches: a NanoDet, or whatever the program itself can run.

    Args:
        name: NANODET.onnx, or as `engine.detection.detector.open_detector` takes it.
        score_threshold: boxes below are dropped.
        class_name: of what it is to find.

    Raises:
        EngineError: it does not exist, can be run by neither way, or does not know the class.
    """
    file = Path(name)
    if file.suffix.lower() == ".onnx" and file.is_file():
        try:
            teacher = NanoDet(file, score_threshold)
        except ModelError as error:
            if "no NanoDet" not in str(error):
                raise
        else:
            if class_name != "person":
                raise OptionError(f"{name} teaches people, and the class of the data is '{class_name}'")
            return teacher
    try:
        return open_detector(name, classes=class_name, score_threshold=score_threshold, notify=print)[0]
    except OptionError as error:
        raise OptionError(f"{name} cannot teach '{class_name}', the class of the data: {error}") from error


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


def open_teaching(names: Iterable[str], threshold: float, class_name: str) -> Teaching | None:
    """Open teachers by name; None without any.

    Raises:
        EngineError: see `open_teacher`.
    """
    teachers = tuple(open_teacher(name, threshold / 2, class_name) for name in names)
    return Teaching(teachers=teachers, threshold=threshold) if teachers else None


def dense_teacher(names: Iterable[str], input_size: int) -> NanoDet:
    """The NanoDet among the teachers, whose every cell teaches a cell of the student.

    Raises:
        OptionError: none of them is one, or it has another input size, and so other cells.
        ModelError: see `NanoDet`.
    """
    teachers = [teacher for name in names if isinstance(teacher := open_teacher(name, 0.0), NanoDet)]
    if not teachers:
        raise OptionError("--cell-weight needs a NanoDet among the teachers")
    if teachers[0].side != input_size:
        raise OptionError(f"--cell-weight needs --input-size {teachers[0].side}, as the NanoDet has it")
    return teachers[0]


def teaching_trainer(unsure: Mapping[str, list[list[float]]], dense: NanoDet | None, base: type) -> type:
    """A trainer of ultralytics whose batches carry what the loss of `tolerate` needs.

    Args:
        unsure: for each training picture, by file name, boxes x, y (centre), width, height as shares of the picture.
        dense: labels every cell of the augmented pictures; None for none.
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
            pictures = batch["img"]
            ready: dict[str, Any] = super().preprocess_batch(batch)
            is_person = ready["cls"].view(-1) != UNSURE
            ready["unsure"] = torch.cat([ready["batch_idx"].view(-1, 1), ready["bboxes"]], dim=1)[~is_person]
            for key in ("batch_idx", "bboxes", "cls"):
                ready[key] = ready[key][is_person]
            if dense is not None:
                bgr = pictures.cpu().numpy()[:, ::-1].transpose(0, 2, 3, 1)
                scores, boxes = (np.stack(one) for one in zip(*map(dense.cells, bgr), strict=True))
                ready["cell_scores"] = torch.from_numpy(scores).to(ready["img"].device)
                ready["cell_boxes"] = torch.from_numpy(boxes).to(ready["img"].device)
            return ready

    return TeachingTrainer


def tolerate(trainer: Any, cell_weight: float = 0.0) -> None:
    """A callback for `on_pretrain_routine_end`: no loss for a score that finds somebody in an unsure box.

    It changes the live model only: the average is copied before, and is what is saved.

    Args:
        trainer: of ultralytics.
        cell_weight: of the loss by which every cell learns the score, and those with one the box, of the dense
            teacher's cell at the same place; it counts beside the labels' loss.
    """
    from ultralytics.utils.loss import E2ELoss, v8DetectionLoss
    from ultralytics.utils.metrics import bbox_iou
    from ultralytics.utils.tal import make_anchors

    class TeachingLoss(v8DetectionLoss):  # type: ignore[misc]
        def get_assigned_targets_and_loss(self, preds: dict[str, Any], batch: dict[str, Any], **assign: Any) -> Any:
            plain: Any = self.bce
            inside = _inside(preds["feats"], self.stride, batch["unsure"])

            def masked(scores: Tensor, targets: Tensor) -> Tensor:
                loss: Tensor = plain(scores, targets)
                return loss * ~(inside[..., None] & (targets == 0))

            self.bce = masked  # type: ignore[assignment]
            try:
                assigned, loss, items = super().get_assigned_targets_and_loss(preds, batch, **assign)
            finally:
                self.bce = plain
            if cell_weight and "cell_scores" in batch:
                loss = loss + cell_weight * self._by_cells(preds, batch["cell_scores"], batch["cell_boxes"])
                items = dict(zip(self.loss_names, loss.detach(), strict=True))
            return assigned, loss, items

        def _by_cells(self, preds: dict[str, Any], scores: Tensor, boxes: Tensor) -> Tensor:
            """(3,) losses of box, score and distance, in the units of the labels' losses."""
            points, cell_px = make_anchors(preds["feats"], self.stride, 0.5)  # type: ignore[no-untyped-call]
            sides = preds["boxes"].permute(0, 2, 1).contiguous()
            found = self.bbox_decode(points, sides) * cell_px  # type: ignore[no-untyped-call]
            gains: Any = self.hyp
            total = scores.sum().clamp(min=1)
            by_score = functional.binary_cross_entropy_with_logits(preds["scores"][:, 0], scores, reduction="sum")
            seen = scores >= _LEAST_CELL_SCORE
            overlap = bbox_iou(found[seen], boxes[seen], xywh=False, CIoU=True)[:, 0]  # type: ignore[no-untyped-call]
            by_box = ((1 - overlap) * scores[seen]).sum() / total
            return torch.stack([by_box * gains.box, by_score / total * gains.cls, by_box.new_zeros(())])

    model = trainer.model
    before = getattr(model, "criterion", None)  # of a run that goes on, whose branches' shares have changed
    if not isinstance(before or model.init_criterion(), E2ELoss):
        model.criterion = TeachingLoss(model)
        return
    model.criterion = E2ELoss(model, loss_fn=TeachingLoss)
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
