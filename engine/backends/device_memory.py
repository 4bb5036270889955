"""Memory, copies, streams, events and graphs of a device: the contract; device_cuda.py has the CUDA form.

What drives a GPU (buffers, the order of copies and kernels, the one wait at the end) is written once against
`DeviceMemory`. The tests have a form that runs on the processor and keeps the rules that matter: work on a stream does
not happen before somebody waits for it, and a captured graph repeats exactly what was captured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy.typing as npt

Array = npt.NDArray[Any]
Work = Callable[[], None]


class Buffer(Protocol):
    """Memory of the device, or of the host in a place from which the device copies."""

    nbytes: int

    @property
    def address(self) -> int:
        """Where it begins."""
        ...


class HostBuffer(Buffer, Protocol):
    """Host memory that the device reads and writes without a detour (pinned)."""

    def view(self, shape: tuple[int, ...], dtype: str) -> Array:
        """The beginning of the memory as an array."""
        ...


class Graph(Protocol):
    """Work that was captured."""

    def replay(self) -> None:
        """Enqueue it again on the stream on which it was captured."""
        ...


class Event(Protocol):
    """A moment on a stream."""

    def elapsed_ms(self, later: Event) -> float:
        """Milliseconds until a later event; both must have happened."""
        ...


class Stream(Protocol):
    """A queue of the device."""

    @property
    def handle(self) -> int:
        """What a runtime takes as a stream."""
        ...

    def synchronize(self) -> None:
        """Wait until everything enqueued has happened."""
        ...


class DeviceMemory(Protocol):
    """A device, as far as its memory and queues go.

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
        """Mark this moment on a stream."""
        ...

    def upload(self, source: HostBuffer, target: Buffer, nbytes: int, stream: Stream) -> None:
        """Enqueue a copy from host to device."""
        ...

    def download(self, source: Buffer, target: HostBuffer, nbytes: int, stream: Stream) -> None:
        """Enqueue a copy from device to host."""
        ...

    def run(self, stream: Stream, work: Work) -> None:
        """Let a library that enqueues by itself (PyTorch) do so on a stream."""
        ...

    def capture(self, stream: Stream, work: Work) -> Graph:
        """Capture what `work` enqueues on a stream; it does not happen now."""
        ...
