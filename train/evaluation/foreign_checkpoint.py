"""Checkpoints without a description of their network, converted into weights files that any backend opens."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from engine.artifacts.model_files import resolve_pose_model
from engine.errors import OptionError
from engine.system.json_file import read_json
from engine.system.paths import path_from
from models.checkpoints import CheckpointError, load_foreign_pose_model, read_metadata, save_pose_model
from models.foreign_weights import ChannelOrder
from models.pose_model import PoseModelConfig, parse_size
from train.data.people import PeopleSet

_PICKLES = (".pth", ".pt", ".tar", ".ckpt", ".bin")


@contextlib.contextmanager
def usable_weights(
    name: str,
    model: str | None,
    input_size: str | None,
    people: PeopleSet,
    save_to: Path | None = None,
    *,
    udp: bool = False,
    channel_order: ChannelOrder | None = None,
) -> Iterator[Path]:
    """The file of a pose model: as `resolve_pose_model` finds it, or a conversion of a foreign checkpoint.

    A conversion is deleted at the end, unless it is kept.

    Args:
        name: a shipped name, a weights file of ours, or an official, MMPose or Lightning checkpoint.
        model: the network in a foreign checkpoint; a Lightning checkpoint that still stands in the folder of its run
            needs none.
        input_size: of a foreign checkpoint, such as "256x192"; None where its file name or content contains it.
        people: whose keypoints a foreign checkpoint is expected to find.
        udp: a foreign checkpoint was trained with UDP coordinates, see `PoseModelConfig`.
        channel_order: of the pictures a foreign checkpoint was trained on; None for that of the program it is from.
        save_to: keep the converted foreign checkpoint there, as a weights file of ours.

    Raises:
        EngineError, CheckpointError: the weights cannot be used.
    """
    path = path_from(name)
    if not _is_foreign(path, model):
        if udp or any(value is not None for value in (model, input_size, save_to, channel_order)):
            options = "--model, --input-size, --channel-order, --udp and --save"
            raise OptionError(f"{name} contains its own description; {options} are for foreign files")
        yield resolve_pose_model(name)
        return
    pose_model, foreign = load_foreign_pose_model(path, _config_of(path, model, input_size, udp), channel_order)
    found, expected = pose_model.config.num_keypoints, people.skeleton.num_keypoints
    if found != expected:
        raise OptionError(f"{name} finds {found} keypoints, but {people.origin} labels {expected}")
    if foreign.channel_order == "bgr":
        print(f"{path.name} was trained on BGR pictures; its first layer was turned to RGB")
    with tempfile.TemporaryDirectory(prefix="kcam-") as folder:
        target = save_to or Path(folder) / f"{pose_model.config.name}.safetensors"
        save_pose_model(
            target,
            pose_model,
            skeleton=people.skeleton.to_dict(),
            class_names=people.class_names,
            mean=foreign.mean,
            std=foreign.std,
            notes={"from": path.name, "trained_on": foreign.channel_order},
            half=False,
        )
        yield target


def _is_foreign(path: Path, model: str | None) -> bool:
    if path.suffix.lower() in _PICKLES:
        return True
    if model is None or path.suffix.lower() != ".safetensors":
        return False
    try:
        read_metadata(path)
    except CheckpointError:  # safetensors of another program, or damaged, which reading it reports
        return True
    return False


def _config_of(path: Path, model: str | None, input_size: str | None, udp: bool) -> PoseModelConfig:
    """The network of a foreign checkpoint, as the command line or the run it belongs to describes it."""
    beside = path.parent.parent / "config.json"
    try:
        if model is not None:
            size = parse_size(input_size) if input_size is not None else _size_in_name(path)
            return PoseModelConfig(name=model, input_size_wh=size, udp=udp)
        if path.suffix == ".ckpt" and beside.is_file():
            return PoseModelConfig.from_dict(read_json(beside)["pose_model"])
    except (ValueError, KeyError) as error:
        raise OptionError(f"{path}: {error}") from error
    raise OptionError(
        f"{path} does not describe its network; name it with --model, such as --model hrnet_w32, and --input-size"
    )


def _size_in_name(path: Path) -> tuple[int, int]:
    """Width and height from a name such as pose_hrnet_w48_384x288.pth; MMPose's names contain the size, too.

    Raises:
        ValueError: the name contains no size.
    """
    for text in re.findall(r"(?<!\d)\d{2,4}x\d{2,4}(?!\d)", path.name):
        width, height = parse_size(text)
        if width % 32 == 0 and height % 32 == 0:
            return width, height
    raise ValueError("neither the file nor its name contains the input size; give --input-size, as in 256x192")
