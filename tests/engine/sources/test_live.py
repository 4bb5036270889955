"""Live sources and URLs."""

from __future__ import annotations

import functools
import http.server
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from engine.errors import SourceError
from engine.sources import opening
from engine.sources.addresses import url_name
from engine.sources.frame_source import PictureTags, SourceInfo
from engine.sources.live import LiveSource
from engine.sources.opening import open_source
from engine.types import UInt8Array
from tests.engine.clips import ClipSpec, frames_of, make_clip, refusal

# Live


class FakeCapture:
    """Yields numbered pictures at a given rate; fails or ends at a given number."""

    def __init__(self, *, pictures: int, pause_s: float = 0.0, error: Exception | None = None) -> None:
        self.left, self.pause_s, self.error = pictures, pause_s, error
        self.closed = threading.Event()
        self.given = 0

    def open(self) -> tuple[Fraction | None, PictureTags]:
        return Fraction(30), PictureTags()

    def read(self) -> UInt8Array | None:
        if self.given == self.left:
            if self.error is not None:
                raise self.error
            return None
        self.given += 1
        time.sleep(self.pause_s)
        return np.full((8, 8, 3), self.given % 256, np.uint8)

    def close(self) -> None:
        self.closed.set()


CAMERA = SourceInfo(name="camera 0", kind="camera")


def test_live_source_drops_for_a_slow_reader_and_ends() -> None:
    capture = FakeCapture(pictures=30, pause_s=0.002)
    source = LiveSource(capture, CAMERA)
    seen, stamps = [], []
    for frame in source:
        seen.append(int(frame.image_bgr[0, 0, 0]))
        stamps.append(frame.pts or 0)
        time.sleep(0.02)
    assert source.info.is_live
    assert source.info.time_base is not None
    assert seen == sorted(set(seen))
    assert stamps == sorted(set(stamps))
    assert len(seen) + source.dropped_frames == 30
    assert seen[-1] == 30, "the last picture is delivered"
    source.close()
    assert capture.closed.is_set()


def test_live_source_raises_its_error_in_the_reader() -> None:
    with pytest.raises(SourceError, match="unplugged"):
        list(LiveSource(FakeCapture(pictures=3, pause_s=0.01, error=SourceError("unplugged")), CAMERA))
    with pytest.raises(SourceError, match="camera 0 failed: RuntimeError"):
        list(LiveSource(FakeCapture(pictures=3, pause_s=0.01, error=RuntimeError("driver")), CAMERA))


def test_a_camera_without_pictures_times_out() -> None:
    capture = FakeCapture(pictures=1, pause_s=1.0)
    with pytest.raises(SourceError, match="sent no picture"):
        LiveSource(capture, CAMERA, open_timeout_s=0.02, read_timeout_s=0.02)


def test_close_wakes_a_waiting_reader() -> None:
    source = LiveSource(FakeCapture(pictures=10_000, pause_s=0.01), CAMERA)
    reader = threading.Thread(target=lambda: list(source))
    reader.start()
    source.close()
    reader.join(5)
    assert not reader.is_alive()


def test_missing_camera_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert "camera 97" in refusal("97")
    assert capfd.readouterr().err == ""


def test_a_video_device_is_a_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_exists", lambda _path: True)
    assert "camera 97 cannot be opened" in refusal("/dev/video97")


# URLs


def test_url_name_hides_secrets() -> None:
    name = url_name("rtsp://admin:hunter2@cam.local:554/live/1?token=abc")
    assert name == "rtsp://cam.local:554/live/1"


@pytest.fixture
def web_folder(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield tmp_path, f"http://user:hunter2@127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_video_behind_a_url_loses_no_frame(web_folder: tuple[Path, str]) -> None:
    folder, address = web_folder
    make_clip(folder / "clip.mp4", ClipSpec(frames=25))
    source = open_source(f"{address}/clip.mp4?key=abc")
    assert source.info.kind == "stream"
    assert not source.info.is_live
    assert "hunter2" not in repr(source.info)
    assert "abc" not in source.info.name
    assert len(frames_of(source)) == 25


def test_endless_stream_is_live(web_folder: tuple[Path, str]) -> None:
    folder, address = web_folder
    make_clip(folder / "clip.h264", ClipSpec(frames=25))  # bare H.264 has no duration, like a stream
    source = open_source(f"{address}/clip.h264")
    assert source.info.is_live
    frames = frames_of(source)
    assert frames
    assert len(frames) + source.dropped_frames == 25
    assert "hunter2" not in source.info.name


def test_messages_about_urls_hold_no_password(web_folder: tuple[Path, str]) -> None:
    folder, address = web_folder
    (folder / "text.mp4").write_text("no video" * 200)
    for path in ("missing.mp4", "text.mp4"):
        with pytest.raises(SourceError) as caught:
            open_source(f"{address}/{path}")
        assert "hunter2" not in str(caught.value)
        assert caught.value.__suppress_context__, "the traceback would repeat the URL"
    with pytest.raises(SourceError) as caught:
        open_source("rtsp://user:hunter2@127.0.0.1:9/none")
    assert "hunter2" not in str(caught.value)
