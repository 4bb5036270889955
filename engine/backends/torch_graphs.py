"""A PyTorch network on a GPU without PyTorch's launch cost per kernel: pinned copies and CUDA graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from engine.artifacts.model_spec import ModelSpec
from engine.backends.contract import Array
from engine.backends.device_memory import DeviceMemory, Graph

Shapes = tuple[tuple[int, ...], ...]

# A few runs without a graph come first: PyTorch selects its convolution algorithms in them, which cannot be captured.
_USES_BEFORE_GRAPH = 3
_MOST_BUFFERS = 32


@dataclass(kw_only=True)
class _Buffers:
    """The fixed buffers for one set of shapes; a graph reads and writes the same memory every time."""

    pinned: list[Any]
    inputs: list[Any]
    outputs: tuple[Any, ...] = ()
    results: dict[str, Any] = field(default_factory=dict)
    uses: int = 0
    graph: Graph | None = None


class GraphedModule:
    """Runs a module whose inputs and outputs are those of a spec.

    Args:
        module: on the device of `memory`, in eval mode; returns the spec's outputs in order.
    """

    def __init__(self, torch: Any, module: Any, spec: ModelSpec, memory: DeviceMemory) -> None:
        self._torch = torch
        self._module = module
        self._spec = spec
        self._memory = memory
        self._stream = memory.stream()
        self._buffers_by_shapes: dict[Shapes, _Buffers] = {}

    def __call__(self, inputs: Mapping[str, Array], want: Sequence[str]) -> dict[str, Array]:
        """See `Backend.infer`; waits once, at the end."""
        buffers = self._buffers_for(tuple(inputs[tensor.name].shape for tensor in self._spec.inputs))
        for tensor, pinned, target in zip(self._spec.inputs, buffers.pinned, buffers.inputs, strict=True):
            pinned.numpy()[...] = inputs[tensor.name]
            self._memory.run(self._stream, partial(target.copy_, pinned, non_blocking=True))
        buffers.uses += 1
        if buffers.graph is None and buffers.uses > _USES_BEFORE_GRAPH:
            buffers.graph = self._memory.capture(self._stream, lambda: self._forward(buffers))
        if buffers.graph is not None:
            buffers.graph.replay()
        else:
            self._forward(buffers)
        for name in want:
            self._memory.run(self._stream, partial(self._fetch, buffers, name))
        self._stream.synchronize()
        return {name: buffers.results[name].numpy().copy() for name in want}

    def _forward(self, buffers: _Buffers) -> None:
        def work() -> None:
            with self._torch.inference_mode():
                buffers.outputs = tuple(self._module(*buffers.inputs))

        self._memory.run(self._stream, work)

    def _fetch(self, buffers: _Buffers, name: str) -> None:
        output = buffers.outputs[self._spec.output_names.index(name)]
        if name not in buffers.results:
            buffers.results[name] = self._host_tensor(tuple(output.shape), output.dtype)
        buffers.results[name].copy_(output, non_blocking=True)

    def _buffers_for(self, shapes: Shapes) -> _Buffers:
        if shapes not in self._buffers_by_shapes:
            if len(self._buffers_by_shapes) >= _MOST_BUFFERS:
                self._buffers_by_shapes.clear()
            dtypes = [getattr(self._torch, tensor.dtype) for tensor in self._spec.inputs]
            pairs = list(zip(shapes, dtypes, strict=True))
            self._buffers_by_shapes[shapes] = _Buffers(
                pinned=[self._host_tensor(shape, dtype) for shape, dtype in pairs],
                inputs=[self._torch.empty(shape, dtype=dtype, device=self._memory.device) for shape, dtype in pairs],
            )
        return self._buffers_by_shapes[shapes]

    def _host_tensor(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return self._torch.empty(shape, dtype=dtype, pin_memory=self._memory.device != "cpu")
