"""Whether a video file is shorter than its own structure states: MP4, MKV, AVI, FLV and MPEG-TS."""

from __future__ import annotations

from pathlib import Path
from typing import IO

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_TS_PACKETS = ((188, 0), (192, 4))  # packet length, and the offset of the sync byte in each packet
_TS_SYNC = 0x47
_FLV_TAGS = (8, 9, 18)  # audio, video, data
_MOST_BOXES = 1_000_000  # bounds the loop over a damaged file, which may consist of tiny boxes


def is_cut_off(path: Path) -> bool:
    """Whether the end of a file is missing; False where its format does not record its length.

    Raises:
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(400)
        if start[:4] == _EBML:
            return _mkv_end(start) > size
        if start[:4] == b"RIFF":
            return _riff_end(file, size) > size
        if start[:3] == b"FLV":
            return _tags_end(file, int.from_bytes(start[5:9], "big"), size) > size
        if start[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"moof", b"styp"):
            return _boxes_end(file, size) > size
        for length, sync in _TS_PACKETS:
            if len(start) > length + sync and start[sync] == start[length + sync] == _TS_SYNC:
                return size % length != 0
    return False


def _vint(data: bytes, at: int) -> tuple[int | None, int]:
    """An EBML length and the offset after it; None where it is unknown or missing."""
    if at >= len(data) or data[at] == 0:
        return None, at
    width = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + width], "big") & ((1 << (7 * width)) - 1)
    return (None if value == (1 << (7 * width)) - 1 or at + width > len(data) else value), at + width


def _mkv_end(start: bytes) -> int:
    """Offset of the end of an MKV or WebM file's segment; 0 where it is not recorded."""
    header, at = _vint(start, 4)
    if header is None or start[at + header : at + header + 4] != _SEGMENT:
        return 0
    length, at = _vint(start, at + header + 4)
    return 0 if length is None else at + length


def _riff_end(file: IO[bytes], size: int) -> int:
    """Offset of the end of an AVI file's last RIFF chunk; long files have several."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        if head[:4] != b"RIFF":
            break
        length = int.from_bytes(head[4:], "little")
        if length == 0:  # never filled in: the program that wrote the file was killed
            return size + 1
        at += 8 + length + length % 2
    return at


def _tags_end(file: IO[bytes], at: int, size: int) -> int:
    """Offset of the end of an FLV file's last tag; each tag is followed by its length."""
    at += 4
    while at < size:
        file.seek(at)
        head = file.read(4)
        if head[0] & 0x1F not in _FLV_TAGS:
            return 0
        at += 11 + int.from_bytes(head[1:], "big") + 4
    return at


def _boxes_end(file: IO[bytes], size: int) -> int:
    """Offset of the end of an MP4 or MOV file's last box."""
    at = 0
    for _ in range(_MOST_BOXES):
        if at >= size:
            break
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return size + 1
        length, least = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, least = int.from_bytes(head[8:16], "big"), 16
        if length == 0:  # this box extends to the end of the file
            return size
        if length < least:  # not a box: the rest is not MP4, so its length is unknown
            return 0
        at += length
    return at
