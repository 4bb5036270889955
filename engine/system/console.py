"""What every command does to its console before it writes to it."""

from __future__ import annotations

import io
import sys


def any_character() -> None:
    """Show characters that the console's encoding lacks as escapes, instead of failing after the work is done."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
