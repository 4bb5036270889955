"""A small pose model with random weights, and crops for which it gives clear peaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from engine.backends import Backend, open_pose_backend
from engine.skeleton import Skeleton
from models.build import build_model
from models.checkpoints import save_pose_model

INPUT_SIZE_WH = (64, 96)
SKELETON = Skeleton(
    keypoint_names=("left_disc", "right_disc", "top_disc", "bottom_disc"),
    edges=((0, 1), (2, 3)),
    flip_pairs=((0, 1),),
    oks_sigmas=(0.05, 0.05, 0.07, 0.07),
)


def random_crops(count: int, seed: int) -> np.ndarray:
    """Crops (N, H, W, 3) uint8 BGR of noise with discs."""
    rng = np.random.default_rng(seed)
    width, height = INPUT_SIZE_WH
    crops = rng.integers(0, 90, (count, height, width, 3)).astype(np.uint8)
    y, x = np.mgrid[:height, :width]
    for crop in crops:
        for _ in range(5):
            center_x, center_y, radius = rng.uniform([0, 0, 4], [width, height, 16])
            crop[(x - center_x) ** 2 + (y - center_y) ** 2 < radius**2] = rng.integers(0, 256, 3)
    return crops


def open_small(name: str, weights: Path, onnx_file: Path, precision: str = "fp32") -> Backend:
    """A model on a runtime, from its weights or its graph."""
    model = weights if name == "torch" else onnx_file
    # One thread each: on busy machines several threads wait for each other.
    threads = None if name == "torch" else 1
    return open_pose_backend(model, backend=name, precision=precision, threads=threads).backend


def write_small_model(path: Path, name: str = "kcam_resnet18") -> Path:
    """Write random weights whose heatmaps are clearly above and below zero."""
    torch.manual_seed(0)
    model = build_model(name, num_keypoints=4, input_size_wh=INPUT_SIZE_WH, deconv_channels=32)
    with torch.no_grad():
        # Statistics of real activations, as a trained network has them.
        for seed in range(2):
            images = torch.from_numpy(random_crops(8, seed)).permute(0, 3, 1, 2).float() / 128 - 1
            model.train()(images)
        for layer_name in ("final_layer", "kcam_final_layer"):
            layer = getattr(model, layer_name, None)
            if layer is not None:
                torch.nn.init.normal_(layer.weight, std=0.3)
    save_pose_model(path, model.eval(), skeleton=SKELETON.to_dict(), mean=(0.5, 0.45, 0.4), std=(0.25, 0.24, 0.23))
    return path
