"""The pose network in the form that is compiled: uint8 crops in, keypoints out. Imports torch.

All steps from crop to keypoint are inside the graph, so that every backend gives the same numbers and heatmaps leave
the device only on request.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.artifacts.model_spec import ModelSpec, TensorSpec
from engine.backends.graph_decode import GraphDecoder
from engine.errors import ModelError
from engine.skeleton import Skeleton
from models.checkpoints import CheckpointError, PoseCheckpoint, load_pose_model
from models.kcam import KCAM, KCAMOutput
from models.pose_model import PoseModel


class PoseGraph(nn.Module):
    """A pose model with normalisation in front and decoding behind.

    Args:
        model: in eval mode.
        mean, std: RGB, on the 0..1 scale.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: PoseModel, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.model = model
        self.input_size_wh = model.config.input_size_wh
        self.has_kcam = model.config.has_kcam
        deviation = torch.tensor(std, dtype=torch.float64)
        scale = 1 / (255 * deviation)
        shift = -torch.tensor(mean, dtype=torch.float64) / deviation
        self.register_buffer("scale", scale.float().view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.float().view(1, 3, 1, 1), persistent=False)
        self.compute_dtype = torch.float32
        config = model.config
        self.decode = GraphDecoder(
            config.input_size_wh,
            config.heatmap_size_wh,
            dark=config.decode == "dark",
            sigma=config.sigma,
            udp=config.udp,
        )

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs of `forward`, in order."""
        return ("keypoints", "heatmaps", "areas", "attention") if self.has_kcam else ("keypoints", "heatmaps")

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        """Keypoints (N, K, 3) in crop px with scores, heatmaps, and for KCAM areas and attention (N, K, h, w); float32.

        Args:
            crops: (N, H, W, 3) uint8, BGR.
        """
        # The cast comes first: TensorRT accepts a uint8 input only if a cast consumes it.
        return self.from_pixels(crops.float().permute(0, 3, 1, 2))

    def from_pixels(self, pixels_bgr: Tensor) -> tuple[Tensor, ...]:
        """As `forward`, from crops (N, 3, H, W) float32, BGR, 0 to 255."""
        images = pixels_bgr.flip(1) * self.scale + self.shift  # (N, 3, H, W), RGB
        output = self.model(images.to(self.compute_dtype, memory_format=torch.channels_last))
        heatmaps = output.heatmaps.float()
        keypoints = self.decode(heatmaps)  # (N, K, 3)
        if not self.has_kcam:
            return keypoints, heatmaps
        return keypoints, heatmaps, output.areas.float(), output.attention.float()

    def lower_precision(self, dtype: torch.dtype) -> None:
        """Switch to 16 bits, except where that would move keypoints.

        Batch norms keep float32 statistics, and the heatmap layers output float32: with eight bits of mantissa a peak
        and its neighbours round to the same value, and the keypoint then lands on the wrong pixel. Layers that the
        network names are computed in float32 where the other type is bfloat16.
        """
        self.compute_dtype = dtype
        heads = [name for name in ("final_layer", "kcam_final_layer") if hasattr(self.model, name)]
        layers = self.model.float32_layers if dtype == torch.bfloat16 else ()
        kept = {name: copy.deepcopy(self.model.get_submodule(name)) for name in (*heads, *layers)}
        self.model.to(dtype)
        for module in self.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.float()
        for name, layer in kept.items():  # with the weights that they had before they were rounded
            layer.register_forward_pre_hook(_to_float32)
            if name in layers:
                layer.register_forward_hook(lambda _module, _inputs, output: output.to(dtype))
            self.model.set_submodule(name, layer)


class FoldedKCAM(nn.Module):
    """KCAM with its two large 1x1 convolutions moved from the pixels to the K representations; the same numbers.

    Equation 2 uses F' = Wq F + bq only in the product with R' = Wk R, so Wq can be applied to R, too:
    F'. R' = F . (Wq^T Wk R) + (Wk^T bq) . R.
    The convolution after the fusion is linear, too: it turns E = sum_j S_ij R''_j into sum_j S_ij (We R''_j). K is 17,
    the pixels are thousands; docs/decisions/0007-folded-attention.md has the measured gain.

    Args:
        kcam: in eval mode.
    """

    aggregated_weight: Tensor

    def __init__(self, kcam: KCAM) -> None:
        super().__init__()
        self.plain = kcam
        scale, shift = _scale_and_shift(kcam.query[1])
        query = _weight(kcam.query[0]).flatten(1) * scale[:, None]  # (C, C)
        key = kcam.key.weight.detach()[:, :, 0]  # (C, C)
        channels = len(key)
        # R' is linear in R, too, so one convolution gives both the factor of the pixels and the offset of the product.
        folded = torch.cat([query.double().T, shift.double()[None]]) @ key.double()  # (C + 1, C)
        self.to_logits = nn.Conv1d(channels, channels + 1, 1, bias=False)
        self.to_logits.weight = nn.Parameter(folded.float()[:, :, None], requires_grad=False)
        scale, shift = _scale_and_shift(kcam.fuse[1])
        weight = _weight(kcam.fuse[0]) * scale[:, None, None, None]  # (C, C or 2C, 1, 1)
        self.register_buffer("aggregated_weight", weight[:, -channels:].flatten(1), persistent=False)
        self.own = nn.Conv2d(channels, channels, 1)
        # Without fusion, E alone is passed on.
        own = torch.zeros_like(weight[:, :channels]) if kcam.fusion == "none" else weight[:, :channels]
        self.own.weight = nn.Parameter(own, requires_grad=False)
        self.own.bias = nn.Parameter(shift, requires_grad=False)

    def forward(self, features: Tensor, coarse_heatmaps: Tensor) -> KCAMOutput:
        """As `KCAM.forward`."""
        grid = coarse_heatmaps.shape  # (B, K, h, w)
        areas = self.plain.keypoint_areas(coarse_heatmaps)  # (B, K, P)
        pixels = features.flatten(2)  # (B, C, P)
        by_pixel = pixels.transpose(1, 2)  # (B, P, C)
        representations = torch.matmul(areas.to(pixels.dtype), by_pixel)  # (B, K, C)
        # A sum and not a difference: OpenVINO rewrites differences, and loses the float32 mark when it does.
        differences = areas + areas.sum(dim=1, keepdim=True) * (-1 / grid[1])  # (B, K, P)
        from_mean = torch.matmul(differences.to(pixels.dtype), by_pixel)  # (B, K, C)
        by_keypoint = self.to_logits(from_mean.transpose(1, 2)).transpose(1, 2)  # (B, K, C + 1)
        folded, offset = torch.split(by_keypoint, [features.shape[1], 1], dim=2)  # (B, K, C) and (B, K, 1)
        attention = torch.softmax(torch.matmul(folded, pixels).float() + offset.float(), dim=1)  # (B, K, P)
        value = torch.matmul(self.aggregated_weight, self.plain.value(representations.transpose(1, 2)))  # (B, C, K)
        aggregated = torch.matmul(value, attention.to(value.dtype)).reshape(features.shape)  # (B, C, h, w)
        return KCAMOutput(
            augmented=torch.relu(self.own(features) + aggregated),
            areas=areas.reshape(grid),
            attention=attention.reshape(grid),
            representations=representations,
        )


def _weight(convolution: nn.Module) -> Tensor:
    if not isinstance(convolution, nn.Conv2d):
        raise TypeError("a convolution was expected")
    return convolution.weight.detach()


def _scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift of a batch norm in eval mode, (C,) each."""
    if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.running_var is None:
        raise TypeError("a batch norm with statistics was expected")
    scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
    return scale, (norm.bias - norm.running_mean * scale).detach()


def fold_attention(model: PoseModel) -> None:
    """Replace the KCAM of a model, if it has one, by its folded form."""
    if isinstance(model.kcam, KCAM):
        model.kcam = FoldedKCAM(model.kcam)  # type: ignore[assignment]


class CroppingPoseGraph(nn.Module):
    """A pose graph that crops the people from the frame itself, so that a frame is copied to the device once."""

    columns: Tensor
    rows: Tensor

    def __init__(self, graph: PoseGraph) -> None:
        super().__init__()
        self.graph = graph
        width, height = graph.input_size_wh
        self.register_buffer("columns", torch.arange(width, dtype=torch.float32).view(1, 1, width), persistent=False)
        self.register_buffer("rows", torch.arange(height, dtype=torch.float32).view(1, height, 1), persistent=False)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Those of the pose graph."""
        return self.graph.output_names

    def forward(self, frame: Tensor, crop_to_frame: Tensor) -> tuple[Tensor, ...]:
        """As `PoseGraph.forward`, with keypoints in crop px.

        Args:
            frame: (frame height, frame width, 3) uint8, BGR.
            crop_to_frame: (N, 2, 3) float32, affines from crop px to frame px.
        """
        width, height = self.graph.input_size_wh
        pixels = frame.float()
        frame_height, frame_width = pixels.shape[0], pixels.shape[1]
        a, b, c = torch.split(crop_to_frame, 1, dim=2)  # each (N, 2, 1)
        # Products and sums instead of a matrix product: TensorRT-RTX refuses float32 ones on compute capability 7.5,
        # and 16 bits cannot count the pixels of a frame.
        x = a[:, :1] * self.columns + b[:, :1] * self.rows + c[:, :1]  # (N, H, W), frame px
        y = a[:, 1:] * self.columns + b[:, 1:] * self.rows + c[:, 1:]  # (N, H, W), frame px
        grid = torch.stack([x * (2 / (frame_width - 1)) - 1, y * (2 / (frame_height - 1)) - 1], dim=3)  # (N, H, W, 2)
        # The crops are stacked vertically in a batch of one: with a batch of N the frame would be copied N times.
        grid = grid.reshape(1, -1, width, 2)  # (1, N H, W, 2)
        crops = functional.grid_sample(
            pixels.permute(2, 0, 1)[None], grid, mode="bilinear", padding_mode="zeros", align_corners=True
        )  # (1, 3, N H, W)
        crops = crops.reshape(3, -1, height, width).permute(1, 0, 2, 3)  # (N, 3, H, W)
        return self.graph.from_pixels(crops)


def _to_float32(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(value.float() for value in inputs)


def load_pose(weights: Path) -> tuple[PoseCheckpoint, Skeleton]:
    """A pose model's checkpoint and its skeleton.

    Raises:
        ModelError: the file cannot be used, or its parts do not belong together.
    """
    try:
        checkpoint = load_pose_model(weights)
    except CheckpointError as error:
        raise ModelError(str(error)) from error
    try:
        skeleton = Skeleton.from_dict(checkpoint.skeleton)
    except ModelError as error:
        raise ModelError(f"{weights}: {error}") from error
    if skeleton.num_keypoints != checkpoint.config.num_keypoints:
        raise ModelError(
            f"{weights}: its skeleton has {skeleton.num_keypoints} keypoints, "
            f"its network {checkpoint.config.num_keypoints}"
        )
    return checkpoint, skeleton


def pose_spec(checkpoint: PoseCheckpoint, skeleton: Skeleton, *, with_crop: bool = False) -> ModelSpec:
    """The spec of a checkpoint's pose graph in float32, without hashes."""
    config = checkpoint.config
    width, height = config.input_size_wh
    map_width, map_height = config.heatmap_size_wh
    maps = ("heatmaps", "areas", "attention") if config.has_kcam else ("heatmaps",)
    shape = ("N", config.num_keypoints, map_height, map_width)
    inputs: tuple[TensorSpec, ...] = (TensorSpec(name="crops", shape=("N", height, width, 3), dtype="uint8"),)
    if with_crop:
        inputs = (
            TensorSpec(name="frame", shape=("frame_height", "frame_width", 3), dtype="uint8"),
            TensorSpec(name="crop_to_frame", shape=("N", 2, 3), dtype="float32"),
        )
    return ModelSpec(
        kind="pose",
        name=config.name,
        input_size_wh=config.input_size_wh,
        inputs=inputs,
        outputs=(
            TensorSpec(name="keypoints", shape=("N", config.num_keypoints, 3), dtype="float32"),
            *(TensorSpec(name=name, shape=shape, dtype="float32") for name in maps),
        ),
        skeleton=skeleton,
        class_names=checkpoint.class_names,
        mean=checkpoint.mean,
        std=checkpoint.std,
        udp=config.udp,
        sigma=config.sigma,
        decode=config.decode,
    )
