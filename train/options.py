"""The command line of `python -m train`: made from the tables in train/config.py, and presets for the paper's rows."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from engine.errors import OptionError, nearest_hint
from engine.option_table import add_options, options_of
from engine.system.json_file import read_json
from models.pose_model import PoseModelConfig
from train.config import NetworkOptions, TrainConfig

# The recipes of the official code, for the baselines of table 3. SimpleBaseline has no half-body crops, and trains on
# BGR pictures; here it gets RGB. Milestones are shares of the run.
_SIMPLE_BASELINE: Mapping[str, Any] = {
    "init": "imagenet", "learning_rate": 1e-3, "epochs": 140, "milestones": (90 / 140, 120 / 140),
    "augmentation": "official", "rotation_deg": 40.0, "scale_range": (0.7, 1.3), "half_body_probability": 0.0,
}  # fmt: skip
_HRNET: Mapping[str, Any] = {
    "init": "imagenet", "learning_rate": 1e-3, "epochs": 210, "milestones": (170 / 210, 200 / 210),
    "augmentation": "official", "rotation_deg": 45.0, "scale_range": (0.65, 1.35), "half_body_probability": 0.3,
}  # fmt: skip

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
    # The same networks by their authors' recipes; the batches are those of four GPUs.
    "simplebaseline_resnet50": {**_SIMPLE_BASELINE, "model": "resnet50", "batch_size": 128},
    "simplebaseline_resnet152": {
        **_SIMPLE_BASELINE, "model": "resnet152", "input_size": "384x288", "batch_size": 128,
    },
    "hrnet_w32": {**_HRNET, "model": "hrnet_w32", "batch_size": 128},
    "hrnet_w48": {**_HRNET, "model": "hrnet_w48", "input_size": "384x288", "batch_size": 96},
    # Fine-tuning of a pretrained MobileNetV2 on a few cores; --init names its weights.
    "mobilenet_v2": {
        "model": "kcam_mobilenet_v2", "input_size": "256x192", "decode": "dark", "epochs": 14, "batch_size": 32,
        "learning_rate": 1e-3, "schedule": "cosine", "warmup_steps": 100, "grow": "0.45:0.75", "ema_decay": 0.998,
        "precision": "bf16", "half_body_probability": 0.25, "color_jitter": 0.3, "scale_range": "0.65,1.35",
        "freeze_until": 4, "backbone_learning_rate_factor": 0.25,
    },
    # What ships: a small network, trained on a small data set by the clock on a few cores.
    "small_cpu": {
        "model": "kcam_resnet18", "deconv_channels": 128, "hours": 1.5, "batch_size": 32, "learning_rate": 1e-3,
        "schedule": "cosine", "warmup_steps": 200, "grow": "0.45:0.5,0.8:0.75", "ema_decay": 0.998,
        "precision": "bf16", "half_body_probability": 0.1, "color_jitter": 0.2,
    },
}  # fmt: skip


COMMANDS = """\
other commands, each with --help:

everyday
  python -m train.evaluate            AP of weights through any backend; converts official checkpoints
  python -m train.curves              draw the curves of a run
  python -m train.figures             draw areas and attention for a photo
  python -m train.combine             average weights; choose the decoding
  python -m train.pseudo_label        label pictures with trained networks, or fill the gaps of labels
  python -m train.detector            train a person detector
  python -m train.detector_recall     recall of a detector; its boxes for --boxes
  python -m train.detector_average    average detectors of one run

paper
  python -m train.ablate              train the rows of table 1 or 2
  python -m train --preset paper_hrnet_w48; python -m train.evaluate --compare-paper    table 3
  python -m train.figures             figure 2

maintenance
  python -m train.tradeoff            AP against latency, as a picture
  python -m train.end_to_end          AP of the whole program, with its own boxes and thresholds
  python -m train.agreement           keypoints of other runtimes against float32 PyTorch
  python -m train.clip_check          poses files against labelled clips
  python -m train.id_check            ids in poses files against labelled clips
"""


class _Parser(argparse.ArgumentParser):
    """Raises an error of one line instead of printing the usage."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m train`."""
    # Without abbreviations: half a name is an unknown name, and the error suggests the nearest one.
    parser = _Parser(
        prog="python -m train",
        description="Train a pose network.",
        epilog=COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--preset", help="a set of options to start from: " + ", ".join(PRESETS))
    add_options(parser.add_argument_group("network"), NetworkOptions)
    run = parser.add_argument_group("run")
    add_options(run, TrainConfig)
    run.add_argument("--config", type=Path, help="config.json of a run: its options, in place of a preset's")
    run.add_argument("--resume", action="store_true", help="go on from OUTPUT/checkpoints/last.ckpt")
    run.add_argument("--profile", action="store_true", help="print images/s of loader, network and both, and end")
    return parser


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
    name, file = given.pop("preset", None), given.pop("config", None)
    if file is not None:
        if name is not None:
            raise OptionError("--preset and --config both give the options to start from; leave one of them out")
        return {**_options_of(read_config(file)), **given}
    if name is None:
        return given
    if name not in PRESETS:
        raise OptionError(f"unknown preset '{name}'.{nearest_hint(name, PRESETS)}")
    by_key = {
        item.flag[2:].replace("-", "_"): item for table in (NetworkOptions, TrainConfig) for item in options_of(table)
    }
    preset = {
        by_key[key].name: by_key[key].read(value) if isinstance(value, str) else value
        for key, value in PRESETS[name].items()
    }
    return {**preset, **given}


def read_config(file: Path) -> TrainConfig:
    """The configuration that a run saved.

    Raises:
        OptionError: the file cannot be read, or is not such a configuration.
    """
    try:
        return TrainConfig.from_dict(read_json(file))
    except OSError as error:
        raise OptionError(f"--config: {file} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise OptionError(f"--config: {file} is not the configuration of a run: {error}") from error


def _options_of(config: TrainConfig) -> dict[str, Any]:
    """The options that give a configuration, by the names of their fields."""
    network = {item.name: getattr(config.pose_model, item.name) for item in options_of(NetworkOptions)}
    return {**{item.name: getattr(config, item.name) for item in options_of(TrainConfig)}, **network}


def config_from(options: Mapping[str, Any]) -> TrainConfig:
    """The checked configuration of a run.

    Args:
        options: as `parse_options` gives them, or any subset of the fields by name.

    Raises:
        OptionError: something is missing, unknown or does not fit.
    """
    values = {key: value for key, value in options.items() if key not in ("resume", "profile")}
    for needed, flag in (("name", "--model"), ("data", "--data")):
        if needed not in values:
            raise OptionError(f"{flag} is missing; see python -m train --help")
    network = {item.name: values.pop(item.name) for item in options_of(NetworkOptions) if item.name in values}
    values.setdefault("output", Path("runs") / str(network["name"]))
    for key, count in _started_by_torchrun().items():
        if values.setdefault(key, count) != count:
            raise OptionError(f"--{key} is {values[key]}, but torchrun started {count}; leave --{key} out")
    known = {item.name for item in options_of(TrainConfig)}
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
