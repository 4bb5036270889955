"""Weights in and out: our own safetensors files, official checkpoints, ImageNet backbones.

The header of our files contains, as JSON, everything needed to run them: the model's configuration, the skeleton, the
classes it poses and the normalisation. `foreign_weights.py` reads the files of other programs.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.build import build_from_config
from models.foreign_weights import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ChannelOrder,
    CheckpointError,
    ForeignWeights,
    check_file,
    read_foreign_tensors,
    read_foreign_weights,
    shape_fields,
)
from models.pose_model import PoseModel, PoseModelConfig

__all__ = [
    "IMAGENET_MEAN", "IMAGENET_STD", "CheckpointError", "PoseCheckpoint", "imagenet_file",
    "initialize_from",
    "load_foreign_pose_model", "load_pose_model", "load_tensors", "read_foreign_tensors", "read_metadata",
    "save_pose_model", "write_atomically",
]  # fmt: skip

_METADATA_KEY = "kcam"


@dataclass(frozen=True, kw_only=True)
class PoseCheckpoint:
    """A pose network and the data needed to run it.

    Attributes:
        model: in evaluation mode, float32.
        skeleton: plain dict, as `engine.skeleton.Skeleton.to_dict` gives it.
        class_names: the classes whose boxes the network was trained on.
        mean, std: RGB on the scale 0 to 1.
        notes: free text values such as the training command and the measured AP.
    """

    model: PoseModel
    skeleton: dict[str, Any]
    class_names: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    notes: dict[str, str]

    @property
    def config(self) -> PoseModelConfig:
        """The model's configuration."""
        return self.model.config


def save_pose_model(
    path: Path,
    model: PoseModel,
    *,
    skeleton: Mapping[str, Any],
    class_names: tuple[str, ...] = ("person",),
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    notes: Mapping[str, str] | None = None,
    half: bool = True,
) -> None:
    """Write a network as one self-describing safetensors file, atomically.

    Args:
        path: final name, ending in .safetensors.
        half: store floating-point values in float16, except tensors beyond its range; after loading, computation is in
            float32.

    Raises:
        CheckpointError: a tensor holds NaN or infinity; what was at `path` stays.
    """
    from safetensors.torch import save

    tensors = {
        name: _stored(name, value.detach().cpu(), half, path).contiguous()
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked")  # counts training steps; inference does not use it
    }
    metadata = {
        "config": model.config.to_dict(),
        "skeleton": dict(skeleton),
        "class_names": list(class_names),
        "mean": list(mean),
        "std": list(std),
        "notes": dict(notes or {}),
    }
    write_atomically(path, save(tensors, {_METADATA_KEY: json.dumps(metadata)}))


def _stored(name: str, value: Tensor, half: bool, path: Path) -> Tensor:
    """A tensor as it is stored: in float16 where that is wanted and loses nothing but digits."""
    if not value.is_floating_point():
        return value
    _check_finite({name: value}, path)
    if not half:
        return value
    small = value.half()
    return small if small.isfinite().all() else value.float()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that at any moment its name refers to the complete old or the complete new content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        os.replace(temporary, path)  # noqa: PTH105 - Path.replace is the same call
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = error.filename or str(path)  # a full disk names no file
        raise


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of one of our weights files, from its header alone.

    Raises:
        CheckpointError: it cannot be read, is not a safetensors file, or not one of ours.
    """
    from safetensors import SafetensorError, safe_open

    check_file(path)
    try:
        path.open("rb").close()  # Python reports why a file cannot be read, safetensors does not
        with safe_open(path, "pt") as opened:
            texts = opened.metadata() or {}
        metadata = json.loads(texts[_METADATA_KEY])
        if not isinstance(metadata, dict):
            raise TypeError("no fields")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file, or it is damaged") from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is a safetensors file, but not a pose model of this program") from error
    missing = {"config", "skeleton", "class_names", "mean", "std"} - set(metadata)
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(sorted(missing))} in its header")
    return dict(metadata)


def load_pose_model(path: Path) -> PoseCheckpoint:
    """Build the network that a weights file describes and load it, float32, evaluation mode.

    Raises:
        CheckpointError: the file is missing, damaged, or its tensors are not those of the network it names.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    metadata = read_metadata(path)
    try:
        config = PoseModelConfig.from_dict(metadata["config"])
        fields: dict[str, Any] = {
            "skeleton": dict(metadata["skeleton"]),
            "class_names": tuple(str(name) for name in metadata["class_names"]),
            "mean": _three(metadata["mean"], path),
            "std": _three(metadata["std"], path),
            "notes": {str(key): str(value) for key, value in metadata.get("notes", {}).items()},
        }
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CheckpointError(f"{path}: its header cannot be used: {error}") from error
    try:
        tensors = load_file(path)
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    model = _build_for(config, tensors, path)
    load_tensors(model, tensors, path)
    return PoseCheckpoint(model=model.eval(), **fields)


def _three(values: Any, path: Path) -> tuple[float, float, float]:
    if not isinstance(values, list) or len(values) != 3:
        raise CheckpointError(f"{path}: mean and std are three numbers each, found {values!r}")
    first, second, third = (float(value) for value in values)
    if not all(map(math.isfinite, (first, second, third))):
        raise CheckpointError(f"{path}: mean and std are finite numbers, found {values!r}")
    return first, second, third


def _build_for(config: PoseModelConfig, tensors: Mapping[str, Tensor], path: Path) -> PoseModel:
    """The network of a configuration, unless it is far larger than the file: that could allocate many gigabytes.

    The width of the deconvolutions is the only field that can make a network that large.
    """
    later_deconvolutions = 2 * 16 * config.deconv_channels**2 if "resnet" in config.name else 0  # second and third
    if later_deconvolutions > sum(tensor.numel() for tensor in tensors.values()):
        raise CheckpointError(f"{path}: deconv_channels is {config.deconv_channels}, but it holds far fewer numbers")
    return build_from_config(config)


def load_tensors(model: PoseModel, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load every tensor of a network; the names and shapes must be exactly its own.

    Raises:
        CheckpointError: they are not, or contain NaN or infinity; the message names the first such tensor.
    """
    expected = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    given = {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
    for name, value in expected.items():
        if name not in given:
            raise CheckpointError(f"{path} is not a {model.config.name}: '{name}' is missing")
        found = given[name]
        if found.shape != value.shape:
            raise CheckpointError(
                f"{path}: '{name}' has shape {tuple(found.shape)}, "
                f"a {model.config.name} as configured wants {tuple(value.shape)}"
            )
        if found.is_floating_point() != value.is_floating_point():
            raise CheckpointError(f"{path}: '{name}' holds {found.dtype}, {value.dtype} was expected")
    extra = sorted(set(given) - set(expected))
    if extra:
        raise CheckpointError(f"{path} is not a {model.config.name}: it also holds '{extra[0]}'")
    given = {k: v.float() if v.is_floating_point() else v for k, v in given.items()}
    _check_finite(given, path)
    model.load_state_dict(given, strict=False)


def _check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise CheckpointError(f"{path}: '{name}' holds values that are not numbers")


def load_foreign_pose_model(
    path: Path, config: PoseModelConfig, channel_order: ChannelOrder | None = None
) -> tuple[PoseModel, ForeignWeights]:
    """A network, which takes RGB, with the weights of an official, MMPose or Lightning checkpoint, and these weights.

    The network is float32, in evaluation mode.

    Args:
        path: see `read_foreign_tensors`.
        config: the network that the file is expected to contain; the file itself does not state it. The numbers of
            keypoints and deconvolution channels are taken from the file, not from the config.
        channel_order: see `read_foreign_weights`.

    Raises:
        CheckpointError: the file cannot be read, or belongs to another network.
    """
    weights = read_foreign_weights(path, channel_order)
    tensors = weights.tensors
    try:
        model = _build_for(dataclasses.replace(config, **shape_fields(tensors)), tensors, path)
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    load_tensors(model, tensors, path)
    return model.eval(), weights


def initialize_from(model: PoseModel, path: Path, *, notify: Callable[[str], None] = lambda _line: None) -> list[str]:
    """Initialise a network from any weights that fit it: ours, an official checkpoint, an ImageNet backbone, MoveNet.

    Tensors whose name and shape agree are copied; the others keep their random initialisation. A first layer that was
    trained on BGR or with another normalisation is adapted to RGB normalised by ImageNet's constants, which training
    uses.

    Args:
        path: see `read_foreign_weights`.
        notify: receives one line where the first layer was turned from BGR to RGB.

    Returns:
        The names that kept their random initialisation, without batch counters.

    Raises:
        CheckpointError: the file cannot be read, or fewer than half of the backbone's tensors fit.
    """
    weights = _own_weights(path) or read_foreign_weights(path)
    tensors = weights.imagenet_normalized()
    own = model.state_dict()
    fitting = {k: v.float() for k, v in tensors.items() if k in own and own[k].shape == v.shape}
    backbone = [k for k in own if model.backbone_stride(k) is not None]
    if 2 * sum(k in fitting for k in backbone) < len(backbone):
        raise CheckpointError(
            f"{path} does not fit {model.config.name}: {len(fitting)} of {len(own)} tensors agree in name and shape"
        )
    _check_finite(fitting, path)
    model.load_state_dict(fitting, strict=False)
    if weights.channel_order == "bgr":
        notify(f"{path} was trained on BGR pictures; its first layer was turned to RGB")
    return [k for k in own if k not in fitting and not k.endswith("num_batches_tracked")]


def _own_weights(path: Path) -> ForeignWeights | None:
    """The tensors of one of our files with the normalisation in its header; None for another program's file."""
    if path.suffix != ".safetensors":
        return None
    try:
        metadata = read_metadata(path)
    except CheckpointError:
        return None
    mean, std = _three(metadata["mean"], path), _three(metadata["std"], path)
    return ForeignWeights(tensors=read_foreign_tensors(path), mean=mean, std=std)


def imagenet_file(backbone_name: str) -> Path:
    """The file of a backbone's ImageNet weights, downloaded by torch or huggingface_hub if it is missing.

    Raises:
        CheckpointError: it is not on this machine and cannot be fetched; the message names the file.
    """
    offline = os.environ.get("KCAM_OFFLINE", "") not in ("", "0")  # as main.py --offline sets it
    absent = f"ImageNet weights of {backbone_name} are not on this machine and cannot be fetched"
    if backbone_name.startswith("resnet"):
        from torchvision.models import get_model_weights

        url = str(get_model_weights(backbone_name)["IMAGENET1K_V1"].url)
        file = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
        if not file.is_file():
            advice = CheckpointError(f"{absent}: put {url} at {file}")
            if offline:
                raise advice
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                torch.hub.download_url_to_file(url, str(file), hash_prefix=file.stem.rpartition("-")[2])
            except (OSError, RuntimeError) as error:  # RuntimeError: the downloaded file has another hash
                raise advice from error
        return file
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository = f"timm/{backbone_name}.ms_in1k" if backbone_name != "hrnet_w18" else "timm/hrnet_w18.ms_aug_in1k"
    try:
        return Path(hf_hub_download(repository, "model.safetensors", local_files_only=offline))
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        advice = CheckpointError(f"{absent}: get model.safetensors of {repository} from Hugging Face, --init PATH")
        raise advice from error
