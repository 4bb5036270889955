"""The runtimes behind one contract, and the choice among them.

A backend that is requested by name and cannot run is an error. `auto` takes the first that can, in the order of
AUTO_ORDER, and records why each one before it was skipped.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from engine.artifacts.model_files import resolve_pose_model
from engine.backends.contract import Array, Availability, Backend, Gate, OpenOptions, RuntimeModule
from engine.errors import BackendError, ModelError, OptionError, nearest_hint
from engine.options import PRECISIONS

__all__ = [
    "AUTO_ORDER",
    "BACKENDS",
    "PRECISIONS",
    "Array",
    "Availability",
    "Backend",
    "Gate",
    "OpenOptions",
    "OpenedBackend",
    "open_detector_backend",
    "open_pose_backend",
    "probe_backends",
    "probe_precisions",
]  # fmt: skip

BACKENDS: dict[str, tuple[str, ...]] = {
    "tensorrt": ("cuda",),
    "tensorrt_rtx": ("cuda",),
    "torch": ("cuda", "cpu"),
    "openvino": ("cpu",),
    "onnxruntime": ("coreml", "cpu", "cuda"),
}
"""Runtimes by name, each a file of this folder, and the devices it runs on, the default first."""

_OPTIONAL_DEVICE = "coreml"
"""Where this device fails and none was named, the runtime's next one is taken, and the reason is reported."""

AUTO_ORDER: tuple[tuple[str, str], ...] = (
    ("tensorrt", "cuda"),
    ("tensorrt_rtx", "cuda"),
    ("torch", "cuda"),
    ("openvino", "cpu"),
    ("onnxruntime", "cpu"),
    ("torch", "cpu"),
)
"""What `auto` tries, in order: runtime and device."""


@dataclass(frozen=True, kw_only=True)
class OpenedBackend:
    """A backend that is ready, and name and reason of each that `auto` skipped before it."""

    backend: Backend
    skipped: tuple[tuple[str, str], ...]


def open_pose_backend(
    model: str | Path | None = None,
    *,
    backend: str = "auto",
    precision: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    with_crop: bool = False,
    notify: Callable[[str], None] = lambda _line: None,
    gate: Gate | None = None,
) -> OpenedBackend:
    """Open a pose model on a runtime and run it once, so that the first frame is not the slow one.

    Args:
        model: a shipped name, a `.safetensors` file, an `.onnx` file with its spec, or None for the default.
        backend: one of BACKENDS, or auto.
        precision: auto, fp32, fp16, bf16 or int8.
        device: auto, cpu, coreml, cuda or cuda:N.
        threads: processor threads of one inference; None leaves it to the runtime.
        with_crop: see `OpenOptions`.
        notify: receives one line before anything that takes long.
        gate: see `OpenOptions`.

    Raises:
        OptionError: a value is not valid.
        ModelError: the model cannot be used.
        BackendError: the runtime cannot run it with these options; with auto, none of them can.
    """
    options = OpenOptions(
        precision=precision, device=device, threads=threads, with_crop=with_crop, notify=notify, gate=gate
    )
    path = resolve_pose_model(model)

    return _open(backend, options, lambda module, options: _warmed(module.open_pose(path, options)))


def open_detector_backend(onnx_file: Path, *, backend: str, options: OpenOptions) -> OpenedBackend:
    """Open a detector's ONNX file (see compiler.ensure_detector) on a runtime; raises as `open_pose_backend`."""
    return _open(backend, options, lambda module, options: module.open_detector(onnx_file, options))


def probe_backends() -> list[tuple[str, bool, str]]:
    """For each runtime and device: name, whether it can run here, and its version or the reason; imports no runtime."""
    found = []
    for name, devices in BACKENDS.items():
        for device in devices:
            probe = _module(name).probe(device)
            label = name if len(devices) == 1 else f"{name} ({device})"
            found.append((label, probe.usable, probe.detail))
    return found


def probe_precisions(model: str | Path | None = None) -> dict[str, dict[str, str]]:
    """For `auto` and each runtime that can run here: the precisions that a pose model cannot have on it, and why not.

    Opens no network; OpenVINO is started.

    Raises:
        ModelError: there is no such model.
    """
    path = resolve_pose_model(model)
    found: dict[str, dict[str, str]] = {}
    for name, devices in BACKENDS.items():
        usable = [device for device in devices if _module(name).probe(device).usable]
        if usable:  # as `_open_named` chooses: the first, and another only where the optional one fails
            tried = usable[: 2 if usable[0] == _OPTIONAL_DEVICE else 1]
            found[name] = _refused([(name, device) for device in tried], path)
    by_auto = [(name, kind) for name, kind in AUTO_ORDER if _module(name).probe(kind).usable]
    return {**found, "auto": _refused(by_auto, path)}


def _refused(runtimes: list[tuple[str, str]], model: Path) -> dict[str, str]:
    """The precisions that none of these runtimes and devices has, and the reason of each, one a line."""
    found = {}
    for precision in PRECISIONS[1:]:
        reasons = [_why_not(name, device, model, precision) for name, device in runtimes]
        if reasons and all(reasons):
            found[precision] = "\n".join(dict.fromkeys(reasons))
    return found


def _why_not(name: str, device: str, model: Path, precision: str) -> str:
    try:
        _module(name).check_precision(model, precision, device)
    except (BackendError, ModelError) as error:
        return str(error)
    return ""


def _open(name: str, options: OpenOptions, open_one: Callable[[RuntimeModule, OpenOptions], Backend]) -> OpenedBackend:
    if name != "auto":
        if name not in BACKENDS:
            raise OptionError(f"unknown backend '{name}'.{nearest_hint(name, ('auto', *BACKENDS))}")
        return _open_named(name, options, open_one)
    wanted_kind = options.device.partition(":")[0]
    skipped: list[tuple[str, str]] = []
    for candidate, kind in AUTO_ORDER:
        label = f"{candidate} ({kind})" if candidate == "torch" else candidate
        if wanted_kind not in ("auto", kind):
            skipped.append((label, f"another device than {kind} was requested"))
            continue
        probe = _module(candidate).probe(kind)
        if not probe.usable:
            skipped.append((label, probe.detail))
            continue
        try:
            backend = open_one(_module(candidate), _on_device(options, kind))
        except BackendError as error:
            skipped.append((label, str(error)))
            continue
        return OpenedBackend(backend=backend, skipped=tuple(skipped))
    reasons = "; ".join(f"{label}: {reason}" for label, reason in skipped)
    raise BackendError(f"no backend can run this with precision {options.precision} on {options.device}: {reasons}")


def _open_named(
    name: str, options: OpenOptions, open_one: Callable[[RuntimeModule, OpenOptions], Backend]
) -> OpenedBackend:
    """The named runtime, on the named device or else on the first of its devices that can be used."""
    module = _module(name)
    skipped: tuple[tuple[str, str], ...] = ()
    kinds = [options.device.partition(":")[0]]
    if kinds == ["auto"]:
        # onnxruntime uses CUDA only on request: its CUDA package often lacks the libraries that it needs.
        usable = [device for device in BACKENDS[name] if module.probe(device).usable]
        kinds = usable or [next(device for device in BACKENDS[name] if device != _OPTIONAL_DEVICE)]
    if options.device == "auto" and kinds[0] == _OPTIONAL_DEVICE:
        try:
            return OpenedBackend(backend=open_one(module, _on_device(options, kinds.pop(0))), skipped=())
        except BackendError as error:
            skipped = ((f"{name} ({_OPTIONAL_DEVICE})", str(error)),)
    probe = module.probe(kinds[0])
    if kinds[0] == _OPTIONAL_DEVICE and kinds[0] not in BACKENDS[name]:
        raise BackendError(f"{name} runs on {' and '.join(BACKENDS[name])}, not on {kinds[0]}; onnxruntime does")
    if not probe.usable:
        raise BackendError(f"{name} cannot run here: {probe.detail}")
    return OpenedBackend(backend=open_one(module, _on_device(options, kinds[0])), skipped=skipped)


def _on_device(options: OpenOptions, kind: str) -> OpenOptions:
    if options.device != "auto":
        return options
    return dataclasses.replace(options, device=kind)


def _module(name: str) -> RuntimeModule:
    return cast(RuntimeModule, importlib.import_module(f"engine.backends.{name}"))


def _warmed(backend: Backend) -> Backend:
    """Run once on a black picture, so that a backend that fails does so while another can still be chosen."""
    lengths = {"frame_height": 64, "frame_width": 64}
    inputs = {
        tensor.name: np.zeros([n if isinstance(n, int) else lengths.get(n, 1) for n in tensor.shape], tensor.dtype)
        for tensor in backend.spec.inputs
    }
    try:
        backend.infer(inputs, ("keypoints",))
    except BaseException:
        backend.close()
        raise
    return backend
