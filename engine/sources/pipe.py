"""Standard input and named pipes: read once, never sought in, and never waited for without a limit."""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
import time
from pathlib import Path

from engine.errors import SourceError
from engine.sources.live import READ_TIMEOUT_S

STDIN = "-"
_WAKE_S = 0.1


def is_pipe(path: Path) -> bool:
    """Whether a path names something that is read once, such as a pipe or a terminal."""
    mode = path.stat().st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


class Pipe:
    """What FFmpeg reads in place of a file; `close` from another thread ends a read that waits.

    Attributes:
        interrupted: whether Ctrl-C came while FFmpeg waited, for whoever called FFmpeg to raise.
    """

    def __init__(self, path: Path | None, shown: str, timeout_s: float = READ_TIMEOUT_S) -> None:
        """Open a pipe, or standard input where the path is None.

        Raises:
            SourceError: it cannot be opened.
        """
        self.shown, self._timeout_s = shown, timeout_s
        self._closed = threading.Event()
        self._began = False
        self.interrupted = False
        try:
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)  # does not wait for a writer
            self._handle = os.dup(0) if path is None else os.open(path, flags)
        except OSError as error:
            raise SourceError(f"cannot read {shown}: {error.strerror or error}") from error

    def read(self, size: int) -> bytes:
        """At most so many bytes; empty at the end.

        Raises:
            SourceError: nothing came in time, or the reading failed.
        """
        until_s = time.monotonic() + self._timeout_s
        while not self._closed.is_set():
            try:
                if sys.platform == "win32" or select.select([self._handle], [], [], _WAKE_S)[0]:
                    data = os.read(self._handle, size)
                    if data or self._began or not self._has_no_writer():
                        self._began = True
                        return data
                    time.sleep(_WAKE_S)
            except KeyboardInterrupt:  # FFmpeg would swallow it
                self.interrupted = True
                self.close()
                return b""
            except BlockingIOError:  # of another reader of the same pipe
                pass
            except OSError as error:
                raise SourceError(f"cannot read {self.shown}: {error.strerror or error}") from error
            if time.monotonic() > until_s:
                raise SourceError(f"{self.shown} gave nothing for {self._timeout_s:.0f} s; does anything write to it?")
        return b""

    def _has_no_writer(self) -> bool:
        """Whether the end of a named pipe only means that nobody has opened it yet."""
        return stat.S_ISFIFO(os.fstat(self._handle).st_mode) and not os.path.samestat(
            os.fstat(self._handle), os.fstat(0)
        )

    def close(self) -> None:
        """End a read that waits. The handle is closed with this object, since that read may still use it."""
        self._closed.set()

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            os.close(self._handle)
