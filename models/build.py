"""Pose networks with random weights, built from a name or a configuration."""

from __future__ import annotations

from typing import Any

from models.hrnet import PoseHRNet
from models.mobilenet import PoseMobileNet
from models.pose_model import PoseModel, PoseModelConfig
from models.resnet import PoseResNet


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
    """A network with random weights, from a checked configuration."""
    if config.backbone_name.startswith("hrnet"):
        return PoseHRNet(config)
    if config.backbone_name.startswith("mobilenet"):
        return PoseMobileNet(config)
    return PoseResNet(config)
