"""Everything that fixes a training run, checked when it is made and saved with the run."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from engine.errors import OptionError
from models.pose_model import PoseModelConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run. Defaults are the paper's recipe where it gives one.

    Attributes:
        pose_model: the network.
        data: folder with `train.json`, `val.json` and the pictures in `train/` and `val/`.
        output: folder for checkpoints, weights and logs.
        init: "random", "imagenet", or a weights file.
        epochs: passes over the people.
        hours: stop by the clock; the schedules of learning rate and input size are then fitted to it, not to epochs.
        batch_size: people a step.
        learning_rate: of Adam, at its highest.
        schedule: "step" (times 0.1 at epochs 170 and 200 of 210, scaled to `epochs`) or "cosine" to zero.
        warmup_steps: linear start.
        alpha: weight of the coarse loss in equation 4.
        rotation_deg, scale_range: uniform ranges of the crop's turn and of its size as a factor of the padded box.
        flip_probability, half_body_probability: of mirroring; of cropping to the upper or lower body.
        source_shares: how often the people of a source come in an epoch, such as ("lsp", 0.5); others come once.
        color_jitter: strength of random brightness, contrast and colour; 0 for none.
        grow: stages (share of the run at which it ends, factor on the input size), so that most of a short run is
            spent on small and cheap pictures; empty for the full size throughout.
        ema_decay: of the running average of the weights that is evaluated and saved; 0 for none.
        precision: "fp32" or "bf16" (mixed).
        cache_images: keep the decoded pictures in memory.
        workers: loader processes.
        seed: of everything random.
    """

    pose_model: PoseModelConfig
    data: Path
    output: Path
    init: str = "random"
    epochs: int = 210
    hours: float | None = None
    batch_size: int = 128
    learning_rate: float = 5e-4
    schedule: str = "step"
    warmup_steps: int = 0
    alpha: float = 0.2
    rotation_deg: float = 40.0
    scale_range: tuple[float, float] = (0.5, 1.5)
    flip_probability: float = 0.5
    half_body_probability: float = 0.3
    source_shares: tuple[tuple[str, float], ...] = ()
    color_jitter: float = 0.0
    grow: tuple[tuple[float, float], ...] = ()
    ema_decay: float = 0.0
    precision: str = "fp32"
    cache_images: bool = True
    workers: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        checks: tuple[tuple[bool, str], ...] = (
            (self.epochs >= 1, f"--epochs is {self.epochs}; at least 1 fits"),
            (self.batch_size >= 1, f"--batch-size is {self.batch_size}; at least 1 fits"),
            (self.hours is None or self.hours > 0, f"--hours is {self.hours}; a positive number fits"),
            (self.learning_rate > 0, f"--learning-rate is {self.learning_rate}; a positive number fits"),
            (self.schedule in ("step", "cosine"), f"--schedule is '{self.schedule}'; step or cosine fits"),
            (self.precision in ("fp32", "bf16"), f"--precision is '{self.precision}'; fp32 or bf16 fits"),
            (0 < self.scale_range[0] <= self.scale_range[1], f"scale_range is {self.scale_range}; low, high fits"),
            (0 <= self.ema_decay < 1, f"--ema-decay is {self.ema_decay}; 0 to below 1 fits"),
            (all(share >= 0 for _, share in self.source_shares), "--source-shares wants shares of 0 or more"),
            (self.workers >= 0, f"--workers is {self.workers}; 0 or more fits"),
            (all(0 < end <= 1 and 0 < factor <= 1 for end, factor in self.grow), f"--grow is {self.grow}; see --help"),
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
        return warmup * (1.0 if progress < 170 / 210 else 0.1 if progress < 200 / 210 else 0.01)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = dataclasses.asdict(self)
        return {**values, "data": str(self.data), "output": str(self.output), "pose_model": self.pose_model.to_dict()}

    def save(self) -> None:
        """Write the resolved configuration into the output folder."""
        self.output.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), indent=1) + "\n"
        (self.output / "config.json").write_text(text, encoding="utf-8")


def target_sigma(heatmap_size_wh: tuple[int, int]) -> float:
    """Standard deviation of the target Gaussians in heatmap px: 2 at 48x64, 3 at 72x96, at least 1.5."""
    return max(1.5, 2.0 * heatmap_size_wh[1] / 64)
