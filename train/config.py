"""Everything that fixes a training run, checked when it is made and saved with the run.

These tables are also the command line of `python -m train`: whoever adds an option adds a field here.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import OptionError
from engine.heatmap import recipe_sigma
from engine.option_table import AT_LEAST_1, NOT_NEGATIVE, POSITIVE, SHARE, Range, check_options, option
from models.checkpoints import write_atomically
from models.pose_model import PoseModelConfig, parse_size

_STRIDES = (0, 2, 4, 8, 16, 32)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in text.split(",") if number)


def _range(text: str) -> tuple[float, float]:
    low, high = _numbers(text)
    return low, high


def _named_numbers(text: str) -> tuple[tuple[str, float], ...]:
    pairs = [pair.split(":") for pair in text.split(",") if pair]
    return tuple((name, float(number)) for name, number in pairs)


def _number_pairs(text: str) -> tuple[tuple[float, float], ...]:
    return tuple((float(name), number) for name, number in _named_numbers(text))


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Fields of PoseModelConfig, where they are explained, that a run may choose."""

    name: str = field(
        metadata=option(
            "kcam_resnet18, kcam_hrnet_w32, ...; without kcam_: the bare backbone", flag="--model", metavar="MODEL"
        )
    )
    input_size_wh: tuple[int, int] = field(
        default=PoseModelConfig.input_size_wh,
        metadata=option(
            "height x width in px, multiples of 32 (256x192)", parse_size, flag="--input-size", metavar="INPUT_SIZE"
        ),
    )
    deconv_channels: int = field(
        default=PoseModelConfig.deconv_channels,
        metadata=option("width of a ResNet's deconvolutions ({default})", int),
    )
    fusion: str = field(
        default=PoseModelConfig.fusion, metadata=option("concat, add or none: table 2 of the paper ({default})")
    )
    area_normalization: str = field(
        default=PoseModelConfig.area_normalization, metadata=option("sum or softmax ({default})")
    )
    decode: str = field(
        default=PoseModelConfig.decode,
        metadata=option("of heatmaps to keypoints, also where the weights are used: quarter or dark ({default})"),
    )
    sigma: float = field(
        default=PoseModelConfig.sigma,
        metadata=option("of the targets in heatmap px; 0 for 2 at 64x48 and 3 at 96x72 (0)", float),
    )
    coarse_supervision: bool = field(
        default=PoseModelConfig.coarse_supervision, metadata=option("table 1 of the paper")
    )
    udp: bool = field(
        default=PoseModelConfig.udp, metadata=option("unbiased coordinates (UDP); they travel in the weights")
    )


@dataclass(frozen=True, kw_only=True)
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
    data: Path = field(
        metadata=option(
            "folder with train.json and val.json, COCO as downloaded, or the YAML of an ultralytics pose set", Path
        )
    )
    output: Path = field(metadata=option("folder of the run (runs/MODEL)", Path))
    init: str = field(
        default="random",
        metadata=option("random, imagenet, a weights file, or the .json of MoveNet (mobilenet_v2) ({default})"),
    )
    epochs: int = field(default=210, metadata=option("passes over the people ({default})", int, within=AT_LEAST_1))
    hours: float | None = field(
        default=None, metadata=option("stop by the clock; schedules are fitted to it", float, within=POSITIVE)
    )
    batch_size: int = field(
        default=128, metadata=option("people a step, over all devices together ({default})", int, within=AT_LEAST_1)
    )
    optimizer: str = field(default="adam", metadata=option("adam or adamw ({default})", choices=("adam", "adamw")))
    learning_rate: float = field(default=5e-4, metadata=option("at its highest ({default})", float, within=POSITIVE))
    adam_epsilon: float = field(
        default=1e-8, metadata=option("what keeps Adam's division finite ({default})", float, within=POSITIVE)
    )
    weight_decay: float = field(
        default=0.0, metadata=option("0 reproduces the paper ({default})", float, within=NOT_NEGATIVE)
    )
    schedule: str = field(default="step", metadata=option("step or cosine ({default})", choices=("step", "cosine")))
    milestones: tuple[float, ...] = field(
        default=(170 / 210, 200 / 210),
        metadata=option("shares of the run at which 'step' steps down, such as 0.81,0.95", _numbers),
    )
    warmup_steps: int = field(default=0, metadata=option("linear start ({default})", int, within=NOT_NEGATIVE))
    alpha: float = field(
        default=0.2, metadata=option("weight of the coarse loss (equation 4) ({default})", float, within=NOT_NEGATIVE)
    )
    rotation_deg: float = field(default=40.0, metadata=option("crops turn by up to so many degrees ({default})", float))
    scale_range: tuple[float, float] = field(
        default=(0.5, 1.5), metadata=option("size of a crop as a factor of its box, such as 0.5,1.5", _range)
    )
    flip_probability: float = field(
        default=0.5, metadata=option("of mirroring a crop ({default})", float, within=SHARE)
    )
    half_body_probability: float = field(
        default=0.3, metadata=option("of cropping to one half of the body ({default})", float, within=SHARE)
    )
    truncation_probability: float = field(
        default=0.0,
        metadata=option(
            "of ending the frame at a line through the body, as a webcam's often does ({default})", float, within=SHARE
        ),
    )
    cut_out_probability: float = field(
        default=0.0, metadata=option("of hiding up to three patches of the crop ({default})", float, within=SHARE)
    )
    blur_probability: float = field(
        default=0.0, metadata=option("of Gaussian or motion blur ({default})", float, within=SHARE)
    )
    low_resolution_probability: float = field(
        default=0.0, metadata=option("of making the person small and large again ({default})", float, within=SHARE)
    )
    joint_weights: bool = field(
        default=False, metadata=option("weights 1.2 and 1.5 for elbows and knees, wrists and ankles")
    )
    source_shares: tuple[tuple[str, float], ...] = field(
        default=(),
        metadata=option("how often the people of a source come in an epoch, such as coco:2,lsp:0.5", _named_numbers),
    )
    color_jitter: float = field(
        default=0.0,
        metadata=option("strength of random brightness, contrast and colour ({default})", float, within=NOT_NEGATIVE),
    )
    grow: tuple[tuple[float, float], ...] = field(
        default=(),
        metadata=option(
            "growing input sizes, SHARE:FACTOR,...: 0.4:0.5,0.75:0.75 trains 40 % of the run at half size and up to "
            "75 % at three quarters",
            _number_pairs,
        ),
    )
    ema_decay: float = field(
        default=0.0,
        metadata=option(
            "running average of the weights, such as 0.999; 0 for none ({default})",
            float,
            within=Range(low=0, high=1, below=True),
        ),
    )
    precision: str = field(
        default="fp32", metadata=option("fp32, bf16 or fp16 (mixed) ({default})", choices=("fp32", "bf16", "fp16"))
    )
    compile: bool = field(default=False, metadata=option("torch.compile the network"))
    freeze_batch_norm: bool = field(default=False, metadata=option("keep the batch norms' statistics as they are"))
    freeze_backbone: bool = field(default=False, metadata=option("train the KCAM head alone"))
    freeze_until: int = field(
        default=0,
        metadata=option(
            "keep the backbone up to this output stride as it is: 2, 4, 8, 16, 32 (all of it) ({default})", int
        ),
    )
    backbone_learning_rate_factor: float = field(
        default=1.0,
        metadata=option("on the learning rate of the backbone; 0.25 where it is pretrained ({default})", float),
    )
    devices: int = field(
        default=1, metadata=option("processes (CPU) or cards a machine ({default})", int, within=AT_LEAST_1)
    )
    nodes: int = field(default=1, metadata=option("machines ({default})", int, within=AT_LEAST_1))
    checkpoint_minutes: float = field(
        default=10.0,
        metadata=option("the most work that a stop can lose ({default})", float, within=Range(low=0, above=True)),
    )
    checkpoint_steps: int = field(default=0, metadata=option("also save every so many steps ({default})", int))
    validate_every: int = field(
        default=1, metadata=option("epochs between validations ({default})", int, within=AT_LEAST_1)
    )
    max_steps: int = field(default=-1, metadata=option("stop after so many steps ({default})", int))
    cache_images: bool = field(default=True, metadata=option("decode pictures anew every time"))
    workers: int | None = field(
        default=None,
        metadata=option("loader processes a device, as many as suit the machine by default", int, within=NOT_NEGATIVE),
    )
    threads: int = field(
        default=0,
        metadata=option(
            "of PyTorch on the CPU; one fewer than the cores where other work runs beside it ({default})",
            int,
            within=NOT_NEGATIVE,
        ),
    )
    seed: int = field(default=0, metadata=option("of everything random ({default})", int, within=NOT_NEGATIVE))

    def __post_init__(self) -> None:
        check_options(self)
        checks: tuple[tuple[bool, str], ...] = (
            (
                self.freeze_until in _STRIDES,
                f"--freeze-until is {self.freeze_until}; {', '.join(map(str, _STRIDES))} fits",
            ),
            (
                self.backbone_learning_rate_factor > 0,
                f"--backbone-learning-rate-factor is {self.backbone_learning_rate_factor}; above 0 fits "
                "(--freeze-until 32 keeps the backbone as it is)",
            ),
            (
                self.pose_model.has_kcam or not self.freeze_backbone,
                f"--freeze-backbone leaves nothing of {self.pose_model.name} to train; kcam_... has a head",
            ),
            (0 < self.scale_range[0] <= self.scale_range[1], f"--scale-range is {self.scale_range}; LOW,HIGH fits"),
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
