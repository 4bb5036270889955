"""A stop flag set by Ctrl-C and termination signals, so that no signal interrupts an atomic sequence of steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

from engine.system.interrupts import on_interrupt

_STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""Sent by Ctrl-C, by `kill` and a shutdown, by a closed terminal, and by Ctrl-Break on Windows; not
every system has all of them."""
_REPLACED = (signal.default_int_handler, signal.SIG_DFL, on_interrupt)


class StopFlag:
    """While it is entered, a stop signal raises no exception; the caller checks `is_set` instead.

    An exception from a signal handler may occur between any two instructions, even inside standard library locks, and
    a user may press Ctrl-C several times. Outside the main thread, and where another handler is installed or the
    signal is ignored (nohup), nothing changes.

    Attributes:
        signal_number: of the first signal received; None before.
    """

    def __init__(self) -> None:
        self._previous: dict[int, Any] = {}
        self.signal_number: int | None = None

    @property
    def is_set(self) -> bool:
        """Whether a stop signal was received."""
        return self.signal_number is not None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for name in _STOP_SIGNALS:
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) in _REPLACED:
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_error: object) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is None:
            self.signal_number = number
