"""What a detector's training starts from: an ONNX file, the shipped one or a NanoDet, becomes a network of ultralytics.

An exported detector has its batch norms folded into the convolutions. Folded weights alone would be no start: in
training, a batch norm divides by what it sees in the batch, and the network would compute something else. So the batch
norms are made anew from what the convolutions give on pictures, such that the network computes what the file does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from engine.errors import ModelError, OptionError
from engine.system.regular_file import read_regular
from engine.system.ultralytics_env import prepare_ultralytics
from engine.types import UInt8Array
from train.detector.nanodet import NanoDet
from train.detector.nanodet_start import DETECT, load_nanodet, nanodet_layout

_PREFIX = "model.model."
_ONE_TO_ONE = "one2one_"


def starting_point(
    init: Path | None, *, architecture: str, start: Path, pictures: Path, input_size: int, one_to_many: bool
) -> Path:
    """What ultralytics starts from: an architecture, a `.pt` file, or a file that is made for it.

    Args:
        init: a `.pt` file, an `.onnx` file of `engine build --detector`, a NanoDet as ONNX, whose backbone and pyramid
            begin the network then, or None for random weights.
        architecture: its YAML name in the ultralytics package.
        start: the file to make.
        pictures: folder of pictures to measure batch norms on.
        input_size: side of the square input in px.
        one_to_many: the network shall have that branch alone.

    Raises:
        OptionError: one branch alone is wanted of a `.pt` file, which has both.
        ModelError: an `.onnx` file that cannot serve, see `restore_detector` and `nanodet_start.load_nanodet`.
    """
    exported = init is not None and init.suffix.lower() == ".onnx"
    if one_to_many and init is not None and not exported:
        raise OptionError(f"--one-to-many starts from an .onnx file or from nothing, not from {init}")
    if init is not None and not exported:
        return init
    if init is None and not one_to_many:
        return Path(architecture)
    prepare_ultralytics(verbose=True)
    from ultralytics import YOLO  # type: ignore[attr-defined]
    from ultralytics.nn.tasks import DetectionModel, yaml_model_load

    layout = yaml_model_load(architecture)  # type: ignore[no-untyped-call]
    layout["end2end"] = not one_to_many
    network: Any
    if init is None:
        network = DetectionModel(layout, nc=1, verbose=False)  # type: ignore[no-untyped-call]
    else:
        files = sorted(pictures.iterdir())
        some = files[:: max(1, len(files) // 64)]
        own = nanodet_layout() | {"end2end": not one_to_many}
        if is_nanodet(init):
            network = DetectionModel(own, nc=1, verbose=False).eval()  # type: ignore[no-untyped-call]
            _measure_batch_norms(network, load_nanodet(network, init), some, input_size)
        else:
            by_nanodet = any(name.startswith(f"{DETECT}.") for name in _weights(init))
            network = restore_detector(init, own if by_nanodet else layout, some, input_size)
    model = YOLO(architecture, task="detect")
    model.model = network
    model.save(str(start))
    return start


def is_nanodet(file: Path) -> bool:
    """Whether an ONNX file is a NanoDet."""
    try:
        NanoDet(file, 0.0)
    except ModelError:
        return False
    return True


def restore_detector(
    file: Path, architecture: str | dict[str, Any], pictures: list[Path], input_size: int
) -> nn.Module:
    """A trainable network that computes what an exported one-to-many or one-to-one detector computes.

    Args:
        file: an ONNX file that `python -m engine build --detector` made from the same architecture.
        architecture: its YAML name in the ultralytics package, or the content of such a file.
        pictures: what the batch norms are measured on; a few dozen serve.
        input_size: side of the square input in px.

    Raises:
        ModelError: the file cannot be read, or belongs to another architecture.
    """
    prepare_ultralytics(verbose=True)
    from ultralytics.nn.tasks import DetectionModel

    arrays = _weights(file)
    classes = len(arrays[next(name for name in arrays if name.endswith("cv3.0.2.bias"))])
    model = DetectionModel(architecture, nc=classes, verbose=False).eval()  # type: ignore[no-untyped-call]
    biases = {name: _load_layer(name, layer, arrays, file) for name, layer in _convolutions(model)}
    _measure_batch_norms(model, biases, pictures, input_size)
    return model


def _weights(file: Path) -> dict[str, Tensor]:
    """The weights of the file by their names in ultralytics, float32.

    An exporter stores identical tensors once, under the name of one of them. So it is the graph that says which bias a
    convolution has.
    """
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load(str(file), load_external_data=False).graph
    except Exception as error:  # protobuf raises many kinds for damaged bytes
        raise ModelError(f"{file} is not an ONNX file, or it is damaged") from error
    stored = {
        tensor.name.removesuffix("_float16"): torch.from_numpy(numpy_helper.to_array(tensor).astype(np.float32))
        for tensor in graph.initializer
    }
    weights = {name.removeprefix(_PREFIX): value for name, value in stored.items() if name.startswith(_PREFIX)}
    for node in graph.node:
        if node.op_type == "Conv" and node.input[1].startswith(_PREFIX) and node.input[2:]:
            if node.input[2] not in stored:
                raise ModelError(f"{file} cannot be trained on: the bias of {node.input[1]} is computed, not stored")
            weights[node.input[1].removeprefix(_PREFIX).removesuffix("weight") + "bias"] = stored[node.input[2]]
    if not any(name.endswith("cv3.0.2.bias") for name in weights):
        raise ModelError(f"{file} holds no weights of a detector made by 'python -m engine build --detector'")
    return weights


def _convolutions(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d]]:
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            yield name.removeprefix("model."), layer


def _load_layer(name: str, layer: nn.Conv2d, arrays: dict[str, Tensor], file: Path) -> Tensor:
    """Put the file's weights into a convolution and give back its bias; a file holds one of the two branches."""
    stored = name if f"{name}.weight" in arrays else _other_branch(name)
    weight = arrays.get(f"{stored}.weight")
    if weight is None or weight.shape != layer.weight.shape:
        found = "nothing" if weight is None else f"{tuple(weight.shape)}"
        raise ModelError(f"{file} is of another architecture: {name} wants {tuple(layer.weight.shape)}, found {found}")
    layer.weight.data.copy_(weight)
    bias = arrays.get(f"{stored}.bias", torch.zeros(len(weight)))  # a convolution of the file may have none
    if layer.bias is not None:
        layer.bias.data.copy_(bias)
    return bias


def _other_branch(name: str) -> str:
    if _ONE_TO_ONE in name:
        return name.replace(_ONE_TO_ONE, "")
    return name.replace(".cv2.", f".{_ONE_TO_ONE}cv2.").replace(".cv3.", f".{_ONE_TO_ONE}cv3.")


@torch.no_grad()
def _measure_batch_norms(model: nn.Module, biases: dict[str, Tensor], pictures: list[Path], side: int) -> None:
    """Give the batch norms of these convolutions the statistics of what reaches them, and what undoes them."""
    sums: dict[nn.BatchNorm2d, list[Tensor]] = {}
    hooks = []
    pairs = []
    for name, block in model.named_modules():
        norm = getattr(block, "bn", None)
        bias = biases.get(f"{name.removeprefix('model.')}.conv")
        if not isinstance(norm, nn.BatchNorm2d) or bias is None:
            continue
        # Until they are measured they pass their input on, shifted by the folded bias.
        norm.running_mean, norm.running_var = torch.zeros_like(norm.weight), torch.full_like(norm.weight, 1 - norm.eps)
        norm.weight.data.fill_(1.0)
        norm.bias.data.copy_(bias)
        pairs.append(norm)

        def collect(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            values = inputs[0].double()
            one = torch.stack([values.mean((0, 2, 3)), values.square().mean((0, 2, 3))])
            sums.setdefault(module, []).append(one)  # type: ignore[arg-type]

        hooks.append(norm.register_forward_pre_hook(collect))
    for picture in pictures:
        model(_square(picture, side))
    for hook in hooks:
        hook.remove()
    for norm in pairs:
        if norm not in sums:
            continue  # the branch that a network in evaluation does not run
        mean, square = torch.stack(sums[norm]).mean(0)
        variance = (square - mean.square()).clamp(min=1e-12)
        norm.bias.data.add_(mean.float())
        norm.running_mean, norm.running_var = mean.float(), variance.float()
        norm.weight.data.copy_((variance.float() + norm.eps).sqrt())


def _square(picture: Path, side: int) -> Tensor:
    """(1, 3, side, side) float32 RGB, 0 to 1, letterboxed in grey as ultralytics does it."""
    image: Any = cv2.imdecode(np.frombuffer(read_regular(picture), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ModelError(f"{picture} is not a picture that can be decoded")
    factor = side / max(image.shape[:2])
    size = tuple(max(1, round(length * factor)) for length in image.shape[1::-1])
    board: UInt8Array = np.full((side, side, 3), 114, np.uint8)
    board[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return torch.from_numpy(board[None, :, :, ::-1].copy()).permute(0, 3, 1, 2).float() / 255
