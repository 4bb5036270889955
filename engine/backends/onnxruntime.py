"""ONNX Runtime: on every processor, through CoreML on a Mac, and on request on CUDA (package onnxruntime-gpu)."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
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
    Backend,
    OpenOptions,
    check_call,
    empty_outputs,
    refuse_precision,
)
from engine.backends.cuda_driver import why_no_cuda
from engine.backends.int8 import is_int8_graph, open_detector_graph, open_graph
from engine.errors import BackendError, message_line
from engine.system.closing import Closing
from engine.system.installation import installed_version
from engine.system.missing import not_installed

_PACKAGES = ("onnxruntime", "onnxruntime-gpu")
_PROVIDERS = {"cpu": "CPUExecutionProvider", "coreml": "CoreMLExecutionProvider", "cuda": "CUDAExecutionProvider"}


def probe(device: str) -> Availability:
    """Whether ONNX Runtime can run on "cpu", "coreml" or "cuda" here."""
    if importlib.util.find_spec("onnxruntime") is None:
        return Availability(usable=False, detail=not_installed("onnxruntime"))
    if device == "coreml" and sys.platform != "darwin":
        return Availability(usable=False, detail="CoreML is part of macOS")
    versions = {package: version for package in _PACKAGES if (version := installed_version(package))}
    if device == "cuda":
        if "onnxruntime-gpu" not in versions:
            return Availability(
                usable=False, detail="it runs on CUDA with another package; python -m pip install onnxruntime-gpu"
            )
        reason = why_no_cuda()
        if reason is not None:
            return Availability(usable=False, detail=reason)
    return Availability(usable=True, detail=next(iter(versions.values()), "unknown version"))


def check_precision(model: Path, precision: str, device: str) -> None:
    """See `RuntimeModule.check_precision`."""
    if precision == "int8" and device != "coreml":
        find_int8(model)
    else:
        _precision(precision, device, is_int8_graph(model))


def open_pose(model: Path, options: OpenOptions) -> Backend:
    """Open a pose model; on CoreML after a comparison with the processor.

    Raises:
        BackendError: CoreML deviates from the processor, or there is no gate to compare them.
    """
    if options.device != "coreml":
        return open_graph(model, options, "onnxruntime", OnnxRuntimeBackend)
    if options.precision == "int8":
        raise BackendError("CoreML does not run INT8 graphs; --device cpu does")
    file = ensure_onnx(model, notify=options.notify)
    backend = OnnxRuntimeBackend(file, options)
    try:
        if options.gate is None:
            raise BackendError("CoreML is not used, because nothing compares it with the processor here")
        options.notify(f"onnxruntime has {', '.join(backend.found)}: comparing CoreML with the processor")
        checked = options.gate(backend, file)
        if checked.state != "passed":
            raise BackendError(f"CoreML is not used, because it deviates from the processor: {checked.report}")
    except BaseException:
        backend.close()
        raise
    return backend


def open_detector(onnx_file: Path, options: OpenOptions) -> Backend:
    """Open a detector; never on CoreML, which does not suit its open input size."""
    device = "cpu" if options.device == "coreml" else options.device
    options = dataclasses.replace(options, device=device)
    return open_detector_graph(onnx_file, options, "onnxruntime", OnnxRuntimeBackend)


class OnnxRuntimeBackend(Closing):
    """A graph under ONNX Runtime, see `Backend`.

    Raises:
        ModelError: the file is not the one that its spec describes.
        BackendError: the runtime cannot run it with these options.
    """

    name = "onnxruntime"

    def __init__(self, onnx_file: Path, options: OpenOptions) -> None:
        self.spec = read_spec(onnx_file)
        self.device = "cpu" if options.device == "auto" else options.device
        kind = self.device.partition(":")[0]
        self.precision = _precision(options.precision, kind, self.spec.precision == "int8")
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
        if self._session.get_providers()[0] != _PROVIDERS[kind]:
            # It falls back to the processor and reports that only in its log.
            raise BackendError(f"onnxruntime could not start on {kind}; its libraries are missing or do not fit")
        self._run_options = onnxruntime.RunOptions()
        self._run_options.only_execute_path_to_fetches = True

    def _providers(self, onnxruntime: Any) -> list[Any]:
        kind, _, number = self.device.partition(":")
        available = onnxruntime.get_available_providers()
        self.found = tuple(name.removesuffix("ExecutionProvider") for name in available)
        if _PROVIDERS[kind] not in available:
            advice = "; python -m pip install onnxruntime-gpu" if kind == "cuda" else ""
            raise BackendError(f"onnxruntime is installed without {kind}; it has {', '.join(self.found)}{advice}")
        # The processor computes what the other provider does not take.
        settings: dict[str, dict[str, Any]] = {
            "cuda": {"device_id": int(number or 0)},
            "coreml": {"ModelFormat": "MLProgram", "MLComputeUnits": "ALL"},
        }
        own = [(_PROVIDERS[kind], settings[kind])] if kind in settings else []
        return [*own, _PROVIDERS["cpu"]]

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


def _precision(requested: str, device: str, is_int8: bool) -> str:
    if device == "coreml" and (is_int8 or requested == "int8"):
        raise BackendError("CoreML does not run INT8 graphs; --device cpu does")
    supported = "fp16" if device == "coreml" else "int8" if is_int8 else "fp32"
    if requested not in ("auto", supported):
        raise refuse_precision("onnxruntime", requested, [supported], "bf16 runs on openvino and torch")
    return supported
