"""Part files: who writes them, and what becomes of those that a run left when it was killed."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import IO

from engine.errors import OutputError

_MOST_NAMES = 100
_LONGEST_NAME = 255
"""Bytes that a file's name may have on the usual file systems."""
_SUFFIXES = (".mp4", ".jsonl", ".csv", ".json")


def marked(final: Path, mark: str) -> Path:
    """The name of a file with a mark before its suffix; its stem is cut where the name would be too long."""
    stem, tail = final.stem, f".{mark}{final.suffix}"
    while stem and len(os.fsencode(stem + tail)) > _LONGEST_NAME:
        stem = stem[:-1]
    return final.with_name(stem + tail)


def busy(final: Path, part: Path) -> OutputError:
    """What is told where another run writes the same file."""
    return OutputError(f"another run is writing {final} now (as {part.name}): wait for it, or name another output")


def is_held(part: Path) -> bool:
    """Whether a run that is still going writes a part file; on Windows it can be told only by renaming it."""
    if sys.platform == "win32" or not part.exists():
        return False
    with part.open("rb") as stream:
        return lock(stream) is False


def unfinished_in(folder: Path) -> list[Path]:
    """Videos and poses that runs left unfinished in a folder and nobody writes any more, the newest first."""
    found: list[tuple[float, Path]] = []
    for suffix in _SUFFIXES:
        for path in folder.glob(f"*.part{suffix}"):
            try:
                status = path.stat()
                if status.st_size > 0 and not is_held(path):
                    found.append((status.st_mtime, path))
            except OSError:  # its run came to its end meanwhile
                continue
    return [path for _time, path in sorted(found, reverse=True)]


def set_aside(path: Path, final: Path | None = None) -> Path | None:
    """Give a part file that nobody writes any more a name that says what it is; an empty one is removed.

    Args:
        path: the part file.
        final: the name it would have got; None to tell it by the part's.

    Returns:
        the new name; None where there is nothing any more.

    Raises:
        OutputError: somebody writes it, or it cannot be renamed.
    """
    final = final or path.with_name(path.name.removesuffix(f".part{path.suffix}") + path.suffix)
    try:
        with path.open("rb") as stream:
            state = lock(stream)
            if state is False:
                raise busy(final, path)
            if state is None and sys.platform != "win32":
                raise OutputError(
                    f"{path} stands there, and whether a run still writes it cannot be told on this file system:"
                    " rename it, or name another output"
                )
            if not is_same(stream, path):
                return None
            if sys.platform == "win32":
                stream.close()  # or it could not be renamed
            if path.stat().st_size == 0:
                path.unlink()
                return None
            aside = _name_aside(path, final)
            move(path, aside)
            return aside
    except FileNotFoundError:  # its run came to its end meanwhile
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
    """Lock a part file: whether it is ours now; None where locks are not to be had.

    Windows would keep our own encoder from a locked file; there, a file that is open cannot be renamed or removed.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError:  # some network file systems have none
        return None


def is_same(stream: IO[bytes], path: Path) -> bool:
    """Whether a name still means the file that is open."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except OSError:
        return False


def move(path: Path, to: Path) -> None:
    """Rename a file without replacing another.

    Raises:
        FileExistsError: there is one already.
        OSError: it cannot be renamed.
    """
    if sys.platform != "win32":  # where renaming refuses to replace
        try:
            os.link(path, to)
        except FileExistsError:
            raise
        except OSError:  # no links on this file system
            if to.exists():
                raise FileExistsError(to) from None
        else:
            path.unlink()
            return
    path.rename(to)
