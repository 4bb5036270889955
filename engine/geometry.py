"""From boxes to crops and back; shared by training and inference, so that both crop alike.

Convention of the official SimpleBaseline and HRNet code: a box is widened to the aspect ratio of the input and
padded by 1.25; the centre of the box goes to (W / 2, H / 2) of the crop; one heatmap px is W / w crop px.

With `udp` (Huang et al., "The Devil is in the Details: Delving into Unbiased Data Processing") lengths run between the
centres of the outer pixels: the centre goes to ((W - 1) / 2, (H - 1) / 2), and one heatmap px is (W - 1) / (w - 1) crop
px. Then mirroring a crop mirrors its heatmap exactly, and the flip test needs no shift.
"""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from engine.types import Float32Array, UInt8Array

Float = TypeVar("Float", np.float32, np.float64)

BOX_PADDING = 1.25
_FINEST_SCALE = 0.5  # bilinear sampling at half the size still reads every px


def shared_areas(boxes_xyxy: npt.NDArray[Float], others_xyxy: npt.NDArray[Float]) -> npt.NDArray[Float]:
    """Areas (N, M) in px squared that boxes (N, 4) share with others (M, 4)."""
    low = np.maximum(boxes_xyxy[:, None, :2], others_xyxy[None, :, :2])
    high = np.minimum(boxes_xyxy[:, None, 2:], others_xyxy[None, :, 2:])
    return np.asarray(np.prod(np.maximum(high - low, 0), axis=2), boxes_xyxy.dtype)


def box_areas(boxes_xyxy: npt.NDArray[Float]) -> npt.NDArray[Float]:
    """Areas (N,) in px squared of boxes (N, 4)."""
    return np.asarray(np.prod(np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0), axis=1), boxes_xyxy.dtype)


def overlaps(boxes_xyxy: npt.NDArray[Float], others_xyxy: npt.NDArray[Float]) -> npt.NDArray[Float]:
    """Intersection over union (N, M) of boxes (N, 4) with others (M, 4); 0 where neither has an area."""
    shared = shared_areas(boxes_xyxy, others_xyxy)
    union = box_areas(boxes_xyxy)[:, None] + box_areas(others_xyxy)[None] - shared
    overlap: npt.NDArray[Float] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def box_centers_sizes(
    boxes_xyxy: Float32Array, input_size_wh: tuple[int, int], padding: float = BOX_PADDING
) -> tuple[Float32Array, Float32Array]:
    """Centres (N, 2) and padded sizes (N, 2) of boxes at the aspect ratio of the input, in frame px, float32.

    Args:
        boxes_xyxy: (N, 4) float32, frame px. A box without area counts as one px wide or high.
        input_size_wh: width and height of the crop in px.
        padding: factor on the box size.
    """
    boxes = np.asarray(boxes_xyxy, np.float32).reshape(-1, 4)
    centers = ((boxes[:, :2] + boxes[:, 2:]) / 2).astype(np.float32)
    width, height = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0).T
    aspect = input_size_wh[0] / input_size_wh[1]
    sizes = np.stack([np.maximum(width, height * aspect), np.maximum(height, width / aspect)], axis=1)
    return centers, (sizes * padding).astype(np.float32)


def crop_affines(
    centers: Float32Array,
    sizes: Float32Array,
    input_size_wh: tuple[int, int],
    rotations_deg: Float32Array | None = None,
    *,
    udp: bool = False,
) -> Float32Array:
    """Affines (N, 2, 3) float32 from frame px to crop px.

    Args:
        centers: (N, 2) float32, frame px.
        sizes: (N, 2) float32, frame px, at the aspect ratio of the input.
        input_size_wh: width and height of the crop in px.
        rotations_deg: (N,) float32, the content turns counter-clockwise as seen in the crop; None for upright.
        udp: see the head of this file.
    """
    centers = np.asarray(centers, np.float64)
    extent = np.array(input_size_wh, np.float64) - (1 if udp else 0)
    factor = extent[0] / np.asarray(sizes, np.float64)[:, 0]
    angle = np.zeros(len(centers)) if rotations_deg is None else np.deg2rad(np.asarray(rotations_deg, np.float64))
    cos, sin = np.cos(angle) * factor, np.sin(angle) * factor
    # With y pointing down, a counter-clockwise turn of the content is [[cos, sin], [-sin, cos]].
    linear = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)  # (N, 2, 2)
    shift = extent / 2 - np.einsum("nij,nj->ni", linear, centers)
    return np.concatenate([linear, shift[..., None]], axis=-1).astype(np.float32)


def boxes_to_affines(
    boxes_xyxy: Float32Array, input_size_wh: tuple[int, int], padding: float = BOX_PADDING, *, udp: bool = False
) -> Float32Array:
    """Affines (N, 2, 3) float32 from frame px to crop px for upright crops of boxes (N, 4), frame px."""
    centers, sizes = box_centers_sizes(boxes_xyxy, input_size_wh, padding)
    return crop_affines(centers, sizes, input_size_wh, udp=udp)


def heatmap_stride(
    input_size_wh: tuple[int, int], heatmap_size_wh: tuple[int, int], *, udp: bool = False
) -> tuple[float, float]:
    """Crop px per heatmap px, along x and y."""
    less = 1 if udp else 0
    (width, height), (map_width, map_height) = input_size_wh, heatmap_size_wh
    return (width - less) / (map_width - less), (height - less) / (map_height - less)


def evenly_spanned(
    crop_to_frame: Float32Array, input_size_wh: tuple[int, int], heatmap_size_wh: tuple[int, int], *, udp: bool
) -> Float32Array:
    """Affines (N, 2, 3) for `AttentionMaps`, whose maps are taken to span the crop evenly; with UDP they do not."""
    if not udp or min(heatmap_size_wh) < 2:
        return crop_to_frame
    real, even = (heatmap_stride(input_size_wh, heatmap_size_wh, udp=aligned) for aligned in (True, False))
    factors = np.array([real[0] / even[0], real[1] / even[1], 1], np.float32)
    return np.asarray(crop_to_frame * factors, np.float32)


def invert_affines(affines: Float32Array) -> Float32Array:
    """(N, 2, 3) float32 inverses of affines (N, 2, 3)."""
    affines = np.asarray(affines, np.float64)
    linear = np.linalg.inv(affines[:, :, :2])
    shift = -np.einsum("nij,nj->ni", linear, affines[:, :, 2])
    return np.concatenate([linear, shift[..., None]], axis=-1).astype(np.float32)


def apply_affines(affines: Float32Array, points_xy: Float32Array) -> Float32Array:
    """Map points (N, K, 2) through affines (N, 2, 3), one affine per person; float32."""
    mapped = np.einsum("nij,nkj->nki", affines[:, :, :2], points_xy) + affines[:, None, :, 2]
    return np.asarray(mapped, np.float32)


def reduced(image_bgr: UInt8Array, scale: float) -> tuple[UInt8Array, int]:
    """A picture averaged over squares of n x n px before it is scaled by `scale`, and n; itself, and 1, from 1/4 up.

    Bilinear sampling reads four px: at a smaller scale it skips those between, and what it gives depends on where they
    lie. A large copy of a picture would then look different from a small one. The centre of px x of the result lies at
    n * x + (n - 1) / 2 of the picture.

    Args:
        image_bgr: (H, W, 3) uint8.
        scale: px of the result that a px of the picture becomes.
    """
    height, width = image_bgr.shape[:2]
    factor = min(int(_FINEST_SCALE / scale), height, width) if scale > 0 else 1
    if factor < 2:
        return image_bgr, 1
    whole = image_bgr[: height // factor * factor, : width // factor * factor]
    size_wh = (width // factor, height // factor)
    return np.asarray(cv2.resize(whole, size_wh, interpolation=cv2.INTER_AREA), np.uint8), factor


def warp_crops(
    image_bgr: UInt8Array, affines: Float32Array, input_size_wh: tuple[int, int], out: UInt8Array | None = None
) -> UInt8Array:
    """Cut people out of a frame: (N, H, W, 3) uint8 BGR, one warp per person, directly into the batch.

    Args:
        image_bgr: (frame height, frame width, 3) uint8.
        affines: (N, 2, 3) float32, frame px to crop px.
        input_size_wh: width and height of the crop in px.
        out: array of at least N crops to write into, which avoids allocations; its first N are returned.
    """
    width, height = input_size_wh
    if out is None:
        out = np.empty((len(affines), height, width, 3), np.uint8)
    smaller: dict[int, tuple[UInt8Array, int]] = {}
    for affine, crop in zip(affines, out, strict=False):
        wanted = max(1, int(_FINEST_SCALE / max(float(np.hypot(affine[0, 0], affine[1, 0])), 1e-6)))
        if wanted not in smaller:
            smaller[wanted] = reduced(image_bgr, _FINEST_SCALE / wanted)
        source, factor = smaller[wanted]  # less than wanted in a picture of fewer px
        if factor > 1:  # from px of the smaller picture to px of the frame, and on to the crop
            affine = affine.astype(np.float64)  # noqa: PLW2901
            affine[:, 2] += affine[:, :2].sum(axis=1) * (factor - 1) / 2
            affine[:, :2] *= factor
        cv2.warpAffine(source, affine, input_size_wh, dst=crop, flags=cv2.INTER_LINEAR)
    crops: UInt8Array = out[: len(affines)]
    return crops
