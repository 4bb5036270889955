"""Poses as JSON lines on standard output, and nothing else there."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterator

from engine.errors import OutputError
from engine.output.live.channel import Message, QueuedChannel
from engine.system.console import is_closed, stdout_kept

_CHUNK = getattr(select, "PIPE_BUF", 512)
"""What a pipe that is ready takes without making the writer wait."""
_WAIT_S = 0.1


@contextlib.contextmanager
def kept_for_poses() -> Iterator[int]:
    """A handle of standard output, while everything else that is printed there goes to stderr.

    Raises:
        OutputError: the program was started without standard output.
    """
    if is_closed(1):
        raise OutputError("--poses - writes to standard output, which is closed: give it a file or a pipe")
    with stdout_kept() as handle:
        yield handle


class StandardOutput(QueuedChannel):
    """Writes a line for each frame; a line that was begun is finished before the next."""

    def __init__(self, handle: int) -> None:
        self._handle = os.dup(handle)  # closed here, and not while a write still uses it
        super().__init__("standard output")

    def summary(self) -> str:
        """Lines written and dropped, and whether the reader left."""
        return super().summary() + ("; the reader closed it" if self.ended else "")

    def _send(self, message: Message) -> bool:
        rest = memoryview(f"{message.text}\n".encode())
        while rest and not self.ended:
            try:
                if not self._is_ready():
                    if self._abandoned.is_set():
                        return False
                    continue
                rest = rest[os.write(self._handle, rest[:_CHUNK]) :]
            except BlockingIOError:  # another owner of the terminal or pipe made it non-blocking
                select.select([], [], [], _WAIT_S)
            except BrokenPipeError:
                self.ended = True
        return not self.ended

    def _is_ready(self) -> bool:
        """Whether a write will not wait; on Windows, where pipes cannot be asked, it may."""
        return sys.platform == "win32" or bool(select.select([], [self._handle], [], _WAIT_S)[1])

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            with contextlib.suppress(OSError):
                os.close(self._handle)
