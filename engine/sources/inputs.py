"""The files that a source reads, those that playlists and concat lists name among them, and which lists are refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from engine.errors import SourceError
from engine.sources.addresses import is_address, shown

_HLS, _CONCAT = b"#EXTM3U", b"ffconcat version"
_OTHER_LISTS = {b"<MPD": "DASH manifest", b"v=0\r\no=": "session description", b"v=0\no=": "session description"}
_HLS_END, _HLS_MASTER = "#EXT-X-ENDLIST", "#EXT-X-STREAM-INF"
_MOST_LIST_BYTES = 4 * 2**20
_MOST_LISTS = 100
"""Playlists that one playlist may name, with all that those name."""
_CONCAT_FILE = re.compile(r"\s*file\s+(?:'(?P<quoted>[^']*)'|(?P<plain>\S+))")
_HLS_URI = re.compile(r'URI="([^"]*)"')


def source_files(path: Path | None) -> tuple[Path, ...]:
    """The files that are read of a source: itself and, where it is a list, what it names; the photos of a folder.

    A list that would be refused counts with those of its members that can be found.
    """
    if path is None:
        return ()
    try:
        if path.is_dir():
            from engine.sources.photos import PHOTO_SUFFIXES

            return tuple(entry for entry in path.iterdir() if entry.suffix.lower() in PHOTO_SUFFIXES)
        return (path, *_members(path, checked=False))
    except OSError:
        return (path,)


def check_list(path: Path) -> None:
    """Refuse a playlist or concat list that names anything but files in its own folder, or that never ends.

    Raises:
        SourceError: it does, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4096)
        for mark, kind in _OTHER_LISTS.items():
            if mark in head[:64] or (mark == b"<MPD" and head.lstrip().startswith(b"<?xml") and mark in head):
                raise SourceError(f"{path} is a {kind}, which is not read from a file: open the address it came from")
        for _ in _members(path, checked=True):
            pass
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error


def _members(path: Path, *, checked: bool) -> Iterator[Path]:
    """The files that a list names, and those that the lists among them name; nothing for any other file."""
    folder = path.parent.resolve()
    waiting, seen = [path], {path.resolve()}
    while waiting:
        one = waiting.pop()
        for name in _entries(one, checked=checked, nested=one is not path):
            member = _local(one, name, folder, checked=checked)
            if member is None:
                continue
            if checked and member.resolve() == path.resolve():
                raise SourceError(f"{path} names itself")
            if member.resolve() in seen:
                continue
            seen.add(member.resolve())
            yield member
            if member.is_file():
                if len(seen) > _MOST_LISTS and _is_list(member):
                    raise SourceError(f"{path} names more than {_MOST_LISTS} files that are lists themselves")
                waiting.append(member)


def _is_list(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith((_HLS, _CONCAT))


def _entries(path: Path, *, checked: bool, nested: bool) -> list[str]:
    """The names in a list as they stand there; a list in a list may name no further lists, or FFmpeg may never end."""
    if not path.is_file() or not _is_list(path):
        return []
    with path.open("rb") as file:
        content = file.read(_MOST_LIST_BYTES + 1)
    if len(content) > _MOST_LIST_BYTES:
        raise SourceError(f"{path} is a list of more than {_MOST_LIST_BYTES // 2**20} MB, which no playlist is")
    lines = content.decode("utf-8", "replace").lstrip("\ufeff \t\r\n").splitlines()
    is_master = any(line.startswith(_HLS_MASTER) for line in lines)
    if checked and nested and (is_master or lines[0].startswith(_CONCAT.decode())):
        raise SourceError(f"{path} is a list of lists that another list names: open it by itself")
    if lines[0].startswith(_CONCAT.decode()):
        found = (_CONCAT_FILE.match(line) for line in lines)
        return [match["quoted"] or match["plain"] for match in found if match is not None]
    if checked and not is_master and not any(line.startswith(_HLS_END) for line in lines):
        raise SourceError(
            f"{path} has no end mark ({_HLS_END}): the recording was cut off or still goes on;"
            " add that line at its end, or open its address"
        )
    named = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return named + [match for line in lines if line.startswith("#") for match in _HLS_URI.findall(line)]


def _local(path: Path, name: str, folder: Path, *, checked: bool) -> Path | None:
    """The file that a list names; None, or an error where it is checked, for what is no file in the list's folder."""
    plain = name.removeprefix("file://").removeprefix("file:")
    try:
        if is_address(plain) or re.match(r"[a-zA-Z0-9+]{2,}:", plain):
            raise SourceError(f"{path} names {shown(plain)}: a local list may only name files in its own folder")
        candidates = [path.parent / text for text in dict.fromkeys((plain, unquote(plain)))]
        member = next((one for one in candidates if one.exists()), candidates[0])
        if not member.resolve().is_relative_to(folder):
            raise SourceError(f"{path} names {name}: a local list may only name files in its own folder")
        if checked and member.exists() and not member.is_file():
            raise SourceError(f"{path} names {name}, which is a folder, a pipe or a device, and not a file")
        return member
    except (ValueError, RuntimeError):  # no valid name of a file, or a loop of links
        return None
    except SourceError:
        if checked:
            raise
        # A file outside the folder of a list: not opened, but no output may replace it either.
        member = path.parent / plain
        return member if not is_address(plain) and member.is_file() else None
