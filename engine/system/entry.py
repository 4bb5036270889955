"""How every command ends: by Ctrl-C, with a console that takes no more, without memory or a folder to stand in."""

from __future__ import annotations

import contextlib
import errno
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from engine.system.console import any_character, lead_nowhere, open_closed_streams
from engine.system.interrupts import install_interrupts, safe_interrupts

EXIT_BAD_INPUT, EXIT_INTERRUPTED, EXIT_CLOSED_PIPE = 2, 130, 141
_FULL = (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EDQUOT)


def run_command(main: Callable[[], int]) -> int:
    """Run the main function of a command and return its exit code; what ends it from outside is one line."""
    open_closed_streams()
    any_character()
    try:
        Path.cwd()
        with safe_interrupts():
            try:
                return main()
            finally:  # also where argparse ends the program after its help
                sys.stdout.flush()
    except (KeyboardInterrupt, RuntimeError) as error:
        if not _is_interrupt(error):
            raise
        return _say("stopped", EXIT_INTERRUPTED)
    except MemoryError:
        return _say("error: there is not enough memory for this", EXIT_BAD_INPUT)
    except BrokenPipeError:
        return _say("", EXIT_CLOSED_PIPE)
    except OSError as error:
        if not _cwd_exists():
            return _say("error: the current folder does not exist any more: change to another", EXIT_BAD_INPUT)
        if from_outside(error):
            return _say(f"error: the output cannot be written: {error.strerror}", EXIT_BAD_INPUT)
        raise


def from_outside(error: Exception) -> bool:
    """Whether memory, the console or the current folder failed, for which `run_command` has the words."""
    if isinstance(error, MemoryError | BrokenPipeError):
        return True
    full = isinstance(error, OSError) and error.filename is None and error.errno in _FULL
    return full or (isinstance(error, OSError) and not _cwd_exists())


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C caused it: before Python 3.12 one inside of `__set_name__` (a data class) is a RuntimeError."""
    return error is not None and (isinstance(error, KeyboardInterrupt) or _is_interrupt(error.__cause__))


def _cwd_exists() -> bool:
    try:
        return bool(Path.cwd())
    except OSError:
        return False


def _say(line: str, code: int) -> int:
    """Show a last line, and let the interpreter find nothing to complain about when it flushes stdout at its end."""
    with contextlib.suppress(OSError, ValueError):
        if line:
            print(line, file=sys.stderr, flush=True)
    with contextlib.suppress(OSError, ValueError):
        lead_nowhere(sys.stdout.fileno())
    return code


def quiet_interrupts() -> None:
    """Show Ctrl-C during the imports of a command as one line; to be called by the package of the command."""
    if sys.argv[:1] != ["-m"]:  # as it stands while `python -m` imports the packages of a module
        return
    install_interrupts()

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if _is_interrupt(error):
            print("stopped", file=sys.stderr)
        else:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = hook
