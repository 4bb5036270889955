"""Pose networks with random weights, built from a name or a configuration."""

from __future__ import annotations

from typing import Any

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
