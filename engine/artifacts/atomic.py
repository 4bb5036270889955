"""Files and folders that appear under their name only when they are whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.errors import OutputError

UNFINISHED = (".part", ".stale")
"""Endings of folders that are being filled, or on their way out."""
_ABANDONED_S = 86400
"""More than any build takes."""


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary name beside `target` for a file; it gets that name when the block ends well, and vanishes otherwise.

    Raises:
        OSError: it cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def filling(folder: Path, keeps: Callable[[], bool] = lambda: False) -> Iterator[Path]:
    """A temporary folder beside `folder`; it gets that name when the block ends well, and vanishes otherwise.

    So two processes that fill the same folder do not collide.

    Args:
        keeps: asked where a folder of that name stands there already; True keeps that one.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder.parent)
        temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", suffix=".part", dir=folder.parent))
        try:
            yield temporary
            _rename(temporary, folder, keeps)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"the cache folder {folder.parent} cannot be written ({error.strerror})") from error


def _rename(temporary: Path, folder: Path, keeps: Callable[[], bool]) -> None:
    for _ in range(2):
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
            if keeps():
                return
            # Renamed before it is deleted, so that nobody meets a half-deleted folder under the final name.
            stale = Path(tempfile.mkdtemp(suffix=".stale", dir=folder.parent))
            try:
                folder.rename(stale / "entry")
            finally:
                shutil.rmtree(stale, ignore_errors=True)
        else:
            return


def _remove_abandoned(parent: Path) -> None:
    """Delete what killed processes left half-filled."""
    for left in (path for ending in UNFINISHED for path in parent.glob(f"*{ending}")):
        if time.time() - left.stat().st_mtime > _ABANDONED_S:
            shutil.rmtree(left, ignore_errors=True)
