"""Opening a file or an address with PyAV, and finding the video in it."""

from __future__ import annotations

import errno
import time
from fractions import Fraction
from typing import Any

import av

from engine.errors import SourceError

# By default FFmpeg writes to stderr; every error that matters is raised as an exception.
av.logging.set_level(None)

_DRAWN_TEXT = ("tty", "bin", "xbin", "adf", "idf")
"""Formats in which FFmpeg renders the text of any file with a matching name as a picture."""


def reason(error: BaseException) -> str:
    """Why PyAV failed, without the file name or URL (which may hold a password) that its messages repeat."""
    text = getattr(error, "strerror", None)
    return str(text) if text else type(error).__name__


def open_container(media: Any, shown: str, *, options: dict[str, str] | None = None, timeout_s: Any = None) -> Any:
    """Open a file, a URL or a `Pipe` with PyAV for reading. What a local file names is read from local files only.

    Raises:
        SourceError: it cannot be opened, does not answer, or FFmpeg does not recognise its content.
    """
    is_url = isinstance(media, str) and not media.startswith("file:")
    options = dict(options or {}) if is_url else {"protocol_whitelist": "file,crypto,data", **(options or {})}
    started_s = time.monotonic()
    limit_s = min(timeout_s) if isinstance(timeout_s, tuple) else timeout_s
    try:
        container = av.open(media, "r", options=options, timeout=timeout_s, metadata_errors="replace")
        if limit_s is not None and not container.streams and time.monotonic() - started_s >= limit_s:
            container.close()
            raise SourceError(f"{shown}: no answer in {limit_s:.0f} s")
    except av.error.ExitError:  # the time limit
        raise SourceError(f"{shown}: no answer in {time.monotonic() - started_s:.0f} s") from None
    except (av.error.InvalidDataError, av.error.EOFError):
        if limit_s is not None and time.monotonic() - started_s >= limit_s:  # it waited for the rest
            raise SourceError(f"{shown}: no answer in {limit_s:.0f} s") from None
        raise SourceError(
            f"{shown} cannot be read as a video: expected MP4, MKV, AVI or the like, found other data"
            " (or a video so cut off that its index is missing)"
        ) from None
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if getattr(error, "errno", None) == errno.EIO and not is_url:
            raise SourceError(f"{shown} cannot be read: its header is damaged or cut off, or the disk fails") from None
        # "from None", because the error's own text repeats the URL with its password.
        raise SourceError(f"cannot open {shown}: {reason(error)}") from None
    if container.format.name in _DRAWN_TEXT:
        container.close()
        raise SourceError(f"{shown} is a text file: expected a video or a photo")
    return container


def first_video_stream(container: Any, shown: str) -> Any:
    """The first video stream that is not a cover picture.

    Raises:
        SourceError: there is none, or no decoder for it.
    """
    cover = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & cover:
            if stream.codec_context is None:
                raise SourceError(f"no decoder for the video stream of {shown}")
            return stream
    kinds = sorted({str(stream.type) for stream in container.streams if stream.type != "video"})
    found = f"found {' and '.join(kinds)} only" if kinds else "found no stream"
    raise SourceError(f"{shown} holds no video: expected a video stream, {found}")


def stream_rate(stream: Any) -> Fraction | None:
    """Frames per second of a stream, exact; None where unknown or implausible."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and 0 < rate <= 1000:
            return Fraction(rate)
    return None
