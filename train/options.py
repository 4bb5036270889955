"""The command line of `python -m train`: one option for every field of a run, and presets for the paper's rows."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from engine.errors import OptionError, nearest_hint
from models.pose_model import PoseModelConfig, parse_size
from train.config import TrainConfig

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # Tables 1 and 2 of the paper: their rows are switches on this one.
    "paper_resnet50": {"model": "kcam_resnet50", "init": "imagenet"},
    # Table 3.
    "paper_hrnet_w48": {"model": "kcam_hrnet_w48", "input_size": "384x288", "init": "imagenet"},
    # The same recipe without the head, for comparison.
    "bare_resnet50": {"model": "resnet50", "init": "imagenet"},
    "bare_resnet152": {"model": "resnet152", "input_size": "384x288", "init": "imagenet"},
    "bare_hrnet_w32": {"model": "hrnet_w32", "init": "imagenet"},
    "bare_hrnet_w48": {"model": "hrnet_w48", "input_size": "384x288", "init": "imagenet"},
    # What ships: a small network, trained on a small data set by the clock on a few cores.
    "small_cpu": {
        "model": "kcam_resnet18", "deconv_channels": 128, "hours": 1.5, "batch_size": 32, "learning_rate": 1e-3,
        "schedule": "cosine", "warmup_steps": 200, "grow": "0.45:0.5,0.8:0.75", "ema_decay": 0.998,
        "precision": "bf16", "half_body_probability": 0.1, "color_jitter": 0.2,
    },
}  # fmt: skip


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


# Options of the network, which is one field of the configuration. Name, how it is read, help.
_NETWORK: tuple[tuple[str, Callable[[str], Any], str], ...] = (
    ("model", str, "kcam_resnet18, kcam_hrnet_w32, ...; without kcam_: the bare backbone"),
    ("input_size", parse_size, "height x width in px, multiples of 32 (256x192)"),
    ("deconv_channels", int, "width of a ResNet's deconvolutions (256)"),
    ("fusion", str, "concat, add or none: table 2 of the paper (concat)"),
    ("area_normalization", str, "sum or softmax (sum)"),
    ("decode", str, "of heatmaps to keypoints, also where the weights are used: quarter or dark (quarter)"),
    ("sigma", float, "of the targets in heatmap px; 0 for 2 at 64x48 and 3 at 96x72 (0)"),
)

# Everything else; the defaults stand in TrainConfig.
_RUN: dict[str, tuple[Callable[[str], Any], str]] = {
    "data": (Path, "folder with train.json and val.json, COCO as downloaded, or the YAML of an ultralytics pose set"),
    "output": (Path, "folder of the run (runs/MODEL)"),
    "init": (str, "random, imagenet, a weights file, or the .json of MoveNet (mobilenet_v2)"),
    "epochs": (int, "passes over the people"),
    "hours": (float, "stop by the clock; schedules are fitted to it"),
    "batch_size": (int, "people a step, over all devices together"),
    "optimizer": (str, "adam or adamw"),
    "learning_rate": (float, "at its highest"),
    "backbone_learning_rate_factor": (float, "on the learning rate of the backbone; 0.25 where it is pretrained"),
    "freeze_until": (int, "keep the backbone up to this output stride as it is: 2, 4, 8, 16, 32 (all of it)"),
    "adam_epsilon": (float, "what keeps Adam's division finite"),
    "weight_decay": (float, "0 reproduces the paper"),
    "schedule": (str, "step or cosine"),
    "milestones": (_numbers, "shares of the run at which 'step' steps down, such as 0.81,0.95"),
    "warmup_steps": (int, "linear start"),
    "alpha": (float, "weight of the coarse loss (equation 4)"),
    "rotation_deg": (float, "crops turn by up to so many degrees"),
    "scale_range": (_range, "size of a crop as a factor of its box, such as 0.5,1.5"),
    "flip_probability": (float, "of mirroring a crop"),
    "half_body_probability": (float, "of cropping to one half of the body"),
    "truncation_probability": (float, "of ending the frame at a line through the body, as a webcam's often does"),
    "cut_out_probability": (float, "of hiding up to three patches of the crop"),
    "blur_probability": (float, "of Gaussian or motion blur"),
    "low_resolution_probability": (float, "of making the person small and large again"),
    "source_shares": (_named_numbers, "how often the people of a source come in an epoch, such as coco:2,lsp:0.5"),
    "color_jitter": (float, "strength of random brightness, contrast and colour"),
    "grow": (
        _number_pairs,
        "growing input sizes, SHARE:FACTOR,...: 0.4:0.5,0.75:0.75 trains 40 %% of the run at half size and up to "
        "75 %% at three quarters",
    ),
    "ema_decay": (float, "running average of the weights, such as 0.999; 0 for none"),
    "precision": (str, "fp32, bf16 or fp16 (mixed)"),
    "devices": (int, "processes (CPU) or cards a machine"),
    "nodes": (int, "machines"),
    "checkpoint_minutes": (float, "the most work that a stop can lose"),
    "checkpoint_steps": (int, "also save every so many steps"),
    "validate_every": (int, "epochs between validations"),
    "max_steps": (int, "stop after so many steps"),
    "workers": (int, "loader processes a device, as many as suit the machine by default"),
    "threads": (int, "of PyTorch on the CPU; one fewer than the cores where other work runs beside it"),
    "seed": (int, "of everything random"),
}
_SWITCHES = {
    "joint_weights": "weights 1.2 and 1.5 for elbows and knees, wrists and ankles",
    "compile": "torch.compile the network",
    "freeze_batch_norm": "keep the batch norms' statistics as they are",
    "freeze_backbone": "train the KCAM head alone",
}


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, instead of a screenful of usage."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m train`."""
    # Without abbreviations: half a name is a name that is not known, and the nearest one is said.
    parser = _Parser(
        prog="python -m train",
        description="Train a pose network.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--preset", help=", ".join(PRESETS))
    network = parser.add_argument_group("network")
    for name, read, text in _NETWORK:
        network.add_argument(_flag(name), type=_reader(read), help=text)
    network.add_argument("--no-coarse-supervision", action="store_true", help="table 1 of the paper")
    network.add_argument("--udp", action="store_true", help="unbiased coordinates (UDP); they travel in the weights")
    run = parser.add_argument_group("run")
    for name, (read, text) in _RUN.items():
        run.add_argument(_flag(name), type=_reader(read), help=text + _default_text(name))
    for name, text in _SWITCHES.items():
        run.add_argument(_flag(name), action="store_true", help=text)
    run.add_argument("--no-cache-images", action="store_true", help="decode pictures anew every time")
    run.add_argument("--resume", action="store_true", help="go on from OUTPUT/checkpoints/last.ckpt")
    run.add_argument("--profile", action="store_true", help="print images/s of loader, network and both, and end")
    return parser


def _reader(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """argparse says only "invalid value" of a ValueError; this keeps what was wrong with it."""

    def parse(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _default_text(name: str) -> str:
    default = {field.name: field.default for field in dataclasses.fields(TrainConfig)}[name]
    plain = isinstance(default, (int, float, str)) and not isinstance(default, bool) and default != ""
    return f" ({default})" if plain else ""


def parse_options(argv: Sequence[str] | None) -> dict[str, Any]:
    """The options that were given, a preset's values below them.

    Raises:
        OptionError: an unknown option (the nearest is named) or preset.
    """
    parser = build_parser()
    options, unknown = parser.parse_known_args(argv)
    if unknown:
        known = [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]
        wrong = unknown[0].partition("=")[0]
        raise OptionError(f"unknown option '{wrong}'.{nearest_hint(wrong, known)}")
    given = dict(vars(options))
    name = given.pop("preset", None)
    if name is None:
        return given
    if name not in PRESETS:
        raise OptionError(f"unknown preset '{name}'.{nearest_hint(name, PRESETS)}")
    readers = {**{key: read for key, read, _ in _NETWORK}, **{key: read for key, (read, _) in _RUN.items()}}
    preset = {key: readers[key](value) if isinstance(value, str) else value for key, value in PRESETS[name].items()}
    return {**preset, **given}


def config_from(options: Mapping[str, Any]) -> TrainConfig:
    """The checked configuration of a run.

    Args:
        options: as `parse_options` gives them, or any subset of the fields by name.

    Raises:
        OptionError: something is missing, unknown or does not fit.
    """
    values = {key: value for key, value in options.items() if key not in ("resume", "profile")}
    for needed in ("model", "data"):
        if needed not in values:
            raise OptionError(f"--{needed} is missing; see python -m train --help")
    network = {
        "name": values.pop("model"),
        "input_size_wh": values.pop("input_size", (192, 256)),
        "coarse_supervision": not values.pop("no_coarse_supervision", False),
    }
    for key in ("deconv_channels", "fusion", "area_normalization", "decode", "sigma", "udp"):
        if key in values:
            network[key] = values.pop(key)
    if values.pop("no_cache_images", False):
        values["cache_images"] = False
    values.setdefault("output", Path("runs") / str(network["name"]))
    for key, count in _started_by_torchrun().items():
        if values.setdefault(key, count) != count:
            raise OptionError(f"--{key} is {values[key]}, but torchrun started {count}; leave --{key} out")
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    for key in values:
        if key not in known:
            raise OptionError(f"unknown field '{key}'.{nearest_hint(key, known)}")
    try:
        pose_model = PoseModelConfig(**network)
    except ValueError as error:
        raise OptionError(str(error)) from error
    return TrainConfig(pose_model=pose_model, **values)


def _started_by_torchrun() -> dict[str, int]:
    """Devices and nodes of the group that torchrun made this process a part of; empty without it.

    Lightning would take one device for a run of its own, and all processes would then train into the same folder.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return {}
    devices, world = (int(os.environ[name]) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    return {"devices": devices, "nodes": world // devices}
