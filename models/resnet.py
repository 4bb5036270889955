"""SimpleBaseline: ResNet and three deconvolutions (Xiao, Wu, Wei: "Simple Baselines for Human Pose Estimation").

Layer names are those of the official code (`pose_resnet.py`), so its checkpoints load as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from models.pose_model import PoseModel, PoseModelConfig

_BLOCKS = {
    "resnet18": ("basic", (2, 2, 2, 2)),
    "resnet34": ("basic", (3, 4, 6, 3)),
    "resnet50": ("bottleneck", (3, 4, 6, 3)),
    "resnet101": ("bottleneck", (3, 4, 23, 3)),
    "resnet152": ("bottleneck", (3, 8, 36, 3)),
}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, channels, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + shortcut)  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; the 3x3 one has the stride."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, 4 * channels, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + shortcut)  # type: ignore[no-any-return]


def make_layer(
    block: type[BasicBlock] | type[Bottleneck], in_channels: int, channels: int, count: int, stride: int = 1
) -> nn.Sequential:
    """`count` residual blocks; the first one changes stride and width."""
    downsample = None
    if stride != 1 or in_channels != channels * block.expansion:
        downsample = nn.Sequential(
            nn.Conv2d(in_channels, channels * block.expansion, 1, stride, bias=False),
            nn.BatchNorm2d(channels * block.expansion),
        )
    blocks: list[nn.Module] = [block(in_channels, channels, stride, downsample)]
    blocks += [block(channels * block.expansion, channels) for _ in range(count - 1)]
    return nn.Sequential(*blocks)


class PoseResNet(PoseModel):
    """ResNet to stride 32, three deconvolutions back to stride 4, heatmap layer; KCAM if configured."""

    def __init__(self, config: PoseModelConfig) -> None:
        super().__init__(config)
        kind, counts = _BLOCKS[config.backbone_name]
        block = BasicBlock if kind == "basic" else Bottleneck
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = make_layer(block, 64, 64, counts[0])
        self.layer2 = make_layer(block, 64 * block.expansion, 128, counts[1], 2)
        self.layer3 = make_layer(block, 128 * block.expansion, 256, counts[2], 2)
        self.layer4 = make_layer(block, 256 * block.expansion, 512, counts[3], 2)
        deconvolutions: list[nn.Module] = []
        channels = 512 * block.expansion
        for _ in range(3):
            deconvolutions += [
                nn.ConvTranspose2d(channels, config.deconv_channels, 4, 2, 1, bias=False),
                nn.BatchNorm2d(config.deconv_channels),
                nn.ReLU(inplace=True),
            ]
            channels = config.deconv_channels
        self.deconv_layers = nn.Sequential(*deconvolutions)
        self._add_heads(channels)

    def backbone_strides(self) -> Mapping[str, int]:
        """ResNet's own layers, without the deconvolutions."""
        return {"conv1": 2, "bn1": 2, "layer1": 4, "layer2": 8, "layer3": 16, "layer4": 32}

    def features(self, images: Tensor) -> Tensor:
        """F: (B, deconv_channels, H / 4, W / 4)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))  # (B, C, H / 32, W / 32)
        return self.deconv_layers(x)  # type: ignore[no-any-return]
