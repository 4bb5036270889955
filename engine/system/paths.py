"""The path that a text of a person means."""

from __future__ import annotations

from pathlib import Path


def path_from(text: str) -> Path:
    """A path; a leading `~/` is the person's home, and anything else is a name as it stands, such as `~clip.mkv`."""
    if text == "~" or text.startswith(("~/", "~\\")):
        try:
            return Path(text).expanduser()
        except RuntimeError:  # nobody's home
            pass
    return Path(text)
