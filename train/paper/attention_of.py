"""One person through a KCAM network: where the keypoints are, and the maps that the paper's figures show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from engine.errors import OptionError
from engine.geometry import (
    apply_affines,
    boxes_to_affines,
    evenly_spanned,
    heatmap_stride,
    invert_affines,
    warp_crops,
)
from engine.heatmap import decoder_for
from engine.overlay.attention import attention_at
from engine.skeleton import Skeleton
from engine.types import AttentionMaps, Float32Array, UInt8Array
from models.checkpoints import PoseCheckpoint
from train.evaluation.prediction import normalize_crops

SHOWN_HEIGHT_PX = 1024


@dataclass(frozen=True, kw_only=True, eq=False)
class PersonAttention:
    """What is drawn. Crop px are those of the network's input.

    Attributes:
        picture_bgr: (H, W, 3) uint8, the network's crop, cut out of the photo again at a larger size.
        input_size_wh: width and height of the network's input in px.
        photo_to_crop: (2, 3) float32, photo px to crop px.
        keypoints: (K, 3) float32: x, y in crop px and score.
        maps: G and S of this one person.
        udp: whether heatmaps and crop are aligned at their outer pixels, see `engine/geometry.py`.
    """

    picture_bgr: UInt8Array
    input_size_wh: tuple[int, int]
    photo_to_crop: Float32Array
    keypoints: Float32Array
    maps: AttentionMaps
    skeleton: Skeleton
    model: str
    udp: bool = False

    @property
    def areas(self) -> Float32Array:
        """(K, h, w) float32, G; each map sums to 1."""
        assert self.maps.areas is not None  # noqa: S101 - `attention_of_box` saw to it
        return np.asarray(self.maps.areas[0])

    @property
    def attention(self) -> Float32Array:
        """(K, h, w) float32, S; sums to 1 over the keypoints at each pixel."""
        assert self.maps.attention is not None  # noqa: S101
        return np.asarray(self.maps.attention[0])

    @property
    def picture_scale(self) -> float:
        """Picture px a crop px."""
        return float(self.picture_bgr.shape[0] / self.input_size_wh[1])

    def to_crop(self, photo_xy: Float32Array) -> Float32Array:
        """A point (2,) of the photo in crop px.

        Raises:
            OptionError: it is outside the crop.
        """
        crop_xy: Float32Array = apply_affines(self.photo_to_crop[None], photo_xy.reshape(1, 1, 2))[0, 0]
        if not ((crop_xy >= -0.5) & (crop_xy < np.array(self.input_size_wh) - 0.5)).all():
            raise OptionError("the pixel is outside the crop that the network gets; choose one closer to the box")
        return crop_xy

    def attention_at(self, photo_xy: Float32Array) -> Float32Array:
        """(K,) float32: S at a point (2,) of the photo, as the window's probe reads it."""
        return attention_at(self.maps, 0, photo_xy)

    def map_extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top edge of a map in picture px, as matplotlib places an image.

        The centre of heatmap px i is at crop px i W / w, so the map begins half a heatmap px left of crop px 0.
        """
        height, width = self.attention.shape[1:]
        across, down = heatmap_stride(self.input_size_wh, (width, height), udp=self.udp)
        x, y = across * self.picture_scale, down * self.picture_scale
        return -0.5 * x, (width - 0.5) * x, (height - 0.5) * y, -0.5 * y


def attention_of_box(checkpoint: PoseCheckpoint, photo_bgr: UInt8Array, box_xyxy: Float32Array) -> PersonAttention:
    """Run a network on one box (4,) of a photo.

    Raises:
        OptionError: the network has no KCAM head.
    """
    config = checkpoint.config
    size, udp = config.input_size_wh, config.udp
    affines = boxes_to_affines(box_xyxy[None], size, udp=udp)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (checkpoint.mean, checkpoint.std))
    crop = torch.from_numpy(warp_crops(photo_bgr, affines, size))
    with torch.inference_mode():
        output = checkpoint.model(normalize_crops(crop, mean, std))
    if output.areas is None or output.attention is None:
        raise OptionError(f"{config.name} has no KCAM head, so there is no attention to draw")
    scale = SHOWN_HEIGHT_PX / size[1]
    shown = (round(size[0] * scale), SHOWN_HEIGHT_PX)
    decode = decoder_for(config.decode, sigma=config.sigma, udp=udp)
    return PersonAttention(
        picture_bgr=warp_crops(photo_bgr, (affines * scale).astype(np.float32), shown)[0],
        input_size_wh=size,
        photo_to_crop=affines[0],
        keypoints=decode(output.heatmaps.float().numpy(), size)[0],
        maps=AttentionMaps(
            areas=output.areas.float().numpy(),
            attention=output.attention.float().numpy(),
            crop_to_frame=evenly_spanned(invert_affines(affines), size, config.heatmap_size_wh, udp=udp),
            input_size_wh=size,
        ),
        skeleton=Skeleton.from_dict(checkpoint.skeleton),
        model=config.name,
        udp=udp,
    )
