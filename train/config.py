"""Everything that fixes a training run, checked when it is made and saved with the run."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from engine.errors import OptionError, nearest_hint
from engine.heatmap import recipe_sigma
from models.checkpoints import write_atomically
from models.pose_model import PoseModelConfig

_CHOICES = {
    "schedule": ("step", "cosine"),
    "optimizer": ("adam", "adamw"),
    "precision": ("fp32", "bf16", "fp16"),
}
_STRIDES = (0, 2, 4, 8, 16, 32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run. Defaults are the paper's recipe where it gives one.

    Attributes:
        pose_model: the network.
        data: data set, see `train.data.people.read_people`.
        output: folder for checkpoints, weights and logs.
        init: "random", "imagenet", or a weights file.
        epochs: passes over the people.
        hours: stop by the clock; the schedules of learning rate and input size are then fitted to it, not to epochs.
        batch_size: people a step, over all devices together.
        optimizer: "adam", or "adamw".
        learning_rate: at its highest.
        adam_epsilon: what keeps Adam's division finite.
        weight_decay: 0 reproduces the paper.
        schedule: "step" (times 0.1 at each milestone) or "cosine" to zero.
        milestones: shares of the run at which "step" steps; the paper's 170 and 200 of 210 epochs.
        warmup_steps: linear start.
        alpha: weight of the coarse loss in equation 4.
        rotation_deg, scale_range: uniform ranges of the crop's turn and of its size as a factor of the padded box.
        flip_probability, half_body_probability: of mirroring; of cropping to the upper or lower body.
        truncation_probability, cut_out_probability, blur_probability, low_resolution_probability: of ending the frame
            at a line through the body; of hiding patches; of Gaussian or motion blur; of making the person small and
            large again. All off unless asked for.
        joint_weights: weights 1.2 and 1.5 for elbows and knees, wrists and ankles.
        source_shares: how often the people of a source come in an epoch, such as ("lsp", 0.5); others come once.
        color_jitter: strength of random brightness, contrast and colour; 0 for none.
        grow: stages (share of the run at which it ends, factor on the input size), so that most of a short run is
            spent on small and cheap pictures; empty for the full size throughout.
        ema_decay: of the running average of the weights that is evaluated and saved; 0 for none.
        precision: "fp32", "bf16" or "fp16" (mixed).
        compile: torch.compile the network.
        freeze_batch_norm: keep the batch norms' statistics as they are.
        freeze_backbone: train the KCAM head alone, on features and coarse heatmaps that stay as they are.
        freeze_until: keep the backbone's layers whose output stands at this stride or before it as they are, batch
            norms included; 0 trains all of it, 32 none.
        backbone_learning_rate_factor: on the learning rate, for the backbone's layers; a pretrained backbone wants
            smaller steps than the layers behind it, which start at random.
        devices, nodes: of Lightning's trainer; batch_size is divided among them.
        checkpoint_minutes: the most work that a stop can lose.
        checkpoint_steps: also save every so many steps; 0 for by minutes and epochs alone.
        validate_every: epochs between validations.
        max_steps: stop after so many steps; -1 for no limit.
        cache_images: keep the decoded pictures in memory.
        workers: loader processes a device; None for as many as suit the machine, see `batches.loader_processes`.
        threads: of PyTorch on the CPU; 0 for all cores.
        seed: of everything random.
    """

    pose_model: PoseModelConfig
    data: Path
    output: Path
    init: str = "random"
    epochs: int = 210
    hours: float | None = None
    batch_size: int = 128
    optimizer: str = "adam"
    learning_rate: float = 5e-4
    adam_epsilon: float = 1e-8
    weight_decay: float = 0.0
    schedule: str = "step"
    milestones: tuple[float, ...] = (170 / 210, 200 / 210)
    warmup_steps: int = 0
    alpha: float = 0.2
    rotation_deg: float = 40.0
    scale_range: tuple[float, float] = (0.5, 1.5)
    flip_probability: float = 0.5
    half_body_probability: float = 0.3
    truncation_probability: float = 0.0
    cut_out_probability: float = 0.0
    blur_probability: float = 0.0
    low_resolution_probability: float = 0.0
    joint_weights: bool = False
    source_shares: tuple[tuple[str, float], ...] = ()
    color_jitter: float = 0.0
    grow: tuple[tuple[float, float], ...] = ()
    ema_decay: float = 0.0
    precision: str = "fp32"
    compile: bool = False
    freeze_batch_norm: bool = False
    freeze_backbone: bool = False
    freeze_until: int = 0
    backbone_learning_rate_factor: float = 1.0
    devices: int = 1
    nodes: int = 1
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int = 0
    validate_every: int = 1
    max_steps: int = -1
    cache_images: bool = True
    workers: int | None = None
    threads: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, valid in _CHOICES.items():
            value = getattr(self, name)
            if value not in valid:
                raise OptionError(f"--{name} is '{value}'.{nearest_hint(str(value), valid)}")
        for name in ("epochs", "batch_size", "devices", "nodes", "validate_every"):
            if getattr(self, name) < 1:
                raise OptionError(f"--{name.replace('_', '-')} is {getattr(self, name)}; at least 1 fits")
        for name in ("weight_decay", "warmup_steps", "alpha", "color_jitter", "workers", "threads", "seed"):
            if (getattr(self, name) or 0) < 0:
                raise OptionError(f"--{name.replace('_', '-')} is {getattr(self, name)}; 0 or more fits")
        for name in (field.name for field in dataclasses.fields(self) if field.name.endswith("_probability")):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"--{name.replace('_', '-')} is {getattr(self, name)}; 0 to 1 fits")
        checks: tuple[tuple[bool, str], ...] = (
            (self.hours is None or self.hours > 0, f"--hours is {self.hours}; a positive number fits"),
            (
                self.freeze_until in _STRIDES,
                f"--freeze-until is {self.freeze_until}; {', '.join(map(str, _STRIDES))} fits",
            ),
            (
                self.backbone_learning_rate_factor > 0,
                f"--backbone-learning-rate-factor is {self.backbone_learning_rate_factor}; above 0 fits "
                "(--freeze-until 32 keeps the backbone as it is)",
            ),
            (self.adam_epsilon > 0, f"--adam-epsilon is {self.adam_epsilon}; a positive number fits"),
            (
                self.pose_model.has_kcam or not self.freeze_backbone,
                f"--freeze-backbone leaves nothing of {self.pose_model.name} to train; kcam_... has a head",
            ),
            (self.learning_rate > 0, f"--learning-rate is {self.learning_rate}; a positive number fits"),
            (0 < self.scale_range[0] <= self.scale_range[1], f"--scale-range is {self.scale_range}; LOW,HIGH fits"),
            (0 <= self.ema_decay < 1, f"--ema-decay is {self.ema_decay}; 0 to below 1 fits"),
            (self.checkpoint_minutes > 0, f"--checkpoint-minutes is {self.checkpoint_minutes}; above 0 fits"),
            (all(share >= 0 for _, share in self.source_shares), "--source-shares wants shares of 0 or more"),
            (all(0 < end <= 1 and 0 < factor <= 1 for end, factor in self.grow), f"--grow is {self.grow}; see --help"),
            (
                self.batch_size % (self.devices * self.nodes) == 0,
                f"--batch-size {self.batch_size} cannot be shared evenly by {self.devices * self.nodes} devices",
            ),
        )
        for holds, message in checks:
            if not holds:
                raise OptionError(message)

    def input_size_at(self, progress: float) -> tuple[int, int]:
        """Width and height of the crops when a share `progress` (0 to 1) of the run is done, in px."""
        width, height = self.pose_model.input_size_wh
        for end, factor in self.grow:
            if progress < end:
                return max(32, round(width * factor / 32) * 32), max(32, round(height * factor / 32) * 32)
        return width, height

    def learning_rate_factor(self, progress: float, step: int) -> float:
        """Factor on the learning rate at a share of the run and a number of steps done."""
        warmup = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.schedule == "cosine":
            return warmup * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        # A hair of tolerance: progress is a quotient of steps, and must step with the epoch it stands for.
        return warmup * float(0.1 ** sum(progress + 1e-9 >= milestone for milestone in self.milestones))

    def target_sigma(self, heatmap_size_wh: tuple[int, int]) -> float:
        """Standard deviation of the target Gaussians in heatmap px; never below 1.5, where a map would be mere dots."""
        return self.pose_model.sigma or recipe_sigma(heatmap_size_wh[1])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = dataclasses.asdict(self)
        return {**values, "data": str(self.data), "output": str(self.output), "pose_model": self.pose_model.to_dict()}

    def save(self) -> None:
        """Write the resolved configuration into the output folder."""
        text = json.dumps(self.to_dict(), indent=1) + "\n"
        write_atomically(self.output / "config.json", text.encode())
