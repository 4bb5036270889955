"""Runs an engine of TensorRT or TensorRT-RTX: buffers, profiles, graphs, and a single wait at the end of a call.

Both packages share this code. It is written against `device_memory`, so that everything except the packages' own calls
runs in tests without a GPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.artifacts.model_spec import ModelSpec, TensorSpec
from engine.backends.contract import Array, check_call, empty_outputs
from engine.backends.device_memory import Buffer, DeviceMemory, Graph, HostBuffer
from engine.backends.trt_package import make_logger, one_line
from engine.errors import BackendError
from engine.system.closing import Closing

Shapes = tuple[tuple[int, ...], ...]
"""Shape of each input, in the spec's order."""

# Capturing takes as long as a few runs, and each graph uses memory: only shapes that recur are captured.
_USES_BEFORE_GRAPH = 2
_MOST_GRAPHS = 64


@dataclass(kw_only=True)
class _Profile:
    """An optimisation profile: a range of shapes that the engine was tuned for, and its execution context."""

    index: int
    smallest: Shapes
    largest: Shapes
    context: Any
    shapes: Shapes | None = None  # the shapes that are set on the context

    def fits(self, shapes: Shapes) -> bool:
        return all(
            low <= have <= high
            for lows, shape, highs in zip(self.smallest, shapes, self.largest, strict=True)
            for low, have, high in zip(lows, shape, highs, strict=True)
        )


class TensorRtBackend(Closing):
    """A loaded engine, see `Backend`. All outputs are computed; only the requested ones are copied to the host.

    Args:
        package: the loaded `tensorrt` or `tensorrt_rtx` module.
        plan: the engine's bytes, already checked against the spec's hash.

    Raises:
        BackendError: the runtime refuses the engine, or the engine does not match its spec.
    """

    def __init__(self, package: Any, name: str, plan: bytes, spec: ModelSpec, memory: DeviceMemory) -> None:
        self.name = name
        self.spec = spec
        self.device = memory.device
        self.precision = spec.precision
        self._trt = package
        self._memory = memory
        self._logger = make_logger(package)
        self._runtime: Any = package.Runtime(self._logger)
        self._engine: Any = None if self._runtime is None else self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise BackendError(f"{name} cannot load the engine of {spec.name}: {self._last_errors()}")
        self._check_tensors()
        self._stream = memory.stream()
        self._own_graphs = not hasattr(self._engine, "create_runtime_config")
        self._profiles = [self._open_profile(index) for index in range(self._engine.num_optimization_profiles)]
        self._most = max(_batch(profile.largest, spec) for profile in self._profiles)
        self._buffers: dict[str, Buffer] = {}
        self._host: dict[str, HostBuffer] = {}
        self._allocate()
        self._graphs: dict[tuple[int, Shapes], Graph] = {}
        self._uses: Counter[tuple[int, Shapes]] = Counter()
        self._warm_up()

    def infer(self, inputs: Mapping[str, Array], want: Sequence[str]) -> dict[str, Array]:
        """See `Backend.infer`; a batch that is too large for the engine is run in parts."""
        if self._engine is None:
            raise BackendError(f"{self.name}: the backend is closed")
        lengths = check_call(self.spec, inputs, want)
        if 0 in lengths.values():
            return empty_outputs(self.spec, lengths, want)
        batch = next((lengths[name] for name in ("N", "B") if name in lengths), 1)
        if batch <= self._most:
            return self._run(inputs, want)
        batched = {tensor.name for tensor in self.spec.inputs if tensor.shape[0] in ("N", "B")}
        parts = [
            self._run(
                {name: a[start : start + self._most] if name in batched else a for name, a in inputs.items()}, want
            )
            for start in range(0, batch, self._most)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in want}

    def time_ms(self, inputs: Mapping[str, Array], repeats: int) -> float:
        """Milliseconds of one run on the device without copies: the mean over `repeats` runs of the same inputs."""
        self.infer(inputs, ())
        started = self._memory.record(self._stream)
        for _ in range(repeats):
            self._enqueue(self._shapes_of(inputs))
        ended = self._memory.record(self._stream)
        self._stream.synchronize()
        return started.elapsed_time(ended) / repeats

    def close(self) -> None:
        """Release the engine and its memory."""
        if self._engine is not None:
            self._stream.synchronize()
        self._graphs.clear()
        self._profiles.clear()
        self._engine = self._runtime = None
        self._buffers.clear()
        self._host.clear()

    def _run(self, inputs: Mapping[str, Array], want: Sequence[str]) -> dict[str, Array]:
        shapes = self._shapes_of(inputs)
        for tensor in self.spec.inputs:
            array = inputs[tensor.name]
            np.copyto(self._host[tensor.name].view(array.shape, tensor.dtype), array)
            self._memory.upload(self._host[tensor.name], self._buffers[tensor.name], array.nbytes, self._stream)
        profile = self._enqueue(shapes)
        return self._copy_out({name: self._shape_now(profile, name) for name in want})

    def _shapes_of(self, inputs: Mapping[str, Array]) -> Shapes:
        return tuple(inputs[tensor.name].shape for tensor in self.spec.inputs)

    def _enqueue(self, shapes: Shapes) -> _Profile:
        """Enqueue one run on the stream, without waiting."""
        profile = next((profile for profile in self._profiles if profile.fits(shapes)), None)
        if profile is None:
            largest = ", ".join(str(shape) for shape in self._profiles[-1].largest)
            raise BackendError(
                f"{self.spec.name}: the engine takes inputs up to {largest}, not {shapes}; build another"
            )
        changed = profile.shapes != shapes
        if changed:
            for tensor, shape in zip(self.spec.inputs, shapes, strict=True):
                if not profile.context.set_input_shape(tensor.name, shape):
                    raise BackendError(f"{self.name} refuses {tensor.name} {shape}: {self._last_errors()}")
            profile.shapes = shapes
        key = (profile.index, shapes)
        graph = self._graphs.get(key)
        if graph is not None:
            graph.replay()
            return profile
        self._uses[key] += 1
        recurs = self._uses[key] > _USES_BEFORE_GRAPH and len(self._graphs) < _MOST_GRAPHS
        # The first run after a change of shape does work that cannot be captured.
        if self._own_graphs and recurs and not changed:
            self._graphs[key] = self._memory.capture(self._stream, lambda: self._execute(profile))
            self._graphs[key].replay()
        else:
            self._execute(profile)
        return profile

    def _execute(self, profile: _Profile) -> None:
        if not profile.context.execute_async_v3(self._stream.cuda_stream):
            raise BackendError(f"{self.name} failed on {self.spec.name}: {self._last_errors()}")

    def _copy_out(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
        dtypes = {tensor.name: tensor.dtype for tensor in self.spec.outputs}
        for name, shape in shapes.items():
            if name not in self._host:
                # Allocated at the first request: most outputs are never requested, and pinned memory is scarce.
                self._host[name] = self._memory.allocate_host(self._buffers[name].nbytes)
            count = int(np.prod(shape)) * np.dtype(dtypes[name]).itemsize
            self._memory.download(self._buffers[name], self._host[name], count, self._stream)
        self._stream.synchronize()
        return {name: self._host[name].view(shape, dtypes[name]).copy() for name, shape in shapes.items()}

    def _shape_now(self, profile: _Profile, name: str) -> tuple[int, ...]:
        return tuple(int(length) for length in profile.context.get_tensor_shape(name))

    def _open_profile(self, index: int) -> _Profile:
        ranges = [self._engine.get_tensor_profile_shape(tensor.name, index) for tensor in self.spec.inputs]
        if self._own_graphs:
            context = self._engine.create_execution_context()
        else:
            # TensorRT-RTX compiles for a shape at its first use, so it has to capture graphs itself.
            config = self._engine.create_runtime_config()
            config.cuda_graph_strategy = self._trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            context = self._engine.create_execution_context(config)
        if context is None or not context.set_optimization_profile_async(index, self._stream.cuda_stream):
            raise BackendError(f"{self.name} cannot prepare {self.spec.name}: {self._last_errors()}")
        self._stream.synchronize()
        return _Profile(
            index=index,
            smallest=tuple(tuple(int(n) for n in shapes[0]) for shapes in ranges),
            largest=tuple(tuple(int(n) for n in shapes[2]) for shapes in ranges),
            context=context,
        )

    def _allocate(self) -> None:
        """Allocate buffers for the largest shapes, shared by all profiles, and set them on all contexts."""
        for profile in self._profiles:
            for tensor, shape in zip(self.spec.inputs, profile.largest, strict=True):
                self._reserve(tensor, shape)
                profile.context.set_input_shape(tensor.name, shape)
            for tensor in self.spec.outputs:
                shape = self._shape_now(profile, tensor.name)
                if any(length < 0 for length in shape):
                    raise BackendError(f"{self.spec.name}: the size of '{tensor.name}' depends on the input's content")
                self._reserve(tensor, shape)
        for tensor in self.spec.inputs:
            self._host[tensor.name] = self._memory.allocate_host(self._buffers[tensor.name].nbytes)
        for profile in self._profiles:
            for name, buffer in self._buffers.items():
                if not profile.context.set_tensor_address(name, buffer.address):
                    raise BackendError(f"{self.name} takes no memory for '{name}': {self._last_errors()}")

    def _reserve(self, tensor: TensorSpec, shape: tuple[int, ...]) -> None:
        nbytes = int(np.prod(shape)) * np.dtype(tensor.dtype).itemsize
        if tensor.name not in self._buffers or self._buffers[tensor.name].nbytes < nbytes:
            self._buffers[tensor.name] = self._memory.allocate(nbytes)

    def _check_tensors(self) -> None:
        """Check that the engine has exactly the tensors of its spec."""
        names = {self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)}
        wanted = {tensor.name: tensor for tensor in (*self.spec.inputs, *self.spec.outputs)}
        if names != set(wanted):
            raise BackendError(f"{self.spec.name}: the engine has {sorted(names)}, its spec {sorted(wanted)}")
        inputs = {tensor.name for tensor in self.spec.inputs}
        for name, tensor in wanted.items():
            shape = tuple(int(length) for length in self._engine.get_tensor_shape(name))
            is_input = self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT
            fits = len(shape) == len(tensor.shape) and all(
                not isinstance(want, int) or have in (want, -1) for have, want in zip(shape, tensor.shape, strict=True)
            )
            dtype = np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name)))
            if not fits or is_input != (name in inputs) or dtype != np.dtype(tensor.dtype):
                raise BackendError(f"{self.spec.name}: the engine's '{name}' is {dtype} {shape}, its spec differs")

    def _warm_up(self) -> None:
        """Run the largest shape of every profile once, so that kernels are loaded and failures occur now."""
        for profile in self._profiles:
            shapes = profile.largest
            self._run({t.name: np.zeros(s, t.dtype) for t, s in zip(self.spec.inputs, shapes, strict=True)}, ())
        self._uses.clear()

    def _last_errors(self) -> str:
        text = one_line("; ".join(self._logger.errors[-2:])) or "it gave no reason"
        self._logger.errors.clear()
        return text


def _batch(shapes: Shapes, spec: ModelSpec) -> int:
    """Batch length in the shapes of the inputs; 1 where no input has an open batch dimension."""
    lengths = [shape[0] for tensor, shape in zip(spec.inputs, shapes, strict=True) if tensor.shape[0] in ("N", "B")]
    return lengths[0] if lengths else 1
