"""A pose network: backbone, heatmap layer and, for KCAM models, the paper's head."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from models.kcam import KCAM, AreaNormalization, Fusion

Decode = Literal["quarter", "dark"]

BACKBONE_NAMES = (
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "hrnet_w18", "hrnet_w32", "hrnet_w48",
    "mobilenet_v2",
)  # fmt: skip
MODEL_NAMES = tuple(f"{prefix}{name}" for prefix in ("kcam_", "") for name in BACKBONE_NAMES)

# Enough for any skeleton, and small enough that a damaged file cannot exhaust the memory.
_MAX_KEYPOINTS, _MAX_SIDE = 1024, 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoseModelConfig:
    """Everything that determines the layers of a pose network.

    Attributes:
        name: one of MODEL_NAMES; the prefix "kcam_" means with the paper's head.
        num_keypoints: K.
        input_size_wh: width and height of the crop in px, multiples of 32.
        deconv_channels: width of the three deconvolutions of a ResNet (256 in SimpleBaseline); others ignore it.
        fusion: how the aggregated features are combined with the backbone's, see `KCAM`.
        coarse_supervision: whether training puts a loss on the coarse heatmaps (table 1 of the paper).
        area_normalization: see `KCAM`.
        udp: crops and heatmaps are aligned at the centres of their outer pixels (Huang et al., "The Devil is in the
            Details"), see `engine/geometry.py`; changes no layer, but must be the same in training and inference.
        sigma: standard deviation in heatmap px of the Gaussians it learns; 0 for 2 at 64x48, 3 at 96x72.
        decode: how inference decodes its heatmaps to keypoints: "quarter" px as in the paper, or "dark", see
            `engine/heatmap.py`; changes no layer.
    """

    name: str
    num_keypoints: int = 17
    input_size_wh: tuple[int, int] = (192, 256)
    deconv_channels: int = 256
    fusion: Fusion = "concat"
    coarse_supervision: bool = True
    area_normalization: AreaNormalization = "sum"
    udp: bool = False
    sigma: float = 0.0
    decode: Decode = "quarter"

    def __post_init__(self) -> None:
        if self.name not in MODEL_NAMES:
            close = difflib.get_close_matches(str(self.name), MODEL_NAMES, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise ValueError(f"unknown model '{self.name}'.{hint} Known: {', '.join(MODEL_NAMES)}")
        for field in ("num_keypoints", "deconv_channels"):
            if type(getattr(self, field)) is not int:
                raise ValueError(f"{field} is {getattr(self, field)!r}; expected a whole number")
        if not 1 <= self.num_keypoints <= _MAX_KEYPOINTS:
            raise ValueError(f"num_keypoints is {self.num_keypoints}; expected 1 to {_MAX_KEYPOINTS}")
        if len(self.input_size_wh) != 2 or any(n % 32 or not 0 < n <= _MAX_SIDE for n in self.input_size_wh):
            raise ValueError(f"input_size_wh is {self.input_size_wh}; two multiples of 32 up to {_MAX_SIDE} fit")
        if not 1 <= self.deconv_channels <= 4096:
            raise ValueError(f"deconv_channels is {self.deconv_channels}; expected 1 to 4096")
        if self.fusion not in ("concat", "add", "none"):
            raise ValueError(f"fusion is '{self.fusion}'; expected concat, add or none")
        if self.area_normalization not in ("sum", "softmax"):
            raise ValueError(f"area_normalization is '{self.area_normalization}'; expected sum or softmax")
        if self.decode not in ("quarter", "dark"):
            raise ValueError(f"decode is '{self.decode}'; expected quarter or dark")
        if not 0 <= self.sigma <= _MAX_SIDE:
            raise ValueError(f"sigma is {self.sigma}; expected 0 or more")

    @property
    def has_kcam(self) -> bool:
        """Whether the network has the paper's head."""
        return self.name.startswith("kcam_")

    @property
    def backbone_name(self) -> str:
        """The model's name without the head."""
        return self.name.removeprefix("kcam_")

    @property
    def heatmap_size_wh(self) -> tuple[int, int]:
        """Width and height of the heatmaps: a quarter of the input."""
        return self.input_size_wh[0] // 4, self.input_size_wh[1] // 4

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**dataclasses.asdict(self), "input_size_wh": list(self.input_size_wh)}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> PoseModelConfig:
        """The inverse of `to_dict`.

        Raises:
            ValueError: a field is unknown or its value does not fit.
        """
        known = {field.name for field in dataclasses.fields(PoseModelConfig)}
        for key in values:
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1)
                raise ValueError(f"unknown field '{key}'" + (f"; did you mean '{close[0]}'?" if close else ""))
        try:
            width, height = values.get("input_size_wh", (192, 256))
            return PoseModelConfig(**{**values, "input_size_wh": (int(width), int(height))})
        except (TypeError, OverflowError, AttributeError) as error:
            raise ValueError(f"not the fields of a pose model: {error}") from error


class PoseOutput(NamedTuple):
    """The outputs of a pose network.

    Attributes:
        heatmaps: (B, K, h, w), the final heatmaps.
        coarse_heatmaps: (B, K, h, w), from which the areas are computed; None without KCAM.
        areas: (B, K, h, w) float32, G; None without KCAM.
        attention: (B, K, h, w) float32, S; None without KCAM.
        representations: (B, K, C), R; None without KCAM.
    """

    heatmaps: Tensor
    coarse_heatmaps: Tensor | None = None
    areas: Tensor | None = None
    attention: Tensor | None = None
    representations: Tensor | None = None


class PoseModel(nn.Module):
    """Base of all pose networks: a subclass adds the backbone's layers and `features`, this class the heatmap heads.

    The backbone's layers are at the top level, so that the parameter names of a model without KCAM are those of the
    official SimpleBaseline and HRNet code. With KCAM, the official `final_layer` makes the coarse heatmaps.

    Attributes:
        float32_layers: names of layers that bfloat16 would damage, see docs/decisions/0025-bfloat16-mobilenet.md.
    """

    float32_layers: tuple[str, ...] = ()

    def __init__(self, config: PoseModelConfig) -> None:
        super().__init__()
        self.config = config
        self.kcam: KCAM | None = None

    def features(self, images: Tensor) -> Tensor:
        """F: (B, C, H / 4, W / 4) from normalised RGB images (B, 3, H, W)."""
        raise TypeError(f"{type(self).__name__} is a base; build_model() makes a network")

    def backbone_strides(self) -> Mapping[str, int]:
        """The layers that a pretrained backbone initialises, in forward order: module name to its output's stride."""
        raise TypeError(f"{type(self).__name__} is a base; build_model() makes a network")

    def backbone_stride(self, name: str) -> int | None:
        """Stride of the backbone layer that a parameter or module belongs to; None outside the backbone."""
        for layer, stride in self.backbone_strides().items():
            if name == layer or name.startswith(f"{layer}."):
                return stride
        return None

    def _add_heads(self, channels: int) -> None:
        """Add the heatmap layers on C channels; a backbone calls it last, so that names keep the official order."""
        keypoints = self.config.num_keypoints
        self.final_layer = nn.Conv2d(channels, keypoints, 1)
        if self.config.has_kcam:
            self.kcam = KCAM(channels, keypoints, self.config.fusion, self.config.area_normalization)
            self.kcam_final_layer = nn.Conv2d(channels, keypoints, 1)
        self._initialize()

    def _initialize(self) -> None:
        """He initialisation for training from scratch; heatmap layers start near zero, as in the official code."""
        for name, module in self.named_modules():
            if name in ("final_layer", "kcam_final_layer"):
                nn.init.normal_(module.weight, std=0.001)  # type: ignore[arg-type]
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
            elif name.startswith("kcam."):
                continue  # PyTorch's default, whose scale suits layers that no batch norm follows
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=(2.0 / (module.in_channels * 4)) ** 0.5)

    def forward(self, images: Tensor) -> PoseOutput:
        """Heatmaps of a batch.

        Args:
            images: (B, 3, H, W) floating, RGB, normalised by the model's mean and std.
        """
        features = self.features(images)  # (B, C, h, w)
        heatmaps = self.final_layer(features)  # (B, K, h, w)
        if self.kcam is None:
            return PoseOutput(heatmaps)
        context = self.kcam(features, heatmaps)
        return PoseOutput(
            heatmaps=self.kcam_final_layer(context.augmented),
            coarse_heatmaps=heatmaps,
            areas=context.areas,
            attention=context.attention,
            representations=context.representations,
        )


def parse_size(text: str) -> tuple[int, int]:
    """Width and height from "256x192", written height first as the paper does.

    Raises:
        ValueError: not of that form.
    """
    match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text.strip().lower())
    if match is None:
        raise ValueError(f"'{text}' is not a size; write height x width, as in 256x192")
    return int(match[2]), int(match[1])
