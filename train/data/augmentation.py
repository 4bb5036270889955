"""What makes a crop harder than the photo was: colour, cut-out patches, blur, low resolution, the frame's edge.

Each function draws from the generator it is given alone.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np

from engine.types import Float32Array, UInt8Array
from train.config import TrainConfig
from train.data.people import Person

# A webcam's frame ends below a person far more often than elsewhere. Axis (0 for x), whether the far end is cut, share.
_SIDES = ((1, True, 0.6), (0, True, 0.15), (0, False, 0.15), (1, False, 0.1))
_SIDE_SHARES = [share for _, _, share in _SIDES]
_KEPT_SHARES = (0.3, 0.9)
"""How much of the box may be left, measured from the side that stays."""


def cut_by_frame(person: Person, image: UInt8Array, rng: np.random.Generator) -> tuple[Person, UInt8Array]:
    """The person and the picture as if the frame ended at a line through the body.

    At least a quarter of all keypoints stay labelled; where no line leaves so many, both are given back as they are.

    Args:
        person: box and keypoints in px of the picture.
        image: (H, W, 3) uint8 BGR.

    Returns:
        the person, whose box ends at the line and whose keypoints beyond it are no longer labelled, in px of the
        smaller picture, and that picture, a view of the one given.
    """
    axis, far, _ = _SIDES[int(rng.choice(len(_SIDES), p=_SIDE_SHARES))]
    low, high = float(person.box_xyxy[axis]), float(person.box_xyxy[axis + 2])
    labelled = person.keypoints[:, 2] > 0
    along = person.keypoints[labelled, axis]
    shares = np.sort((along - low if far else high - along) / (high - low))
    least = math.ceil(len(person.keypoints) / 4)
    smallest = max(_KEPT_SHARES[0], float(shares[least - 1])) if len(shares) >= least else math.inf
    if smallest >= _KEPT_SHARES[1]:
        return person, image
    kept = rng.uniform(smallest, _KEPT_SHARES[1]) * (high - low)
    # Rounded away from the body, so that the keypoints that were counted stay inside.
    line = math.floor(low + kept) + 1 if far else math.floor(high - kept)
    keypoints, box = person.keypoints.copy(), person.box_xyxy.copy()
    outside = keypoints[:, axis] >= line if far else keypoints[:, axis] < line
    keypoints[outside, 2] = 0
    window = [slice(None), slice(None)]
    window[1 - axis] = slice(line) if far else slice(line, None)
    if far:
        box[axis + 2] = min(high, line)
    else:
        keypoints[:, axis] -= line
        box[[axis, axis + 2]] = max(low, line) - line, high - line
    cut = dataclasses.replace(person, box_xyxy=box, keypoints=keypoints)
    return cut, image[window[0], window[1]]


def degrade(crop: UInt8Array, config: TrainConfig, rng: np.random.Generator) -> UInt8Array:
    """A crop (H, W, 3) uint8 BGR with patches over it, blurred and coarse, each with the run's probability."""
    hide, blur, coarsen = rng.random(3) < (
        config.cut_out_probability,
        config.blur_probability,
        config.low_resolution_probability,
    )
    if hide:
        crop = cut_out(crop, rng)
    if blur:
        crop = blur_gaussian(crop, rng) if rng.random() < 0.5 else blur_motion(crop, rng)
    if coarsen:
        crop = lower_resolution(crop, rng)
    return crop


def cut_out(crop: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """One to three rectangles of one colour each over a crop; what they hide stays labelled and is to be guessed."""
    covered = crop.copy()
    size_hw = np.array(crop.shape[:2])
    for _ in range(rng.integers(1, 4)):
        half = size_hw * rng.uniform(0.05, 0.15, 2)
        center = size_hw * rng.random(2)
        (top, left), (bottom, right) = np.maximum(center - half, 0).astype(int), (center + half).astype(int) + 1
        covered[top:bottom, left:right] = rng.integers(0, 256, 3)
    return covered


def blur_gaussian(crop: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Out of focus: a Gaussian of up to 2 % of the crop's width."""
    sigma = rng.uniform(0.004, 0.02) * crop.shape[1]
    return np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.uint8)


def blur_motion(crop: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Moved while the shutter was open: a mean along a line of up to 10 % of the crop's width, in any direction."""
    kernel = motion_kernel(rng.uniform(0.02, 0.1) * crop.shape[1], rng.uniform(0, math.pi))
    return np.asarray(cv2.filter2D(crop, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.uint8)


def motion_kernel(length_px: float, angle: float) -> Float32Array:
    """(n, n) float32 with sum 1: a line through the middle, its angle in radians from the x axis, y down."""
    radius = max(1, math.ceil(length_px / 2))
    offsets = np.linspace(-length_px / 2, length_px / 2, 8 * radius + 1)
    xs, ys = (np.rint(offsets * part).astype(int) + radius for part in (math.cos(angle), math.sin(angle)))
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    np.add.at(kernel, (ys, xs), np.float32(1 / len(offsets)))
    return kernel


def lower_resolution(crop: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """As if the person had been 15 to 60 % as large in the picture: made smaller, then as large as before."""
    height, width = crop.shape[:2]
    factor = rng.uniform(0.15, 0.6)
    small = (max(1, round(width * factor)), max(1, round(height * factor)))
    shrunk = cv2.resize(crop, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def jitter_color(crop: UInt8Array, strength: float, rng: np.random.Generator) -> UInt8Array:
    """Random brightness, contrast, gamma and colour cast through one table of 256 values a channel."""
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[:, None]
    gamma = np.exp(rng.uniform(-strength, strength))
    gain = np.exp(rng.uniform(-strength, strength)) * np.exp(rng.uniform(-strength / 2, strength / 2, 3))
    offset = rng.uniform(-strength, strength) / 3
    table = np.clip((ramp**gamma * gain + offset) * 255, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(crop, table[None]), np.uint8)
