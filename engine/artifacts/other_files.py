"""Whether an ONNX file keeps weights in other files, detected in its bytes before any parser reads them.

Such a tensor has the entry "location" in its external_data. The bytes of that entry are searched for. Where they are
found, the nested messages around them are parsed, because an input may be called "location", too.
"""

from __future__ import annotations

import mmap
import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

Content = bytes | mmap.mmap

# The bytes before the word where it is field 1 of a message, also with non-minimal length encodings.
_AS_FIRST_FIELD = re.compile(rb"(?:\x0a|\x8a\x80*\x00)(?:\x08|\x88\x80*\x00)$")
_WORD = b"location"
_LONGEST_VARINT = 10

# No real graph comes near these limits; they bound the time and memory that a malicious file can take.
_MOST_WORDS = 100_000
_MOST_FIELDS = 5_000_000


class _Message(NamedTuple):
    """A message of onnx.proto: its fields that lead to tensors, and those that contain none."""

    leads: dict[int, str]
    ends: frozenset[int]


# A field that is in neither list, as external_data of a tensor or one that a later ONNX adds, is not trusted.
_MESSAGES = {
    "model": _Message({7: "graph", 20: "training", 25: "function"}, frozenset({2, 3, 4, 6, 8, 14, 26})),
    "training": _Message({1: "graph", 2: "graph"}, frozenset({3, 4})),
    "function": _Message({7: "node", 11: "attribute"}, frozenset({1, 4, 5, 6, 8, 9, 10, 12, 13, 14})),
    "graph": _Message({1: "node", 5: "tensor", 15: "sparse"}, frozenset({2, 10, 11, 12, 13, 14, 16})),
    "node": _Message({5: "attribute"}, frozenset({1, 2, 3, 4, 6, 7, 8, 9, 10})),
    "attribute": _Message(
        {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
        frozenset({1, 4, 7, 8, 9, 13, 14, 15, 21}),
    ),
    "sparse": _Message({1: "tensor", 2: "tensor"}, frozenset({3})),
    "tensor": _Message({}, frozenset({1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16})),
}


class _Field(NamedTuple):
    """An encoded field: its number, and the offsets at which its content begins and ends."""

    number: int
    start: int
    stop: int
    has_length: bool


def names_other_files(content: Content) -> bool:
    """Whether an ONNX file names other files for its weights, or cannot be parsed far enough to rule that out."""
    words = []
    at = content.find(_WORD)
    while at >= 0:
        if _AS_FIRST_FIELD.search(content[max(0, at - 32) : at]):
            words.append(at)
            if len(words) > _MOST_WORDS:
                return True
        at = content.find(_WORD, at + 1)
    return bool(words) and not _are_harmless(content, words)


def _are_harmless(content: Content, words: Sequence[int]) -> bool:
    """Whether each of the offsets (in order) lies in a field that contains no tensor.

    Messages are kept in a list instead of recursive calls, so that no nesting is too deep; each field is read once.
    """
    waiting = [(0, len(content), "model", 0, len(words))]
    fields = 0
    while waiting:
        at, end, name, first, last = waiting.pop()
        message = _MESSAGES[name]
        while first < last:
            fields += 1
            field = _field_at(content, at, end)
            if field is None or fields > _MOST_FIELDS:
                return False
            at = field.stop
            if words[first] >= at:
                continue
            behind = bisect_left(words, at, first, last)
            if not field.has_length or words[first] < field.start:
                return False
            if field.number in message.leads:
                waiting.append((field.start, field.stop, message.leads[field.number], first, behind))
            elif field.number not in message.ends:
                return False
            first = behind
    return True


def _field_at(content: Content, at: int, end: int) -> _Field | None:
    """The field that begins at an offset of a message; None where there is no valid field."""
    tag, start = _varint(content, at, end)
    kind, number = tag & 7, (tag & 0xFFFFFFFF) >> 3  # as in protobuf: a tag has 32 bits
    if kind == 0:
        stop = _varint(content, start, end)[1]
    elif kind in (1, 5):
        stop = start + (8 if kind == 1 else 4)
    elif kind == 2:
        length, start = _varint(content, start, end)
        stop = start + length
    else:  # groups, which ONNX does not use, and invalid kinds
        return None
    return _Field(number, start, stop, kind == 2) if at < start <= stop <= end else None


def _varint(content: Content, at: int, end: int) -> tuple[int, int]:
    """A varint (seven bits per byte) and the offset after it; an offset beyond `end` where it is not terminated."""
    value = 0
    for number in range(_LONGEST_VARINT):
        if at + number >= end:
            break
        byte = content[at + number]
        value |= (byte & 0x7F) << 7 * number
        if byte < 0x80:
            return value, at + number + 1
    return 0, end + 1
