"""A file that a run writes: it grows under a `.part` name and gets its own name when it is whole."""

from __future__ import annotations

from pathlib import Path

from engine.errors import OutputError

_MAX_PARTS = 100


def check_target(final: Path, *, overwrite: bool, inputs: tuple[Path, ...] = ()) -> None:
    """Refuse a target before any work is done.

    Args:
        final: the name the file will get.
        overwrite: whether an existing file may be replaced.
        inputs: files that are being read and must not be replaced, whatever was asked.

    Raises:
        OutputError: the target exists, is a folder, or is one of the inputs.
    """
    for source in inputs:
        if final.resolve() == source.resolve() or (final.exists() and source.exists() and final.samefile(source)):
            raise OutputError(f"the output {final} is the input itself: name another output")
    if final.is_dir():
        raise OutputError(f"the output {final} is a folder: name a file")
    if final.exists() and not overwrite:
        raise OutputError(f"{final} exists already: name another output, or add --overwrite to replace it")


class PartFile:
    """The way of one output file: reserved at the start, renamed at the end.

    Attributes:
        final: the name it gets when whole.
        path: the name it has until then, `<stem>.part<suffix>` beside the final one.
        note: a line about an unfinished file of an earlier run that was found and left alone; None without one.
    """

    def __init__(self, final: Path, *, overwrite: bool = False, inputs: tuple[Path, ...] = ()) -> None:
        """Create the empty part file, so that an unwritable place is told at once and not after an hour.

        Raises:
            OutputError: the target is refused (see `check_target`) or its folder cannot be written.
        """
        check_target(final, overwrite=overwrite, inputs=inputs)
        self.final = final
        self._overwrite = overwrite
        self.note: str | None = None
        make_folder(final.parent)
        self.path = self._reserve()

    def _reserve(self) -> Path:
        for number in range(1, _MAX_PARTS + 1):
            mark = "part" if number == 1 else f"part{number}"
            path = self.final.with_name(f"{self.final.stem}.{mark}{self.final.suffix}")
            try:
                with path.open("xb"):
                    pass
            except FileExistsError:
                # It may be all that is left of a long run that was killed, or belong to a run that is still going.
                self.note = f"an unfinished file of an earlier run was left as it is: {path}"
                continue
            except OSError as error:
                raise OutputError(f"cannot write in {self.final.parent}: {error.strerror or error}") from error
            return path
        raise OutputError(
            f"{_MAX_PARTS} unfinished files of {self.final.name} stand in {self.final.parent}: remove some"
        )

    def commit(self) -> Path:
        """Give the whole file its own name, in one step.

        Raises:
            OutputError: a file came to stand there meanwhile, or renaming failed; the part file is kept and named.
        """
        if self.final.exists() and not self._overwrite:
            raise OutputError(f"{self.final} came to exist during the run; the result is kept as {self.path}")
        try:
            self.path.replace(self.final)
        except OSError as error:
            why = error.strerror or error
            raise OutputError(f"cannot rename to {self.final} ({why}); the result is kept as {self.path}") from error
        return self.final

    def discard(self) -> None:
        """Remove the part file."""
        self.path.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        OutputError: that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror or error}") from error
