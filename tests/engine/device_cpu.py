"""The CPU implementation of `engine.backends.device_memory`, for tests of GPU code."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import time
import weakref
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from engine.backends.device_memory import Array, Work
from engine.errors import BackendError


class _CpuBuffer:
    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        # Not zeros, so that reads of uninitialised memory are noticed.
        self.bytes = np.full(max(1, nbytes), 0xA5, np.uint8)

    @property
    def address(self) -> int:
        return int(self.bytes.ctypes.data)

    def view(self, shape: tuple[int, ...], dtype: str) -> Array:
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        array: Array = self.bytes[:count].view(dtype).reshape(shape)
        return array


class CpuStream:
    """A queue whose work runs, in order, when it is waited for."""

    _numbers = itertools.count(1)
    _open: ClassVar[weakref.WeakValueDictionary[int, CpuStream]] = weakref.WeakValueDictionary()

    def __init__(self) -> None:
        self.cuda_stream = next(self._numbers)
        self._queue: list[Work] = []
        self._captured: list[Work] | None = None
        self._open[self.cuda_stream] = self

    @classmethod
    def of_handle(cls, handle: int) -> CpuStream:
        """The stream of a handle, for a runtime that takes one."""
        return cls._open[handle]

    def enqueue(self, work: Work) -> None:
        """Add work; while a graph is captured it goes there instead."""
        (self._queue if self._captured is None else self._captured).append(work)

    def synchronize(self) -> None:
        """Do everything that was enqueued."""
        if self._captured is not None:
            raise BackendError("a stream cannot be waited for while a graph is captured on it")
        queue, self._queue = self._queue, []
        for work in queue:
            work()

    @contextlib.contextmanager
    def capturing(self) -> Iterator[list[Work]]:
        """Collect what is enqueued instead of queueing it."""
        captured: list[Work] = []
        self._captured = captured
        try:
            yield captured
        finally:
            self._captured = None


class _CpuEvent:
    def __init__(self) -> None:
        self.at_s: float | None = None

    def elapsed_time(self, later: Any) -> float:
        if self.at_s is None or later.at_s is None:
            raise BackendError("an event that has not happened yet was asked for its time")
        return float(later.at_s - self.at_s) * 1000


class _CpuGraph:
    def __init__(self, stream: CpuStream, work: list[Work]) -> None:
        self._stream, self._work = stream, work

    def replay(self) -> None:
        for work in self._work:
            self._stream.enqueue(work)


class CpuMemory:
    """The CPU implementation."""

    device = "cpu"

    def allocate(self, nbytes: int) -> _CpuBuffer:
        """See `DeviceMemory`."""
        return _CpuBuffer(nbytes)

    def allocate_host(self, nbytes: int) -> _CpuBuffer:
        """See `DeviceMemory`."""
        return _CpuBuffer(nbytes)

    def stream(self) -> CpuStream:
        """See `DeviceMemory`."""
        return CpuStream()

    def record(self, stream: Any) -> _CpuEvent:
        """See `DeviceMemory`."""
        event = _CpuEvent()

        def happen() -> None:
            event.at_s = time.perf_counter()

        stream.enqueue(happen)
        return event

    def upload(self, source: Any, target: Any, nbytes: int, stream: Any) -> None:
        """See `DeviceMemory`."""
        _check_room(source, target, nbytes)
        stream.enqueue(lambda: ctypes.memmove(target.address, source.address, nbytes) and None)

    def download(self, source: Any, target: Any, nbytes: int, stream: Any) -> None:
        """See `DeviceMemory`."""
        self.upload(source, target, nbytes, stream)

    def run(self, stream: Any, work: Work) -> None:
        """See `DeviceMemory`."""
        stream.enqueue(work)

    def capture(self, stream: Any, work: Work) -> _CpuGraph:
        """See `DeviceMemory`."""
        with stream.capturing() as captured:
            work()
        return _CpuGraph(stream, captured)


def _check_room(source: Any, target: Any, nbytes: int) -> None:
    if nbytes > source.nbytes or nbytes > target.nbytes:
        raise BackendError(f"a copy of {nbytes} bytes between {source.nbytes} and {target.nbytes} does not fit")
