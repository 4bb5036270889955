"""The YAML of a data set, read as what a stranger may have written; and why a document cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.system.regular_file import read_regular

_MOST_YAML_BYTES = 2**20
_MOST_ALIASES = 16
"""Aliases in a YAML; each may double what the ones before it stand for."""
_LONGEST_REASON = 200


def read_yaml(file: Path) -> Any:
    """The content of a YAML file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not YAML, not UTF-8, nested too deeply, or holds too many aliases.
        ImportError: PyYAML, which only training needs, is not installed.
    """
    import yaml  # type: ignore[import-untyped]

    class FewAliases(yaml.SafeLoader):  # type: ignore[misc]
        """PyYAML's safe loader, with a limit to aliases."""

        aliases = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            """A node, or what an alias stands for."""
            if self.check_event(yaml.events.AliasEvent):
                self.aliases += 1
                if self.aliases > _MOST_ALIASES:
                    raise yaml.YAMLError(f"more than {_MOST_ALIASES} aliases")
            return super().compose_node(parent, index)

    content = read_regular(file, _MOST_YAML_BYTES)
    try:
        return yaml.load(content.decode("utf-8-sig"), FewAliases)  # noqa: S506 - a SafeLoader
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
