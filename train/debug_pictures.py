"""`--debug-pictures`: crops as the network gets them, with targets and predictions, to see whether labels fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from engine.heatmap import decoder_for
from engine.overlay.drawing import OverlayOptions, draw
from engine.skeleton import Skeleton
from engine.types import Detections, Float32Array, Frame, FrameResult, Poses, UInt8Array
from models.checkpoints import write_atomically
from models.pose_model import PoseModelConfig
from train.data.dataset import Sample
from train.validation import Forward

_SHOWN_HEIGHT_PX = 256
_OVERLAY = OverlayOptions(ids=False)


def write_debug_pictures(
    file: Path, samples: Sequence[Sample], forward: Forward, config: PoseModelConfig, skeleton: Skeleton
) -> None:
    """Write a PNG with a row for each sample: target skeleton, target heatmaps, predicted skeleton, predicted heatmaps.

    Skeletons are decoded from the heatmaps, so that a wrong scale or a wrong mirroring of the targets shows. Keypoints
    that do not count in the loss are left out of the targets.
    """
    crops = torch.stack([sample["crop"] for sample in samples])
    with torch.no_grad():
        predicted = forward(crops).heatmaps.float().cpu().numpy()
    size = (crops.shape[2], crops.shape[1])
    decode = decoder_for(config.decode, sigma=config.sigma, udp=config.udp)
    rows = []
    for index, sample in enumerate(samples):
        crop = sample["crop"].numpy()
        targets = sample["targets"].numpy() * (sample["weights"].numpy() > 0)[:, None, None]
        tiles = []
        for heatmaps in (targets, predicted[index]):
            tiles += [_with_skeleton(crop, decode(heatmaps[None], size)[0], skeleton), _with_heatmaps(crop, heatmaps)]
        rows.append(np.hstack(tiles))
    encoded = cv2.imencode(".png", np.vstack(rows))[1]
    write_atomically(file, encoded.tobytes())


def _with_skeleton(crop: UInt8Array, keypoints: Float32Array, skeleton: Skeleton) -> UInt8Array:
    """The crop with keypoints (K, 3) in crop px, in the size that is shown."""
    factor = _SHOWN_HEIGHT_PX / crop.shape[0]
    box = np.array([[0, 0, crop.shape[1], crop.shape[0]]], np.float32) * factor
    poses = Poses(
        keypoints_xy=np.asarray(keypoints[None, :, :2] * factor, np.float32),
        scores=np.asarray(keypoints[None, :, 2], np.float32),
        boxes_xyxy=box.astype(np.float32),
        box_scores=np.ones(1, np.float32),
        person_scores=np.ones(1, np.float32),
    )
    frame = Frame(image_bgr=_resized(crop), index=0, timestamp_s=0.0)
    return draw(FrameResult(frame=frame, detections=Detections.empty(), poses=poses), skeleton, _OVERLAY)


def _with_heatmaps(crop: UInt8Array, heatmaps: Float32Array) -> UInt8Array:
    """The crop with the highest of all heatmaps (K, h, w) at each pixel, from blue (0) to red (1)."""
    shown = _resized(crop)
    highest = cv2.resize(np.clip(heatmaps.max(axis=0), 0, 1), (shown.shape[1], shown.shape[0]))
    colors = cv2.applyColorMap(np.round(highest * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    return np.asarray(cv2.addWeighted(shown, 0.5, np.asarray(colors), 0.5, 0), np.uint8)


def _resized(crop: UInt8Array) -> UInt8Array:
    width = round(crop.shape[1] * _SHOWN_HEIGHT_PX / crop.shape[0])
    return np.asarray(cv2.resize(crop, (width, _SHOWN_HEIGHT_PX)), np.uint8)
