"""Opening a source by its name: a video, a photo, a folder, a camera, a stream or the demo."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from engine.errors import SourceError
from engine.sources.addresses import shown
from engine.sources.demo import DemoSource
from engine.sources.frame_source import FrameSource, SourceInfo
from engine.sources.inputs import check_list
from engine.sources.live import CameraCapture, LiveSource
from engine.sources.photos import PHOTO_SUFFIXES, PhotoSource, photos_in
from engine.sources.pipe import STDIN, Pipe, is_pipe
from engine.sources.reconnect import ReconnectingSource
from engine.sources.streams import open_url
from engine.sources.video import VideoSource
from engine.system.missing import not_installed
from engine.system.paths import path_from

_LONGEST_SHOWN = 300
_VIDEO_DEVICE = re.compile(r"/dev/video(\d+)")  # of Linux
_URL_SCHEMES = ("rtsp://", "rtsps://", "rtmp://", "http://", "https://", "udp://", "tcp://", "srt://", "rtp://")


@dataclass(frozen=True, kw_only=True)
class CameraInfo:
    """A camera of this machine: the number that opens it, and the name that its driver reports."""

    index: int
    name: str


def list_cameras() -> list[CameraInfo]:
    """The cameras found, one entry per camera, ordered by number.

    Raises:
        SourceError: the package that enumerates them is missing or fails.
    """
    try:
        import cv2_enumerate_cameras
    except ImportError as error:
        raise SourceError(f"cameras cannot be listed: {not_installed('cv2_enumerate_cameras')}") from error
    try:
        found = cv2_enumerate_cameras.enumerate_cameras()
    except (OSError, RuntimeError, NotImplementedError) as error:
        raise SourceError(f"cameras cannot be listed: {error}") from error
    cameras: dict[int, CameraInfo] = {}
    for camera in found:
        # A camera is listed once per capture API of the system; the last two digits are its number in that API.
        index = int(camera.index) % 100
        cameras.setdefault(index, CameraInfo(index=index, name=str(camera.name)))
    return [cameras[index] for index in sorted(cameras)]


def open_source(text: str) -> FrameSource:
    """Open the source that a text names and check that it yields frames.

    Args:
        text: path of a video, photo or folder of photos; a camera's number or device; a URL; '-' for standard input; or
            'demo'.

    Raises:
        SourceError: it cannot be opened; the one-line message states what was expected and what was found.
    """
    source = _open_once(text)
    return ReconnectingSource(source, lambda: _open_again(text)) if source.info.is_live else source


def _open_again(text: str) -> FrameSource:
    """Reopen a live source that was lost.

    Raises:
        SourceError: it cannot be opened, or is not live any more.
    """
    source = _open_once(text)
    if source.info.is_live:
        return source
    source.close()
    raise SourceError(f"{source.info.name} is not a live source any more")


def _open_once(text: str) -> FrameSource:
    text = text.strip()
    if not text:
        raise SourceError("no source was given: expected a video, photo, folder, camera number, URL or 'demo'")
    if text == STDIN:
        return _open_pipe(Pipe(None, "standard input"), None)
    path = path_from(text)
    if text.lower().startswith(_URL_SCHEMES):
        return open_url(text)
    if _exists(path):  # a file named "demo" or "0" takes precedence over the keyword
        return _open_path(path)
    if text == "demo":
        return DemoSource()
    if text.isascii() and text.isdigit():
        return _open_camera(int(text))
    shortened = shown(text[:_LONGEST_SHOWN])
    raise SourceError(
        f"{shortened} does not exist: expected a video, photo or folder, a camera number, a URL or 'demo'"
        if "://" not in text
        else f"URLs of the kind {text.split('://', 1)[0]}:// are not supported: expected {', '.join(_URL_SCHEMES)}"
    )


def path_of(text: str | None) -> Path | None:
    """The file or folder that a source's text names; None where it names something else, or nothing."""
    path = path_from((text or "").strip())
    return path if text and not text.lower().startswith(_URL_SCHEMES) and _exists(path) else None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # longer than a file name can be, or not a valid file name
        return False


def _open_path(path: Path) -> FrameSource:
    device = _VIDEO_DEVICE.fullmatch(str(path.resolve()))
    if device is not None:
        return _open_camera(int(device[1]))
    if path.is_dir():
        return PhotoSource(photos_in(path), name=path.resolve().name, path=path)
    try:
        if is_pipe(path):
            return _open_pipe(Pipe(path, str(path)), path)
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error
    if path.is_file() and size == 0:
        raise SourceError(f"{path} is empty (0 bytes): expected a video or a photo")
    if path.suffix.lower() in PHOTO_SUFFIXES:
        return PhotoSource([path], name=path.name, path=path)
    check_list(path)
    # The prefix "file:" keeps FFmpeg from reading a colon in a file name as a protocol.
    return VideoSource(f"file:{path}", name=path.name, path=path, shown=str(path))


def _open_camera(index: int) -> FrameSource:
    return LiveSource(CameraCapture(index), SourceInfo(name=f"camera {index}", kind="camera"))


def _open_pipe(pipe: Pipe, path: Path | None) -> FrameSource:
    name = path.name if path is not None else "stdin"
    return VideoSource("", name=name, path=path, shown=pipe.shown, pipe=pipe)
