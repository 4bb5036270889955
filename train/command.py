"""How every command of this package ends where its input cannot be used: one line that says so, and exit code 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec

from engine import errors
from models.checkpoints import CheckpointError

_Arguments = ParamSpec("_Arguments")


def reports_errors(
    name: str, *also: type[Exception]
) -> Callable[[Callable[_Arguments, int]], Callable[_Arguments, int]]:
    """As `engine.errors.reports_errors`, for commands that read checkpoints."""
    return errors.reports_errors(name, CheckpointError, *also)
