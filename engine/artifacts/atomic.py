"""Files and folders that appear under their final name only when they are complete, and locks between processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.artifacts.folders import CACHE_VARIABLE, is_unfinished
from engine.errors import OutputError


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path beside the file `target`; renamed to it when the block succeeds, removed when it fails.

    Raises:
        OSError: it cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(target)
    except OSError as error:
        error.filename = error.filename or str(target)  # a full disk names no file
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def filling(folder: Path, keeps: Callable[[], bool] = lambda: False) -> Iterator[Path]:
    """A temporary folder beside `folder`; renamed to it when the block succeeds, removed when it fails.

    Two processes that fill the same folder therefore do not collide. While it is filled it is locked (`is_filled`).

    Args:
        keeps: called where `folder` exists already; returns True to keep the existing one.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder.parent)
        temporary = folder.with_name(f"{folder.name}-{uuid.uuid4().hex}.part")
        try:
            with file_lock(_lock_of(temporary)):
                temporary.mkdir()
                yield temporary
                _rename(temporary, folder, keeps)
        finally:
            _remove(temporary)
    except BrokenPipeError:  # of the console, while the block tells how far it is
        raise
    except OSError as error:
        raise unwritable_cache(folder.parent, error) from error


def unwritable_cache(folder: Path, error: OSError) -> OutputError:
    """The error for a folder of the cache that cannot be written."""
    return OutputError(f"the cache folder {folder} cannot be written ({error.strerror}); {CACHE_VARIABLE} moves it")


def _rename(temporary: Path, folder: Path, keeps: Callable[[], bool]) -> None:
    for _ in range(2):
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
            if keeps():
                return
            # Renamed before it is deleted, so that no process finds a half-deleted folder under the final name.
            stale = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", suffix=".stale", dir=folder.parent))
            try:
                folder.rename(stale / "entry")
            finally:
                shutil.rmtree(stale, ignore_errors=True)
        else:
            return


def is_filled(folder: Path) -> bool:
    """Whether a process is filling this temporary folder: that of a killed one is locked no more."""
    return is_locked(_lock_of(folder))


def _lock_of(temporary: Path) -> Path:
    return temporary.with_suffix(".lock")


def _remove_abandoned(parent: Path) -> None:
    """Delete the incomplete folders of killed processes."""
    for left in filter(is_unfinished, parent.iterdir()):
        if not is_filled(left):
            _remove(left)


def _remove(temporary: Path) -> None:
    shutil.rmtree(temporary, ignore_errors=True)
    with contextlib.suppress(OSError):  # Windows: another process looks whether it is locked
        _lock_of(temporary).unlink(missing_ok=True)


@contextlib.contextmanager
def file_lock(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock of a file; the system releases it when its holder dies.

    Args:
        path: the file; created if it is missing.
        on_wait: called once if another process holds the lock.

    Raises:
        OSError: the file cannot be created.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()  # raises at once where filelock would wait for a file that cannot be created
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file; False where the file does not exist."""
    from filelock import FileLock, Timeout

    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
