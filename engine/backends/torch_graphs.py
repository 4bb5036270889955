"""A PyTorch network on a GPU without PyTorch's cost of starting every kernel: pinned copies and CUDA graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from engine.artifacts.model_spec import ModelSpec
from engine.backends.contract import Array
from engine.backends.device_memory import DeviceMemory, Graph

Shapes = tuple[tuple[int, ...], ...]

# A few plain runs come first: PyTorch chooses its convolutions in them, which no graph may hold.
_USES_BEFORE_GRAPH = 3
_MOST_PLACES = 32


@dataclass(kw_only=True)
class _Place:
    """Where the tensors of one set of shapes stand; a graph reads and writes the same places every time."""

    pinned: list[Any]
    inputs: list[Any]
    outputs: tuple[Any, ...] = ()
    results: dict[str, Any] = field(default_factory=dict)
    uses: int = 0
    graph: Graph | None = None


class GraphedModule:
    """Runs a module whose inputs and outputs are those of a spec.

    Args:
        torch: the package.
        module: on the device of `memory`, in eval mode; gives the spec's outputs in order.
        spec: names, shapes and dtypes.
        memory: the device.
    """

    def __init__(self, torch: Any, module: Any, spec: ModelSpec, memory: DeviceMemory) -> None:
        self._torch = torch
        self._module = module
        self._spec = spec
        self._memory = memory
        self._stream = memory.stream()
        self._places: dict[Shapes, _Place] = {}

    def __call__(self, inputs: Mapping[str, Array], want: Sequence[str]) -> dict[str, Array]:
        """See `Backend.infer`; waits once, at the end."""
        place = self._place(tuple(inputs[tensor.name].shape for tensor in self._spec.inputs))
        for tensor, pinned, target in zip(self._spec.inputs, place.pinned, place.inputs, strict=True):
            pinned.numpy()[...] = inputs[tensor.name]
            self._memory.run(self._stream, partial(target.copy_, pinned, non_blocking=True))
        place.uses += 1
        if place.graph is None and place.uses > _USES_BEFORE_GRAPH:
            place.graph = self._memory.capture(self._stream, lambda: self._forward(place))
        if place.graph is not None:
            place.graph.replay()
        else:
            self._forward(place)
        for name in want:
            self._memory.run(self._stream, partial(self._fetch, place, name))
        self._stream.synchronize()
        return {name: place.results[name].numpy().copy() for name in want}

    def _forward(self, place: _Place) -> None:
        def work() -> None:
            with self._torch.inference_mode():
                place.outputs = tuple(self._module(*place.inputs))

        self._memory.run(self._stream, work)

    def _fetch(self, place: _Place, name: str) -> None:
        output = place.outputs[self._spec.output_names.index(name)]
        if name not in place.results:
            place.results[name] = self._host_tensor(tuple(output.shape), output.dtype)
        place.results[name].copy_(output, non_blocking=True)

    def _place(self, shapes: Shapes) -> _Place:
        if shapes not in self._places:
            if len(self._places) >= _MOST_PLACES:
                self._places.clear()
            dtypes = [getattr(self._torch, tensor.dtype) for tensor in self._spec.inputs]
            pairs = list(zip(shapes, dtypes, strict=True))
            self._places[shapes] = _Place(
                pinned=[self._host_tensor(shape, dtype) for shape, dtype in pairs],
                inputs=[self._torch.empty(shape, dtype=dtype, device=self._memory.device) for shape, dtype in pairs],
            )
        return self._places[shapes]

    def _host_tensor(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return self._torch.empty(shape, dtype=dtype, pin_memory=self._memory.device != "cpu")
