"""Sends the displayed poses to other programs: a WebSocket on this machine, with a page for browsers."""

from __future__ import annotations

import threading

from app.live.shots import Shown
from engine.errors import OutputError
from engine.output.live.live_poses import LivePoses
from engine.output.live.targets import LiveTarget
from engine.output.live.websocket import WebSocketServer

PORT = 8765
_HOST = "127.0.0.1"


class LiveOutput:
    """Listens from its making until `close`. `offer` may be called from any thread."""

    def __init__(self, port: int = PORT) -> None:
        """Listen at a port, or at a free one where another program has it.

        Raises:
            OutputError: there is no server, or no port.
        """
        self._lock = threading.Lock()
        try:
            self._live: LivePoses | None = LivePoses([LiveTarget(scheme="ws", host=_HOST, port=port)])
        except OutputError:
            self._live = LivePoses([LiveTarget(scheme="ws", host=_HOST, port=0)])
        self.server: WebSocketServer = self._live.servers[0]

    def offer(self, shown: Shown, source: str) -> None:
        """Send the poses of a frame, where there are any; never waits for a reader."""
        result, skeleton = shown.result, shown.skeleton
        if result is None or skeleton is None:
            return
        with self._lock:
            if self._live is not None:
                time_s = result.frame.timestamp_s
                self._live.offer(result, source=source, skeleton=skeleton, time_s=time_s)

    def close(self) -> threading.Thread:
        """Send readers away, in a thread that is returned: slow ones take up to a few seconds."""
        with self._lock:
            live, self._live = self._live, None
        ending = threading.Thread(target=live.close if live is not None else lambda: None, name="live poses end")
        ending.start()
        return ending
