"""Ctrl-C that never falls between two things that belong together."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Self


class InterruptGuard:
    """While it is entered, Ctrl-C raises KeyboardInterrupt at once, except inside `held()`: there it waits for the end.

    So a frame is written to all outputs or to none. Outside the main thread, and where the program has a handler of
    its own, everything stays as it is.
    """

    def __init__(self) -> None:
        self._holding = False
        self._pending = False
        self._previous: Any = None

    def __enter__(self) -> Self:
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._holding:
            self._pending = True
        else:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def held(self, *, last: bool = False) -> Iterator[None]:
        """Hold Ctrl-C back until the block is done; after the `last` block there is nothing left that it could end."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._pending:
            self._pending = False
            if not last:
                raise KeyboardInterrupt
