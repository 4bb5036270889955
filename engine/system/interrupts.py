"""Ctrl-C while packages are imported: raised once the import is over, and never lost."""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

_IMPORT_FILES = ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")
_LIMIT_S = 20.0
"""An import that takes longer is interrupted after all."""
_PAUSE_S = 0.05
_waits = _is_over = False


def install_interrupts() -> None:
    """Let SIGINT raise KeyboardInterrupt in the main thread as Python does, but after an import rather than inside it.

    Packages with native code lose an exception that is raised while they are imported, turn it into another one, or
    abort the process: with PyTorch the command ran on after one Ctrl-C in twenty. Where another handler is installed,
    or SIGINT is ignored, nothing changes.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, on_interrupt)
        sys.unraisablehook = _on_unraisable


@contextlib.contextmanager
def safe_interrupts() -> Iterator[None]:
    """`install_interrupts`, until the end of the context."""
    before, hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
    install_interrupts()
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is on_interrupt is not before:
            signal.signal(signal.SIGINT, before)
            sys.unraisablehook = hook


def on_interrupt(_number: int, frame: FrameType | None) -> None:
    """The handler of SIGINT that `install_interrupts` installs."""
    if _is_over or not _imports(frame):
        raise KeyboardInterrupt
    _interrupt_later()


def _imports(frame: FrameType | None) -> bool:
    """Whether a stack, given by its innermost frame, is inside an import."""
    while frame is not None:
        if frame.f_code.co_filename in _IMPORT_FILES:
            return True
        frame = frame.f_back
    return False


def _on_unraisable(unraisable: Any) -> None:
    """Python drops what is raised in a finaliser or a callback of a weak reference; an interrupt is raised again."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        _interrupt_later()
    else:
        sys.__unraisablehook__(unraisable)


def _interrupt_later() -> None:
    global _waits  # noqa: PLW0603 - signal handlers share nothing else
    if not _waits:
        _waits = True
        threading.Thread(target=_interrupt_after_import, name="interrupt", daemon=True).start()


def _interrupt_after_import() -> None:
    global _waits, _is_over  # noqa: PLW0603
    main, end_s = threading.main_thread().ident or 0, time.monotonic() + _LIMIT_S
    while True:
        time.sleep(_PAUSE_S)
        _is_over = time.monotonic() > end_s
        if _is_over or not _imports(sys._current_frames().get(main)):
            break
    _waits = False  # before the handler runs, which may find that the next import has begun
    _thread.interrupt_main()
