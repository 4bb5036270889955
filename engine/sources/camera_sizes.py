"""How large the pictures of a camera are, without waiting for cameras that are busy or say nothing.

Linux is asked without opening the stream, so that a camera in use answers, too, and no lamp goes on. Other systems tell
only whom a camera is open for: it is opened once, for a moment, and never while this program holds it.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable

import cv2

SizeWh = tuple[int, int]

LOOK_LIMIT_S = 1.0
_RELEASE_LIMIT_S = 3.0

_POINTER = struct.calcsize("P")
_FORMAT_BYTES = 200 + _POINTER
"""sizeof(struct v4l2_format): a type, padded to the size of a pointer, and a union of 200 bytes."""
_READ_WRITE, _G_FMT, _TRY_FMT = 3 << 30, 4, 64
_VIDEO_CAPTURE = 1
_OPENCV_WISH_WH = (640, 480)
"""What OpenCV asks a camera for under Linux, unless it is told otherwise."""


class CameraUse:
    """Who holds a camera in this process: a capture goes before, a look at its size waits for another time."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._captures: Counter[int] = Counter()
        self._looks: set[int] = set()

    def begin_capture(self, index: int) -> None:
        """A capture wants the camera; waits a little for a look that goes on."""
        with self._changed:
            self._captures[index] += 1
            self._changed.wait_for(lambda: index not in self._looks, _RELEASE_LIMIT_S)

    def end_capture(self, index: int) -> None:
        """The capture is over."""
        with self._changed:
            self._captures[index] -= 1

    def begin_look(self, index: int) -> bool:
        """Whether the camera may be opened for a look, which must be ended then."""
        with self._changed:
            if self._captures[index] > 0 or index in self._looks:
                return False
            self._looks.add(index)
            return True

    def end_look(self, index: int) -> None:
        """The look is over."""
        with self._changed:
            self._looks.discard(index)
            self._changed.notify_all()


CAMERA_USE = CameraUse()


def _v4l2_format(descriptor: int, number: int, data: bytearray) -> SizeWh:
    """Send a request about the format of pictures; width and height of the answer, which is left in `data`."""
    if sys.platform == "win32":
        raise OSError("no V4L2")
    import fcntl

    fcntl.ioctl(descriptor, _READ_WRITE | _FORMAT_BYTES << 16 | ord("V") << 8 | number, data)
    width, height = struct.unpack_from("=II", data, _POINTER)
    return int(width), int(height)


def size_by_v4l2(device: str) -> SizeWh | None:
    """The size that a device of Linux gives this program; None where it does not say.

    Args:
        device: such as /dev/video0.
    """
    try:
        descriptor = os.open(device, os.O_RDWR | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None
    try:
        data = bytearray(_FORMAT_BYTES)
        struct.pack_into("=I", data, 0, _VIDEO_CAPTURE)
        size_wh = _v4l2_format(descriptor, _G_FMT, data)
        try:
            # What it would do if it were asked as OpenCV will ask; nothing is changed by this request.
            struct.pack_into("=II", data, _POINTER, *_OPENCV_WISH_WH)
            size_wh = _v4l2_format(descriptor, _TRY_FMT, data)
        except OSError:  # drivers may leave it out; the size that is set is an answer, too
            pass
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return size_wh if min(size_wh) > 0 else None


def size_by_opening(index: int) -> SizeWh | None:
    """The size with which a camera opens; None where this program or another one holds it."""
    if not CAMERA_USE.begin_look(index):
        return None
    try:
        camera = cv2.VideoCapture(index)
        try:
            if not camera.isOpened():
                return None
            size_wh = (
                round(camera.get(cv2.CAP_PROP_FRAME_WIDTH)),
                round(camera.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            )
        finally:
            camera.release()
    finally:
        CAMERA_USE.end_look(index)
    return size_wh if min(size_wh) > 0 else None


def size_of_camera(index: int) -> SizeWh | None:
    """The size of a camera's pictures, asked in the gentlest way that the system has."""
    return size_by_v4l2(f"/dev/video{index}") if sys.platform == "linux" else size_by_opening(index)


class CameraSizes:
    """Asks cameras in threads, remembers what they said, and waits for none of them longer than a limit."""

    def __init__(self, ask: Callable[[int], SizeWh | None] = size_of_camera) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._known: dict[tuple[int, str], SizeWh] = {}
        self._asked: dict[int, threading.Thread] = {}

    def known(self, index: int, name: str) -> SizeWh | None:
        """What is known of a camera of this number and name."""
        with self._lock:
            return self._known.get((index, name))

    def look(self, cameras: Iterable[tuple[int, str]], limit_s: float = LOOK_LIMIT_S) -> None:
        """Ask the cameras (number and name) that are not known; an answer that comes later is known the next time."""
        threads = [self._start(index, name) for index, name in cameras if self.known(index, name) is None]
        until_s = time.monotonic() + limit_s
        for thread in threads:
            thread.join(max(0.0, until_s - time.monotonic()))

    def _start(self, index: int, name: str) -> threading.Thread:
        with self._lock:
            thread = self._asked.get(index)
            if thread is None or not thread.is_alive():  # one that is silent is not asked a second time meanwhile
                thread = threading.Thread(target=self._run, args=(index, name), name=f"camera {index}?", daemon=True)
                self._asked[index] = thread
                thread.start()
            return thread

    def _run(self, index: int, name: str) -> None:
        try:
            size_wh = self._ask(index)
        except (OSError, cv2.error):
            return  # a camera without a size is listed, too
        if size_wh is not None:
            with self._lock:
                self._known[index, name] = size_wh
