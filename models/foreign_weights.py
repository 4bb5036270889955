"""Reading weights that other programs wrote: official HRNet and SimpleBaseline files, MMPose's, Lightning's.

`.pth`, `.pth.tar` and `.ckpt` files are pickles. They are read with `weights_only=True`, so that no code in them can
run; a file that wants more than tensors and plain values is refused.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# Where checkpoints keep their tensors. Lightning's averaging of weights puts the average under "state_dict" and what
# the optimiser works on under "current_model_state"; the average is what was validated, so it is what is read.
_WRAPPERS = ("state_dict", "model")

# Prefixes by the program that adds them, outermost first: DataParallel, our Lightning module, then MMPose 0.x and 1.x,
# which keep the official names behind them.
_PREFIXES = ("module.", "model.", "backbone.", "keypoint_head.", "head.")


# What MMPose's checkpoints hold beside the tensors: NumPy values and logs of the training. None of it is needed.
_UNUSED_GLOBALS = (
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    "numpy.ndarray",
    "numpy.dtype",
    "mmengine.logging.history_buffer.HistoryBuffer",
)


class CheckpointError(ValueError):
    """A weights file cannot be used; the message names the file and says why."""


def read_foreign_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors under official names, from a safetensors file or a foreign checkpoint.

    Raises:
        CheckpointError: the file is missing, damaged, or holds anything but tensors and plain values.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return official_names(load_file(path))
        except SafetensorError as error:
            raise CheckpointError(f"{path} is damaged: {error}") from error
    check_archive(path)
    try:
        with torch.serialization.safe_globals([(_Unused, name) for name in _UNUSED_GLOBALS]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds here, pickle errors among them
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
    return official_names(tensors)


class _Unused:
    """Stands where a value was that nobody needs: nothing of what would have made it is run or kept."""

    def __new__(cls, *_arguments: object) -> _Unused:
        return super().__new__(cls)

    def __setstate__(self, _state: object) -> None:
        """Forget it."""


def check_archive(path: Path) -> None:
    """Refuse a checkpoint that would unpack to more than it is; PyTorch stores its tensors as they are.

    Raises:
        CheckpointError: it cannot be read, or is packed.
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
    """A tensor may be a view that repeats a few bytes without end, or of a kind that holds no numbers of its own."""
    plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
    if not plain or value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise CheckpointError(f"{path} is not read: '{name}' holds less than its shape {tuple(value.shape)} says")


def _why_refused(error: Exception) -> str:
    """One line for torch's many, which also say how to run what is in the file."""
    refused = re.search(r"GLOBAL (\S+)", str(error))
    if refused is not None:
        return f"it wants to call {refused[1]}, and no code in a weights file is run"
    if type(error).__name__ == "UnpicklingError":
        return "it holds other objects, or no weights at all"
    return "it is damaged or cut short"


def official_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names of the official HRNet and SimpleBaseline code, whoever wrote them."""
    named: dict[str, Tensor] = {}
    for name, value in tensors.items():
        plain = name
        for prefix in _PREFIXES:
            plain = plain.removeprefix(prefix)
        named.setdefault(plain, value)
    return named


def shape_fields(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Fields of PoseModelConfig that the shapes of a pose network's tensors give away; empty for other tensors."""
    fields: dict[str, Any] = {}
    final, deconvolution = tensors.get("final_layer.weight"), tensors.get("deconv_layers.0.weight")
    if final is not None and final.ndim == 4:
        fields["num_keypoints"] = int(final.shape[0])
    if deconvolution is not None and deconvolution.ndim == 4:
        fields["deconv_channels"] = int(deconvolution.shape[1])
    return fields
