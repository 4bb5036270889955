"""Pictures of one data set in the folder of another: hard links where the disk allows them, copies elsewhere."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from engine.system.regular_file import open_regular

_JPEG, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def own_name(file_name: str, taken: set[str]) -> str:
    """The name of a picture without folders, which may lead anywhere; with a number where its labels' name is taken.

    Args:
        taken: the names given so far, without suffix and folded; this one is added.
    """
    plain = Path(file_name).name or "picture"
    name, number = plain, len(taken)
    while Path(name).stem.casefold() in taken:
        name, number = f"{number}_{plain}", number + 1
    taken.add(Path(name).stem.casefold())
    return name


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link; but a copy of a JPEG without its end mark, because ultralytics repairs such a file in place.

    A target that exists stays as it is: it may be a link to a picture of the user.

    Raises:
        OSError: the picture cannot be read, or no copy be written.
    """
    if target.exists():
        return
    with open_regular(source) as stream:
        begin = stream.read(2)
        stream.seek(-min(2, os.fstat(stream.fileno()).st_size), os.SEEK_END)
        is_whole = begin != _JPEG or stream.read(2) == _JPEG_END
    try:
        if is_whole:
            os.link(source.resolve(), target)
            return
    except OSError:  # another disk, or one without hard links
        pass
    part = target.with_name(f"{target.name}.part")
    try:
        shutil.copyfile(source, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
