"""A stand-in for the `tensorrt` package: its Python interface, with ONNX Runtime doing the arithmetic.

What it builds is the ONNX file itself with the profiles in front. What it runs reads and writes the very addresses it
was given, on the stream it was given, so that buffers, copies, profiles and waiting are the product's own and a mistake
in them gives wrong numbers. It knows nothing of speed, of GPUs, or of what real kernels round.
"""

from __future__ import annotations

import ctypes
import json
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tests.engine.device_cpu import CpuStream
from tests.engine.standin_tensorrt_types import (
    BuilderFlag,
    ComputeCapability,
    CudaGraphStrategy,
    DataType,
    ILogger,
    IProgressMonitor,
    Profile,
    Strong,
    Tensor,
    TensorIOMode,
    TimingCache,
    Version11,
    nptype,
)

MAGIC = b"STANDIN-PLAN"


class _Network:
    def __init__(self) -> None:
        self.content = b""
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []

    num_inputs = property(lambda self: len(self.inputs))
    num_outputs = property(lambda self: len(self.outputs))

    def get_input(self, index: int) -> Tensor:
        return self.inputs[index]

    def get_output(self, index: int) -> Tensor:
        return self.outputs[index]


class OnnxParser:
    def __init__(self, network: _Network, logger: ILogger) -> None:
        self.network = network
        self.errors: list[str] = []

    num_errors = property(lambda self: len(self.errors))

    def get_error(self, index: int) -> str:
        return self.errors[index]

    def parse(self, content: bytes) -> bool:
        graph = onnx.load_from_string(content).graph
        if any(node.op_type == "AffineGrid" for node in graph.node):
            self.errors.append("AffineGrid is not\nsupported")
            return False
        self.network.content = content
        self.network.inputs = [Tensor(value) for value in graph.input]
        self.network.outputs = [Tensor(value) for value in graph.output]
        return True


class _Config:
    num_compute_capabilities = 0

    def set_compute_capability(self, capability: ComputeCapability, index: int) -> bool:
        return capability in ComputeCapability and index < self.num_compute_capabilities

    def __init__(self) -> None:
        self.profiles: list[Profile] = []
        self.cleared: list[BuilderFlag] = []
        self.progress_monitor: Any = None
        self.timing: TimingCache | None = None

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.cleared.append(flag)

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, content: bytes) -> TimingCache:
        return TimingCache(content)

    def set_timing_cache(self, cache: TimingCache, _ignore_mismatch: bool) -> bool:
        self.timing = cache
        return True

    def get_timing_cache(self) -> TimingCache | None:
        return self.timing


class Builder:
    fail_with: str | None = None
    built = 0

    def __init__(self, logger: ILogger) -> None:
        self.logger = logger

    def create_network(self, flags: int) -> _Network:
        wanted = 2 if STANDIN["strong"] else 0
        assert flags == wanted, flags
        return _Network()

    def create_builder_config(self) -> _Config:
        return _Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None:
        if Builder.fail_with is not None:
            self.logger.log(ILogger.ERROR, Builder.fail_with)
            return None
        Builder.built += 1
        config.progress_monitor.phase_start("Building", None, 2)
        assert config.progress_monitor.step_complete("Building", 0)
        config.progress_monitor.phase_finish("Building")
        header = json.dumps([profile.shapes for profile in config.profiles]).encode()
        return MAGIC + len(header).to_bytes(4, "little") + header + network.content


class Runtime:
    seen = 0  # plans that reached the runtime
    engine_class: type[_Engine]

    def __init__(self, logger: ILogger) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
        Runtime.seen += 1
        if not plan.startswith(MAGIC):
            self.logger.log(ILogger.ERROR, "the plan is\nnot a plan")
            return None
        start = len(MAGIC) + 4
        end = start + int.from_bytes(plan[len(MAGIC) : start], "little")
        return self.engine_class(json.loads(plan[start:end]), plan[end:], self.logger)


class _Engine:
    def __init__(self, profiles: list[dict[str, list[list[int]]]], content: bytes, logger: ILogger) -> None:
        graph = onnx.load_from_string(content).graph
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.tensors = {value.name: Tensor(value) for value in [*graph.input, *graph.output]}
        self.inputs = [value.name for value in graph.input]
        self.profiles = profiles
        self.logger = logger

    num_io_tensors = property(lambda self: len(self.tensors))
    num_optimization_profiles = property(lambda self: len(self.profiles))

    def get_tensor_name(self, index: int) -> str:
        return str(list(self.tensors)[index])

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape

    def get_tensor_dtype(self, name: str) -> DataType:
        return self.tensors[name].dtype

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_profile_shape(self, name: str, index: int) -> list[list[int]]:
        return self.profiles[index][name]

    def create_execution_context(self, *_config: Any) -> _Context:
        return _Context(self)


class _RtxRuntime(Runtime):
    """Builds engines of TensorRT-RTX."""


class _RtxEngine(_Engine):
    """TensorRT-RTX captures graphs by itself."""

    def create_runtime_config(self) -> types.SimpleNamespace:
        return types.SimpleNamespace(cuda_graph_strategy=CudaGraphStrategy.DISABLED)

    def create_execution_context(self, *config: Any) -> _Context:
        assert config[0].cuda_graph_strategy is CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        return _Context(self)


class _Context:
    """One set of shapes and addresses; refuses shapes outside its profile, as the real one does."""

    executions: list[tuple[int, tuple[int, ...]]] = []  # noqa: RUF012 - of all contexts: profile, shape of input 0
    sabotage: Callable[[dict[str, np.ndarray]], None] | None = None
    fail_with: str | None = None

    def __init__(self, engine: _Engine) -> None:
        self.engine = engine
        self.profile: int | None = None
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, index: int, stream_handle: int) -> bool:
        CpuStream.of_handle(stream_handle)
        self.profile = index
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert self.profile is not None
        low, _, high = self.engine.profiles[self.profile][name]
        if not all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True)):
            self.engine.logger.log(ILogger.ERROR, f"{name} {shape} is outside the profile")
            return False
        self.shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self.shapes:
            return self.shapes[name]
        # An open length of an output is that of the inputs' dimension of the same name.
        named = {
            dimension: length
            for key, shape in self.shapes.items()
            for length, dimension in zip(shape, self.engine.tensors[key].names, strict=True)
        }
        tensor = self.engine.tensors[name]
        return tuple(
            named.get(dimension, 1) if length == -1 else length
            for length, dimension in zip(tensor.shape, tensor.names, strict=True)
        )

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        if _Context.fail_with is not None:
            self.engine.logger.log(ILogger.ERROR, _Context.fail_with)
            return False
        shapes = dict(self.shapes)

        def work() -> None:
            inputs = {name: self._array(name, shapes[name]) for name in self.engine.inputs}
            names = [name for name in self.engine.tensors if name not in self.engine.inputs]
            outputs = dict(zip(names, self.engine.session.run(names, inputs), strict=True))
            if _Context.sabotage is not None:
                _Context.sabotage(outputs)
            for name, value in outputs.items():
                self._array(name, value.shape)[...] = value
            first = self.engine.inputs[-1]
            assert self.profile is not None
            _Context.executions.append((self.profile, shapes[first]))

        CpuStream.of_handle(stream_handle).enqueue(work)
        return True

    def _array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """The memory at the address that was set, as it is now."""
        dtype: np.dtype[Any] = np.dtype(nptype(self.engine.tensors[name].dtype))
        nbytes = int(np.prod(shape)) * dtype.itemsize
        raw = (ctypes.c_uint8 * nbytes).from_address(self.addresses[name])
        array: np.ndarray = np.frombuffer(memoryview(raw), dtype).reshape(shape)
        return array


Runtime.engine_class = _Engine
_RtxRuntime.engine_class = _RtxEngine
STANDIN: dict[str, Any] = {"strong": True}
Context = _Context


def module(version: str = "10.13.0", *, rtx: bool = False) -> types.ModuleType:
    """The stand-in as a module of a version; TensorRT from 11 on has no flag for strong typing."""
    made = types.ModuleType("tensorrt_rtx" if rtx else "tensorrt")
    made.__spec__ = sys.modules[__name__].__spec__
    STANDIN["strong"] = strong = not version.startswith("11")
    for name, value in {
        "__version__": version, "DataType": DataType, "TensorIOMode": TensorIOMode, "BuilderFlag": BuilderFlag,
        "ILogger": ILogger, "IProgressMonitor": IProgressMonitor, "OnnxParser": OnnxParser, "Builder": Builder,
        "Runtime": _RtxRuntime if rtx else Runtime, "nptype": nptype, "ComputeCapability": ComputeCapability,
        "NetworkDefinitionCreationFlag": Strong if strong else Version11, "CudaGraphStrategy": CudaGraphStrategy,
    }.items():  # fmt: skip
        setattr(made, name, value)
    return made
