"""A YOLO with the backbone and the pyramid of a NanoDet, which has seen more photos than most data sets have.

The backbone is the same; the pyramid's sums are convolutions of 1 x 1 over both summands, which begin as the sums; the
head is that of YOLO26 and begins at random, on the features that NanoDet's last layer takes.

NanoDet-g: https://github.com/RangiLyu/nanodet (Apache-2.0).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.errors import ModelError
from engine.system.regular_file import read_regular
from train.detector.nanodet import MEAN, STD

_LINEAR = [1, 1, None, 1, 1, False]
"""Arguments of ultralytics' `Conv` for a convolution of 1 x 1 with nothing behind it."""
_DETECT_FROM = (51, 52, 53)
_FIRST = 0
_BACKBONE = (0, 2, 3, 4, 6, 8, 9, 10, 12, 13, 15, 17, 18, 19, 21, 22, 24, 26, 27, 28, 30, 31, 33, 34, 36)
_PYRAMID = (38, 41, 44)
"""The convolutions of 1 x 1 before the sums, the coarsest stride first, as in the file."""
_SUMS = (47, 50)
_HEAD = (53, 52, 51)
DETECT = 54


def nanodet_layout() -> dict[str, Any]:
    """Layers in the form of ultralytics' YAML files."""
    stages: list[list[Any]] = [[-1, 1, "Conv", [32, 3, 2]], [-1, 1, "nn.MaxPool2d", [3, 2, 1]]]
    for width, blocks, stride in ((32, 1, 1), (64, 2, 2), (128, 2, 2), (256, 3, 2)):
        begin = len(stages)
        stages.append([-1, 1, "Conv", [width, 3, stride]])
        for _ in range(blocks):
            stages += [[-1, 1, "Conv", [width // 2, 3, 1]], [-1, 1, "Conv", [width // 2, 3, 1]]]
            stages.append([[-1, -2], 1, "Concat", [1]])
        stages += [[-1, 1, "Conv", [width, 3, 1]], [[-1, begin], 1, "Concat", [1]]]
    pyramid: list[list[Any]] = [[-1, 1, "Conv", [128, *_LINEAR]]]
    for finer in (25, 16):
        pyramid.append([-1, 1, "nn.Upsample", [None, 2, "bilinear"]])
        pyramid += [[[finer, -1], 1, "Concat", [1]], [-1, 1, "Conv", [128, *_LINEAR]]]
    for coarser in (41, 38):
        pyramid.append([-1, 1, "nn.AvgPool2d", [2, 2]])  # what a bilinear resize to one half gives
        pyramid += [[[coarser, -1], 1, "Concat", [1]], [-1, 1, "Conv", [128, *_LINEAR]]]
    heads: list[list[Any]] = [[layer, 1, "Conv", [128, 3, 1]] for layer in (44, 47, 50)]
    heads.append([list(_DETECT_FROM), 1, "Detect", ["nc"]])
    return {
        "nc": 1,
        "reg_max": 1,
        "activation": "torch.nn.LeakyReLU(0.1)",
        "backbone": stages,
        "head": pyramid + heads,
    }


@torch.no_grad()
def load_nanodet(model: nn.Module, file: Path) -> dict[str, Tensor]:
    """Put a NanoDet's weights into a network of `nanodet_layout`.

    Returns:
        The biases of the loaded convolutions by their names: in the network they are the batch norms' part.

    Raises:
        ModelError: the file cannot be read, or is another network.
    """
    stored = _convolutions(file)
    wanted = [*_BACKBONE, *_PYRAMID, *_HEAD]
    if len(stored) != len(wanted) + len(_HEAD):
        raise ModelError(f"{file} is no NanoDet-g: it has {len(stored)} convolutions, expected {len(wanted) + 3}")
    stored = stored[: len(_BACKBONE) + len(_PYRAMID)] + stored[len(_BACKBONE) + len(_PYRAMID) :: 2]
    layers: Any = model.model
    biases: dict[str, Tensor] = {}
    for index, (weight, bias) in zip(wanted, stored, strict=True):
        into = layers[index].conv.weight
        # Of the pyramid's sums the file has the finer summand; the coarser one, the other half of the input, is added.
        part = into[:, : weight.shape[1]] if index in _PYRAMID[1:] else into
        if part.shape != weight.shape:
            expected, found = tuple(into.shape), tuple(weight.shape)
            raise ModelError(f"{file} is no NanoDet-g: expected a convolution of {expected}, found {found}")
        part.copy_(weight)
        if part is not into:
            into[:, weight.shape[1] :] = _identity(len(weight))
        biases[f"{index}.conv"] = bias
    first = layers[_FIRST].conv.weight
    rgb, biases[f"{_FIRST}.conv"] = _of_rgb(first, biases[f"{_FIRST}.conv"])
    first.copy_(rgb)
    for index in _SUMS:
        width = layers[index].conv.out_channels
        layers[index].conv.weight.copy_(torch.cat([_identity(width), _identity(width)], dim=1))
        biases[f"{index}.conv"] = torch.zeros(width)
    return biases


def _identity(width: int) -> Tensor:
    return torch.eye(width)[:, :, None, None]


def _of_rgb(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The first convolution for RGB from 0 to 1 in place of BGR less its mean, over its deviation."""
    mean, std = torch.from_numpy(MEAN)[None, :, None, None], torch.from_numpy(STD)[None, :, None, None]
    return (weight * 255 / std).flip(1), bias - (weight * mean / std).sum(dim=(1, 2, 3))


def _convolutions(file: Path) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of each convolution of an ONNX file, in their order; float32."""
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load_model_from_string(read_regular(file)).graph
    except Exception as error:  # protobuf raises many kinds for damaged bytes
        raise ModelError(f"{file} is not an ONNX file, or it is damaged") from error
    stored = {tensor.name: tensor for tensor in graph.initializer}
    casts = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}  # of float16
    found = []
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        names = [casts.get(name, name) for name in node.input[1:]]
        if len(names) != 2 or any(name not in stored for name in names):
            raise ModelError(f"{file} is no NanoDet-g: a convolution lacks a stored weight or bias")
        weight, bias = (
            torch.from_numpy(numpy_helper.to_array(stored[name]).astype(np.float32, copy=True)) for name in names
        )
        found.append((weight, bias))
    return found
