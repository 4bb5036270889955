"""Streams and videos behind a URL, through PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit

import av

from engine.decoded_picture import frame_to_bgr, picture_tags
from engine.errors import SourceError
from engine.frame_source import PictureTags, SourceInfo
from engine.live_source import OPEN_TIMEOUT_S, READ_TIMEOUT_S, LiveSource
from engine.types import UInt8Array
from engine.video_source import VideoSource, first_video_stream, open_container, reason, stream_rate


class StreamCapture:
    """A stream without an end, through an opened PyAV container."""

    def __init__(self, container: Any, name: str) -> None:
        self._container = container
        self._name = name
        self._frames: Any = None

    def open(self) -> tuple[Fraction | None, PictureTags]:
        """Find the pictures of the stream.

        Raises:
            SourceError: the stream holds no video.
        """
        stream = first_video_stream(self._container, self._name)
        stream.thread_type = "SLICE"  # threads by frame would hold back as many frames as there are threads
        self._frames = self._decode(stream)
        first = next(self._frames, None)
        if first is None:
            raise SourceError(f"{self._name} gave no picture")
        self._first = first
        return stream_rate(stream), picture_tags(first, stream.sample_aspect_ratio)

    def _decode(self, stream: Any) -> Iterator[Any]:
        for packet in self._container.demux(stream):
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                continue  # streams begin in the middle and lose packets; the next whole picture counts

    def read(self) -> UInt8Array | None:
        """The next picture; None when the stream ends.

        Raises:
            SourceError: the connection broke or gave nothing in time.
        """
        frame, self._first = self._first, None
        try:
            if frame is None:
                frame = next(self._frames, None)
        except av.error.EOFError:
            return None
        except (av.error.FFmpegError, OSError) as error:
            raise SourceError(f"{self._name}: the stream broke off ({reason(error)})") from None
        return None if frame is None else frame_to_bgr(frame)

    def close(self) -> None:
        """Close the connection."""
        self._container.close()


def url_name(url: str) -> str:
    """A URL as it may be shown: host and path, without user, password and query (which may hold a key)."""
    parts = urlsplit(url)
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return f"{parts.scheme.lower()}://{parts.hostname or ''}{port}{parts.path}"


def open_url(
    url: str, *, open_timeout_s: float = OPEN_TIMEOUT_S, read_timeout_s: float = READ_TIMEOUT_S
) -> VideoSource | LiveSource:
    """Open a URL: a whole video (it has a length) is read like a file, everything else is live.

    Raises:
        SourceError: nothing answers, or what answers is no video. The message holds no password.
    """
    name = url_name(url)
    options = {"rtsp_transport": "tcp"} if url.lower().startswith("rtsp") else {}
    container = open_container(url, name, options=options, timeout_s=(open_timeout_s, read_timeout_s))
    if container.duration and container.duration > 0 and url.lower().startswith("http"):
        return VideoSource(url, name=name, container=container)
    return LiveSource(
        StreamCapture(container, name),
        SourceInfo(name=name, kind="stream"),
        open_timeout_s=open_timeout_s,
        read_timeout_s=read_timeout_s,
    )
