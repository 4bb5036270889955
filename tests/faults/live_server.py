"""A network camera with scripted failures: MJPEG and bare H.264 over HTTP, on 127.0.0.1."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np

from engine.types import UInt8Array

SIZE = (64, 48)


def picture(number: int, size_wh: tuple[int, int] = SIZE) -> UInt8Array:
    """(H, W, 3) uint8: grey that encodes the number."""
    return np.full((size_wh[1], size_wh[0], 3), 40 + number * 7 % 160, np.uint8)


def jpeg(number: int, size_wh: tuple[int, int] = SIZE) -> bytes:
    """One part of an MJPEG stream."""
    done, data = cv2.imencode(".jpg", picture(number, size_wh))
    assert done
    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data.tobytes() + b"\r\n"


def h264(frames: int, size_wh: tuple[int, int] = SIZE) -> list[bytes]:
    """Access units of a bare H.264 stream, at each of which decoding can start."""
    buffer = io.BytesIO()
    units = []
    with av.open(buffer, "w", format="h264") as output:
        video: Any = output.add_stream("libx264", rate=Fraction(25), options={"tune": "zerolatency", "g": "1"})
        video.width, video.height, video.pix_fmt = *size_wh, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, size_wh), format="bgr24")
            units += [bytes(packet) for packet in video.encode(frame)]
        units += [bytes(packet) for packet in video.encode(None)]
    return units


Act = Callable[["Connection"], None]
"""Behaviour of the camera on one connection, until it returns or raises."""


@dataclass
class Connection:
    """One connection, seen from the camera."""

    socket: socket.socket
    stopped: threading.Event
    kind: str

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def head(self) -> None:
        """The header of the response."""
        kind = "multipart/x-mixed-replace; boundary=frame" if self.kind == "mjpeg" else "video/h264"
        self.send(f"HTTP/1.0 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode())

    def frames(self, count: int, size_wh: tuple[int, int] = SIZE, rate: float = 50) -> None:
        """Send a number of pictures."""
        units = h264(min(count, 60), size_wh) if self.kind == "h264" else None
        for number in range(count):
            self.send(jpeg(number, size_wh) if units is None else units[number % len(units)])
            if self.stopped.wait(1 / rate):
                return


@dataclass
class Camera:
    """The server.

    Attributes:
        kind: "mjpeg" or "h264".
        acts: what is done on each connection; the last one for all that follow.
        down: refuse connections while set.
        connections: how many there were.
        requests: the heads of the requests.
    """

    kind: str
    acts: list[Act] = field(default_factory=list)
    connections: int = 0
    requests: list[str] = field(default_factory=list)
    port: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def url(self, secret: str = "") -> str:
        """Its address, with user and password if given."""
        return f"http://{secret + '@' if secret else ''}127.0.0.1:{self.port}/live.{self.kind}"


@contextmanager
def camera(kind: str, *acts: Act) -> Iterator[Camera]:
    """A camera that ends with the block, and its threads with it."""
    state = Camera(kind, list(acts))
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    state.port = listener.getsockname()[1]
    threads: list[threading.Thread] = []

    def accept() -> None:
        while not state.stopped.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            act = state.acts[min(state.connections, len(state.acts) - 1)]
            state.connections += 1
            thread = threading.Thread(target=_serve, args=(state, connection, act), name="camera connection")
            thread.start()
            threads.append(thread)

    accepting = threading.Thread(target=accept, name="camera")
    accepting.start()
    try:
        yield state
    finally:
        state.stopped.set()
        accepting.join(5)
        listener.close()
        for thread in threads:
            thread.join(5)
        assert not any(thread.is_alive() for thread in threads)


def _serve(state: Camera, connection: socket.socket, act: Act) -> None:
    with connection, contextlib.suppress(OSError):
        connection.settimeout(5)
        state.requests.append(connection.recv(65536).decode("latin-1"))
        act(Connection(connection, state.stopped, state.kind))


# What a camera may do


def plays(count: int, size_wh: tuple[int, int] = SIZE) -> Act:
    """Send pictures and hang up."""

    def act(connection: Connection) -> None:
        connection.head()
        connection.frames(count, size_wh)

    return act


def plays_on(connection: Connection) -> None:
    """Send pictures until the test ends."""
    connection.head()
    while not connection.stopped.is_set():
        connection.frames(50)


def stalls(after: int) -> Act:
    """Send pictures and then nothing, with the connection open."""

    def act(connection: Connection) -> None:
        connection.head()
        connection.frames(after)
        connection.stopped.wait(60)

    return act


def sends_nothing(connection: Connection) -> None:
    """Take the request and never answer."""
    connection.stopped.wait(60)


def hangs_up(_connection: Connection) -> None:
    """End the connection at once."""


def breaks_off_in_the_middle(connection: Connection) -> None:
    """End in the middle of a picture."""
    connection.head()
    connection.frames(5)
    data = jpeg(0) if connection.kind == "mjpeg" else h264(1)[0]
    connection.send(data[: len(data) // 2])


def answers(code: str) -> Act:
    """Answer with an error."""
    return lambda connection: connection.send(f"HTTP/1.0 {code}\r\nContent-Length: 0\r\n\r\n".encode())


def rubbish(after: int = 0) -> Act:
    """Send pictures and then endless random bytes."""

    def act(connection: Connection) -> None:
        connection.head()
        connection.frames(after)
        noise = np.random.default_rng(5).integers(0, 256, 40_000, np.uint8).tobytes()
        while not connection.stopped.wait(0.002):
            connection.send(noise)

    return act


def drips(after: int = 0) -> Act:
    """Send pictures, and then a byte at intervals, so that the connection never appears dead."""

    def act(connection: Connection) -> None:
        connection.head()
        connection.frames(after)
        for byte in jpeg(0) * 1000:
            connection.send(bytes([byte]))
            if connection.stopped.wait(0.02):
                return

    return act


def changes_size(connection: Connection) -> None:
    """Send pictures of two sizes alternately."""
    connection.head()
    while not connection.stopped.is_set():
        connection.frames(10)
        connection.frames(10, (96, 64))


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether a condition comes true in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.02)
    return condition()
