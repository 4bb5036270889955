"""The contract for memory, copies, streams, events and graphs of a device; device_cuda.py implements it for CUDA.

The code that drives a GPU (buffers, the order of copies and kernels, the single wait at the end) is written once
against `DeviceMemory`. The tests have an implementation on the processor that keeps the rules that matter: work on a
stream does not run before a wait for it, and a captured graph repeats exactly what was captured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy.typing as npt

Array = npt.NDArray[Any]
Work = Callable[[], None]


class Buffer(Protocol):
    """Memory of the device, or host memory that the device can copy from and to."""

    nbytes: int

    @property
    def address(self) -> int:
        """Address of its first byte."""
        ...


class HostBuffer(Buffer, Protocol):
    """Pinned host memory, which the device reads and writes directly."""

    def view(self, shape: tuple[int, ...], dtype: str) -> Array:
        """The beginning of the memory as an array."""
        ...


class Graph(Protocol):
    """Captured work."""

    def replay(self) -> None:
        """Enqueue it again on the stream on which it was captured."""
        ...


class Event(Protocol):
    """A point in time on a stream; one of PyTorch's fits as it is."""

    def elapsed_time(self, later: Event) -> float:
        """Milliseconds until a later event; both must have completed."""
        ...


class Stream(Protocol):
    """A queue of work on the device; one of PyTorch's fits as it is."""

    @property
    def cuda_stream(self) -> int:
        """The stream's handle in the form that runtimes take."""
        ...

    def synchronize(self) -> None:
        """Wait until all enqueued work has completed."""
        ...


class DeviceMemory(Protocol):
    """The memory and queues of a device.

    Attributes:
        device: "cuda:0" or "cpu".
    """

    device: str

    def allocate(self, nbytes: int) -> Buffer:
        """Memory on the device; freed with the object."""
        ...

    def allocate_host(self, nbytes: int) -> HostBuffer:
        """Pinned memory on the host; freed with the object."""
        ...

    def stream(self) -> Stream:
        """A new queue."""
        ...

    def record(self, stream: Stream) -> Event:
        """Record an event on a stream."""
        ...

    def upload(self, source: HostBuffer, target: Buffer, nbytes: int, stream: Stream) -> None:
        """Enqueue a copy from host to device."""
        ...

    def download(self, source: Buffer, target: HostBuffer, nbytes: int, stream: Stream) -> None:
        """Enqueue a copy from device to host."""
        ...

    def run(self, stream: Stream, work: Work) -> None:
        """Run `work`, which enqueues through a library (PyTorch), on a stream."""
        ...

    def capture(self, stream: Stream, work: Work) -> Graph:
        """Capture the work that `work` enqueues on a stream, without running it."""
        ...
