"""A local HTTPS file server with scripted responses, and an opener that reaches it under any host name."""

from __future__ import annotations

import http.client
import http.server
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from engine.artifacts.download import Opener, https_opener


@dataclass
class Publisher:
    """Content and failures of the server, and its received requests.

    Attributes:
        files: bytes by path.
        cut: break the connection after so many bytes of an answer's body, one entry an answer; None for never.
        codes: answer with these codes first.
        ranges: whether range requests are supported.
        send_length: whether answers have a Content-Length.
        redirect: path to the address that it sends on to.
        requests: path and Range header of each request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    cut: list[int | None] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    ranges: bool = True
    send_length: bool = True
    redirect: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    port: int = 0
    opener: Opener = lambda _request, _timeout_s: None


@contextmanager
def publisher() -> Iterator[Publisher]:
    """A server that ends with the block; its opener reaches it under any https host name, and nothing else."""
    state = Publisher()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

        def do_GET(self) -> None:
            _answer(self, state)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    state.port = server.server_address[1]
    state.opener = _opener_to(state.port)
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(handler: http.server.BaseHTTPRequestHandler, state: Publisher) -> None:
    requested = handler.headers.get("Range")
    state.requests.append((handler.path, requested))
    handler.close_connection = True
    if state.codes:
        handler.send_response(state.codes.pop(0))
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    if handler.path in state.redirect:
        handler.send_response(302)
        handler.send_header("Location", state.redirect[handler.path])
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    body = state.files.get(handler.path)
    if body is None:
        handler.send_error(404)
        return
    start = int(requested.removeprefix("bytes=").removesuffix("-")) if requested and state.ranges else 0
    if start and start >= len(body):
        handler.send_response(416)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    if state.send_length:
        handler.send_header("Content-Length", str(len(body) - start))
    handler.send_header("Connection", "close")
    handler.end_headers()
    cut = state.cut.pop(0) if state.cut else None
    handler.wfile.write(body[start:] if cut is None else body[start : start + cut])


def _opener_to(port: int) -> Opener:
    connect: Callable[..., http.client.HTTPConnection] = lambda _host, **options: http.client.HTTPConnection(  # noqa: E731
        "127.0.0.1", port, timeout=options.get("timeout", 5)
    )

    class Loopback(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> Any:
            return self.do_open(connect, req)  # type: ignore[arg-type]

    director = https_opener(Loopback())
    return lambda request, timeout_s: director.open(request, timeout=timeout_s)
