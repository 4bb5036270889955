"""From people with boxes to keypoints in picture px, for validation and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.geometry import BOX_PADDING, apply_affines, boxes_to_affines, invert_affines, warp_crops
from engine.heatmap import decode_heatmaps
from engine.types import Float32Array, UInt8Array
from train.dataset import ImageStore
from train.people import PeopleSet

PredictHeatmaps = Callable[[UInt8Array], Float32Array]
"""(N, H, W, 3) uint8 BGR crops to (N, K, h, w) float32 heatmaps."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CropBatch:
    """Crops of a few people.

    Attributes:
        crops: (N, H, W, 3) uint8 BGR.
        crop_to_image: (N, 2, 3) float32.
        indices: the people, as in `PeopleSet.people`.
    """

    crops: UInt8Array
    crop_to_image: Float32Array
    indices: range


def iterate_crops(
    people: PeopleSet, images: ImageStore, input_size_wh: tuple[int, int], batch_size: int
) -> Iterator[CropBatch]:
    """Upright, padded crops of every person's box, in order."""
    width, height = input_size_wh
    for start in range(0, len(people.people), batch_size):
        indices = range(start, min(start + batch_size, len(people.people)))
        crops = np.empty((len(indices), height, width, 3), np.uint8)
        boxes = np.stack([people.people[i].box_xyxy for i in indices])
        affines = boxes_to_affines(boxes, input_size_wh)
        for row, index in enumerate(indices):
            warp_crops(images[people.people[index].image], affines[row : row + 1], input_size_wh, crops[row : row + 1])
        yield CropBatch(crops=crops, crop_to_image=invert_affines(affines), indices=indices)


def normalize_crops(crops: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(N, H, W, 3) uint8 BGR to (N, 3, H, W) float32 RGB, normalised, channels last.

    Args:
        mean, std: (3, 1, 1) float32 RGB, on the scale 0 to 1.
    """
    images = crops.permute(0, 3, 1, 2).flip(1).float()
    return ((images - mean * 255) / (std * 255)).contiguous(memory_format=torch.channels_last)


def flip_averaged(predict: PredictHeatmaps, flip_order: tuple[int, ...]) -> PredictHeatmaps:
    """The flip test: mean of the heatmaps of a crop and of its mirror image, the latter turned back.

    The mirrored maps are moved one px to the right, as in the official code, because mirroring maps of stride 4
    shifts them by that much against the crop.
    """
    order = list(flip_order)

    def both(crops: UInt8Array) -> Float32Array:
        plain = predict(crops)
        mirrored = predict(np.ascontiguousarray(crops[:, :, ::-1]))[:, order, :, ::-1].copy()
        mirrored[..., 1:] = mirrored[..., :-1].copy()
        return np.asarray((plain + mirrored) * 0.5, np.float32)

    return both


def predict_people(
    predict: PredictHeatmaps,
    people: PeopleSet,
    images: ImageStore,
    input_size_wh: tuple[int, int],
    batch_size: int = 32,
) -> Float32Array:
    """(N, K, 3) float32: x, y in picture px and score, for all people of a set."""
    parts = []
    for batch in iterate_crops(people, images, input_size_wh, batch_size):
        decoded = decode_heatmaps(predict(batch.crops), input_size_wh)
        xy = apply_affines(batch.crop_to_image, decoded[..., :2])
        parts.append(np.concatenate([xy, decoded[..., 2:]], axis=-1))
    return np.concatenate(parts)


def padded_areas(people: PeopleSet) -> Float32Array:
    """(N,) float32: area of each padded box in px squared, the scale that OKS-NMS compares by."""
    boxes = np.stack([person.box_xyxy for person in people.people])
    size = (boxes[:, 2:] - boxes[:, :2]) * BOX_PADDING
    return np.asarray(size[:, 0] * size[:, 1], np.float32)
