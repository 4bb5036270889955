"""The errors for users: each message states what failed, on what, and what to do next."""

from __future__ import annotations

import difflib
import functools
import sys
from collections.abc import Callable, Iterable
from typing import ParamSpec

_Arguments = ParamSpec("_Arguments")
_EXIT_BAD_INPUT = 2


def one_line(text: object) -> str:
    """A text, or the name of a file, as it is shown: in one line, and without signs that a terminal would obey.

    Names of files may hold any character; bytes that are no UTF-8 are shown as \\xNN.
    """
    plain = str(text)
    if plain.isascii() and plain.isprintable():
        return plain
    words = " ".join(plain.split())
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in words)


def _escaped(sign: str) -> str:
    code = ord(sign)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else sign.encode("unicode_escape").decode("ascii")


class EngineError(Exception):
    """An expected failure; the message is one line for the user."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class SourceError(EngineError):
    """A video, photo, folder, camera or stream cannot be opened or read."""


class ModelError(EngineError):
    """A model name, weights file, ONNX file or compiled file cannot be used."""


class BackendError(EngineError):
    """A runtime is missing, cannot run here, or failed while it ran."""


class OutputError(EngineError):
    """A result cannot be written."""


class OptionError(EngineError):
    """A value given by the user is not valid."""


def message_line(error: Exception, at: int = 0) -> str:
    """One line of a library's message, the first by default; the error's type where the message is empty."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[at] if lines else type(error).__name__


def nearest_hint(wrong: str, valid: Iterable[str]) -> str:
    """A sentence that names the nearest valid value, and all of them when they are few; begins with a space."""
    names = sorted(valid)
    close = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    if len(names) <= 24:
        hint += f" Known: {', '.join(names)}."
    return hint


def reports_errors(
    name: str, *also: type[Exception]
) -> Callable[[Callable[_Arguments, int]], Callable[_Arguments, int]]:
    """Decorate the main function of a command: input that cannot be used is one line on stderr, and exit code 2.

    Args:
        name: of the command, such as "train.evaluate"; each line begins with it.
        also: other errors that mean input that cannot be used.
    """
    expected: tuple[type[Exception], ...] = (EngineError, *also)

    def decorate(main: Callable[_Arguments, int]) -> Callable[_Arguments, int]:
        @functools.wraps(main)
        def reporting(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> int:
            try:
                return main(*args, **kwargs)
            except expected as error:
                message = str(error)
            except OSError as error:  # a full disk, a folder that may not be written
                if error.filename is None:
                    raise  # the console; `engine.system.entry.run_command` knows what to say
                message = f"{error.filename2 or error.filename}: {error.strerror}"  # of a copy, where it goes
            print(f"{name}: {one_line(message)}", file=sys.stderr)
            return _EXIT_BAD_INPUT

        return reporting

    return decorate
