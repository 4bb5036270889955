"""TensorRT and TensorRT-RTX: one code for two packages with the same interface. engine_build.py builds the engines."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

from engine.artifacts import engine_cache
from engine.artifacts.engine_file import EngineKey, failure_of, read_engine, read_record, this_platform, write_record
from engine.artifacts.model_spec import GRAPH_VERSION, read_spec, sha256_of
from engine.backends.contract import Availability, Backend, OpenOptions, refuse_precision
from engine.backends.cuda_driver import Gpu, gpu, why_no_cuda
from engine.backends.device_cuda import open_memory
from engine.backends.trt_package import installed_version, load_package, why_not_installed
from engine.backends.trt_runtime import TensorRtBackend
from engine.errors import BackendError, ModelError

_WAYS = {"tensorrt": ("tensorrt", "torch2trt"), "tensorrt_rtx": ("tensorrt_rtx",)}
"""The builders whose engines a package runs, the preferred one first."""


def probe(device: str, package: str = "tensorrt") -> Availability:
    """Whether the package could run here; the engine is searched when a model is opened."""
    if device == "cpu":
        return Availability(usable=False, detail=f"{package} runs on NVIDIA GPUs only")
    reason = why_not_installed(package) or why_no_cuda()
    if reason is not None:
        return Availability(usable=False, detail=reason)
    return Availability(usable=True, detail=installed_version(package))


def check_precision(model: Path, precision: str, device: str, package: str = "tensorrt") -> None:
    """See `RuntimeModule.check_precision`; whether there is an engine is found when the model is opened."""
    _precisions(precision, package)


def open_pose(model: Path, options: OpenOptions, package: str = "tensorrt") -> Backend:
    """Open the engine of a pose model, or an `.engine` file; engines are never built here.

    Raises:
        BackendError: no engine fits; the message states why and how to build one.
        ModelError: a named `.engine` file is damaged.
    """
    return _open(model, "pose", options, package)


def open_detector(onnx_file: Path, options: OpenOptions, package: str = "tensorrt") -> Backend:
    """Open the engine of a detector; raises as `open_pose`."""
    return _open(onnx_file, "detector", options, package)


def _open(model: Path, kind: str, options: OpenOptions, package: str) -> Backend:
    trt = load_package(package)
    device = gpu(int(options.device.partition(":")[2] or 0))
    if device is None:
        raise BackendError(f"{package} cannot run {model.name}: {why_no_cuda() or 'no such GPU'}")
    precisions = _precisions(options.precision, package)
    if model.suffix.lower() == ".engine":
        return open_engine(model, trt, package, device, options)
    try:
        wanted = EngineKey(
            weights_sha256=_weights_sha256(model, kind),
            graph_version=GRAPH_VERSION,
            runtime=package,
            runtime_version=str(trt.__version__),
            targets=(device.target,),
            gpu=device.name,
            precision=precisions[0],
            max_people=1,
            with_crop=options.with_crop and kind == "pose",
        )
    except OSError as error:
        raise ModelError(f"{model} cannot be read ({error.strerror})") from error
    reasons: list[str] = []
    refusal: BackendError | None = None
    # Engines that take whole frames are preferred where the caller supports both kinds.
    crops = (True, False) if wanted.with_crop else (False,)
    for precision, way, with_crop in itertools.product(precisions, _WAYS[package], crops):
        key = dataclasses.replace(wanted, precision=precision, runtime=way, with_crop=with_crop)
        file, reason = engine_cache.find(model.stem, key)
        if file is None:
            reasons.append(reason)
            continue
        try:
            return open_engine(file, trt, package, device, options)
        except BackendError as error:
            refusal = refusal or error
    if refusal is not None:
        raise refusal
    problem = f"{model.stem} has no engine for {package} on this GPU: {reasons[len(crops) - 1]}"
    flag = "--pose-model" if kind == "pose" else "--detector"
    advice = f"python -m engine build {flag} {model.stem} --runtime {package.replace('_', '-')} builds one"
    raise BackendError(f"{problem}; {advice}")


def open_engine(file: Path, trt: Any, package: str, device: Gpu, options: OpenOptions) -> TensorRtBackend:
    """Load an engine, after the parity gate if it was never checked; raises as `load_engine`."""
    record = read_record(file)
    if record.state == "failed":
        raise BackendError(failure_of(file, record))
    backend = load_engine(file, trt, package, device, options)
    if record.state == "passed":
        return backend
    if options.gate is None:
        backend.close()
        raise BackendError(f"{file} was never compared with float32; python -m engine check {file}")
    try:
        options.notify(f"checking {file.name} against float32, once")
        checked = options.gate(backend, Path(record.weights))
        record = dataclasses.replace(record, state=checked.state, report=checked.report)
        write_record(file, record)
        if record.state == "failed":
            raise BackendError(failure_of(file, record))
    except BaseException:
        backend.close()
        raise
    return backend


def load_engine(file: Path, trt: Any, package: str, device: Gpu, options: OpenOptions) -> TensorRtBackend:
    """Check an engine's files and load it, regardless of its state in the parity gate.

    Raises:
        ModelError: a file is missing or damaged.
        BackendError: it was built for another GPU or version, or the runtime refuses it.
    """
    spec, record = read_engine(file)
    here = dataclasses.replace(
        record.key,
        runtime_version=str(trt.__version__),
        system=this_platform(),
        targets=(device.target,),
        gpu=device.name,
    )
    reason = record.key.difference(here)
    if record.key.runtime not in _WAYS[package]:
        reason = f"it is for {record.key.runtime}"
    if reason is not None:
        raise BackendError(f"{file.name} does not run here: {reason}; build it again")
    return TensorRtBackend(trt, package, file.read_bytes(), spec, open_memory(options.device))


def _weights_sha256(model: Path, kind: str) -> str:
    """The hash under which engines of a model are stored."""
    if model.suffix.lower() == ".onnx":
        spec = read_spec(model)
        if spec.kind != kind:
            raise ModelError(f"{model} is a {spec.kind}, not a {kind}")
        # A pose network's engines are built from its weights; a detector's from the ONNX file itself.
        return spec.weights_sha256 if kind == "pose" else spec.file_sha256
    return sha256_of(model)


def _precisions(requested: str, package: str) -> tuple[str, ...]:
    """The precisions to search, in order: float32 remains where 16 bits did not pass the gate."""
    if requested == "auto":
        return ("fp16", "fp32")
    if requested not in ("fp16", "fp32"):
        raise refuse_precision(package, requested, ["fp16", "fp32"], f"{requested} runs on openvino")
    return (requested,)
