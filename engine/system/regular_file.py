"""Reading files that a person or a data set names: a pipe or a device of that name must not stop the program."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO


def open_regular(path: Path) -> IO[bytes]:
    """Open a file for reading; unlike `open`, it never waits for the writer of a pipe.

    Raises:
        OSError: it cannot be opened, or is a pipe, a device or a folder.
    """
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "its name holds a NUL", str(path).replace("\0", "\\0"))
    try:
        os.fsencode(path)
    except UnicodeEncodeError:  # JSON can hold half a character
        raise OSError(errno.EINVAL, "its name is no text", ascii(str(path))) from None
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is a folder, a pipe or a device, and not a file", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular(path: Path, most_bytes: int | None = None) -> bytes:
    """The content of a file.

    Raises:
        OSError: it cannot be read, is no file, or is longer than `most_bytes`.
    """
    with open_regular(path) as file:
        content = file.read() if most_bytes is None else file.read(most_bytes + 1)
    if most_bytes is not None and len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {most_bytes // 2**20} MiB", str(path))
    return content
