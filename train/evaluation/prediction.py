"""From boxes to keypoints in picture px, for validation and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.geometry import apply_affines, boxes_to_affines, invert_affines, warp_crops
from engine.heatmap import Decoder, decode_heatmaps
from engine.types import Float32Array, UInt8Array, require_finite
from train.data.boxes import PersonBoxes
from train.data.dataset import ImageStore

PredictHeatmaps = Callable[[UInt8Array], Float32Array]
"""(N, H, W, 3) uint8 BGR crops to (N, K, h, w) float32 heatmaps."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CropBatch:
    """Crops of a few people.

    Attributes:
        crops: (N, H, W, 3) uint8 BGR.
        crop_to_image: (N, 2, 3) float32.
        indices: (N,) which of the boxes.
    """

    crops: UInt8Array
    crop_to_image: Float32Array
    indices: npt.NDArray[np.intp]


def iterate_crops(
    boxes: PersonBoxes, images: ImageStore, input_size_wh: tuple[int, int], batch_size: int, *, udp: bool = False
) -> Iterator[CropBatch]:
    """Upright, padded crops of every box, picture by picture, so that each picture is decoded once.

    Boxes of pictures that cannot be decoded are left out; the store reports these pictures.
    """
    width, height = input_size_wh
    order = np.argsort(np.asarray(boxes.images), kind="stable")
    shown: int | None = None
    image: UInt8Array | None = None
    for start in range(0, len(boxes), batch_size):
        indices = order[start : start + batch_size]
        crops = np.empty((len(indices), height, width, 3), np.uint8)
        affines = boxes_to_affines(boxes.boxes_xyxy[indices], input_size_wh, udp=udp)
        cut = np.zeros(len(indices), bool)
        for row, index in enumerate(indices):
            if boxes.images[index] != shown:
                shown = boxes.images[index]
                image = images.readable(shown)
            if image is not None:
                warp_crops(image, affines[row : row + 1], input_size_wh, crops[row : row + 1])
                cut[row] = True
        if cut.any():
            yield CropBatch(crops=crops[cut], crop_to_image=invert_affines(affines[cut]), indices=indices[cut])


def normalize_crops(crops: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(N, H, W, 3) uint8 BGR to (N, 3, H, W) float32 RGB, normalised, channels last.

    Args:
        mean, std: (3, 1, 1) float32 RGB, on the scale 0 to 1.
    """
    images = crops.permute(0, 3, 1, 2).flip(1).float()
    return ((images - mean * 255) / (std * 255)).contiguous(memory_format=torch.channels_last)


def flip_averaged(predict: PredictHeatmaps, flip_order: tuple[int, ...], *, udp: bool = False) -> PredictHeatmaps:
    """The flip test: mean of the heatmaps of a crop and of its mirror image, the latter mirrored back.

    The mirrored maps are moved one px to the right, as in the official code, because mirroring maps of stride 4
    shifts them by that much against the crop; with UDP coordinates the two fall on each other as they are.
    """
    order = list(flip_order)

    def both(crops: UInt8Array) -> Float32Array:
        plain = predict(crops)
        mirrored = predict(np.ascontiguousarray(crops[:, :, ::-1]))[:, order, :, ::-1].copy()
        if not udp:
            mirrored[..., 1:] = mirrored[..., :-1].copy()
        return np.asarray((plain + mirrored) * 0.5, np.float32)

    return both


def predict_boxes(
    predict: PredictHeatmaps,
    boxes: PersonBoxes,
    images: ImageStore,
    input_size_wh: tuple[int, int],
    *,
    batch_size: int = 32,
    decode: Decoder = decode_heatmaps,
    udp: bool = False,
) -> Float32Array:
    """(N, K, 3) float32: x, y in picture px and score, for every box; there must be at least one.

    Boxes of pictures that cannot be decoded get zeros, see `iterate_crops`.
    """
    keypoints = np.zeros((len(boxes), 0, 3), np.float32)
    for batch in iterate_crops(boxes, images, input_size_wh, batch_size, udp=udp):
        heatmaps = predict(batch.crops)
        require_finite(heatmaps, "what the network gives")
        decoded = decode(heatmaps, input_size_wh)
        if keypoints.shape[1] == 0:
            keypoints = np.zeros((len(boxes), *decoded.shape[1:]), np.float32)
        keypoints[batch.indices, :, :2] = apply_affines(batch.crop_to_image, decoded[..., :2])
        keypoints[batch.indices, :, 2] = decoded[..., 2]
    return keypoints
