"""Where the random crop of a person lies: half body, scale, rotation and mirroring.

The official code is deep-high-resolution-net.pytorch; docs/decisions/0021-official-code.md lists what is taken from it.
"""

from __future__ import annotations

import numpy as np

from engine.geometry import box_centers_sizes, crop_affines
from engine.types import Float32Array
from train.config import TrainConfig
from train.data.boxes import outer_pixels
from train.data.people import Person

_HALF_BODY_PADDING = 1.5
"""Of the box around the keypoints of one half, in place of the 1.25 around a labelled box."""
_TURNED_SHARE = 0.6
"""Share of the crops that the official code turns."""


def random_affine(
    person: Person,
    config: TrainConfig,
    input_size_wh: tuple[int, int],
    upper_body: tuple[int, ...],
    rng: np.random.Generator,
    *,
    mirror: bool,
) -> tuple[Float32Array, bool]:
    """(2, 3) affine from picture px to crop px, and whether it mirrors.

    Args:
        person: box and keypoints in picture px.
        config: probabilities and ranges.
        input_size_wh: width and height of the crop in px.
        upper_body: indices of the keypoints of the upper half; empty for no half-body crops.
        rng: the only source of chance.
        mirror: whether crops may be mirrored at all.
    """
    udp = config.pose_model.udp
    half = None
    if is_half_body_candidate(person, upper_body) and rng.random() < config.half_body_probability:
        half = half_body_crop(person.keypoints, upper_body, input_size_wh, rng)
    if half is None:
        centers, sizes = box_centers_sizes(outer_pixels(person.box_xyxy[None]), input_size_wh)
    else:
        centers, sizes = half[0][None], half[1][None]
    scale, rotation_deg = draw_scale_rotation(config, rng)
    sizes = (sizes * scale).astype(np.float32)
    affine = crop_affines(centers, sizes, input_size_wh, np.array([rotation_deg], np.float32), udp=udp)[0]
    mirrored = mirror and bool(rng.random() < config.flip_probability)
    if mirrored:  # the centre stays where it is, as if the picture had been mirrored before
        affine[0] = -affine[0]
        affine[0, 2] += input_size_wh[0] - (1 if udp else 0)
    return affine, mirrored


def draw_scale_rotation(config: TrainConfig, rng: np.random.Generator) -> tuple[float, float]:
    """Factor on the size of the crop, and degrees that its content turns.

    "paper-uniform" draws evenly from the ranges. "official" draws from a normal distribution whose deviation is half
    the range of scales (or the rotation itself), clipped to that range (or twice the rotation), and leaves 40 % of the
    crops upright.
    """
    low, high = config.scale_range
    turn = config.rotation_deg
    if config.augmentation == "paper-uniform":
        return float(rng.uniform(low, high)), float(rng.uniform(-turn, turn))
    scale = np.clip(rng.normal((low + high) / 2, (high - low) / 2), low, high)
    rotation = np.clip(rng.normal(0, turn), -2 * turn, 2 * turn) if rng.random() <= _TURNED_SHARE else 0.0
    return float(scale), float(rotation)


def is_half_body_candidate(person: Person, upper_body: tuple[int, ...]) -> bool:
    """Whether more than half of the keypoints are labelled: of COCO's 17 more than 8, as in the official code."""
    return bool(upper_body) and int((person.keypoints[:, 2] > 0).sum()) > len(person.keypoints) // 2


def half_body_crop(
    keypoints: Float32Array, upper_body: tuple[int, ...], input_size_wh: tuple[int, int], rng: np.random.Generator
) -> tuple[Float32Array, Float32Array] | None:
    """Centre and size (2,) float32 in picture px of a crop around one half of the body, as the official code cuts it.

    The upper half in 69 % of the draws, if more than two of its keypoints are labelled; else the lower half, if more
    than two of its are; else the upper half. None where that has fewer than two. The centre is the mean of the
    keypoints, the size that of the box around them at the aspect ratio of the input, times 1.5.

    Args:
        keypoints: (K, 3) float32: x, y in picture px, and above 0 where labelled.
        upper_body: indices of the keypoints of the upper half.
        input_size_wh: width and height of the crop in px.
        rng: draws the half.
    """
    is_upper = np.isin(np.arange(len(keypoints)), upper_body)
    labelled = keypoints[:, 2] > 0
    upper, lower = keypoints[labelled & is_upper, :2], keypoints[labelled & ~is_upper, :2]
    # A standard normal number is below 0.5 in 69 % of the draws.
    first = rng.standard_normal() < 0.5 and len(upper) > 2
    chosen = upper if first or len(lower) <= 2 else lower
    if len(chosen) < 2:
        return None
    box = np.concatenate([chosen.min(axis=0), chosen.max(axis=0)])
    _, sizes = box_centers_sizes(box[None].astype(np.float32), input_size_wh, _HALF_BODY_PADDING)
    return np.asarray(chosen.mean(axis=0), np.float32), sizes[0]
