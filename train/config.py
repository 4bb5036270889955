"""The configuration of a training run; it is checked when it is made and saved with the run.

These tables are also the command line of `python -m train`: to add an option, add a field here.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import OptionError, nearest_hint
from engine.heatmap import recipe_sigma
from engine.option_table import AT_LEAST_1, NOT_NEGATIVE, POSITIVE, SEED, SHARE, Range, check_options, described, option
from models.checkpoints import write_atomically
from models.pose_model import PoseModelConfig, parse_size

_STRIDES = (0, 2, 4, 8, 16, 32)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in text.split(",") if number)


def _range(text: str) -> tuple[float, float]:
    low, high = _numbers(text)
    return low, high


def named_numbers(text: str) -> tuple[tuple[str, float], ...]:
    pairs = [pair.split(":") for pair in text.split(",") if pair]
    return tuple((name, float(number)) for name, number in pairs)


def _number_pairs(text: str) -> tuple[tuple[float, float], ...]:
    return tuple((float(name), number) for name, number in named_numbers(text))


def _tuples(value: Any) -> Any:
    """JSON knows lists only."""
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """The fields of PoseModelConfig, which explains them, that a run may set."""

    name: str = field(
        metadata=described(
            "kcam_resnet18, kcam_hrnet_w32, kcam_mobilenet_v2, ...; without kcam_: the bare backbone",
            flag="--model",
            metavar="MODEL",
        )
    )
    input_size_wh: tuple[int, int] = option(
        PoseModelConfig.input_size_wh,
        "height x width in px, multiples of 32 (256x192)",
        parse_size,
        flag="--input-size",
        metavar="INPUT_SIZE",
    )
    deconv_channels: int = option(
        PoseModelConfig.deconv_channels, "width of a ResNet's deconvolutions ({default})", int
    )
    fusion: str = option(PoseModelConfig.fusion, "concat, add or none: table 2 of the paper ({default})")
    area_normalization: str = option(PoseModelConfig.area_normalization, "sum or softmax ({default})")
    decode: str = option(
        PoseModelConfig.decode, "how heatmaps become keypoints, stored in the weights: quarter or dark ({default})"
    )
    sigma: float = option(
        PoseModelConfig.sigma,
        "standard deviation of the targets in heatmap px; 0: 2 at 64x48 and 3 at 96x72 (0)",
        float,
    )
    coarse_supervision: bool = option(
        PoseModelConfig.coarse_supervision, "train without the coarse loss (table 1 of the paper)"
    )
    udp: bool = option(PoseModelConfig.udp, "train in unbiased coordinates (UDP); stored in the weights")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run. Defaults are the paper's recipe as far as it gives one.

    Attributes:
        pose_model: the network.
        data: data set, see `train.data.people.read_people`.
        hours: the schedules of learning rate and input size then follow the time and not the epochs.
        schedule: "step" (times 0.1 at each milestone) or "cosine" to zero.
        milestones: the paper's 170 and 200 of 210 epochs.
        augmentation, rotation_deg, scale_range: see `train.data.placement.draw_scale_rotation`.
        accumulate: batch_size stays the number of people a step.
        source_shares: people of sources that are not named come once.
        grow: a run spends most of its time on small and cheap pictures; empty for the full size throughout.
        ema_decay: the average is evaluated and saved.
        freeze_backbone: the head is trained on features and coarse heatmaps that stay as they are.
        freeze_until: batch norms included; 0 trains all of it, 32 none.
        backbone_learning_rate_factor: a pretrained backbone needs smaller steps than the layers behind it, which start
            at random.
        devices, nodes: of Lightning's trainer; batch_size is divided among them.
        workers: None for as many as suit the machine, see `batches.loader_processes`.
    """

    pose_model: PoseModelConfig
    data: Path = field(
        metadata=described(
            "folder with train.json and val.json, COCO as downloaded, or the YAML of an ultralytics pose set", Path
        )
    )
    output: Path = field(metadata=described("folder of the run (runs/MODEL)", Path))
    init: str = option(
        "random", "start from: random, imagenet, a weights file, or the .json of MoveNet (mobilenet_v2) ({default})"
    )
    epochs: int = option(210, "passes over the data set ({default})", int, within=AT_LEAST_1)
    hours: float | None = option(
        None, "stop after this time; schedules follow the clock instead of the epochs", float, within=POSITIVE
    )
    batch_size: int = option(128, "people in a step, over all devices together ({default})", int, within=AT_LEAST_1)
    accumulate: int = option(
        1, "passes in which a step is computed, each with batch-size / N people ({default})", int, within=AT_LEAST_1
    )
    optimizer: str = option("adam", "adam or adamw ({default})", choices=("adam", "adamw"))
    learning_rate: float = option(5e-4, "maximum learning rate ({default})", float, within=POSITIVE)
    adam_epsilon: float = option(1e-8, "constant that keeps Adam's division finite ({default})", float, within=POSITIVE)
    gradient_clip: float = option(
        0.0, "maximum norm of the gradient; 0: no limit ({default})", float, within=NOT_NEGATIVE
    )
    weight_decay: float = option(0.0, "weight decay; 0 as in the paper ({default})", float, within=NOT_NEGATIVE)
    schedule: str = option("step", "learning rate: step or cosine ({default})", choices=("step", "cosine"))
    milestones: tuple[float, ...] = option(
        (170 / 210, 200 / 210),
        "shares of the run after which 'step' divides the learning rate by 10, such as 0.81,0.95",
        _numbers,
    )
    warmup_steps: int = option(
        0, "steps of a linear warm-up of the learning rate ({default})", int, within=NOT_NEGATIVE
    )
    alpha: float = option(0.2, "weight of the coarse loss (equation 4) ({default})", float, within=NOT_NEGATIVE)
    attention_weight: float = option(
        0.0,
        "weight of a loss that lets each pixel attend to the keypoints near it, such as 1e-4; 0 as in the paper",
        float,
        within=NOT_NEGATIVE,
    )
    teacher: str | None = option(
        None, "also learn from the flip-averaged heatmaps of this network: a shipped name or a .safetensors file"
    )
    teacher_weight: float = option(
        1.0,
        "weight of the teacher's loss where there is a label; without a label it is 1 ({default})",
        float,
        within=NOT_NEGATIVE,
    )
    teacher_threshold: float = option(
        0.3, "minimum peak of a teacher's heatmap to learn from ({default})", float, within=SHARE
    )
    ohkm: int = option(
        0,
        "online hard keypoint mining: the final loss counts only the N worst keypoints of each person, 8 in CPN; 0: "
        "all ({default})",
        int,
        within=NOT_NEGATIVE,
    )
    augmentation: str = option(
        "paper-uniform",
        "how scale and rotation are drawn: evenly from their ranges as in the paper (paper-uniform), or from clipped "
        "normal distributions, with 40 % upright, as in the official code (official) ({default})",
        choices=("paper-uniform", "official"),
    )
    rotation_deg: float = option(
        40.0,
        "maximum rotation of a crop in degrees; with official: its standard deviation ({default})",
        float,
        within=NOT_NEGATIVE,
    )
    scale_range: tuple[float, float] = option(
        (0.5, 1.5), "size of a crop as a factor of its box, such as 0.5,1.5", _range
    )
    flip_probability: float = option(0.5, "probability of mirroring a crop ({default})", float, within=SHARE)
    half_body_probability: float = option(
        0.3, "probability of cropping to one half of the body ({default})", float, within=SHARE
    )
    truncation_probability: float = option(
        0.0,
        "probability of ending the frame at a line through the body, as a webcam's often does ({default})",
        float,
        within=SHARE,
    )
    cut_out_probability: float = option(
        0.0, "probability of hiding up to three patches of the crop ({default})", float, within=SHARE
    )
    blur_probability: float = option(0.0, "probability of Gaussian or motion blur ({default})", float, within=SHARE)
    low_resolution_probability: float = option(
        0.0, "probability of shrinking a person and enlarging it again ({default})", float, within=SHARE
    )
    joint_weights: bool = option(False, "weigh elbows and knees by 1.2, wrists and ankles by 1.5")
    source_shares: tuple[tuple[str, float], ...] = option(
        (), "how often an epoch takes the people of each source, such as coco:2,lsp:0.5", named_numbers
    )
    color_jitter: float = option(
        0.0, "strength of random brightness, contrast and colour ({default})", float, within=NOT_NEGATIVE
    )
    grow: tuple[tuple[float, float], ...] = option(
        (),
        "growing input sizes, SHARE:FACTOR,...: 0.4:0.5,0.75:0.75 trains the first 40 % of the run at half size and "
        "then, up to 75 %, at three quarters",
        _number_pairs,
    )
    ema_decay: float = option(
        0.0,
        "decay of a running average of the weights, such as 0.999; 0: none ({default})",
        float,
        within=Range(low=0, high=1, below=True),
    )
    precision: str = option("fp32", "fp32, or mixed bf16 or fp16 ({default})", choices=("fp32", "bf16", "fp16"))
    compile: bool = option(False, "compile the network with torch.compile")
    freeze_batch_norm: bool = option(False, "do not change the statistics of batch norms")
    sync_batch_norm: bool = option(False, "compute the statistics of batch norms over all GPUs")
    freeze_backbone: bool = option(False, "train the KCAM head alone")
    freeze_until: int = option(
        0, "do not train the backbone up to this output stride: 2, 4, 8, 16, 32 (all of it) ({default})", int
    )
    backbone_learning_rate_factor: float = option(
        1.0, "factor on the learning rate of the backbone, such as 0.25 for a pretrained one ({default})", float
    )
    devices: int = option(1, "processes (CPU) or GPUs on each machine ({default})", int, within=AT_LEAST_1)
    nodes: int = option(1, "number of machines ({default})", int, within=AT_LEAST_1)
    checkpoint_minutes: float = option(
        10.0,
        "minutes between checkpoints; the most work that a crash can lose ({default})",
        float,
        within=Range(low=0, high=10_000, above=True),
    )
    checkpoint_steps: int = option(0, "also save after each N steps; 0: never ({default})", int, within=NOT_NEGATIVE)
    boxes: Path | None = option(
        None, "validate, and choose best.safetensors, with the boxes of a detector's DETECTIONS.json", Path
    )
    flip_test: bool = option(False, "validate, and choose best.safetensors, with the mirrored crop averaged in")
    debug_pictures: int = option(
        0,
        "write N crops of train and val, with targets and predictions, to OUTPUT/debug in each epoch ({default})",
        int,
        within=NOT_NEGATIVE,
    )
    validate_every: int = option(1, "epochs between validations ({default})", int, within=AT_LEAST_1)
    max_steps: int = option(-1, "stop after N steps; -1: no limit ({default})", int, within=Range(low=-1))
    cache_images: bool = option(True, "decode pictures each time instead of keeping them in memory")
    workers: int | None = option(
        None, "loader processes for each device (as many as suit the machine)", int, within=NOT_NEGATIVE
    )
    threads: int = option(
        0,
        "threads of PyTorch on the CPU; 0: one for each core ({default})",
        int,
        within=NOT_NEGATIVE,
    )
    seed: int = option(0, "seed of all random numbers ({default})", int, within=SEED)

    def __post_init__(self) -> None:
        check_options(self)
        checks: tuple[tuple[bool, str], ...] = (
            (
                self.freeze_until in _STRIDES,
                f"--freeze-until is {self.freeze_until}; expected {', '.join(map(str, _STRIDES))}",
            ),
            (
                self.backbone_learning_rate_factor > 0,
                f"--backbone-learning-rate-factor is {self.backbone_learning_rate_factor}; expected above 0 "
                "(--freeze-until 32 keeps the backbone as it is)",
            ),
            (
                self.pose_model.has_kcam or not self.freeze_backbone,
                f"--freeze-backbone leaves nothing of {self.pose_model.name} to train; kcam_... has a head",
            ),
            (
                self.pose_model.has_kcam or self.attention_weight == 0,
                f"--attention-weight is {self.attention_weight}, but {self.pose_model.name} has no attention",
            ),
            (
                all(0 < milestone <= 1 for milestone in self.milestones),
                f"--milestones is {self.milestones}; expected shares of the run, such as 0.81,0.95",
            ),
            (0 < self.scale_range[0] <= self.scale_range[1], f"--scale-range is {self.scale_range}; expected LOW,HIGH"),
            (all(share >= 0 for _, share in self.source_shares), "--source-shares wants shares of 0 or more"),
            (
                all(0 < end <= 1 and 0 < factor <= 1 for end, factor in self.grow)
                and [end for end, _ in self.grow] == sorted({end for end, _ in self.grow}),
                f"--grow is {self.grow}; expected SHARE:FACTOR above 0 and up to 1, the shares rising",
            ),
            (
                self.batch_size % (self.devices * self.nodes * self.accumulate) == 0,
                f"--batch-size {self.batch_size} cannot be shared evenly by {self.devices * self.nodes} devices"
                + (f" in {self.accumulate} passes" if self.accumulate > 1 else ""),
            ),
        )
        for holds, message in checks:
            if not holds:
                raise OptionError(message)

    @property
    def inputs(self) -> tuple[str | Path | None, ...]:
        """What a run reads."""
        return self.data, self.init, self.boxes, self.teacher

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
        paths = {name: str(value) for name, value in values.items() if isinstance(value, Path)}
        return {**values, **paths, "pose_model": self.pose_model.to_dict()}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> TrainConfig:
        """The inverse of `to_dict`.

        Raises:
            OptionError: a field is unknown, or its value does not fit.
        """
        known = {field.name for field in dataclasses.fields(TrainConfig)}
        for key in values:
            if key not in known:
                raise OptionError(f"unknown field '{key}'.{nearest_hint(key, known)}")
        fields = {key: _tuples(value) for key, value in values.items() if key != "pose_model"}
        paths = {name: Path(fields[name]) for name in ("data", "output", "boxes") if fields.get(name) is not None}
        try:
            pose_model = PoseModelConfig.from_dict(dict(values["pose_model"]))
            return TrainConfig(pose_model=pose_model, **{**fields, **paths})
        except (KeyError, TypeError, ValueError) as error:
            raise OptionError(f"not the configuration of a run: {error}") from error

    def save(self) -> None:
        """Write the resolved configuration into the output folder."""
        text = json.dumps(self.to_dict(), indent=1) + "\n"
        write_atomically(self.output / "config.json", text.encode())
