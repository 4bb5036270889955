"""TensorRT-RTX, see tensorrt.py."""

from __future__ import annotations

from pathlib import Path

from engine.backends import tensorrt
from engine.backends.contract import Availability, Backend, OpenOptions

_PACKAGE = "tensorrt_rtx"


def probe(device: str) -> Availability:
    """Whether the package could run here."""
    return tensorrt.probe(device, _PACKAGE)


def check_precision(model: Path, precision: str, device: str) -> None:
    """See `RuntimeModule.check_precision`."""
    tensorrt.check_precision(model, precision, device, _PACKAGE)


def open_pose(model: Path, options: OpenOptions) -> Backend:
    """Open a pose model's engine."""
    return tensorrt.open_pose(model, options, _PACKAGE)


def open_detector(onnx_file: Path, options: OpenOptions) -> Backend:
    """Open a detector's engine."""
    return tensorrt.open_detector(onnx_file, options, _PACKAGE)
