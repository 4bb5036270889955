"""OpenVINO on the processor: the fastest runtime without a GPU, in bfloat16 where the processor supports it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

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
from engine.backends.int8 import is_int8_graph, open_detector_graph, open_graph
from engine.backends.openvino_precision import keep_attention_float32, keep_layers_float32
from engine.errors import BackendError, message_line
from engine.system.closing import Closing
from engine.system.missing import not_installed

# A detector compiled for one exact shape runs about a quarter faster than one for any shape, but compiling takes part
# of a second and 40 MB: the first shape gets its own program, as most sources have one; of the others only those that
# occur often, and the number of programs is limited.
_USES_BEFORE_OWN_PROGRAM = 8
_MOST_OWN_PROGRAMS = 4
_LATENCY = {"PERFORMANCE_HINT": "LATENCY"}
_LAST = -1
"""Its error messages begin with a position in its source code; their last line states the problem."""

_LOCK = threading.Lock()
_CORES: list[Any] = []

_Shapes = tuple[tuple[int, ...], ...]
_Key = tuple[tuple[str, ...], _Shapes | None]


def probe(device: str) -> Availability:
    """Whether OpenVINO can run on "cpu" or "cuda" here."""
    if device == "cuda":
        return Availability(usable=False, detail="openvino does not run on NVIDIA GPUs; --device cpu")
    if importlib.util.find_spec("openvino") is None:
        return Availability(usable=False, detail=not_installed("openvino"))
    return Availability(usable=True, detail=importlib.metadata.version("openvino"))


def check_precision(model: Path, precision: str, device: str) -> None:
    """See `RuntimeModule.check_precision`."""
    if precision == "int8":
        find_int8(model)
    else:
        _precision(precision, _has_bf16(_core()), is_int8_graph(model))


def open_pose(model: Path, options: OpenOptions) -> Backend:
    """Open a pose model."""
    return open_graph(model, options, "openvino", OpenVinoBackend)


def open_detector(onnx_file: Path, options: OpenOptions) -> Backend:
    """Open a detector."""
    return open_detector_graph(onnx_file, options, "openvino", OpenVinoBackend)


class OpenVinoBackend(Closing):
    """A graph under OpenVINO, see `Backend`.

    Only the requested outputs are computed: each set of outputs has its own program, compiled at its first use (0.1 s
    for a ResNet-18; there is no model cache on disk, because reading one takes as long).

    One crop is computed by all threads together, for the lowest latency. Several crops are computed one by one in
    single-thread streams: threads that synchronise in every layer cost a quarter more, and a stream that computes
    several crops at once is slower again and needs 15 to 25 MB for each (docs/decisions/0006-overlap.md).

    Raises:
        ModelError: the file is not the one that its spec describes.
        BackendError: the runtime cannot run it with these options.
    """

    name = "openvino"
    device = "cpu"

    def __init__(self, onnx_file: Path, options: OpenOptions) -> None:
        if options.device.startswith("cuda"):
            raise BackendError(probe("cuda").detail)
        self.spec = read_spec(onnx_file)
        core = _core()
        import openvino

        self._openvino = openvino
        try:
            has_bf16 = _has_bf16(core)
            self._model: Any = core.read_model(str(onnx_file))
        except RuntimeError as error:
            raise BackendError(f"openvino cannot read {onnx_file.name}: {message_line(error, _LAST)}") from error
        self.precision = _precision(options.precision, has_bf16, self.spec.precision == "int8")
        self._core: Any = core
        # An INT8 graph defines which of its layers run in eight bits; this precision is for the others.
        self._in_bf16 = self.precision == "bf16" or (self.precision == "int8" and has_bf16)
        self._settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "bf16" if self._in_bf16 else "f32"}
        if options.threads is not None:
            self._settings["INFERENCE_NUM_THREADS"] = options.threads
        if self._in_bf16:
            self._model = keep_layers_float32(openvino, core, self._model)
        self._float32_attention: Any = None  # the model with float32 attention, made when attention is first requested
        self._requests: dict[_Key, Any] = {}
        self._uses: Counter[_Key] = Counter()
        self._streams: dict[_Key, Any] = {}

    def infer(self, inputs: Mapping[str, Array], want: Sequence[str]) -> dict[str, Array]:
        """See `Backend.infer`."""
        if self._model is None:
            raise BackendError("openvino: the backend is closed")
        if self._in_bf16 and "keypoints" in want and len(want) > 1:
            # Each set of outputs is a program of its own, and in bfloat16 each rounds in its own way: what is shown
            # must not change the keypoints.
            maps = self.infer(inputs, [name for name in want if name != "keypoints"])
            return {**maps, **self.infer(inputs, ["keypoints"])}
        lengths = check_call(self.spec, inputs, want)
        if 0 in lengths.values() or not want:
            return empty_outputs(self.spec, lengths, want)
        arrays = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        try:
            if self._is_batch(lengths):
                return self._infer_divided(arrays, tuple(want))
            request = self._request(tuple(want), tuple(arrays[tensor.name].shape for tensor in self.spec.inputs))
            request.infer(arrays, share_inputs=True)
            return {name: request.get_tensor(name).data.copy() for name in want}
        except RuntimeError as error:
            raise BackendError(f"openvino failed on {self.spec.name}: {message_line(error, _LAST)}") from error

    def _is_batch(self, lengths: Mapping[str, int]) -> bool:
        """Whether this is a batch of several crops whose arrays can all be divided along their first dimension."""
        tensors = (*self.spec.inputs, *self.spec.outputs)
        firsts = {tensor.shape[0] if tensor.shape else 1 for tensor in tensors}
        return len(firsts) == 1 and lengths.get(str(firsts.pop()), 1) > 1

    def _infer_divided(self, arrays: Mapping[str, Array], want: tuple[str, ...]) -> dict[str, Array]:
        """Outputs of a batch, computed crop by crop in parallel."""
        shapes = tuple((1, *arrays[tensor.name].shape[1:]) for tensor in self.spec.inputs)
        # A program for these shapes alone, where only the number of crops varies between calls.
        is_fixed = all(isinstance(length, int) for tensor in self.spec.inputs for length in tensor.shape[1:])
        key = (want, shapes if is_fixed else None)
        if key not in self._streams:
            program = self._compile(*key, {"PERFORMANCE_HINT": "THROUGHPUT", "ENABLE_CPU_PINNING": False})
            self._streams[key] = self._openvino.AsyncInferQueue(program)
            self._streams[key].set_callback(_keep_outputs)
        streams, outputs = self._streams[key], [dict.fromkeys(want) for _ in next(iter(arrays.values()))]
        try:
            for index, own in enumerate(outputs):
                crop = {name: array[index : index + 1] for name, array in arrays.items()}
                streams.start_async(crop, own, share_inputs=True)
        finally:
            streams.wait_all()  # the arrays are shared: none may be freed while a stream still reads it
        return {name: np.concatenate([own[name] for own in outputs]) for name in want}

    def _request(self, want: tuple[str, ...], shapes: _Shapes) -> Any:
        """The inference request for a call: for exactly these shapes if they occur often, else for any shapes."""
        own, any_shape = (want, shapes), (want, None)
        if own in self._requests:
            return self._requests[own]
        self._uses[own] += 1
        programs = sum(key[1] is not None for key in self._requests)
        is_first = all(key[0] != want for key in self._requests)
        if (is_first or self._uses[own] > _USES_BEFORE_OWN_PROGRAM) and programs < _MOST_OWN_PROGRAMS:
            self._requests[own] = self._compile(want, shapes, _LATENCY).create_infer_request()
            return self._requests[own]
        if any_shape not in self._requests:
            self._requests[any_shape] = self._compile(want, None, _LATENCY).create_infer_request()
        return self._requests[any_shape]

    def _compile(self, want: tuple[str, ...], shapes: _Shapes | None, hints: Mapping[str, Any]) -> Any:
        names = list(want)
        if self._in_bf16 and "attention" in want:
            if self._float32_attention is None:
                self._float32_attention = keep_attention_float32(self._openvino, self._core, self._model.clone())
            model = self._float32_attention.clone()
            # Where the areas are an output, they are not rounded on their way to the attention either.
            names += [name for name in ("areas",) if name in self.spec.output_names and name not in want]
        else:
            model = self._model.clone()
        results = [model.output(name).get_node() for name in names]
        model = self._openvino.Model(results, model.get_parameters(), self.spec.name)
        if shapes is not None:
            model.reshape({tensor.name: list(shape) for tensor, shape in zip(self.spec.inputs, shapes, strict=True)})
        return self._core.compile_model(model, "CPU", {**self._settings, **hints})

    def close(self) -> None:
        """Release all programs."""
        self._requests.clear()
        self._streams.clear()
        self._model = self._float32_attention = None
        self._core = None


def _keep_outputs(request: Any, outputs: dict[str, Any]) -> None:
    for name in outputs:
        outputs[name] = request.get_tensor(name).data.copy()


def silence_openvino() -> None:
    """Hide the telemetry package; call it before the first `import openvino` or `import nncf` in a process.

    Both report each import and more to Google Analytics through the package openvino_telemetry, without asking. They
    work without it.
    """
    # None makes Python answer every import of the name with ModuleNotFoundError.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]


def _core() -> Any:
    """The single `openvino.Core` of this process; several threads may use it, and it is never freed.

    A core's CPU plugin installs an alternate signal stack in the thread that creates it and unmaps that stack at its
    end, possibly while the thread still uses it: of two cores that are destroyed in the order of their creation, the
    second restores the unmapped stack of the first. The next signal, e.g. Ctrl-C, then crashes the process.
    """
    silence_openvino()
    try:
        import openvino

        with _LOCK:
            if not _CORES:
                _CORES.append(openvino.Core())
            return _CORES[0]
    except ImportError as error:
        raise BackendError(f"the openvino package cannot be loaded: {error}") from error
    except RuntimeError as error:
        raise BackendError(f"openvino cannot be started: {message_line(error, _LAST)}") from error


def _has_bf16(core: Any) -> bool:
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _precision(requested: str, has_bf16: bool, is_int8: bool) -> str:
    if is_int8:
        if requested in ("auto", "int8"):
            return "int8"
        raise refuse_precision("openvino", requested, ["int8"], "the file is an INT8 graph; name its .safetensors file")
    if requested == "auto":
        return "bf16" if has_bf16 else "fp32"
    if requested == "fp32" or (requested == "bf16" and has_bf16):
        return requested
    supported = ["fp32", "bf16"] if has_bf16 else ["fp32"]
    advice = "fp16 runs on torch with a CUDA device" if requested == "fp16" else "use --precision auto"
    if requested == "bf16":
        advice = "this processor has no bfloat16 of its own; use --precision auto"
    raise refuse_precision("openvino", requested, supported, advice)
