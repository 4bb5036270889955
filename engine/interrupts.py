"""Ctrl-C and the like that never fall between two things that belong together."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Self

_ASKS_TO_END = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""Ctrl-C, what `kill` and a system that shuts down send, the terminal is gone, and its like on Windows; not all are
known everywhere."""


class InterruptGuard:
    """While it is entered, Ctrl-C raises KeyboardInterrupt at once, except inside `held()`: there it waits for the end.

    So a frame is written to all outputs or to none. The other signals that ask a program to end do the same. Outside
    the main thread, and where the program has a handler of its own, everything stays as it is.

    Attributes:
        signal_number: of the signal that came; None while none has.
    """

    def __init__(self) -> None:
        self._holding = False
        self._pending = False
        self._previous: dict[int, Any] = {}
        self._previous_hook = sys.unraisablehook
        self.signal_number: int | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for name in _ASKS_TO_END:
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
                    self._previous[number] = signal.signal(number, self._handle)
            self._previous_hook, sys.unraisablehook = sys.unraisablehook, self._swallowed
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())
        if sys.unraisablehook == self._swallowed:
            sys.unraisablehook = self._previous_hook

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number
        if self._holding:
            self._pending = True
        else:
            raise KeyboardInterrupt

    def _swallowed(self, ignored: sys.UnraisableHookArgs) -> None:
        """Ctrl-C that fell into a callback of the garbage collection, which drops it: it counts at the next chance."""
        if issubclass(ignored.exc_type, KeyboardInterrupt):
            self._pending = True
        else:
            self._previous_hook(ignored)

    @contextlib.contextmanager
    def held(self, *, last: bool = False) -> Iterator[None]:
        """Hold Ctrl-C back until the block is done; after the `last` block there is nothing left that it could end."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = last
        if self._pending:
            self._pending = False
            if not last:
                raise KeyboardInterrupt
