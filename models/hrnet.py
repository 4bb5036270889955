"""HRNet (Sun, Xiao, Liu, Wang: "Deep High-Resolution Representation Learning for Human Pose Estimation").

Layer names are those of the official code (`pose_hrnet.py`), so its checkpoints load as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import cast

import torch
from torch import Tensor, nn

from models.pose_model import PoseModel, PoseModelConfig
from models.resnet import BasicBlock, Bottleneck, make_layer

_WIDTHS = {"hrnet_w18": 18, "hrnet_w32": 32, "hrnet_w48": 48}
_BLOCKS_PER_BRANCH = 4
_MODULES = (1, 4, 3)  # of stages 2, 3 and 4


def _conv_bn(in_channels: int, channels: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(channels)]


class HighResolutionModule(nn.Module):
    """Parallel branches of residual blocks, then every branch summed into every other (or into the first only)."""

    def __init__(self, channels: list[int], all_outputs: bool) -> None:
        super().__init__()
        self.branches = nn.ModuleList(make_layer(BasicBlock, width, width, _BLOCKS_PER_BRANCH) for width in channels)
        outputs = len(channels) if all_outputs else 1
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_fuse_layer(channels, source, target) for source in range(len(channels)))
            for target in range(outputs)
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        """One tensor (B, C_i, H / 2^i, W / 2^i) a branch, in and out."""
        branches = [branch(x) for branch, x in zip(self.branches, inputs, strict=True)]
        outputs = []
        for layers in self.fuse_layers:
            terms = [layer(branch) for layer, branch in zip(cast(nn.ModuleList, layers), branches, strict=True)]
            outputs.append(self.relu(reduce(torch.add, terms)))
        return outputs


def _fuse_layer(channels: list[int], source: int, target: int) -> nn.Module:
    """The layers that convert branch `source` to the size and width of branch `target`."""
    if source == target:
        return nn.Identity()
    if source > target:
        upsample = nn.Upsample(scale_factor=2 ** (source - target), mode="nearest")
        return nn.Sequential(*_conv_bn(channels[source], channels[target], 1), upsample)
    steps: list[nn.Module] = []
    for step in range(target - source):
        if step == target - source - 1:
            steps.append(nn.Sequential(*_conv_bn(channels[source], channels[target], 3, 2)))
        else:
            steps.append(nn.Sequential(*_conv_bn(channels[source], channels[source], 3, 2), nn.ReLU(inplace=True)))
    return nn.Sequential(*steps)


def _transition(before: list[int], after: list[int]) -> nn.ModuleList:
    """Adjust the widths of the branches of a stage and add the new, coarser ones."""
    layers: list[nn.Module] = []
    for index, width in enumerate(after):
        if index < len(before):
            same = before[index] == width
            layers.append(
                nn.Identity() if same else nn.Sequential(*_conv_bn(before[index], width, 3), nn.ReLU(inplace=True))
            )
        else:
            # Official names number the steps of a new branch, hence the Sequential in a Sequential.
            step = nn.Sequential(*_conv_bn(before[-1], width, 3, 2), nn.ReLU(inplace=True))
            layers.append(nn.Sequential(step))
    return nn.ModuleList(layers)


def _stage(channels: list[int], modules: int, all_outputs: bool = True) -> nn.Sequential:
    last = modules - 1
    return nn.Sequential(*(HighResolutionModule(channels, all_outputs or i != last) for i in range(modules)))


class PoseHRNet(PoseModel):
    """HRNet with the high-resolution branch as features; KCAM if configured."""

    def __init__(self, config: PoseModelConfig) -> None:
        super().__init__(config)
        width = _WIDTHS[config.backbone_name]
        widths = [width * 2**i for i in range(4)]
        self.conv1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = make_layer(Bottleneck, 64, 64, 4)
        self.transition1 = _transition([256], widths[:2])
        self.stage2 = _stage(widths[:2], _MODULES[0])
        self.transition2 = _transition(widths[:2], widths[:3])
        self.stage3 = _stage(widths[:3], _MODULES[1])
        self.transition3 = _transition(widths[:3], widths)
        self.stage4 = _stage(widths, _MODULES[2], all_outputs=False)
        self._add_heads(width)

    def backbone_strides(self) -> Mapping[str, int]:
        """Strides by the coarsest branch of each stage; everything before the head is pretrained."""
        layers = {"conv1": 2, "bn1": 2, "conv2": 4, "bn2": 4, "layer1": 4}
        for stage, stride in ((2, 8), (3, 16), (4, 32)):
            layers |= {f"transition{stage - 1}": stride, f"stage{stage}": stride}
        return layers

    def features(self, images: Tensor) -> Tensor:
        """F: (B, width, H / 4, W / 4)."""
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.layer1(self.relu(self.bn2(self.conv2(x))))  # (B, 256, H / 4, W / 4)
        branches = [x]
        for transition, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ):
            # A new branch starts from the coarsest existing one.
            inputs = [layer(branches[min(i, len(branches) - 1)]) for i, layer in enumerate(transition)]
            branches = list(stage(inputs))
        finest: Tensor = branches[0]
        return finest
