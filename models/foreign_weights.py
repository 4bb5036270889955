"""Reading the weights of other programs: official HRNet and SimpleBaseline files, MMPose's, Lightning's, MoveNet.

MoveNet is a TF.js graph model: JSON, with the raw numbers in files beside it.

`.pth`, `.pth.tar` and `.ckpt` files are pickles. They are read with `weights_only=True`, so that no code in them can
run; a file with other content than tensors and plain values is refused.
"""

from __future__ import annotations

import json
import math
import re
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# The keys under which checkpoints keep their tensors. Lightning's weight averaging stores the average as "state_dict"
# and the optimiser's weights as "current_model_state". The average is read, because it is what was validated.
_WRAPPERS = ("state_dict", "model")

ChannelOrder = Literal["rgb", "bgr"]
CHANNEL_ORDERS: tuple[ChannelOrder, ...] = ("rgb", "bgr")

# Prefixes that programs add to the names, outermost first: DataParallel, our Lightning module, then MMPose 0.x and 1.x,
# which keep the official names after the prefix.
_PREFIXES = ("module.", "model.", "backbone.", "keypoint_head.", "head.")


# What MMPose's checkpoints contain besides tensors: NumPy values and training logs. None of it is needed.
_UNUSED_GLOBALS = (
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    "numpy.ndarray",
    "numpy.dtype",
    "mmengine.logging.history_buffer.HistoryBuffer",
)


class CheckpointError(ValueError):
    """A weights file cannot be used; the message states the file and the reason."""


@dataclass(frozen=True, kw_only=True)
class ForeignWeights:
    """Tensors under official names, and the input that their first layer was trained on.

    Attributes:
        tensors: of a network that takes RGB.
        mean, std: RGB on the scale 0 to 1, the normalisation of that input.
        channel_order: of the file; "bgr" means that its first layer was turned to RGB.
    """

    tensors: dict[str, Tensor]
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    channel_order: ChannelOrder = "rgb"

    def imagenet_normalized(self) -> dict[str, Tensor]:
        """The tensors for an input normalised by ImageNet's mean and deviation.

        The factor goes into the first convolution, the offset into the mean of the batch norm behind it: the same
        function except at the border, where the zeros of the padding stand for another colour.
        """
        first = next((names for names in _FIRST_LAYERS if names[0] in self.tensors), None)
        if first is None or (self.mean, self.std) == (IMAGENET_MEAN, IMAGENET_STD):
            return self.tensors
        weight = self.tensors[first[0]].float()
        new, old = (
            [torch.tensor(values).view(1, 3, 1, 1) for values in normalization]
            for normalization in ((IMAGENET_MEAN, IMAGENET_STD), (self.mean, self.std))
        )
        adapted = {first[0]: weight * new[1] / old[1]}
        if first[1] in self.tensors:
            offset = (weight * (new[0] - old[0]) / old[1]).sum(dim=(1, 2, 3))
            adapted[first[1]] = self.tensors[first[1]].float() - offset
        return {**self.tensors, **adapted}


# The first convolution of each family, and the mean of the batch norm behind it.
_FIRST_LAYERS = (("conv1.weight", "bn1.running_mean"), ("stem.0.weight", "stem.1.running_mean"))


def read_foreign_weights(path: Path, channel_order: ChannelOrder | None = None) -> ForeignWeights:
    """Weights of any program, with the first layer in RGB.

    Args:
        path: see `read_foreign_tensors`.
        channel_order: of the pictures that the file was trained on; None for that of the program whose names it uses.
            The official SimpleBaseline code (`pose_resnet.py`) trains on BGR, normalised by ImageNet's constants in
            the order of RGB; all others train on RGB.

    Raises:
        CheckpointError: as `read_foreign_tensors`.
    """
    raw = _read_tensors(path)
    tensors = official_names(raw)
    order = channel_order or _channel_order(raw)
    if order == "bgr" and "conv1.weight" in tensors:
        turned = {**tensors, "conv1.weight": tensors["conv1.weight"].flip(1)}
        return ForeignWeights(tensors=turned, mean=IMAGENET_MEAN[::-1], std=IMAGENET_STD[::-1], channel_order="bgr")
    return ForeignWeights(tensors=tensors)


def _channel_order(tensors: Mapping[str, Tensor]) -> ChannelOrder:
    """BGR for files of the official SimpleBaseline code; those of MMPose, torchvision and ours have other names."""
    names = {name.removeprefix("module.") for name in tensors}
    return "bgr" if {"conv1.weight", "deconv_layers.0.weight", "final_layer.weight"} <= names else "rgb"


def read_foreign_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors under official names, from a safetensors file, a MoveNet graph model (.json) or a foreign checkpoint.

    Raises:
        CheckpointError: the file is missing or damaged, or contains anything but tensors and plain values.
    """
    return official_names(_read_tensors(path))


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors under the file's own names; of a MoveNet model under ours."""
    check_file(path)
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    if path.suffix == ".json":
        return movenet_backbone(path)
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise CheckpointError(f"{path} is damaged: {error}") from error
    check_archive(path)
    try:
        with torch.serialization.safe_globals([(_Unused, name) for name in _UNUSED_GLOBALS]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types here, including pickle errors
        raise CheckpointError(
            f"{path} is not read, because it is not a file of plain tensors: {_why_refused(error)}"
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds {type(content).__name__}, not tensors by name")
    tensors = {str(name): value for name, value in content.items() if torch.is_tensor(value)}
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors")
    for name, value in tensors.items():
        _check_extent(path, name, value)
    return tensors


class _Unused:
    """Placeholder for an unneeded value: the code that would create it does not run, and its data is dropped."""

    def __new__(cls, *_arguments: object) -> _Unused:
        return super().__new__(cls)

    def __setstate__(self, _state: object) -> None:
        """Drop the state."""


def check_file(path: Path) -> None:
    """Refuse a folder, such as that of a run, and a pipe, whose writer a reader would wait for.

    Raises:
        CheckpointError: it is there, and is not a file.
    """
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):  # who reads it says why it cannot be read
        return
    if not is_file:
        raise CheckpointError(f"{path} is a folder, a pipe or a device; expected a file of weights")


def check_archive(path: Path) -> None:
    """Refuse a compressed checkpoint, which could unpack to any size; PyTorch stores its tensors uncompressed.

    Raises:
        CheckpointError: it cannot be read, or is compressed.
    """
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        size = path.stat().st_size
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise CheckpointError(f"{path} is not read: it is damaged or cut short") from error
    unpacked = sum(entry.file_size for entry in entries)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or unpacked > size:
        raise CheckpointError(
            f"{path} is not read: it is packed, {unpacked} bytes into {size}, which PyTorch's checkpoints are not"
        )


def _check_extent(path: Path, name: str, value: Tensor) -> None:
    """Refuse a tensor with less data than its shape: a view that repeats a few bytes, or a type without data."""
    plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
    if not plain or value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise CheckpointError(f"{path} is not read: '{name}' holds less than its shape {tuple(value.shape)} needs")


def _why_refused(error: Exception) -> str:
    """A one-line reason instead of torch's long message, which also explains how to execute the file's code."""
    refused = re.search(r"GLOBAL (\S+)", str(error))
    if refused is not None:
        return f"it wants to call {refused[1]}, and no code in a weights file is run"
    if type(error).__name__ == "UnpicklingError":
        return "it holds other objects, or no weights at all"
    return "it is damaged or cut short"


def official_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names of the official HRNet and SimpleBaseline code."""
    named: dict[str, Tensor] = {}
    for name, value in tensors.items():
        plain = name
        for prefix in _PREFIXES:
            plain = plain.removeprefix(prefix)
        named.setdefault(plain, value)
    return named


def shape_fields(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Fields of PoseModelConfig derived from the shapes of a pose network's tensors; empty for other tensors."""
    fields: dict[str, Any] = {}
    final, deconvolution = tensors.get("final_layer.weight"), tensors.get("deconv_layers.0.weight")
    if final is not None and final.ndim == 4:
        fields["num_keypoints"] = int(final.shape[0])
    if deconvolution is not None and deconvolution.ndim == 4:
        fields["deconv_channels"] = int(deconvolution.shape[1])
    return fields


_MAX_MANIFEST_BYTES = 16 * 1024 * 1024
_MAX_GRAPH_BYTES = 1024 * 1024 * 1024
_TFJS_BYTES = {"float32": 4, "float16": 2, "int32": 4, "uint8": 1, "bool": 1}
_MOVENET_BACKBONE = "/model/"  # prefix of MobileNetV2's layers; those of the pyramid and the heads lack it


def movenet_backbone(path: Path) -> dict[str, Tensor]:
    """The MobileNetV2 of a MoveNet graph model of TF.js, under the names of `mobilenet.PoseMobileNet`.

    Batch norm is folded in that file. Each convolution gets a batch norm that only adds the folded offset (mean 0,
    variance 1, scale 1); `train/averaging.py` fits it to data. MoveNet takes RGB / 127.5 - 1, our networks take RGB
    normalised by ImageNet's mean and deviation; the weights of the first layer are adapted to that.

    Args:
        path: the .json file; the numbers are in the files beside it that it names.

    Raises:
        CheckpointError: it cannot be read, or is not such a model.
    """
    tensors: dict[str, Tensor] = {}
    for name, value in _tfjs_backbone(path).items():
        layer, _, kind = name.rpartition("/")
        own = _movenet_name(layer)
        if own is None:
            continue
        if kind.endswith("_bn_offset"):
            channels = len(value)
            tensors |= {
                f"{own}.1.weight": torch.ones(channels),
                f"{own}.1.bias": value,
                f"{own}.1.running_mean": torch.zeros(channels),
                f"{own}.1.running_var": torch.ones(channels),
            }
        elif value.ndim == 4:
            # (height, width, in, out); depthwise (height, width, channels, 1)
            axes = (2, 3, 0, 1) if kind.startswith("depthwise") else (3, 2, 0, 1)
            tensors[f"{own}.0.weight"] = value.permute(*axes).contiguous()
    first, offset = tensors.get("stem.0.weight"), tensors.get("stem.1.bias")
    if first is None or offset is None or first.shape[:2] != (len(offset), 3):
        raise CheckpointError(f"{path} is no MoveNet: the first layer of its backbone is missing or has another shape")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    tensors["stem.1.bias"] = offset + (first * (2 * mean - 1)).sum(dim=(1, 2, 3))
    tensors["stem.0.weight"] = first * 2 * std
    return tensors


def _movenet_name(layer: str) -> str | None:
    """Our name of a layer such as block_3_expand; None for one that is not needed."""
    if layer == "Conv1":
        return "stem"
    match = re.fullmatch(r"(?:expanded_conv|block_(\d{1,2}))_(expand|depthwise|project)", layer)
    return None if match is None else f"blocks.{int(match[1] or 0)}.{match[2]}"


def _tfjs_backbone(path: Path) -> dict[str, Tensor]:
    """The backbone's tensors, float32, by their names after the prefix `_MOVENET_BACKBONE`.

    Sizes are checked before any tensor is made.
    """
    try:
        size = path.stat().st_size
        if size > _MAX_MANIFEST_BYTES:
            raise CheckpointError(f"{path} is not read: {size} bytes is no list of a network's layers")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON, or it is cut short") from error
    tensors: dict[str, Tensor] = {}
    try:
        for group in content["weightsManifest"]:
            entries = [_tfjs_entry(entry, path) for entry in group["weights"]]
            numbers = _tfjs_numbers(group["paths"], sum(length for *_, length in entries), path)
            position = 0
            for name, shape, kind, length in entries:
                _, behind, own = name.partition(_MOVENET_BACKBONE)
                if behind and kind in ("float16", "float32"):
                    values = np.frombuffer(numbers, np.dtype(kind).newbyteorder("<"), math.prod(shape), position)
                    tensors[own] = torch.from_numpy(values.astype(np.float32).reshape(shape))
                position += length
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a graph model of TF.js: {error!r}") from error
    return tensors


def _tfjs_entry(entry: Any, path: Path) -> tuple[str, tuple[int, ...], str, int]:
    """Name, shape, stored type and length in bytes of one tensor of the manifest."""
    name, shape = str(entry["name"]), tuple(entry["shape"])
    kind = str(entry.get("quantization", entry)["dtype"])
    fits = len(shape) <= 8 and all(type(n) is int and 0 <= n <= _MAX_GRAPH_BYTES for n in shape)
    if kind not in _TFJS_BYTES or not fits:
        raise CheckpointError(f"{path}: '{name[:80]}' is {kind[:20]} of shape {str(shape)[:80]}, which cannot be read")
    return name, shape, kind, math.prod(shape) * _TFJS_BYTES[kind]


def _tfjs_numbers(names: Any, length: int, path: Path) -> bytes:
    """The content of the files of one group, whose length must be the sum of its tensors' lengths."""
    files = [path.parent / str(name) for name in names]
    for file in files:
        if file.parent != path.parent or file.name in ("", ".", ".."):
            raise CheckpointError(f"{path} names '{str(file)[:80]}' for its numbers; they must stand beside it")
    try:
        found = sum(file.stat().st_size for file in files)
        if found != length or length > _MAX_GRAPH_BYTES:
            raise CheckpointError(f"{path}: its layers take {length} bytes, the files beside it hold {found}")
        return b"".join(file.read_bytes() for file in files)
    except OSError as error:
        raise CheckpointError(f"{path}: the numbers in {error.filename} cannot be read: {error.strerror}") from error
