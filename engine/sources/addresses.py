"""Source addresses without secrets, safe to display, store and log."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # two letters at least, so that C:/ does not match


def is_address(text: str) -> bool:
    """Whether a text is meant as a network address, well-formed or not; a Windows drive letter is not one."""
    return _ADDRESS.match(text) is not None


def url_name(url: str) -> str:
    """A URL that is safe to display: host and path, without user, password and query (which may hold a key).

    A password may contain, unescaped, the characters that end a host name. Where its extent is ambiguous, only the
    scheme is shown.
    """
    scheme, _, rest = url.strip().partition(":")
    rest = rest.lstrip("/")
    netloc = re.split(r"[/?#]", rest, maxsplit=1)[0]
    after_netloc = rest[len(netloc) :]
    before, at, _ = after_netloc.rpartition("@")
    if at and (":" in netloc + before or "@" in netloc):  # a user with a slash in it, or a password
        return f"{scheme.lower()}://…"
    host = netloc.rpartition("@")[2]
    try:
        parts = urlsplit(f"//{host}")
        name, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
    except ValueError:  # a port that is not a number, or an incomplete IPv6 address
        return f"{scheme.lower()}://…"
    path = re.split(r"[?#]", after_netloc, maxsplit=1)[0]
    return f"{scheme.lower()}://{f'[{name}]' if ':' in name else name}{port}{path}"


def shown(text: str) -> str:
    """The text that names a source, safe to display: an address without its secrets, anything else unchanged."""
    return url_name(text) if is_address(text) else text


def has_secret(text: str) -> bool:
    """Whether an address may contain a secret (user, password or query) and so must not be stored."""
    return is_address(text) and any(character in text for character in "@?#")
