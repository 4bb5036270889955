"""Part files: their locks, and the recovery of those that killed runs left behind."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path
from typing import IO

from engine.errors import OutputError
from engine.system.regular_file import open_regular

_MOST_NAMES = 100
_LONGEST_NAME = 255
"""Longest file name in bytes on the usual file systems."""
_SUFFIXES = (".mp4", ".jsonl", ".csv", ".json")


def marked(final: Path, mark: str) -> Path:
    """The path of a file with a mark before its suffix; its stem is shortened where the name would be too long."""
    stem, tail = final.stem, f".{mark}{final.suffix}"
    while stem and len(os.fsencode(stem + tail)) > _LONGEST_NAME:
        stem = stem[:-1]
    return final.with_name(stem + tail)


def busy(final: Path, part: Path) -> OutputError:
    """The error for a file that another run is writing."""
    return OutputError(f"another run is writing {final} now (as {part.name}): wait for it, or name another output")


def is_held(part: Path) -> bool:
    """Whether a running process writes a part file; always False on Windows, where only renaming detects it."""
    if sys.platform == "win32" or not part.exists():
        return False
    with _open(part) as stream:
        return lock(stream) is False


def _open(part: Path) -> IO[bytes]:
    """A part file for reading.

    Raises:
        OSError: it cannot be opened.
        OutputError: it is a pipe, a device or a folder, which this program never made.
    """
    try:
        return open_regular(part)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise OutputError(f"{part} is a folder, a pipe or a device: remove it, or name another output") from None


def unfinished_in(folder: Path) -> list[Path]:
    """Unfinished videos and poses files in a folder that no run writes any more, the newest first."""
    found: list[tuple[float, Path]] = []
    for suffix in _SUFFIXES:
        for path in folder.glob(f"*.part{suffix}"):
            try:
                status = path.stat()
                if status.st_size > 0 and not is_held(path):
                    found.append((status.st_mtime, path))
            except (OSError, OutputError):  # its run ended meanwhile; or a folder, which is no run's
                continue
    return [path for _time, path in sorted(found, reverse=True)]


def set_aside(path: Path, final: Path | None = None) -> Path | None:
    """Rename a part file that no run writes any more to an `unfinished` name; an empty one is removed.

    Args:
        final: the name it would have got; None derives it from `path`.

    Returns:
        the new path; None where no file is left.

    Raises:
        OutputError: a run still writes it, or it cannot be renamed.
    """
    final = final or path.with_name(path.name.removesuffix(f".part{path.suffix}") + path.suffix)
    try:
        with _open(path) as stream:
            state = lock(stream)
            if state is False:
                raise busy(final, path)
            if state is None and sys.platform != "win32":
                raise OutputError(
                    f"{path} exists, and this file system has no locks to detect whether a run still writes it:"
                    " rename it, or name another output"
                )
            if not is_same(stream, path):
                return None
            if sys.platform == "win32":
                stream.close()  # an open file cannot be renamed
            if path.stat().st_size == 0:
                path.unlink()
                return None
            aside = _name_aside(path, final)
            move(path, aside)
            return aside
    except FileNotFoundError:  # its run ended meanwhile
        return None
    except OSError as error:
        if sys.platform == "win32" and isinstance(error, PermissionError):  # another process has it open
            raise busy(final, path) from None
        raise OutputError(f"cannot set {path} of an earlier run aside: {error.strerror or error}") from error


def _name_aside(path: Path, final: Path) -> Path:
    mark = time.strftime("unfinished-%Y%m%d-%H%M%S", time.localtime(path.stat().st_mtime))
    names = [mark, *(f"{mark}-{number}" for number in range(2, _MOST_NAMES))]
    return next((aside for name in names if not (aside := marked(final, name)).exists()), marked(final, mark))


def lock(stream: IO[bytes]) -> bool | None:
    """Lock a part file: True if this process holds the lock, False if another one does, None without lock support.

    Windows: a lock would block our own encoder, and none is needed, since an open file cannot be renamed or removed.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError:  # some network file systems have no locks
        return None


def is_same(stream: IO[bytes], path: Path) -> bool:
    """Whether a path still refers to the open file."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except OSError:
        return False


def move(path: Path, to: Path) -> None:
    """Rename a file without replacing another.

    Raises:
        FileExistsError: `to` exists already.
        OSError: it cannot be renamed.
    """
    if sys.platform != "win32":  # on Windows, rename never replaces a file
        try:
            os.link(path, to)
        except FileExistsError:
            raise
        except OSError:  # no hard links on this file system
            if to.exists():
                raise FileExistsError(to) from None
        else:
            path.unlink()
            return
    path.rename(to)
