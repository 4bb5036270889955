"""Signals that tests send to children."""

from __future__ import annotations

import signal

import pytest


def arriving(name: str) -> signal.Signals:
    """The signal of that name; skips a test whose children would not receive it.

    A shell that starts these tests in the background, and nohup, leave some signals ignored, in children, too.
    """
    number = getattr(signal, name, None)
    if not isinstance(number, signal.Signals):
        pytest.skip(f"{name} is not known on this system")
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"these tests were started with {name} ignored, and so are their children")
    return number
