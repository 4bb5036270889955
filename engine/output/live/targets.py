"""Where poses go: files, standard output and network addresses, as `--poses` names them."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from engine.errors import OptionError, OutputError, nearest_hint
from engine.sources.addresses import is_address
from engine.system.paths import path_from

STDOUT = "-"
SCHEMES = ("udp", "osc", "ws")
_KINDS = "udp://HOST:PORT, osc://HOST:PORT or ws://HOST:PORT"


@dataclass(frozen=True, kw_only=True)
class LiveTarget:
    """One place that poses are sent to while they are found.

    Attributes:
        scheme: "udp", "osc" or "ws"; "-" for standard output, which has neither host nor port.
        host: name or IP address: of the receiver; for "ws" the own one that readers connect to.
        port: for "ws", 0 takes any free one.
    """

    scheme: str
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.scheme == STDOUT:
            return "standard output"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def split_poses(texts: Iterable[str]) -> tuple[tuple[Path, ...], tuple[LiveTarget, ...]]:
    """The files and the live targets among the values of `--poses`.

    Raises:
        OptionError: an address is incomplete or of an unknown kind, or stands there twice.
    """
    files: list[Path] = []
    live: list[LiveTarget] = []
    for text in texts:
        target = _live_target(text.strip())
        if target is None:
            files.append(path_from(text))
        elif target in live and target.port != 0:
            raise OptionError(f"--poses names {target} twice")
        else:
            live.append(target)
    if sum(target.scheme == STDOUT for target in live) > 1:
        raise OptionError("--poses names standard output (-) twice")
    return tuple(files), tuple(live)


def _live_target(text: str) -> LiveTarget | None:
    if text == STDOUT:
        return LiveTarget(scheme=STDOUT)
    if not is_address(text):
        return None
    scheme, _, rest = text.partition(":")
    scheme = scheme.lower()
    if scheme not in SCHEMES:
        raise OptionError(
            f"poses cannot be sent to {scheme}://: expected a file or {_KINDS}.{nearest_hint(scheme, SCHEMES)}"
        )
    try:
        parts = urlsplit(f"//{rest.lstrip('/')}")
        host, port = parts.hostname or "", parts.port
    except ValueError:  # a port that is not a number, or an incomplete IPv6 address
        host, port = "", None
    if not host or port is None or parts.path.strip("/") or parts.query or parts.username is not None:
        raise OptionError(f"--poses {text}: expected {_KINDS}, with a port from 1 to 65535")
    if port == 0 and scheme != "ws":
        raise OptionError(f"--poses {text}: the port of a receiver is from 1 to 65535")
    return LiveTarget(scheme=scheme, host=host, port=port)


def resolved(target: LiveTarget, kind: socket.SocketKind) -> tuple[socket.AddressFamily, tuple[object, ...]]:
    """Family and address of a target's host, IPv4 where it has one.

    Raises:
        OutputError: there is no such host.
    """
    try:
        found = socket.getaddrinfo(target.host, target.port, type=kind)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{target}: the host cannot be found ({reason}); check its name") from error
    family, _kind, _protocol, _name, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, address


def is_loopback(host: str) -> bool:
    """Whether an IP address is reached from this machine only."""
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback
