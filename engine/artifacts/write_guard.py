"""The guard of everything that a run writes: it knows all inputs of the run, and refuses to replace any of them.

Every entry point calls `check_targets` before any work is done, with all that it will write and all that it reads.
"""

from __future__ import annotations

import errno
import glob
import os
import stat
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from engine.artifacts.data_set_files import files_of_data
from engine.artifacts.folders import WEIGHTS_DIR
from engine.artifacts.unfinished import marked
from engine.errors import OutputError
from engine.system.paths import path_from

_SIDECARS = (".spec.json", ".build.json")
"""Endings of the files that belong to a compiled one, put behind its name."""

_Identity = tuple[int, int]


def check_targets(
    targets: Iterable[Path | None],
    *,
    inputs: Iterable[str | Path | None] = (),
    overwrite: bool = False,
    flag: str = "--overwrite",
    is_own: Callable[[Path], bool] = lambda _target: False,
) -> None:
    """Refuse targets before any work is done.

    Args:
        targets: the names that the files of the run will get; None stands for a file that is not asked for.
        inputs: files and folders that the run reads, which are never replaced; names that are no files are skipped.
        overwrite: whether other files that exist may be replaced.
        flag: the option that allows it, for the message; empty where none does.
        is_own: whether an existing file is one that this program wrote, and so may be replaced.

    Raises:
        OutputError: a target exists, is an input or would be written under the name of one, is named twice, is a
            folder, a device or a link to nothing, lies in no folder or in one that cannot be written, or cannot be
            checked.
    """
    read = _Inputs(inputs)
    taken: set[Path] = set()
    for target in targets:
        if target is None:
            continue
        try:
            read.refuse(target)
            read.refuse(target, part=marked(target, "part"))
            resolved = target.resolve()
            if resolved in taken:
                raise OutputError(f"two results cannot both be written to {target}: name another output for one")
            taken.add(resolved)
            _check_place(target)
            if target.exists() and not overwrite and not is_own(target):
                instead = f", or add {flag} to replace it" if flag else ""
                raise OutputError(f"{target} exists already: name another output{instead}")
        except (OSError, RuntimeError, ValueError) as error:
            raise _unusable(target, error) from error


def check_new_folder(folder: Path, *, flag: str = "") -> None:
    """Refuse, before any work is done, a folder to fill that holds anything already.

    Args:
        folder: it is made where it does not exist.
        flag: the option that goes on with what is there, for the message.

    Raises:
        OutputError: it is not empty, no folder, or a link to nothing, or it cannot be made, filled or checked.
    """
    try:
        _check_folder(folder)
        if folder.is_dir() and any(folder.iterdir()):
            instead = f", or add {flag} to go on with it" if flag else ""
            raise OutputError(f"the output {folder} is a folder that is not empty: name another{instead}")
    except (OSError, RuntimeError, ValueError) as error:
        raise _unusable(folder, error) from error


def _unusable(target: Path, error: Exception) -> OutputError:
    """The error for too long a name, a missing permission, a loop of links, a NUL."""
    return OutputError(f"cannot write to {target}: {getattr(error, 'strerror', None) or error}")


def _check_place(target: Path) -> None:
    if target.is_dir():
        raise OutputError(f"the output {target} is a folder: name a file")
    if target.is_symlink() and not target.exists():
        raise OutputError(f"the output {target} is a link to a file that does not exist: name that file, or remove it")
    if target.exists() and not target.is_file():
        raise OutputError(f"the output {target} is a device or a pipe: name a file")
    _check_folder(target.parent)


def _check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made, because a file or a link to nothing has its name or that of a parent."""
    there = next((one for one in (folder, *folder.parents) if one.exists() or one.is_symlink()), None)
    if there is not None and not there.exists():
        raise OutputError(f"the output {there} is a link to a folder that does not exist: remove it")
    if there is not None and not there.is_dir():
        raise OutputError(f"the output {there} is a file: name a folder")
    if there is not None and not os.access(there, os.W_OK | os.X_OK):
        read_only = sys.platform != "win32" and os.statvfs(there).f_flag & os.ST_RDONLY
        raise OutputError(f"cannot write in {there}: {os.strerror(errno.EROFS if read_only else errno.EACCES)}")


class _Inputs:
    """What a run reads, found by path and, through links of any kind, by identity."""

    def __init__(self, inputs: Iterable[str | Path | None]) -> None:
        self._paths: set[Path] = set()
        self._identities: set[_Identity] = set()
        self._folders: dict[Path, Path] = {}
        self._inside: set[_Identity] | None = None
        self._given = [given for given in inputs if given is not None and str(given)]

    def _find(self) -> None:
        """Find what was given and what that names, once there is a file that could be lost."""
        given_before, self._given = self._given, []
        for given in given_before:
            path = path_from(given) if isinstance(given, str) else given
            if isinstance(given, str) and "/" not in given:  # the name of a shipped model
                for file in WEIGHTS_DIR.glob(f"{glob.escape(given)}.*"):
                    self._add(file)
            for file in (path, *(path.with_name(path.name + ending) for ending in _SIDECARS if path.name)):
                self._add(file)
            for file in files_of_data(path):
                self._add(file)

    def _add(self, file: Path) -> None:
        try:
            status = file.stat()
            resolved = file.resolve()
        except (OSError, RuntimeError, ValueError):  # an address, the number of a camera
            return
        if stat.S_ISDIR(status.st_mode):
            self._folders[resolved] = file
        else:
            self._paths.add(resolved)
            self._identities.add((status.st_dev, status.st_ino))

    def refuse(self, target: Path, part: Path | None = None) -> None:
        """Raise an OutputError where a target, or the part file that it begins as, is an input."""
        place = target if part is None else part
        if not place.exists():
            return
        self._find()
        status, resolved = place.stat(), place.resolve()
        is_input = resolved in self._paths
        if not place.is_dir():
            identity = (status.st_dev, status.st_ino)
            is_input |= identity in self._identities
            if not is_input and part is None and self._folders:
                folder = next((self._folders[one] for one in resolved.parents if one in self._folders), None)
                if folder is not None or identity in self._files_inside():
                    raise OutputError(
                        f"the output {target} is a file of the input {folder or ''}".rstrip() + ": name another output"
                    )
        if is_input and part is None:
            raise OutputError(f"the output {target} is the input itself: name another output")
        if is_input:
            raise OutputError(
                f"{target} is written as {place} until it is whole, and that is the input: name another output"
            )

    def _files_inside(self) -> set[_Identity]:
        """The files in the folders that are read; followed, where they are links."""
        if self._inside is None:
            self._inside = set()
            for folder in self._folders:
                for parent, _folders, names in os.walk(folder):
                    for name in names:
                        try:
                            status = Path(parent, name).stat()
                        except OSError:
                            continue
                        self._inside.add((status.st_dev, status.st_ino))
        return self._inside
