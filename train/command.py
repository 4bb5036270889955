"""How every command of this package ends where its input cannot be used: one line that says so, and exit code 2."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

from engine.errors import EngineError
from engine.system.entry import EXIT_BAD_INPUT
from models.checkpoints import CheckpointError

_Arguments = ParamSpec("_Arguments")


def reports_errors(
    name: str, *also: type[Exception]
) -> Callable[[Callable[_Arguments, int]], Callable[_Arguments, int]]:
    """Decorate the main function of a command.

    Args:
        name: of the command, such as "train.evaluate"; each line begins with it.
        also: other errors that mean input that cannot be used.
    """

    expected: tuple[type[Exception], ...] = (EngineError, CheckpointError, *also)

    def decorate(main: Callable[_Arguments, int]) -> Callable[_Arguments, int]:
        @functools.wraps(main)
        def reporting(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> int:
            try:
                return main(*args, **kwargs)
            except expected as error:
                return _report(name, str(error))
            except OSError as error:  # a full disk, a folder that may not be written
                if error.filename is None:
                    raise  # the console; `run_command` knows what to say
                return _report(name, f"{error.filename}: {error.strerror}")

        return reporting

    return decorate


def _report(name: str, message: str) -> int:
    print(f"{name}: {message}", file=sys.stderr)
    return EXIT_BAD_INPUT
