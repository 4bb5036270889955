"""The CUDA implementation of device_memory, through PyTorch, which is imported when the first device is opened."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.backends.device_memory import Array, DeviceMemory, Event, Graph, Stream, Work
from engine.errors import BackendError


class _TorchBuffer:
    """Bytes of a torch tensor."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor
        self.nbytes = int(tensor.numel())

    @property
    def address(self) -> int:
        return int(self.tensor.data_ptr())

    def view(self, shape: tuple[int, ...], dtype: str) -> Array:
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        array: Array = self.tensor[:count].numpy().view(dtype).reshape(shape)
        return array


class CudaMemory:
    """The CUDA implementation of `DeviceMemory`, through PyTorch.

    Raises:
        BackendError: PyTorch is missing, or finds no such device.
    """

    def __init__(self, device: str = "cuda:0") -> None:
        try:
            import torch
        except (ImportError, OSError) as error:
            raise BackendError(f"GPU memory is managed through torch, which cannot be loaded: {error}") from error
        if not torch.cuda.is_available():
            raise BackendError(f"torch {torch.__version__} finds no CUDA device")
        number = int(device.partition(":")[2] or 0)
        if number >= torch.cuda.device_count():
            raise BackendError(f"there is no device {device}; torch finds {torch.cuda.device_count()}")
        self._torch: Any = torch
        self.device = f"cuda:{number}"

    def allocate(self, nbytes: int) -> _TorchBuffer:
        """See `DeviceMemory`."""
        try:
            return _TorchBuffer(self._torch.empty(max(1, nbytes), dtype=self._torch.uint8, device=self.device))
        except self._torch.OutOfMemoryError as error:
            raise BackendError(f"{self.device} has no {nbytes / 2**20:.0f} MiB left; close other programs") from error

    def allocate_host(self, nbytes: int) -> _TorchBuffer:
        """See `DeviceMemory`."""
        return _TorchBuffer(self._torch.empty(max(1, nbytes), dtype=self._torch.uint8, pin_memory=True))

    def stream(self) -> Stream:
        """See `DeviceMemory`."""
        stream: Stream = self._torch.cuda.Stream(self.device)
        return stream

    def record(self, stream: Any) -> Event:
        """See `DeviceMemory`."""
        event: Any = self._torch.cuda.Event(enable_timing=True)
        event.record(stream)
        return event  # type: ignore[no-any-return]

    def upload(self, source: Any, target: Any, nbytes: int, stream: Any) -> None:
        """See `DeviceMemory`."""
        with self._torch.cuda.stream(stream):
            target.tensor[:nbytes].copy_(source.tensor[:nbytes], non_blocking=True)

    download = upload

    def run(self, stream: Any, work: Work) -> None:
        """See `DeviceMemory`."""
        with self._torch.cuda.stream(stream):
            work()

    def capture(self, stream: Any, work: Work) -> Graph:
        """See `DeviceMemory`."""
        graph: Any = self._torch.cuda.CUDAGraph()
        # Only this thread's calls are restricted: other threads of the window may use the GPU during the capture.
        with self._torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            work()
        return _TorchGraph(self._torch, graph, stream)


class _TorchGraph:
    def __init__(self, torch: Any, graph: Any, stream: Any) -> None:
        self._torch, self._graph, self._stream = torch, graph, stream

    def replay(self) -> None:
        with self._torch.cuda.stream(self._stream):
            self._graph.replay()


def open_memory(device: str) -> DeviceMemory:
    """The memory of a GPU: "cuda" or "cuda:N".

    Raises:
        BackendError: there is no such device.
    """
    return CudaMemory(device)
