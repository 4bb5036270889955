"""Pose networks with random weights, built from a name or a configuration; and what a network costs."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from models.hrnet import PoseHRNet
from models.mobilenet import PoseMobileNet
from models.pose_model import PoseModel, PoseModelConfig
from models.resnet import PoseResNet

FAMILIES: dict[str, type[PoseModel]] = {"resnet": PoseResNet, "hrnet": PoseHRNet, "mobilenet": PoseMobileNet}
"""The class of each family, by the beginning of its backbones' names; docs/new-backbone.md adds one."""


def build_model(name: str, **fields: Any) -> PoseModel:
    """A network with random weights.

    Args:
        name: one of MODEL_NAMES.
        **fields: other fields of PoseModelConfig.

    Raises:
        ValueError: an unknown name or a field that does not fit.
    """
    return build_from_config(PoseModelConfig(name=name, **fields))


def build_from_config(config: PoseModelConfig) -> PoseModel:
    """A network with random weights, from a checked configuration.

    Raises:
        ValueError: no family of FAMILIES has such a backbone.
    """
    for family, network in FAMILIES.items():
        if config.backbone_name.startswith(family):
            return network(config)
    raise ValueError(f"no family in models/build.py has a backbone '{config.backbone_name}'")


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
    from torch.utils.flop_counter import FlopCounterMode

    width, height = config.input_size_wh
    with torch.device("meta"), torch.no_grad():
        model = build_from_config(config).eval()
        counter = FlopCounterMode(display=False)
        with counter:
            model(torch.empty(1, 3, height, width))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Cost(parameters, counter.get_total_flops() / 2 / 1e9)
