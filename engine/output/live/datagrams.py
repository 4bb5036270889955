"""Poses as UDP datagrams, one a frame: JSON, or an OSC bundle."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from engine.errors import OutputError
from engine.output.live.channel import Message, QueuedChannel
from engine.output.live.targets import LiveTarget, resolved
from engine.system.missing import not_installed

_MOST_BYTES = 65_507
"""Of a datagram, by its length field."""


class Datagrams(QueuedChannel):
    """Sends each frame to one address. UDP does not know whether anybody listens there, so it never ends."""

    def __init__(
        self, target: LiveTarget, encode: Callable[[Message], bytes], notify: Callable[[str], None] = lambda _line: None
    ) -> None:
        """Find the receiver's address.

        Raises:
            OutputError: there is no such host.
        """
        self._target, self._encode, self._notify = target, encode, notify
        family, self._address = resolved(target, socket.SOCK_DGRAM)
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._trouble = ""
        super().__init__(str(target))

    def close(self) -> None:
        """Send the frames that wait."""
        super().close()
        self._socket.close()

    def summary(self) -> str:
        """Frames sent and dropped, with the last reason."""
        return super().summary() + (f" ({self._trouble})" if self._trouble else "")

    def _send(self, message: Message) -> bool:
        data = self._encode(message)
        if len(data) > _MOST_BYTES:
            people = len(message.record["people"])
            return self._failed(f"{people} people are more than a datagram holds; --max-people limits them")
        try:
            self._socket.sendto(data, self._address)
        except BlockingIOError:
            return self._failed("the system's buffer was full")
        except OSError as error:
            return self._failed(error.strerror or str(error))
        return True

    def _failed(self, reason: str) -> bool:
        """Remember why a frame was dropped, and tell it once."""
        if reason != self._trouble:
            self._trouble = reason
            self._notify(f"poses cannot be sent to {self._target}: {reason}; trying on with the next frames")
        return False


def json_line(message: Message) -> bytes:
    """A frame as one line of JSON, as in a `.jsonl` file."""
    return f"{message.text}\n".encode()


def osc_encoder() -> Callable[[Message], bytes]:
    """Encodes frames as OSC bundles (docs/live.md has the addresses).

    Raises:
        OutputError: python-osc is not installed.
    """
    try:
        from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
        from pythonosc.osc_message_builder import OscMessageBuilder
    except ImportError as error:
        raise OutputError(f"osc://: {not_installed('pythonosc')}") from error

    def encode(message: Message) -> bytes:
        bundle = OscBundleBuilder(IMMEDIATELY)
        for address, values in osc_messages(message):
            one = OscMessageBuilder(address)
            for value in values:
                one.add_arg(value)
            bundle.add_content(one.build())
        data: bytes = bundle.build().dgram
        return data

    return encode


def osc_messages(message: Message) -> list[tuple[str, list[Any]]]:
    """The messages of a frame: addresses and values, in px of the frame.

    `/pose/frame` (frame, time_s, people, width, height), then for person n of the frame `/pose/person/n/FIELD` with the
    fields of the record; keypoints by name. Switches are 0 or 1, no id is -1, and what has no value is left out.
    """
    record, about = message.record, message.about
    people = record["people"]
    found: list[tuple[str, list[Any]]] = [
        ("/pose/frame", [int(record["frame"]), float(record["time_s"]), len(people), *about.size_wh])
    ]
    for name, value in record.items():
        if name not in ("frame", "time_s", "people"):
            _add(found, f"/pose/{name}", value)
    names = about.skeleton.keypoint_names
    for number, person in enumerate(people):
        place = f"/pose/person/{number}"
        for name, value in person.items():
            if name == "keypoints":
                points = zip(names, value, strict=True)
                found += [
                    (f"{place}/keypoints/{keypoint}", [float(part) for part in point]) for keypoint, point in points
                ]
            else:
                _add(found, f"{place}/{name}", -1 if name == "id" and value is None else value)
    return found


def _add(found: list[tuple[str, list[Any]]], address: str, value: Any) -> None:
    """A message for a value of a record, or one for each entry of a table."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _add(found, f"{address}/{name}", inner)
    elif value is not None:
        values = value if isinstance(value, (list, tuple)) else [value]
        found.append((address, [int(one) if isinstance(one, bool) else one for one in values]))
