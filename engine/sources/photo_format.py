"""What the bytes of a photo say before they are decoded: size, orientation and how many pictures they hold.

OpenCV turns a photo upright only where it reads it in colour, which drops transparency, and never an AVIF.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal

_PNG, _TIFF = b"\x89PNG\r\n\x1a\n", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION, _SUBFILE = 274, 254
_MOST_STEPS = 100_000  # bounds the loops over damaged files

Order = Literal["little", "big"]


def size_wh(data: bytes) -> tuple[int, int] | None:
    """Width and height in px that a PNG or JPEG states; None for other formats."""
    if data.startswith(_PNG):
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    for marker, at in _jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 3 : at + 7]) if len(data) >= at + 7 else (0, 0)
            return width, height
    return None


def orientation(data: bytes) -> int:
    """How a PNG, WebP or AVIF is to be turned, as a number of EXIF, 1 (not at all) to 8."""
    if data.startswith(_PNG):
        exif = next((data[at : at + length] for kind, at, length in _png_chunks(data) if kind == b"eXIf"), b"")
    elif data[8:12] == b"WEBP":
        exif = next((data[at : at + length] for kind, at, length in _riff_chunks(data) if kind == b"EXIF"), b"")
    else:
        return _avif_orientation(data) if data[4:8] == b"ftyp" else 1
    found = next((value for tags in _directories(exif.removeprefix(b"Exif\0\0")) for tag, value in tags.items()
                  if tag == _ORIENTATION), 1)  # fmt: skip
    return found if 1 <= found <= 8 else 1


def picture_count(data: bytes) -> int:
    """How many pictures a file holds: frames of an animation, or pages."""
    if data.startswith(_PNG):
        counts = (int.from_bytes(data[at : at + 4], "big") for kind, at, _ in _png_chunks(data) if kind == b"acTL")
        return max(1, next(counts, 1))
    if data[8:12] == b"WEBP":
        return max(1, sum(kind == b"ANMF" for kind, _, _ in _riff_chunks(data)))
    if data[4:8] == b"ftyp" and b"avis" in data[8:64]:
        at = data.find(b"stsz")
        return max(1, int.from_bytes(data[at + 12 : at + 16], "big")) if at > 0 else 2
    if data.startswith(_TIFF):
        return max(1, sum(not tags.get(_SUBFILE, 0) & 1 for tags in _directories(data)))  # without thumbnails
    return 1


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, offset and length of each chunk."""
    at = 8
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], at + 8, length
        at += 12 + length


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    at = 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 4], at + 8, length
        at += 8 + length + length % 2


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker, and offset of the length, of each segment before the picture."""
    at = 2
    while data[:2] == b"\xff\xd8" and at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xDA:
            return
        yield marker, at + 2
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))


def _directories(data: bytes) -> Iterator[dict[int, int]]:
    """The short and long numbers, by tag, of each directory of a TIFF (or BigTIFF) file, as EXIF is one."""
    if data[:4] not in _TIFF:
        return
    order: Order = "little" if data[:1] == b"I" else "big"
    big = 43 in data[2:4]
    width, count_bytes, entry_bytes = (8, 8, 20) if big else (4, 2, 12)
    start = 8 if big else 4
    at, seen = int.from_bytes(data[start : start + width], order), set[int]()
    while 0 < at < len(data) and at not in seen and len(seen) < _MOST_STEPS:
        seen.add(at)
        count = int.from_bytes(data[at : at + count_bytes], order)
        first = at + count_bytes
        tags = {}
        for entry in range(first, min(first + min(count, _MOST_STEPS) * entry_bytes, len(data)), entry_bytes):
            kind = int.from_bytes(data[entry + 2 : entry + 4], order)
            value = entry + 4 + width
            tags[int.from_bytes(data[entry : entry + 2], order)] = int.from_bytes(
                data[value : value + (2 if kind == 3 else 4)], order
            )
        yield tags
        behind = first + count * entry_bytes
        at = int.from_bytes(data[behind : behind + width], order)


def _avif_orientation(data: bytes) -> int:
    """Of `irot` (quarter turns counter-clockwise), then `imir` (0: top and bottom trade places, 1: left and right)."""
    start = data.find(b"ipco")
    end = start + int.from_bytes(data[start - 4 : start], "big") - 4 if start >= 4 else 0
    properties = data[start:end] if start >= 4 else b""
    turned, mirrored = properties.find(b"irot"), properties.find(b"imir")
    turns = properties[turned + 4] & 3 if 0 <= turned < len(properties) - 4 else 0
    axis = properties[mirrored + 4] & 1 if 0 <= mirrored < len(properties) - 4 else None
    return {None: (1, 8, 3, 6), 0: (4, 5, 2, 7), 1: (2, 7, 4, 5)}[axis][turns]
