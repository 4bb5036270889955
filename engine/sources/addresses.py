"""Addresses of sources as they may be shown, kept and logged: without whatever may be a secret."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # two letters at least, so that C:/ is none


def is_address(text: str) -> bool:
    """Whether a text is meant as an address on a network, rightly written or not; a Windows drive is none."""
    return _ADDRESS.match(text) is not None


def url_name(url: str) -> str:
    """A URL as it may be shown: host and path, without user, password and query (which may hold a key).

    A password may hold, unescaped, the very signs that end a host name; where it is not clear what belongs to it,
    nothing but the scheme is shown.
    """
    scheme, _, rest = url.strip().partition(":")
    rest = rest.lstrip("/")
    netloc = re.split(r"[/?#]", rest, maxsplit=1)[0]
    behind = rest[len(netloc) :]
    before, at, _ = behind.rpartition("@")
    if at and (":" in netloc + before or "@" in netloc):  # a user with a slash in it, or a password
        return f"{scheme.lower()}://…"
    host = netloc.rpartition("@")[2]
    try:
        parts = urlsplit(f"//{host}")
        name, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
    except ValueError:  # a port that is no number, or half of an IPv6 address
        return f"{scheme.lower()}://…"
    path = re.split(r"[?#]", behind, maxsplit=1)[0]
    return f"{scheme.lower()}://{f'[{name}]' if ':' in name else name}{port}{path}"


def shown(text: str) -> str:
    """What names a source, as it may be shown: an address without its secrets, anything else as it is."""
    return url_name(text) if is_address(text) else text


def has_secret(text: str) -> bool:
    """Whether an address may carry a secret, so that it must not be kept: a user, a password, a query."""
    return is_address(text) and any(sign in text for sign in "@?#")
