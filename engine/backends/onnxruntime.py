"""ONNX Runtime: on every processor, and on request on CUDA where the onnxruntime-gpu package is installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.artifacts.compiler import ensure_onnx
from engine.artifacts.int8_files import find_int8
from engine.artifacts.model_spec import read_spec
from engine.backends.contract import (
    Array,
    Availability,
    Closing,
    OpenOptions,
    check_call,
    empty_outputs,
    refuse_precision,
)
from engine.backends.cuda_driver import why_no_cuda
from engine.errors import BackendError, message_line

_PACKAGES = ("onnxruntime", "onnxruntime-gpu")


def probe(device: str) -> Availability:
    """Whether ONNX Runtime can run on "cpu" or "cuda" here."""
    if importlib.util.find_spec("onnxruntime") is None:
        return Availability(usable=False, detail="the onnxruntime package is not installed; pip install onnxruntime")
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    if device == "cuda":
        if "onnxruntime-gpu" not in versions:
            return Availability(
                usable=False, detail="it runs on CUDA with another package; pip install onnxruntime-gpu"
            )
        reason = why_no_cuda()
        if reason is not None:
            return Availability(usable=False, detail=reason)
    return Availability(usable=True, detail=next(iter(versions.values()), "unknown version"))


def open_pose(model: Path, options: OpenOptions) -> OnnxRuntimeBackend:
    """Open a pose model."""
    file = find_int8(model) if options.precision == "int8" else ensure_onnx(model, notify=options.notify)
    return OnnxRuntimeBackend(file, options)


def open_detector(onnx_file: Path, options: OpenOptions) -> OnnxRuntimeBackend:
    """Open a detector."""
    return OnnxRuntimeBackend(onnx_file, options)


class OnnxRuntimeBackend(Closing):
    """A graph under ONNX Runtime, see `Backend`.

    Raises:
        ModelError: the file is not the one that its spec describes.
        BackendError: the runtime cannot run it with these options.
    """

    name = "onnxruntime"

    def __init__(self, onnx_file: Path, options: OpenOptions) -> None:
        self.spec = read_spec(onnx_file)
        supported = "int8" if self.spec.precision == "int8" else "fp32"
        if options.precision not in ("auto", supported):
            raise refuse_precision(self.name, options.precision, [supported], "bf16 runs on openvino and torch")
        self.precision = self.spec.precision
        self.device = "cpu" if options.device == "auto" else options.device
        try:
            import onnxruntime
        except ImportError as error:
            raise BackendError(f"the onnxruntime package cannot be loaded: {error}") from error
        onnxruntime.disable_telemetry_events()  # Microsoft's builds for Windows send telemetry by default
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3  # errors only; users cannot act on its warnings
        if options.threads is not None:
            settings.intra_op_num_threads = options.threads
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(onnx_file), settings, providers=self._providers(onnxruntime)
            )
        except BackendError:
            raise
        except Exception as error:  # its errors have no common base class
            raise BackendError(f"onnxruntime cannot run {onnx_file.name}: {message_line(error)}") from error
        if self.device != "cpu" and self._session.get_providers()[0] != "CUDAExecutionProvider":
            # It falls back to the processor and reports that only in its log.
            raise BackendError("onnxruntime could not start on CUDA; its CUDA libraries are missing or do not fit")
        self._run_options = onnxruntime.RunOptions()
        self._run_options.only_execute_path_to_fetches = True

    def _providers(self, onnxruntime: Any) -> list[Any]:
        if self.device == "cpu":
            return ["CPUExecutionProvider"]
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise BackendError("onnxruntime is installed without CUDA; pip install onnxruntime-gpu")
        number = int(self.device.partition(":")[2] or 0)
        return [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"]

    def infer(self, inputs: Mapping[str, Array], want: Sequence[str]) -> dict[str, Array]:
        """See `Backend.infer`."""
        if self._session is None:
            raise BackendError("onnxruntime: the backend is closed")
        lengths = check_call(self.spec, inputs, want)
        if 0 in lengths.values() or not want:
            return empty_outputs(self.spec, lengths, want)
        arrays = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        try:
            outputs = self._session.run(list(want), arrays, self._run_options)
        except Exception as error:  # its errors have no common base class
            raise BackendError(f"onnxruntime failed on {self.spec.name}: {message_line(error)}") from error
        return dict(zip(want, outputs, strict=True))

    def close(self) -> None:
        """Release the session."""
        self._session = None
