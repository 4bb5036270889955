"""A WebSocket server for poses: many readers, each with its own bounded queue, and a page that draws what it gets."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import ipaddress
import logging
import socket
import threading
import time
from collections.abc import Callable, Collection
from http import HTTPStatus
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from engine.errors import OutputError
from engine.output.live.channel import PATIENCE_S, ROOM, About, Counts, Message
from engine.output.live.targets import LiveTarget, is_loopback, resolved
from engine.system.missing import not_installed

MOST_READERS = 64
_MOST_INCOMING_BYTES = 1024  # readers have nothing to say
_CLOSE_S = 1.0
_PAGE = "page.html"
_Reader = asyncio.Queue[Message]
"""The frames that wait for one reader."""


class WebSocketServer:
    """Serves frames to programs and web pages that connect; what it may be read by is checked at the handshake.

    Attributes:
        address: what readers connect to.
        page: what a browser opens to see the poses.
        error: what ended the server; None without.
    """

    ended = False
    """Readers may come again."""

    def __init__(
        self,
        target: LiveTarget,
        *,
        allow_remote: bool = False,
        allow_origins: Collection[str] = (),
        notify: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """Listen, and serve in a thread.

        Args:
            target: the own address and port.
            allow_remote: whether other machines may connect, where the address is one that they reach.
            allow_origins: origins of web pages that may read, beside the page that is served here.
            notify: receives one line for each origin that was refused.

        Raises:
            OutputError: websockets is not installed, the address is none of this machine or is in use, or other
                machines would reach it and that is not allowed.
        """
        try:
            import websockets.asyncio.server  # noqa: F401 - before the socket is bound
        except ImportError as error:
            raise OutputError(f"ws://: {not_installed('websockets')}") from error
        self._allowed, self._notify = frozenset(allow_origins), notify
        self._socket = _listen(target, allow_remote)
        host, port = self._socket.getsockname()[:2]
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.address = f"ws://{place}"
        self.page = f"http://{place}/".replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
        self._readers: set[_Reader] = set()
        self._latest: Message | None = None
        self._refused: set[str] = set()
        self._sent = self._dropped = self._readers_seen = 0
        # Frames on their way to the server's thread, which may get no time for a while.
        self._inbox: collections.deque[Message] = collections.deque(maxlen=ROOM)
        self._inbox_lock = threading.Lock()
        self._inbox_dropped = 0
        self.error: Exception | None = None
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"poses at {self.address}", daemon=True)
        self._thread.start()

    # --- in the thread of the frames ------------------------------------------------------------------------------

    @property
    def counts(self) -> Counts:
        """Frames sent and dropped, of all readers together."""
        return Counts(sent=self._sent, dropped=self._dropped + self._inbox_dropped)

    @property
    def waiting(self) -> int:
        """Frames in the queues of all readers, and those on their way there."""
        return len(self._inbox) + sum(reader.qsize() for reader in tuple(self._readers))

    def offer(self, message: Message) -> None:
        """Queue a frame for every reader.

        Raises:
            Exception: the one that ended the server.
        """
        if self.error is not None:
            raise self.error
        self._latest = message
        if not self._readers:
            return
        with self._inbox_lock:
            is_first = not self._inbox
            if len(self._inbox) == ROOM:
                self._inbox_dropped += len(self._readers)
            self._inbox.append(message)
        if is_first:
            with contextlib.suppress(RuntimeError):  # the loop just ended; its error comes with the next frame
                self._loop.call_soon_threadsafe(self._push)

    def close(self) -> None:
        """Send what waits, as long as readers take it, say goodbye to them, and end."""
        if not self._thread.is_alive():
            return
        last, until_s = self._sent, time.monotonic() + PATIENCE_S
        while self.waiting and time.monotonic() < until_s:
            time.sleep(0.02)
            if self._sent != last:
                last, until_s = self._sent, time.monotonic() + PATIENCE_S
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(2 * _CLOSE_S + 1)

    def summary(self) -> str:
        """Readers, and the frames that they were sent or lost."""
        seen = self._readers_seen
        readers = f"{seen} reader{'s' * (seen != 1)}"
        return f"poses at {self.address}: {readers}, {self.counts.sent} frames sent, {self.counts.dropped} dropped"

    # --- in the server's thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(self._serve())
        except Exception as error:
            self.error = error
        finally:
            self._socket.close()
            self._loop.close()

    async def _serve(self) -> None:
        from websockets.asyncio.server import serve

        silent = logging.getLogger("kcam_pose.websockets")  # a port scanner is no reason for a traceback on stderr
        silent.addHandler(logging.NullHandler())
        silent.propagate = False
        async with serve(
            self._read_by,
            sock=self._socket,
            process_request=self._answer,
            compression=None,  # costs time and memory for each reader, and the network is this machine
            max_size=_MOST_INCOMING_BYTES,
            close_timeout=_CLOSE_S,
            server_header=None,
            logger=silent,
        ):
            await self._stop.wait()

    def _push(self) -> None:
        with self._inbox_lock:
            messages = tuple(self._inbox)
            self._inbox.clear()
        for message in messages:
            for reader in self._readers:
                self._dropped += _put(reader, message)

    def _answer(self, connection: Any, request: Any) -> Any:
        """The page for a browser that opens the address, a refusal, or None to go on with the handshake."""
        if "websocket" not in request.headers.get("Upgrade", "").lower():
            return self._page(connection, request.path)
        origin = request.headers.get("Origin")
        if not may_read(origin, request.headers.get("Host", ""), self._allowed):
            if origin not in self._refused and len(self._refused) < MOST_READERS:
                self._refused.add(origin)
                self._notify(f"a web page of {origin} asked for the poses and was refused; --allow-origin lets it read")
            return connection.respond(HTTPStatus.FORBIDDEN, "pages of this origin may not read: see --allow-origin\n")
        if len(self._readers) >= MOST_READERS:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, f"there are {MOST_READERS} readers already\n")
        return None

    @staticmethod
    def _page(connection: Any, path: str) -> Any:
        if path not in ("/", "/index.html"):
            return connection.respond(HTTPStatus.NOT_FOUND, "there is only one page: /\n")
        text = resources.files("engine.output.live").joinpath(_PAGE).read_text(encoding="utf-8")
        response = connection.respond(HTTPStatus.OK, text)
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "text/html; charset=utf-8"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    async def _read_by(self, connection: Any) -> None:
        """One reader, until it leaves."""
        reader: _Reader = asyncio.Queue(ROOM)
        if self._latest is not None:
            reader.put_nowait(self._latest)
        self._readers.add(reader)
        self._readers_seen += 1
        sending = asyncio.ensure_future(self._send_all(connection, reader))
        try:
            async for _ignored in connection:
                pass
        finally:
            self._readers.discard(reader)
            self._dropped += reader.qsize()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _send_all(self, connection: Any, reader: _Reader) -> None:
        from websockets.exceptions import ConnectionClosed

        about: About | None = None
        with contextlib.suppress(ConnectionClosed):
            while True:
                message = await reader.get()
                if message.about != about:
                    about = message.about
                    await connection.send(about.text)
                await connection.send(message.text)
                self._sent += 1


def _put(reader: _Reader, message: Message) -> bool:
    """Queue a frame for a reader; True where the oldest was dropped for it."""
    full = reader.full()
    if full:
        reader.get_nowait()
    reader.put_nowait(message)
    return full


def may_read(origin: str | None, host: str, allowed: Collection[str]) -> bool:
    """Whether a request may read the poses.

    Any web page can open a WebSocket to this machine, so the page must come from the server itself, or be allowed. That
    it comes from the server is only believed where the browser reached it by an IP address or as localhost: another
    name could be one of the page's owner that now points here.

    Args:
        origin: header of the request; None for programs that are no browser.
        host: header of the request, the host and port that it was sent to.
    """
    if origin is None or origin.lower() in allowed:
        return True
    parts = urlsplit(origin)
    if parts.scheme != "http" or parts.netloc != host:
        return False
    name = parts.hostname or ""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost"
    return True


def _listen(target: LiveTarget, allow_remote: bool) -> socket.socket:
    family, address = resolved(target, socket.SOCK_STREAM)
    if not allow_remote and not is_loopback(str(address[0])):
        raise OutputError(
            f"{target} can be reached from other machines, who would see the poses without a password:"
            f" add --allow-remote if that is meant, or use ws://127.0.0.1:{target.port}"
        )
    try:
        return socket.create_server((str(address[0]), target.port), family=family)
    except OSError as error:
        advice = "; choose another port, or 0 for any free one" if target.port else ""
        raise OutputError(f"cannot listen at {target}: {error.strerror or error}{advice}") from error
