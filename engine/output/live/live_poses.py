"""All live channels of a run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from engine.errors import one_line
from engine.output.live.channel import About, Message, QueuedChannel
from engine.output.live.datagrams import Datagrams, json_line, osc_encoder
from engine.output.live.standard_output import StandardOutput
from engine.output.live.targets import STDOUT, LiveTarget
from engine.output.live.websocket import WebSocketServer
from engine.skeleton import Skeleton
from engine.system.closing import Closing
from engine.types import FrameResult, frame_record

Channel = QueuedChannel | WebSocketServer
"""Sends frames somewhere; `offer` never waits, and raises what the channel's thread failed with."""


class LivePoses(Closing):
    """Gives each frame to all channels; a context manager."""

    def __init__(
        self,
        targets: Sequence[LiveTarget],
        *,
        stdout: int | None = None,
        allow_remote: bool = False,
        allow_origins: Collection[str] = (),
        named: bool = False,
        notify: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """Open all channels.

        Args:
            stdout: handle of standard output (`standard_output.kept_for_poses`), where it is among the targets.
            allow_remote, allow_origins: who may read from a WebSocket, see `WebSocketServer`.
            named: whether records say which source they are of (`file_name`), because there are several.
            notify: receives one line for what goes wrong on the way; called in the channels' threads.

        Raises:
            OutputError: one cannot be opened.
        """
        self._named = named
        self._channels: list[Channel] = []
        self.servers: list[WebSocketServer] = []
        try:
            for target in targets:
                if target.scheme == STDOUT and stdout is not None:
                    self._channels.append(StandardOutput(stdout))
                elif target.scheme == "ws":
                    self.servers.append(
                        WebSocketServer(target, allow_remote=allow_remote, allow_origins=allow_origins, notify=notify)
                    )
                    self._channels.append(self.servers[-1])
                else:
                    encode = osc_encoder() if target.scheme == "osc" else json_line
                    self._channels.append(Datagrams(target, encode, notify))
        except BaseException:
            self.close()
            raise
        self._about: About | None = None

    @property
    def all_ended(self) -> bool:
        """Whether nobody can read any more: every channel had one reader, and that went away."""
        return bool(self._channels) and all(channel.ended for channel in self._channels)

    def offer(
        self, result: FrameResult, *, source: str, skeleton: Skeleton, time_s: float, file_name: str | None = None
    ) -> None:
        """Give a frame to all channels, without waiting for any.

        Args:
            time_s: from the start, in seconds.
            file_name: of the photo, for a source of photos.

        Raises:
            Exception: a channel's thread failed.
        """
        height, width = result.frame.image_bgr.shape[:2]
        about = self._about
        if about is None or (about.source, about.size_wh, about.skeleton) != (source, (width, height), skeleton):
            about = self._about = About(source=source, size_wh=(width, height), skeleton=skeleton)
        name = file_name if file_name is not None else source if self._named else None
        name = None if name is None else one_line(name)
        message = Message(about=about, record=frame_record(result.frame.index, time_s, result.poses, name))
        for channel in self._channels:
            channel.offer(message)

    def close(self) -> None:
        """Send what waits, and end; may be called again."""
        for channel in self._channels:
            channel.close()

    def check(self) -> None:
        """Raise what a channel's thread failed with; on the last frames, where `offer` is not called again.

        Raises:
            Exception: a channel's thread failed.
        """
        for channel in self._channels:
            if channel.error is not None:
                raise channel.error

    def summaries(self) -> tuple[str, ...]:
        """A line for each channel."""
        return tuple(channel.summary() for channel in self._channels)
