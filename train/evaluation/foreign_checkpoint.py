"""Checkpoints that do not say themselves what they are, made into weights files that any backend opens."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from engine.artifacts.model_files import resolve_pose_model
from engine.errors import OptionError
from engine.system.paths import path_from
from models.checkpoints import CheckpointError, load_foreign_pose_model, read_metadata, save_pose_model
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
) -> Iterator[Path]:
    """The file of a pose model: as `resolve_pose_model` finds it, or made of a foreign checkpoint while it is needed.

    Args:
        name: a shipped name, a weights file of ours, or an official, MMPose or Lightning checkpoint.
        model: the network in a foreign checkpoint; a Lightning checkpoint that still stands in the folder of its run
            needs none.
        input_size: of a foreign checkpoint, such as "256x192", which is also what None means.
        people: whose keypoints a foreign checkpoint is said to find.
        udp: a foreign checkpoint was trained with UDP coordinates, see `PoseModelConfig`.
        save_to: keep what was made of a foreign checkpoint there, as a weights file of ours.

    Raises:
        EngineError, CheckpointError: the weights cannot be used.
    """
    path = path_from(name)
    if not _is_foreign(path, model):
        if model is not None or input_size is not None or save_to is not None or udp:
            options = "--model, --input-size, --udp and --save"
            raise OptionError(f"{name} says itself what it is; {options} are for foreign files")
        yield resolve_pose_model(name)
        return
    pose_model = load_foreign_pose_model(path, _config_of(path, model, input_size, udp))
    found, expected = pose_model.config.num_keypoints, people.skeleton.num_keypoints
    if found != expected:
        raise OptionError(f"{name} finds {found} keypoints, but {people.origin} labels {expected}")
    with tempfile.TemporaryDirectory(prefix="kcam-") as folder:
        target = save_to or Path(folder) / f"{pose_model.config.name}.safetensors"
        save_pose_model(
            target,
            pose_model,
            skeleton=people.skeleton.to_dict(),
            class_names=people.class_names,
            notes={"from": path.name},
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
    except CheckpointError:  # safetensors of another program, or what is wrong with it is said when it is read
        return True
    return False


def _config_of(path: Path, model: str | None, input_size: str | None, udp: bool) -> PoseModelConfig:
    """The network of a foreign checkpoint, as a person or the run it belongs to names it."""
    beside = path.parent.parent / "config.json"
    try:
        if model is not None:
            return PoseModelConfig(name=model, input_size_wh=parse_size(input_size or "256x192"), udp=udp)
        if path.suffix == ".ckpt" and beside.is_file():
            return PoseModelConfig.from_dict(json.loads(beside.read_text(encoding="utf-8"))["pose_model"])
    except (ValueError, KeyError) as error:
        raise OptionError(f"{path}: {error}") from error
    raise OptionError(
        f"{path} does not say which network it holds; name it with --model, such as --model hrnet_w32, and --input-size"
    )
