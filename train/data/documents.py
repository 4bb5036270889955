"""The documents of a data set, JSON and YAML, read as what a stranger may have written."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from engine.system.regular_file import read_regular

_MOST_JSON_BYTES = 4 * 2**30
_MOST_YAML_BYTES = 2**20
_MOST_ALIASES = 16
"""Aliases in a YAML; each may double what the ones before it stand for."""
_LARGEST = 2**63 - 1
_LONGEST_REASON = 200


def read_json(file: Path) -> Any:
    """The content of a JSON file, all numbers of which are finite and fit into 64 bits.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not such JSON.
    """
    content = read_regular(file, _MOST_JSON_BYTES)
    try:
        return json.loads(content, parse_float=_finite, parse_int=_whole, parse_constant=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_yaml(file: Path) -> Any:
    """The content of a YAML file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not YAML, not UTF-8, nested too deeply, or holds too many aliases.
    """
    content = read_regular(file, _MOST_YAML_BYTES)
    try:
        return yaml.load(content.decode("utf-8-sig"), _FewAliases)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(f"it is not YAML: {reason(error)}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (ValueError, OverflowError, TypeError, AttributeError, KeyError, MemoryError) as error:  # such as 2024-13-45
        raise ValueError(f"a value cannot be read: {reason(error)}") from None


def reason(error: BaseException) -> str:
    """Why something failed, in one line of limited length: an error may quote the whole of what it met."""
    text = " ".join(str(error)[: 4 * _LONGEST_REASON].split()) or type(error).__name__
    text = f"{text} is missing" if isinstance(error, KeyError) else text
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


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


class _FewAliases(yaml.SafeLoader):  # type: ignore[misc]
    """PyYAML's safe loader, with a limit to aliases."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node, or what an alias stands for."""
        if self.check_event(yaml.events.AliasEvent):
            self._aliases += 1
            if self._aliases > _MOST_ALIASES:
                raise yaml.YAMLError(f"more than {_MOST_ALIASES} aliases")
        return super().compose_node(parent, index)
