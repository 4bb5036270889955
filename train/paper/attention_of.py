"""One person through a KCAM network: where the keypoints are, and the maps that the paper's figures show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from engine.errors import OptionError
from engine.geometry import boxes_to_affines, warp_crops
from engine.heatmap import decode_heatmaps
from engine.skeleton import Skeleton
from engine.types import Float32Array, UInt8Array
from models.checkpoints import PoseCheckpoint
from train.evaluation.prediction import normalize_crops

SHOWN_HEIGHT_PX = 1024


@dataclass(frozen=True, kw_only=True, eq=False)
class PersonAttention:
    """What is drawn. Crop px are those of the network's input.

    Attributes:
        picture_bgr: (H, W, 3) uint8, the network's crop, cut out of the photo anew at a size to look at.
        input_size_wh: width and height of the network's input in px.
        photo_to_crop: (2, 3) float32, photo px to crop px.
        keypoints: (K, 3) float32: x, y in crop px and score.
        areas: (K, h, w) float32, G; each sums to 1.
        attention: (K, h, w) float32, S; sums to 1 over the keypoints at each pixel.
    """

    picture_bgr: UInt8Array
    input_size_wh: tuple[int, int]
    photo_to_crop: Float32Array
    keypoints: Float32Array
    areas: Float32Array
    attention: Float32Array
    skeleton: Skeleton
    model: str

    def heatmap_pixel(self, crop_xy: Float32Array) -> tuple[int, int]:
        """Column and row of the heatmap pixel that a place (2,) in crop px lies in.

        Raises:
            OptionError: the place is outside the crop.
        """
        height, width = self.attention.shape[1:]
        column = int(np.floor(crop_xy[0] * width / self.input_size_wh[0]))
        row = int(np.floor(crop_xy[1] * height / self.input_size_wh[1]))
        if not (0 <= column < width and 0 <= row < height):
            raise OptionError("the pixel is outside what the network sees of the person; choose one nearer to the box")
        return column, row


def look_at(checkpoint: PoseCheckpoint, photo_bgr: UInt8Array, box_xyxy: Float32Array) -> PersonAttention:
    """Run a network on one box (4,) of a photo.

    Raises:
        OptionError: the network has no KCAM head.
    """
    size = checkpoint.config.input_size_wh
    udp = checkpoint.config.udp
    affines = boxes_to_affines(box_xyxy[None], size, udp=udp)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (checkpoint.mean, checkpoint.std))
    crop = torch.from_numpy(warp_crops(photo_bgr, affines, size))
    with torch.inference_mode():
        output = checkpoint.model(normalize_crops(crop, mean, std))
    if output.areas is None or output.attention is None:
        raise OptionError(f"{checkpoint.config.name} has no KCAM head, so there is no attention to draw")
    scale = SHOWN_HEIGHT_PX / size[1]
    shown = (round(size[0] * scale), SHOWN_HEIGHT_PX)
    return PersonAttention(
        picture_bgr=warp_crops(photo_bgr, (affines * scale).astype(np.float32), shown)[0],
        input_size_wh=size,
        photo_to_crop=affines[0],
        keypoints=decode_heatmaps(output.heatmaps.float().numpy(), size, udp=udp)[0],
        areas=output.areas.float().numpy()[0],
        attention=output.attention.float().numpy()[0],
        skeleton=Skeleton.from_dict(checkpoint.skeleton),
        model=checkpoint.config.name,
    )
