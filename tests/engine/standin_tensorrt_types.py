"""The types of the stand-in for `tensorrt`: enumerations, logger, and a tensor of an ONNX graph."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import onnx


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT64 = 8
    UINT8 = 6


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class BuilderFlag(enum.Enum):
    TF32 = 7


class Strong(enum.IntEnum):
    STRONGLY_TYPED = 1


class Version11(enum.IntEnum):
    """TensorRT 11 needs no flag."""


_TYPES = {
    onnx.TensorProto.FLOAT: DataType.FLOAT, onnx.TensorProto.FLOAT16: DataType.HALF,
    onnx.TensorProto.INT64: DataType.INT64, onnx.TensorProto.UINT8: DataType.UINT8,
}  # fmt: skip
_NUMPY = {DataType.FLOAT: np.float32, DataType.HALF: np.float16, DataType.INT64: np.int64, DataType.UINT8: np.uint8}


def nptype(dtype: DataType) -> type:
    return _NUMPY[dtype]


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = range(3)

    def log(self, severity: int, message: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    pass


class Tensor:
    def __init__(self, value: Any) -> None:
        tensor = value.type.tensor_type
        self.name = value.name
        self.shape = tuple(d.dim_value if d.dim_value > 0 else -1 for d in tensor.shape.dim)
        self.names = tuple(d.dim_param for d in tensor.shape.dim)
        self.dtype = _TYPES[tensor.elem_type]


class ComputeCapability(enum.Enum):
    NONE = 0
    CURRENT = 1
    SM75 = 75
    SM86 = 86
    SM89 = 89
    SM120 = 120


class CudaGraphStrategy(enum.Enum):
    DISABLED = 0
    WHOLE_GRAPH_CAPTURE = 1


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self.shapes[name] = [list(shape) for shape in shapes]


class TimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content + b"."
