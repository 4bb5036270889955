"""What `--video` names: patterns, folders of videos and lists of photos become single sources."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import SourceError
from engine.sources.addresses import is_address, shown
from engine.sources.frame_source import FrameSource
from engine.sources.opening import open_source, path_of
from engine.sources.photos import PHOTO_SUFFIXES, PhotoSource, natural_key
from engine.system.paths import path_from

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".wmv", ".flv", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".3gp",
    ".ogv", ".mxf", ".vob",
)  # fmt: skip
"""Lower-case suffixes that make a file of a folder a video; a file that is named by itself may have any."""


@dataclass(frozen=True, kw_only=True)
class SourceRequest:
    """One source to open.

    Attributes:
        text: as `open_source` takes it; empty for a list of photos.
        photos: those of a list, which are one source together.
    """

    text: str = ""
    photos: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """For messages; without secrets."""
        if self.photos:
            return f"{len(self.photos)} photos"
        path = path_of(self.text)
        return shown(self.text) if path is None else str(path)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Files and folders that it reads."""
        path = path_of(self.text) if self.text else None
        return self.photos if path is None else (path,)

    def open(self) -> FrameSource:
        """Open it.

        Raises:
            SourceError: it cannot be opened.
        """
        if self.photos:
            return PhotoSource(self.photos, name=self.name)
        if _is_pattern(self.text) and path_of(self.text) is None:
            raise SourceError(f"no file matches {self.text}")
        return open_source(self.text)


def requested(texts: Iterable[str]) -> list[SourceRequest]:
    """The sources that texts name, in their order; each file once.

    A pattern (`*`, `?`, `[...]`, `**` for all folders below) stands for the files that match it, where no file has that
    very name; a folder for its videos, and for its photos together; several single photos are one source at the place
    of the first, so that their poses can be written to one file. Texts that name nothing are kept: opening them says
    why.
    """
    names = list(_each_once(name for text in texts for name in _matches(text.strip())))
    photos = tuple(Path(name) for name in names if _is_photo(name))
    found: list[SourceRequest] = []
    for name in names:
        if len(photos) > 1 and _is_photo(name):
            if not any(request.photos for request in found):
                found.append(SourceRequest(photos=photos))
        else:
            found.append(SourceRequest(text=name))
    return found


def _matches(text: str) -> Iterator[str]:
    path = path_of(text)
    if path is not None and path.is_dir():
        yield from _of_folder(text, path)
    elif path is not None or not _is_pattern(text):
        yield text
    else:
        names = glob.glob(str(path_from(text)), recursive=True)  # noqa: PTH207
        matching = sorted(map(Path, names), key=lambda one: (str(one.parent), natural_key(one)))
        yield from (str(one) for one in matching if not one.is_dir())
        if not matching:
            yield text


def _is_pattern(text: str) -> bool:
    return glob.has_magic(text) and not is_address(text)


def _of_folder(text: str, folder: Path) -> Iterator[str]:
    """The folder itself where it holds photos, or nothing that can be read, and its videos."""
    try:
        files = [entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.is_file()]
    except OSError:  # reported when the folder is opened
        files = []
    videos = sorted((entry for entry in files if entry.suffix.lower() in VIDEO_SUFFIXES), key=natural_key)
    if not videos or any(entry.suffix.lower() in PHOTO_SUFFIXES for entry in files):
        yield text
    yield from map(str, videos)


def _each_once(names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        path = path_of(name)
        same = name if path is None else str(path.resolve())
        if same not in seen:
            seen.add(same)
            yield name


def _is_photo(name: str) -> bool:
    path = path_of(name)
    return path is not None and path.is_file() and path.suffix.lower() in PHOTO_SUFFIXES


def distinct_names(photos: Sequence[Path]) -> dict[Path, str]:
    """For each photo the name that stands in pose files: the file's, or its path where another has the same name."""
    names = Counter(photo.name for photo in photos)
    return {photo: photo.name if names[photo.name] == 1 else photo.as_posix() for photo in photos}
