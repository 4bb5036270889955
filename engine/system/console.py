"""What every command does to its console before it writes to it."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator

_closed: set[int] = set()  # streams that the program was started without


def is_closed(number: int) -> bool:
    """Whether the program was started without this one of stdin, stdout and stderr (0 to 2)."""
    return number in _closed


def lead_nowhere(number: int) -> None:
    """Connect a file handle to the null device."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, number)
    os.close(nowhere)


@contextlib.contextmanager
def stdout_kept() -> Iterator[int]:
    """A handle of standard output, while everything else that is printed there goes to stderr.

    The file handle itself is exchanged, because libraries print past Python, too.
    """
    sys.stdout.flush()
    handle = os.dup(1)
    try:
        os.dup2(2, 1)
    except OSError:  # a process without stderr
        lead_nowhere(1)
    try:
        yield handle
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os.dup2(handle, 1)
        os.close(handle)


def any_character() -> None:
    """Show characters that the console's encoding lacks as escapes, instead of failing after the work is done."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def open_closed_streams() -> None:
    """Give a program that was started without stdin, stdout or stderr (`>&-`) the null device in their place.

    Otherwise the next file that is opened gets the number of the console, and what a library prints stands in it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            _closed.add(number)
    for number in sorted(_closed):
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
    if sys.platform == "win32":  # a program without a console has no such streams, and libraries expect none
        return
    with contextlib.suppress(OSError):
        sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
        sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
