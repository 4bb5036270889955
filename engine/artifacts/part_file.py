"""A file that a run writes: it grows under a `.part` name and gets its own name when it is whole.

While a run lives it holds a lock on its part file. A part file without a holder was left by a run that was killed: the
next run for the same name sets it aside as `<stem>.unfinished-<when><suffix>`, says so, and never removes it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from pathlib import Path
from typing import IO

from engine.artifacts.unfinished import busy, is_held, is_same, lock, marked, move, set_aside
from engine.errors import OutputError

_MOST_TRIES = 100
_SYNC_EVERY_S = 1.0
"""A power cut costs what was written after the last time that the disk was told to keep it."""


def check_target(final: Path, *, overwrite: bool, inputs: tuple[Path, ...] = ()) -> None:
    """Refuse a target before any work is done.

    Args:
        final: the name the file will get.
        overwrite: whether an existing file may be replaced.
        inputs: files that are being read and must not be replaced, whatever was asked.

    Raises:
        OutputError: the target exists, is a folder, is one of the inputs, or cannot be looked at.
    """
    try:
        for source in inputs:
            if final.resolve() == source.resolve() or (final.exists() and source.exists() and final.samefile(source)):
                raise OutputError(f"the output {final} is the input itself: name another output")
        if final.is_dir():
            raise OutputError(f"the output {final} is a folder: name a file")
        if final.exists() and not overwrite:
            raise OutputError(f"{final} exists already: name another output, or add --overwrite to replace it")
    except (OSError, RuntimeError) as error:  # a name that is too long, a folder that may not be looked into, a loop
        raise OutputError(f"cannot write to {final}: {getattr(error, 'strerror', None) or error}") from error


def check_writable(final: Path) -> None:
    """Find out whether a target could be written; nothing stays behind.

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
    """The way of one output file: reserved at the start, renamed at the end.

    Attributes:
        final: the name it gets when whole.
        path: the name it has until then, `<stem>.part<suffix>` beside the final one.
        note: a line about what an earlier run left unfinished and where it is kept; None where there was nothing.
    """

    def __init__(self, final: Path, *, overwrite: bool = False, inputs: tuple[Path, ...] = ()) -> None:
        """Create the empty part file, so that an unwritable place is told at once and not after an hour.

        Raises:
            OutputError: the target is refused (see `check_target`), another run is writing it, or its folder cannot be
                written.
        """
        check_target(final, overwrite=overwrite, inputs=inputs)
        self.final = final
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
            stream.close()  # another run was quicker: whose file this is now is found out above
        raise busy(self.final, path)

    def sync_soon(self) -> None:
        """Tell the disk now and then to keep what was written so far; does not wait for it."""
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
        """Give the whole file its own name, in one step, once the disk has it.

        Raises:
            OutputError: a file came to stand there meanwhile, or writing or renaming failed; the part file is kept and
                named.
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
            raise OutputError(f"{self.final} came to exist during the run; the result is kept as {self.path}") from None
        except OSError as error:
            why = error.strerror or error
            kept = f"the result is kept as {self.path}" if self.path.exists() else f"{self.path} was removed meanwhile"
            raise OutputError(f"cannot rename to {self.final} ({why}); {kept}") from error
        return self.final

    def keep(self) -> Path:
        """Leave what was written under the part name."""
        self._end_sync()
        with contextlib.suppress(ValueError):  # closed already
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
    """Tell the disk to keep the names of a folder, where a system can do that."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        OutputError: that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror or error}") from error
