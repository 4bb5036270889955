"""JSON read as what a stranger may have written."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from engine.system.regular_file import read_regular

_MOST_BYTES = 4 * 2**30
_LARGEST = 2**63 - 1


def read_json(file: Path) -> Any:
    """The content of a JSON file, all numbers of which are finite and fit into 64 bits.

    Raises:
        OSError: it cannot be read, or is a pipe, a device or a folder.
        ValueError: it is not such JSON.
    """
    return parse_json(read_regular(file, _MOST_BYTES))


def read_json_lines(file: Path) -> list[Any]:
    """The content of a file with JSON on each line; empty lines are skipped.

    Raises:
        OSError, ValueError: see `read_json`.
    """
    return [parse_json(line) for line in read_regular(file, _MOST_BYTES).splitlines() if line.strip()]


def parse_json(content: bytes) -> Any:
    """What a JSON text stands for.

    Raises:
        ValueError: it is no JSON, nested too deeply, or holds a number that is not finite or over 64 bits.
    """
    try:
        return json.loads(content, parse_float=_finite, parse_int=_whole, parse_constant=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not a finite number")
    return number


def _whole(text: str) -> int:
    number = int(text) if len(text) <= 20 else _LARGEST + 1
    if abs(number) > _LARGEST:
        raise ValueError(f"a number of {len(text)} digits does not fit into 64 bits")
    return number
