"""A file that a run writes: it has a `.part` name until it is complete.

A run holds a lock on its part file. A part file without a lock was left by a killed run: the next run for the same name
renames it to `<stem>.unfinished-<when><suffix>`, reports that, and never removes it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from engine.artifacts.unfinished import busy, is_held, is_same, lock, marked, move, set_aside
from engine.artifacts.write_guard import check_targets
from engine.errors import OutputError

_MOST_TRIES = 100
_SYNC_EVERY_S = 1.0
"""Interval of fsync: a power cut loses what was written after the last one."""


def check_writable(final: Path) -> None:
    """Check that a target could be written, without leaving anything behind.

    Raises:
        OutputError: its folder cannot be written, or another run is writing it.
    """
    make_folder(final.parent)
    part = marked(final, "part")
    try:
        if is_held(part):
            raise busy(final, part)
        probe = marked(final, f"probe-{os.getpid()}")
        probe.open("xb").close()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"cannot write in {final.parent}: {error.strerror or error}") from error


class PartFile:
    """One output file: reserved at the start, renamed at the end.

    Attributes:
        final: its name when it is complete.
        path: its name until then, `<stem>.part<suffix>` beside the final one.
        note: one line on what an earlier run left unfinished and where it is kept; None if there was nothing.
    """

    def __init__(self, final: Path, *, overwrite: bool = False, inputs: Sequence[Path] = ()) -> None:
        """Create the empty part file, so that an unwritable folder is reported at once and not after an hour.

        Raises:
            OutputError: the target is refused (see `check_targets`), another run is writing it, or its folder cannot be
                written.
        """
        check_targets([final], overwrite=overwrite, inputs=inputs)
        self.final = self._target = final
        self._overwrite = overwrite
        self.note: str | None = None
        self._synced_s = time.monotonic()
        self._sync: threading.Thread | None = None
        self._sync_error: OSError | None = None
        make_folder(final.parent)
        self.path, self._stream = self._reserve()

    def _reserve(self) -> tuple[Path, IO[bytes]]:
        path = marked(self.final, "part")
        for _ in range(_MOST_TRIES):
            try:
                stream = path.open("xb")
            except FileExistsError:
                aside = set_aside(path, self.final)
                if aside is not None:
                    self.note = f"an earlier run was cut off; what it wrote is kept as {aside}"
                continue
            except OSError as error:
                raise OutputError(f"cannot write in {self.final.parent}: {error.strerror or error}") from error
            if lock(stream) is not False and is_same(stream, path):
                return path, stream
            stream.close()  # another run was faster; the next iteration finds out who owns the file
        raise busy(self.final, path)

    def sync_soon(self) -> None:
        """Start an fsync of what was written so far, if the last one is long enough ago; does not wait for it."""
        now_s = time.monotonic()
        if now_s - self._synced_s < _SYNC_EVERY_S or (self._sync is not None and self._sync.is_alive()):
            return
        self._synced_s = now_s
        self._sync = threading.Thread(target=self._sync_now, name=f"sync {self.path.name}", daemon=True)
        self._sync.start()

    def _sync_now(self) -> None:
        try:
            os.fsync(self._stream.fileno())
        except OSError as error:
            self._sync_error = error

    def commit(self) -> Path:
        """Sync the complete file, then rename it to its final name in one step.

        Raises:
            OutputError: the final name exists meanwhile, or writing or renaming failed; the part file is kept, and the
                message names it.
        """
        self._end_sync()
        self._sync_now()
        self._stream.close()
        try:
            if self._sync_error is not None:
                raise self._sync_error
            if self._overwrite:
                self.path.replace(self.final)
            else:
                move(self.path, self.final)
            _sync_folder(self.final.parent)
        except FileExistsError:
            raise OutputError(f"{self.final} appeared during the run; the result is kept as {self.path}") from None
        except OSError as error:
            why = error.strerror or error
            kept = f"the result is kept as {self.path}" if self.path.exists() else f"{self.path} was removed meanwhile"
            raise OutputError(f"cannot rename to {self.final} ({why}); {kept}") from error
        return self.final

    def cut_off(self) -> None:
        """Let the file get a name that says that it ends early, `<stem>.cut-off<suffix>`, which no other file has."""
        marks = ("cut-off", *(f"cut-off-{number}" for number in range(2, _MOST_TRIES)))
        names = [marked(self._target, mark) for mark in marks]
        self.final = next((name for name in names if not name.exists()), names[-1])
        self._overwrite = False

    def keep(self) -> Path:
        """Keep what was written under the part name."""
        self._end_sync()
        with contextlib.suppress(ValueError):  # already closed
            self._sync_now()
        self._stream.close()
        return self.path

    def discard(self) -> None:
        """Remove the part file."""
        self._end_sync()
        if sys.platform == "win32":
            self._stream.close()
        self.path.unlink(missing_ok=True)
        self._stream.close()

    def _end_sync(self) -> None:
        if self._sync is not None:
            self._sync.join()


def _sync_folder(folder: Path) -> None:
    """Sync the directory entries of a folder, where the system supports it."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents.

    Raises:
        OutputError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror or error}") from error
