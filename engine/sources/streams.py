"""Streams and videos behind a URL, through PyAV."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av

from engine.errors import SourceError
from engine.sources.addresses import url_name
from engine.sources.container import first_video_stream, open_container, reason, stream_rate
from engine.sources.decoded_picture import frame_to_bgr, picture_tags
from engine.sources.frame_source import PictureTags, SourceInfo
from engine.sources.live import OPEN_TIMEOUT_S, READ_TIMEOUT_S, LiveSource
from engine.sources.video import VideoSource
from engine.types import UInt8Array


class StreamCapture:
    """An endless stream, read from an opened PyAV container."""

    def __init__(self, container: Any, name: str, read_timeout_s: float = READ_TIMEOUT_S) -> None:
        self._container = container
        self._name = name
        self._read_timeout_s = read_timeout_s
        self._until_s = 0.0
        self._frames: Any = None
        self._first: Any = None

    def open(self) -> tuple[Fraction | None, PictureTags]:
        """Find the video stream and decode its first picture.

        Raises:
            SourceError: there is no video stream, or no picture arrives in time.
        """
        stream = first_video_stream(self._container, self._name)
        stream.thread_type = "SLICE"  # frame threading delays the output by one frame per thread
        self._frames = self._decode(stream)
        first = self._next()
        if first is None:
            raise SourceError(f"{self._name} gave no picture")
        self._first = first
        return stream_rate(stream), picture_tags(first, stream.sample_aspect_ratio)

    def _decode(self, stream: Any) -> Iterator[Any]:
        for packet in self._container.demux(stream):
            with contextlib.suppress(av.error.InvalidDataError):  # a stream is joined midway and loses packets
                yield from packet.decode()
            if time.monotonic() > self._until_s:
                raise SourceError(f"{self._name} sends data, but no picture came for {self._read_timeout_s:.0f} s")

    def _next(self) -> Any:
        """The next decoded picture; None where a stream of known length has ended.

        PyAV ends a read that waits too long. Data that contains no picture is detected in `_decode`.

        Raises:
            SourceError: the connection broke, or no picture arrived in time.
        """
        self._until_s = time.monotonic() + self._read_timeout_s
        try:
            frame = next(self._frames, None)
        except av.error.EOFError:
            frame = None
        except av.error.ExitError:
            raise SourceError(f"{self._name} gave nothing for {self._read_timeout_s:.0f} s") from None
        except (av.error.FFmpegError, OSError) as error:
            raise SourceError(f"{self._name}: the stream broke off ({reason(error)})") from None
        if frame is None and self._container.size <= 0:
            raise SourceError(f"{self._name}: the other side ended the stream")
        return frame

    def read(self) -> UInt8Array | None:
        """The next picture; None when the stream ends.

        Raises:
            SourceError: the connection broke, or no picture arrived in time.
        """
        frame, self._first = self._first, None
        if frame is None:
            frame = self._next()
        return None if frame is None else frame_to_bgr(frame)

    def close(self) -> None:
        """Close the connection."""
        self._frames = None
        self._container.close()


def open_url(
    url: str, *, open_timeout_s: float = OPEN_TIMEOUT_S, read_timeout_s: float = READ_TIMEOUT_S
) -> VideoSource | LiveSource:
    """Open a URL: a complete video (it has a duration) is read like a file, everything else is live.

    Raises:
        SourceError: the address does not answer, or its data is not a video. The message contains no password.
    """
    name = url_name(url)
    options = {"rtsp_transport": "tcp"} if url.lower().startswith("rtsp") else {}
    container = open_container(url, name, options=options, timeout_s=(open_timeout_s, read_timeout_s))
    if container.duration and container.duration > 0 and url.lower().startswith("http"):
        return VideoSource(url, name=name, container=container)
    return LiveSource(
        StreamCapture(container, name, read_timeout_s),
        SourceInfo(name=name, kind="stream"),
        open_timeout_s=open_timeout_s,
        read_timeout_s=read_timeout_s,
    )
