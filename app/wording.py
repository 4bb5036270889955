"""Messages in the window's words: options by the names that its panels give them, not by their flags."""

from __future__ import annotations

import re

from engine.option_table import options_of
from engine.options import Options

_FLAG = re.compile(r"(?<![\w/-])--(?:no-)?[a-z][a-z0-9-]*")


def in_window_words(message: str) -> str:
    """A message of the engine without the flags of the command line.

    An option that a panel shows is named as there. Advice that needs another flag is left out: the window has no such
    option.
    """
    for option in options_of(Options):
        if option.control is not None:
            words = f"“{option.control.label}” off" if option.default is True else f"“{option.control.label}”"
            message = re.sub(rf"(?<![\w/-]){re.escape(option.flag)}(?![\w-])", words, message)
    if _FLAG.search(message) is None:
        return message
    message = re.sub(r"\s*\([^()]*\)", lambda part: "" if _FLAG.search(part[0]) else part[0], message)
    for mark in ("; ", ", or ", ", so "):
        first, *others = message.split(mark)
        message = mark.join([first, *(part for part in others if _FLAG.search(part) is None)])
    return _FLAG.sub(lambda flag: flag[0].lstrip("-").replace("-", " "), message)
