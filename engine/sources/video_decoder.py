"""The decoded frames of a stream: every frame that can be decoded, and a count of those that cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import av

from engine.sources.container import reason

_HIDDEN_FRAMES = ("vp8", "libvpx")
"""Codecs with separate packets for pictures that are never shown."""
_NOT_CODED_BYTES = 16
"""MPEG-4 repeats a picture with a packet of at most this many bytes, which yields no frame."""


class VideoDecoder:
    """Frames of a video stream in presentation order; iterated once.

    Attributes:
        packets: packets read so far.
        damaged: frames so far that the decoder returned but marked as damaged.
        ended_early: why reading ended before the end of the file; None where it did not.
    """

    def __init__(self, container: Any, stream: Any, *, reopen: Callable[[], tuple[Any, Any]] | None = None) -> None:
        """Read from the current position of a container.

        Args:
            reopen: opens both a second time, to decode a damaged end again; None where that is not possible.
        """
        self._container, self._stream, self._reopen = container, stream, reopen
        self._failed = self._shown_packets = self._given = 0
        self._last_pts: int | None = None
        self._codec = str(stream.codec_context.name)
        self._without_pts = self._fields = self._closed = False
        self.packets = self.damaged = 0
        self.ended_early: str | None = None

    @property
    def lost(self) -> int:
        """Frames so far that were in the file and could not be decoded."""
        # Decoders skip some damage silently: a packet yields no frame and no error. In interlaced video each field of
        # a frame may be a packet.
        uneven = self._fields or self._codec.startswith(_HIDDEN_FRAMES)
        return self._failed if uneven else max(self._failed, self._shown_packets - self._given)

    def close(self) -> None:
        """Stop yielding frames."""
        self._closed = True

    def __iter__(self) -> Iterator[Any]:
        yield from self._decoded(self._container, self._stream, count=True)
        # With several decoder threads PyAV loses all frames in flight where one of the last of them is damaged. With a
        # single thread it does not.
        if self._reopen is not None and not self._closed and self._shown_packets > self._given + self._failed:
            yield from self._decode_end_again(self._reopen)

    def _decoded(self, container: Any, stream: Any, *, count: bool) -> Iterator[Any]:
        packets = container.demux(stream)
        while not self._closed:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                self.ended_early, packet = reason(error), None
            if count and packet is not None and packet.size > 0:
                self.packets += 1
                empty = self._codec == "mpeg4" and packet.size <= _NOT_CODED_BYTES
                self._shown_packets += not (packet.is_discard or empty)
            try:
                frames = stream.decode(packet) if packet is None else packet.decode()
            except av.error.EOFError:
                return
            except (av.error.FFmpegError, ValueError):
                self._failed += count
                frames = []
            for frame in frames:
                if count:
                    self._note(frame)
                yield frame
            if packet is None:
                return

    def _note(self, frame: Any) -> None:
        self._given += 1
        self.damaged += bool(frame.is_corrupt)
        self._fields |= bool(frame.interlaced_frame)
        self._without_pts |= frame.pts is None
        if frame.pts is not None and (self._last_pts is None or frame.pts > self._last_pts):
            self._last_pts = frame.pts

    def _decode_end_again(self, reopen: Callable[[], tuple[Any, Any]]) -> Iterator[Any]:
        """The frames after the last one that was yielded."""
        container, stream = reopen()
        try:
            stream.thread_type = "SLICE"
            given, after = self._given, self._last_pts
            by_time = after is not None and not self._without_pts
            if by_time:
                container.seek(after, stream=stream, backward=True)
            for number, frame in enumerate(self._decoded(container, stream, count=False)):
                new = frame.pts is not None and frame.pts > after if by_time else number >= given
                if new:
                    self._note(frame)
                    yield frame
        except (av.error.FFmpegError, OSError) as error:
            self.ended_early = reason(error)
        finally:
            container.close()
