"""Sizes of cameras: what devices answer, and those that answer late or never."""

from __future__ import annotations

import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import doctor
from engine.sources import camera_sizes
from engine.sources import opening as sources
from engine.sources.camera_sizes import CameraSizes, CameraUse, SizeWh, size_by_opening, size_by_v4l2
from engine.sources.live import CameraCapture
from engine.sources.opening import CameraInfo, measured

NAMES = [(0, "Desk"), (2, "Door")]


@pytest.fixture
def ended() -> Iterator[threading.Event]:
    """Set at the end, so that no thread of a test outlives it for long."""
    event = threading.Event()
    yield event
    event.set()


class Driver:
    """A device of V4L2 for 64-bit systems, by the numbers of linux/videodev2.h."""

    def __init__(self, *, set_to: SizeWh, gives: SizeWh | None) -> None:
        self.set_to, self.gives = set_to, gives
        self.wished: SizeWh | None = None

    def ioctl(self, _descriptor: int, request: int, data: bytearray) -> int:
        assert len(data) == 208 and struct.unpack_from("=I", data, 0) == (1,)
        if request == 0xC0D05604:  # VIDIOC_G_FMT
            struct.pack_into("=IIII", data, 8, *self.set_to, 0x56595559, 1)
        elif request == 0xC0D05640 and self.gives is not None:  # VIDIOC_TRY_FMT
            width, height, four_letters, _field = struct.unpack_from("=IIII", data, 8)
            assert four_letters == 0x56595559
            self.wished = (width, height)
            struct.pack_into("=II", data, 8, *self.gives)
        else:
            raise OSError(25, "Inappropriate ioctl for device")
        return 0


@pytest.mark.skipif(sys.platform == "win32" or sys.maxsize < 2**32, reason="numbers of 64-bit Linux")
@pytest.mark.parametrize(
    ("set_to", "gives", "told"),
    [
        ((1920, 1080), (640, 480), (640, 480)),
        ((1280, 720), (1280, 960), (1280, 960)),  # a camera without small sizes gives the nearest
        ((1280, 720), None, (1280, 720)),  # a driver that cannot be asked what it would do
        ((0, 0), None, None),
    ],
)
def test_a_device_is_asked_for_what_opencv_will_get(
    set_to: SizeWh, gives: SizeWh | None, told: SizeWh | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path / "video0"
    device.touch()
    driver = Driver(set_to=set_to, gives=gives)
    monkeypatch.setattr("fcntl.ioctl", driver.ioctl)
    assert size_by_v4l2(str(device)) == told
    assert driver.wished in (None, (640, 480))


@pytest.mark.skipif(sys.platform == "win32", reason="V4L2 is Linux's")
def test_what_is_no_camera_has_no_size(tmp_path: Path) -> None:
    file = tmp_path / "video0"
    assert size_by_v4l2(str(file)) is None
    file.write_bytes(b"a file")
    assert size_by_v4l2(str(file)) is None


def test_a_silent_camera_holds_nobody_up_and_is_asked_once(ended: threading.Event) -> None:
    asked: list[int] = []

    def ask(index: int) -> SizeWh | None:
        asked.append(index)
        if index == 2:
            ended.wait(20)
        return (640, 480)

    sizes = CameraSizes(ask)
    cameras = [CameraInfo(index=index, name=name) for index, name in NAMES]
    for _ in range(3):
        started_s = time.monotonic()
        found = measured(cameras, sizes, limit_s=0.3)
        assert time.monotonic() - started_s < 5  # and not the 20 s of the camera
        assert [camera.label for camera in found] == ["Desk, 640×480", "Door"]
    assert sorted(asked) == [0, 2]
    ended.set()  # it answers in the end, and that is known the next time
    assert [camera.size_wh for camera in measured(cameras, sizes, limit_s=5)] == [(640, 480)] * 2
    assert sorted(asked) == [0, 2]


def test_a_busy_camera_is_asked_again_and_another_one_on_its_number_too() -> None:
    answers: list[SizeWh | OSError | None] = [None, OSError("busy"), (800, 600), (320, 240)]

    def ask(_index: int) -> SizeWh | None:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    sizes = CameraSizes(ask)
    told = []
    for name in ("Desk", "Desk", "Desk", "Desk", "Another"):
        sizes.look([(0, name)], limit_s=5)
        told.append(sizes.known(0, name))
    assert told == [None, None, (800, 600), (800, 600), (320, 240)]


class Opened:
    """What cv2.VideoCapture gives."""

    def __init__(self, while_opening: Callable[[], None], *, is_open: bool = True) -> None:
        self._open = is_open
        self.released = False
        while_opening()

    def isOpened(self) -> bool:
        return self._open

    def get(self, what: int) -> float:
        return {3: 1280.0, 4: 720.0}.get(what, 0.0)

    def set(self, _what: int, _value: float) -> bool:
        return True

    def release(self) -> None:
        self.released = True


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> CameraUse:
    fresh = CameraUse()
    monkeypatch.setattr("engine.sources.camera_sizes.CAMERA_USE", fresh)
    monkeypatch.setattr("engine.sources.live.CAMERA_USE", fresh)
    return fresh


def test_where_nobody_tells_a_camera_is_opened_for_a_moment(use: CameraUse, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Opened] = []

    def capture(_index: int) -> Any:
        made.append(Opened(lambda: None, is_open=not made))
        return made[-1]

    monkeypatch.setattr("cv2.VideoCapture", capture)
    assert size_by_opening(1) == (1280, 720) and made[0].released
    assert size_by_opening(1) is None and made[1].released  # another program holds it
    camera = CameraCapture(1)
    made.clear()
    camera.open()
    assert size_by_opening(1) is None and len(made) == 1  # this program holds it: it is not touched
    camera.close()
    camera.close()
    assert size_by_opening(1) is None and len(made) == 2


def test_a_capture_waits_for_a_look_to_end(use: CameraUse, monkeypatch: pytest.MonkeyPatch) -> None:
    together: list[int] = []
    looking, open_now = threading.Event(), [0]

    def capture(_index: int) -> Any:
        open_now[0] += 1
        looking.set()
        opened = Opened(lambda: time.sleep(0.2))
        together.append(open_now[0])
        release = opened.release

        def end() -> None:
            open_now[0] -= 1
            release()

        monkeypatch.setattr(opened, "release", end)
        return opened

    monkeypatch.setattr("cv2.VideoCapture", capture)
    look = threading.Thread(target=size_by_opening, args=(1,))
    look.start()
    assert looking.wait(5)
    camera = CameraCapture(1)
    camera.open()
    look.join(5)
    camera.close()
    assert together == [1, 1]


def test_the_doctor_tells_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "list_cameras", lambda: [CameraInfo(index=i, name=name) for i, name in NAMES])
    monkeypatch.setattr(camera_sizes, "size_of_camera", lambda index: (1920, 1080) if index == 0 else None)
    monkeypatch.setattr(sources, "CameraSizes", lambda: CameraSizes(camera_sizes.size_of_camera))
    assert [(found.name, found.text) for found in doctor.cameras()] == [("0", "Desk, 1920×1080"), ("2", "Door")]
