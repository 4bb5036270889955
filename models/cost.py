"""Parameters and FLOPs of a network, without memory for its weights."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from models.build import build_from_config
from models.pose_model import PoseModelConfig


class Cost(NamedTuple):
    """Size of a network.

    Attributes:
        parameters: learnt numbers.
        gflops: billions of multiply-adds for one crop, of convolutions and matrix products alone. The figures of the
            HRNet and SimpleBaseline papers are lower by 2^30 / 10^9 (7.1 for the 7.6 of HRNet-W32), and count
            transposed convolutions four times, as if their stride were 1.
    """

    parameters: int
    gflops: float

    def __str__(self) -> str:
        return f"{self.parameters / 1e6:.1f} M parameters, {self.gflops:.1f} GFLOPs"


def cost_of(config: PoseModelConfig) -> Cost:
    """Parameters and FLOPs of the network of a configuration at its input size."""
    width, height = config.input_size_wh
    with torch.device("meta"), torch.no_grad():
        model = build_from_config(config).eval()
        counter = FlopCounterMode(display=False)
        with counter:
            model(torch.empty(1, 3, height, width))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Cost(parameters, counter.get_total_flops() / 2 / 1e9)
