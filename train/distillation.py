"""Distillation: the flip-averaged heatmaps of a trained network teach another network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from engine.artifacts.model_files import resolve_pose_model
from engine.backends import Backend, open_pose_backend
from engine.build import parity_gate
from engine.errors import OptionError
from engine.geometry import heatmap_stride
from engine.skeleton import Skeleton
from models.checkpoints import PoseCheckpoint
from train.evaluation.prediction import normalize_crops


class Teacher:
    """A trained network in evaluation mode; no module of the student, so that no checkpoint or average contains it.

    Args:
        checkpoint: the network.
        threshold: peak of a heatmap from which it teaches.
        weights: the file that it comes from: on the processor it then runs in its compiled form, which needs a third of
            PyTorch's time. None for PyTorch everywhere.
    """

    def __init__(self, checkpoint: PoseCheckpoint, threshold: float, weights: Path | None = None) -> None:
        self.config = checkpoint.config
        self.threshold = threshold
        self._weights = weights
        self._backend: Backend | None = None
        self._model = checkpoint.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._flip_order = list(Skeleton.from_dict(checkpoint.skeleton).flip_order)
        self._mean, self._std = (torch.tensor(values).view(3, 1, 1) for values in (checkpoint.mean, checkpoint.std))

    def to(self, device: torch.device) -> Teacher:
        """Move it to a device.

        Raises:
            EngineError: no runtime of the processor can run it.
        """
        self._model.to(device)
        self._mean, self._std = self._mean.to(device), self._std.to(device)
        if device.type == "cpu" and self._weights is not None and self._backend is None:
            self._backend = open_pose_backend(
                self._weights, device="cpu", threads=torch.get_num_threads(), notify=print, gate=parity_gate.check
            ).backend
        return self

    def __deepcopy__(self, _memo: object) -> Teacher:
        return self  # weight averaging copies the whole training module

    def _heatmaps(self, images: Tensor) -> Tensor:
        """(B, K, h, w) float32 of crops (B, 3, H, W) BGR from 0 to 255, of the teacher's own size."""
        crops = images.permute(0, 2, 3, 1)
        if self._backend is not None:
            batch = {"crops": crops.round().to(torch.uint8).contiguous().numpy()}
            return torch.from_numpy(self._backend.infer(batch, ("heatmaps",))["heatmaps"])
        maps: Tensor = self._model(normalize_crops(crops, self._mean, self._std)).heatmaps.float()
        return maps

    @torch.no_grad()
    def heatmaps(self, crops: Tensor, heatmap_size_wh: tuple[int, int]) -> Tensor:
        """Flip-averaged heatmaps (B, K, h, w) float32 of crops (B, H, W, 3) uint8 BGR.

        The teacher runs at its own input size; its heatmaps are resampled to the grid of the student's.
        """
        size_wh = (crops.shape[2], crops.shape[1])
        images = crops.to(self._mean.device).permute(0, 3, 1, 2).float()
        own_wh = self.config.input_size_wh
        if size_wh != own_wh:
            images = functional.interpolate(images, (own_wh[1], own_wh[0]), mode="bilinear", antialias=True)
        plain = self._heatmaps(images)
        mirrored = self._heatmaps(images.flip(3))[:, self._flip_order].flip(3)
        if not self.config.udp:  # as in `prediction.flip_averaged`
            mirrored = torch.cat([mirrored[..., :1], mirrored[..., :-1]], dim=3)
        return resample((plain + mirrored) / 2, own_wh, size_wh, heatmap_size_wh, udp=self.config.udp)

    def lesson(
        self, crops: Tensor, weights: Tensor, heatmap_size_wh: tuple[int, int], weight: float
    ) -> tuple[Tensor, Tensor]:
        """Targets (B, K, h, w) and weights (B, K) for `train.loss.total_loss`, beside those of the labels.

        Args:
            crops: (B, H, W, 3) uint8 BGR.
            weights: (B, K), those of the labels. Where one is 0 the keypoint has no label, and the teacher counts as
                much as a label would.
            heatmap_size_wh: of the student.
            weight: of the teacher's loss where there is a label.
        """
        targets = self.heatmaps(crops, heatmap_size_wh)
        teaches = (targets.amax(dim=(2, 3)) >= self.threshold).to(weights)
        # The loss squares the weights.
        return targets, teaches * torch.where(weights > 0, weights * weight**0.5, 1.0)


def resample(
    heatmaps: Tensor,
    from_wh: tuple[int, int],
    to_wh: tuple[int, int],
    heatmap_size_wh: tuple[int, int],
    *,
    udp: bool = False,
) -> Tensor:
    """Heatmaps (B, K, h, w) for a crop of another size: the value at each place of the person stays the same.

    Args:
        heatmaps: of a crop of `from_wh` px.
        from_wh, to_wh: width and height of the two crops in px; both show the same part of the picture.
        heatmap_size_wh: of the result.
        udp: see `engine.geometry`.
    """
    own_wh = (heatmaps.shape[3], heatmaps.shape[2])
    if (own_wh, from_wh) == (heatmap_size_wh, to_wh):
        return heatmaps
    axes = []
    for axis in (0, 1):
        stride_from = heatmap_stride(from_wh, own_wh, udp=udp)[axis]
        stride_to = heatmap_stride(to_wh, heatmap_size_wh, udp=udp)[axis]
        scale = from_wh[axis] / to_wh[axis]
        place = torch.arange(heatmap_size_wh[axis], device=heatmaps.device) * stride_to  # crop px
        index = (scale * place + (scale - 1) / 2) / stride_from  # crops are resized around the corners of their pixels
        axes.append(index / max(1, own_wh[axis] - 1) * 2 - 1)
    rows, columns = torch.meshgrid(axes[1], axes[0], indexing="ij")
    grid = torch.stack([columns, rows], dim=-1).expand(len(heatmaps), -1, -1, -1)
    return functional.grid_sample(
        heatmaps, grid.to(heatmaps), mode="bilinear", padding_mode="border", align_corners=True
    )


def open_teacher(name: str, skeleton: Skeleton, *, udp: bool, threshold: float) -> Teacher:
    """Open the network that teaches.

    Args:
        name: a shipped name or a `.safetensors` file.
        skeleton: of the data set.
        udp: whether the student has UDP coordinates.
        threshold: see `Teacher`.

    Raises:
        OptionError: it has other keypoints or coordinates than the student.
        ModelError, CheckpointError: it does not exist or cannot be read.
    """
    from engine.backends.pose_graph import load_pose

    file: Path = resolve_pose_model(name)
    if file.suffix.lower() != ".safetensors":
        raise OptionError(f"--teacher is {file}; expected a .safetensors file or a shipped name")
    checkpoint, own = load_pose(file)
    names = own.keypoint_names
    if names != skeleton.keypoint_names:
        raise OptionError(f"--teacher {file} has the keypoints {', '.join(names)}; the data set has others")
    if checkpoint.config.udp != udp:
        raise OptionError(
            f"--teacher {file} was trained {'with' if not udp else 'without'} UDP coordinates; use the same --udp"
        )
    return Teacher(checkpoint, threshold, file)
