"""MobileNetV2 (Sandler et al.: "MobileNetV2: Inverted Residuals and Linear Bottlenecks") with a light feature pyramid.

The layer widths are those of MoveNet Thunder's backbone (width multiplier 1.75), so that its published weights load.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from models.pose_model import PoseModel, PoseModelConfig

_STEM_CHANNELS = 56
# Channels, number of blocks, and stride of the first of them; the expansion is 6 except in the very first block.
_GROUPS = ((32, 1, 1), (40, 2, 2), (56, 3, 2), (112, 4, 2), (168, 3, 1), (280, 3, 2), (560, 1, 1))
_EXPANSION = 6
_PYRAMID_CHANNELS = 96


class SamePaddedConv(nn.Conv2d):
    """A 3x3 convolution of stride 1 or 2 with TensorFlow's SAME padding for even sizes.

    At stride 2 that is one row of zeros at the bottom and one column at the right, and none at top and left.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, groups: int = 1) -> None:
        super().__init__(in_channels, channels, 3, stride, 1 if stride == 1 else 0, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C, H / stride, W / stride)."""
        if self.stride[0] == 2:
            x = F.pad(x, (0, 1, 0, 1))
        return super().forward(x)


def _conv_bn(conv: nn.Conv2d, activation: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [conv, nn.BatchNorm2d(conv.out_channels)]
    if activation:
        layers.append(nn.ReLU6(inplace=True))
    return nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3 with the stride, linear 1x1 projection; a shortcut where the shape is unchanged."""

    def __init__(self, in_channels: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = in_channels * expansion
        self.expand = _conv_bn(nn.Conv2d(in_channels, width, 1, bias=False)) if expansion > 1 else nn.Identity()
        self.depthwise = _conv_bn(SamePaddedConv(width, width, stride, groups=width))
        self.project = _conv_bn(nn.Conv2d(width, channels, 1, bias=False), activation=False)
        self.has_shortcut = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, channels, H / stride, W / stride)."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.has_shortcut else out


def _separable(channels: int) -> nn.Sequential:
    """Depthwise 3x3 and 1x1, each with batch norm; ReLU after the second."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class PoseMobileNet(PoseModel):
    """MobileNetV2 to stride 32, a pyramid back to stride 4, heatmap layer; KCAM if configured."""

    float32_layers = ("blocks.0",)

    def __init__(self, config: PoseModelConfig) -> None:
        super().__init__(config)
        self.stem = _conv_bn(SamePaddedConv(3, _STEM_CHANNELS, 2))
        blocks: list[nn.Module] = []
        channels, stride = _STEM_CHANNELS, 2
        self._block_strides: list[int] = []
        ends: dict[int, tuple[int, int]] = {}  # by stride: the last block there and its channels
        for width, count, first_stride in _GROUPS:
            for index in range(count):
                step = first_stride if index == 0 else 1
                blocks.append(InvertedResidual(channels, width, step, _EXPANSION if blocks else 1))
                channels, stride = width, stride * step
                self._block_strides.append(stride)
                ends[stride] = (len(blocks) - 1, channels)
        self.blocks = nn.ModuleList(blocks)
        self._pyramid_blocks = [ends[stride][0] for stride in (32, 16, 8, 4)]  # coarsest first
        self.laterals = nn.ModuleList(
            _conv_bn(nn.Conv2d(ends[stride][1], _PYRAMID_CHANNELS, 1, bias=False), activation=False)
            for stride in (32, 16, 8, 4)
        )
        self.merges = nn.ModuleList(_separable(_PYRAMID_CHANNELS) for _ in range(2))
        self.finest = nn.Sequential(
            nn.Conv2d(_PYRAMID_CHANNELS, _PYRAMID_CHANNELS, 3, 1, 1, bias=False),
            nn.BatchNorm2d(_PYRAMID_CHANNELS),
            nn.ReLU(inplace=True),
        )
        self._add_heads(_PYRAMID_CHANNELS)

    def backbone_strides(self) -> Mapping[str, int]:
        """MobileNetV2's own layers, without the pyramid."""
        return {"stem": 2, **{f"blocks.{index}": stride for index, stride in enumerate(self._block_strides)}}

    def features(self, images: Tensor) -> Tensor:
        """F: (B, 96, H / 4, W / 4)."""
        outputs = [self.stem(images)]
        for block in self.blocks:
            outputs.append(block(outputs[-1]))
        outputs = outputs[1:]
        levels = [lateral(outputs[i]) for lateral, i in zip(self.laterals, self._pyramid_blocks, strict=True)]
        x: Tensor = levels[0]  # (B, 96, H / 32, W / 32)
        for level, merge in zip(levels[1:], (*self.merges, self.finest), strict=True):
            x = merge(F.interpolate(x, scale_factor=2.0, mode="nearest") + level)
        return x  # (B, 96, H / 4, W / 4)
