"""What a network does on val during training: AP as configured, loss, PCK, and statistics of KCAM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from engine.geometry import apply_affines, invert_affines
from engine.heatmap import decoder_for, encode_heatmaps
from engine.types import Float32Array, UInt8Array
from models.pose_model import PoseOutput
from train.config import TrainConfig
from train.data.boxes import PersonBoxes, category_id, crop_areas, labelled_boxes, read_detections
from train.data.dataset import ImageStore
from train.data.people import PeopleSet
from train.evaluation.coco_eval import coco_results, keypoint_ap
from train.evaluation.prediction import PredictHeatmaps, flip_averaged, iterate_crops, predict_boxes
from train.loss import context_statistics, total_loss
from train.processes import connected, gather

Forward = Callable[[Tensor], PoseOutput]
"""Crops (B, H, W, 3) uint8 BGR to the outputs of the network."""

PCK_SHARE = 0.05
"""A keypoint is correct up to this share of the heatmap's width and height, as in the accuracy of the official code."""
_BATCH = 32


@dataclass(kw_only=True)
class _Sums:
    """What one process saw of the labelled boxes."""

    people: int = 0
    loss: float = 0.0
    near: Float32Array = field(default_factory=lambda: np.zeros(0, np.float32))
    counted: Float32Array = field(default_factory=lambda: np.zeros(0, np.float32))
    statistics: dict[str, list[Tensor]] = field(default_factory=dict)


class Validation:
    """Measures a network on val; of several processes each takes its part of the pictures.

    Args:
        config: boxes, flip test, decoding and loss.
        people: of val.
        images: their pictures.

    Raises:
        SourceError: the file of detector boxes does not fit.
    """

    def __init__(self, config: TrainConfig, people: PeopleSet, images: ImageStore) -> None:
        self.config = config
        self.people = people
        self.images = images
        self.labelled = labelled_boxes(people)
        self.boxes = self.labelled if config.boxes is None else read_detections(config.boxes, people)

    def measure(self, forward: Forward, size_wh: tuple[int, int]) -> tuple[dict[str, float], dict[str, float]]:
        """All metrics in percent and the loss, and medians of `context_statistics`, at an input size (w, h).

        AP is that of the configured boxes, with or without flip test; loss, PCK and statistics are those of the
        labelled boxes without flip test.
        """
        sums, plain = self._on_labels(forward, size_wh)
        parts = gather(sums)
        people = max(1, sum(part.people for part in parts))
        near, counted = (np.sum([getattr(part, name) for part in parts], axis=0) for name in ("near", "counted"))
        metrics = {
            "loss": sum(part.loss for part in parts) / people,
            "PCK": 100 * float((near[counted > 0] / counted[counted > 0]).mean()) if counted.any() else -1.0,
        }
        statistics: dict[str, list[Tensor]] = {}
        for part in parts:
            for name, values in part.statistics.items():
                statistics.setdefault(name, []).extend(values)
        medians = {name: float(torch.cat(values).median()) for name, values in statistics.items()}
        keypoints = plain
        if self.config.flip_test or self.config.boxes is not None:
            keypoints = self._predicted(forward, size_wh)
        rank, _ = connected()
        scores = gather(self._scores(keypoints) if rank == 0 else {})[0]
        return {**scores, **metrics}, medians

    def _scores(self, keypoints: Float32Array) -> dict[str, float]:
        """The metrics of COCO for keypoints (N, K, 3) in the configured boxes."""
        sigmas = self.people.skeleton.oks_sigmas
        areas = crop_areas(self.boxes.boxes_xyxy, self.config.pose_model.input_size_wh)
        category = category_id(self.people)
        results = coco_results(self.boxes.image_ids, keypoints, self.boxes.scores, areas, sigmas, category_id=category)
        return keypoint_ap(self.people.ground_truth, results, sigmas)

    def _on_labels(self, forward: Forward, size_wh: tuple[int, int]) -> tuple[_Sums, Float32Array]:
        """Sums over this process's part of the labelled boxes, and keypoints (N, K, 3) of all of them."""
        config = self.config
        udp = config.pose_model.udp
        map_wh = (size_wh[0] // 4, size_wh[1] // 4)
        alpha = config.alpha if config.pose_model.coarse_supervision else 0.0
        decode = decoder_for(config.pose_model.decode, sigma=config.pose_model.sigma, udp=udp)
        count = self.people.skeleton.num_keypoints
        sums = _Sums(near=np.zeros(count, np.float32), counted=np.zeros(count, np.float32))
        rows = self._own_rows(self.labelled)
        keypoints = np.zeros((len(rows), count, 3), np.float32)
        for batch in iterate_crops(self.labelled.take(rows), self.images, size_wh, _BATCH, udp=udp):
            output = forward(torch.from_numpy(batch.crops))
            truth = np.stack([self.people.people[rows[i]].keypoints for i in batch.indices])
            in_crop = apply_affines(invert_affines(batch.crop_to_image), truth[..., :2])
            encoded = [
                encode_heatmaps(xy, seen, size_wh, map_wh, config.target_sigma(map_wh), udp=udp)
                for xy, seen in zip(in_crop, truth[..., 2], strict=True)
            ]
            targets, weights = (np.stack(values) for values in zip(*encoded, strict=True))
            device = output.heatmaps.device
            losses = total_loss(
                output, torch.from_numpy(targets).to(device), torch.from_numpy(weights).to(device), alpha, config.ohkm
            )
            heatmaps = _numpy(output.heatmaps)
            near, counted = correct_keypoints(heatmaps, targets, weights)
            sums.people += len(batch.indices)
            sums.loss += float(losses["loss"]) * len(batch.indices)
            sums.near += near
            sums.counted += counted
            for name, values in context_statistics(output).items():
                sums.statistics.setdefault(name, []).append(values.cpu())
            decoded = decode(heatmaps, size_wh)
            decoded[..., :2] = apply_affines(batch.crop_to_image, decoded[..., :2])
            keypoints[batch.indices] = decoded
        return sums, self._joined(rows, keypoints, len(self.labelled))

    def _predicted(self, forward: Forward, size_wh: tuple[int, int]) -> Float32Array:
        """(N, K, 3) keypoints of the configured boxes, with the flip test where it is configured."""
        pose_model = self.config.pose_model

        def plain(crops: UInt8Array) -> Float32Array:
            return _numpy(forward(torch.from_numpy(crops)).heatmaps)

        predict: PredictHeatmaps = plain
        if self.config.flip_test and self.people.mirrors:
            predict = flip_averaged(plain, self.people.skeleton.flip_order, udp=pose_model.udp)
        decode = decoder_for(pose_model.decode, sigma=pose_model.sigma, udp=pose_model.udp)
        rows = self._own_rows(self.boxes)
        keypoints = np.zeros((0, self.people.skeleton.num_keypoints, 3), np.float32)
        if rows:
            keypoints = predict_boxes(
                predict, self.boxes.take(rows), self.images, size_wh, decode=decode, udp=pose_model.udp
            )
        return self._joined(rows, keypoints, len(self.boxes))

    def _own_rows(self, boxes: PersonBoxes) -> list[int]:
        """The boxes in the pictures that this process keeps."""
        rank, count = connected()
        return [row for row, image in enumerate(boxes.images) if image % count == rank]

    def _joined(self, rows: Sequence[int], keypoints: Float32Array, count: int) -> Float32Array:
        """Keypoints of all boxes, from what each process has of them."""
        joined = np.zeros((count, self.people.skeleton.num_keypoints, 3), np.float32)
        for own, values in gather((list(rows), keypoints)):
            joined[own] = values
        return joined


def correct_keypoints(
    heatmaps: Float32Array, targets: Float32Array, weights: Float32Array
) -> tuple[Float32Array, Float32Array]:
    """How many of each keypoint (K,) have their peak near that of the target, and how many count.

    Args:
        heatmaps, targets: (N, K, h, w) float32.
        weights: (N, K) float32, above 0 where the keypoint is labelled and inside.
    """
    height, width = heatmaps.shape[2:]
    found, true = (np.stack(np.divmod(maps.reshape(*maps.shape[:2], -1).argmax(axis=2), width), axis=-1)
                   for maps in (heatmaps, targets))  # fmt: skip
    distance = np.linalg.norm((found - true) / np.array([height, width]), axis=-1)  # (N, K)
    counted = weights > 0
    near = counted & (distance < PCK_SHARE)
    return near.sum(axis=0).astype(np.float32), counted.sum(axis=0).astype(np.float32)


def _numpy(heatmaps: Tensor) -> Float32Array:
    values: Float32Array = heatmaps.detach().float().cpu().numpy()
    return values
