"""Ctrl-C and the like as a wish that is asked for, so that they never fall between two things that belong together."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

_ASKS_TO_END = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""Ctrl-C, what `kill` and a system that shuts down send, the terminal is gone, and its like on Windows; not all are
known everywhere."""


class StopFlag:
    """While it is entered, a signal that asks the program to end raises nothing: whoever works looks at `asked`.

    An exception out of a signal may come between any two instructions, in the locks of the standard library, too, and
    an impatient person sends several. Outside the main thread, and where the program has a handler of its own or
    ignores a signal (nohup), everything stays as it is.

    Attributes:
        signal_number: of the first signal that came; None while none has.
    """

    def __init__(self) -> None:
        self._previous: dict[int, Any] = {}
        self.signal_number: int | None = None

    @property
    def asked(self) -> bool:
        """Whether the program is asked to end."""
        return self.signal_number is not None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for name in _ASKS_TO_END:
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_error: object) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is None:
            self.signal_number = number
