"""Live sources: a thread captures and keeps only the newest frame for the reader; and the camera, one of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any, Protocol

import cv2
import numpy as np

from engine.errors import SourceError
from engine.sources.container import reason
from engine.sources.frame_source import FrameSource, PictureTags, SourceInfo
from engine.system.installation import program_command
from engine.system.latest_slot import LatestSlot
from engine.types import Frame, UInt8Array

LIVE_TIME_BASE = Fraction(1, 90_000)
OPEN_TIMEOUT_S = 15.0
READ_TIMEOUT_S = 10.0
_JOIN_LIMIT_S = 3.0


class Capture(Protocol):
    """A device or stream that yields pictures; opened, read and closed in the capture thread."""

    def open(self) -> tuple[Fraction | None, PictureTags]:
        """Open the device or stream; returns its frame rate, None where it reports none, and its tags."""

    def read(self) -> UInt8Array | None:
        """The next picture, (H, W, 3) uint8 BGR, owned by the caller; None at the end."""

    def close(self) -> None:
        """Release the device or stream."""


class LiveSource(FrameSource):
    """Runs a capture in its own thread and yields its newest pictures.

    Time stamps of frames are capture times on the clock of `time.monotonic()`, so that delays can be measured;
    `Frame.pts` counts from the first captured picture, in units of 1/90000 s.
    """

    def __init__(
        self,
        capture: Capture,
        info: SourceInfo,
        *,
        open_timeout_s: float = OPEN_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        """Open the capture and wait for its first picture.

        Raises:
            SourceError: it cannot be opened, or no picture arrives in time.
        """
        super().__init__(info)
        self._capture = capture
        self._read_timeout_s = read_timeout_s
        self._stop = threading.Event()
        self._slot: LatestSlot[tuple[UInt8Array, float]] = LatestSlot()
        self._opened: tuple[Fraction | None, PictureTags] = (None, PictureTags())
        self._thread = threading.Thread(target=self._run, name=f"capture {info.name}", daemon=True)
        self._thread.start()
        try:
            first = self._take(open_timeout_s + read_timeout_s)
        except SourceError:
            self.close()
            raise
        if first is None:
            self.close()
            raise SourceError(f"{info.name} gave no picture")
        self._first: tuple[UInt8Array, float] | None = first
        self._start_s = first[1]
        rate, tags = self._opened
        height, width = first[0].shape[:2]
        self._info = replace(
            info, size_wh=(width, height), frame_rate=rate, time_base=LIVE_TIME_BASE, is_live=True, tags=tags
        )

    def _run(self) -> None:
        """The capture thread; always sets the end mark, with the error if there was one."""
        error: SourceError | None = None
        try:
            self._opened = self._capture.open()
            while not self._stop.is_set():
                image = self._capture.read()
                if image is None:
                    break
                self._slot.put((image, time.monotonic()))
        except SourceError as caught:
            error = caught
        except Exception as caught:
            error = SourceError(f"{self._info.name} failed: {type(caught).__name__}: {reason(caught)}")
        finally:
            try:
                self._capture.close()
            finally:
                self._slot.end(error)

    def _take(self, timeout_s: float) -> tuple[UInt8Array, float] | None:
        """The next picture and its capture time; None at the end."""
        taken = self._slot.take(timeout_s)
        if taken is None:
            if not self._slot.ended:
                raise SourceError(f"{self._info.name} sent no picture for {timeout_s:.0f} s; is it still connected?")
            taken = self._slot.take()  # raises the error of a capture that ended between the two lines above
        return taken

    @property
    def dropped_frames(self) -> int:
        """Pictures that newer ones replaced before the reader took them."""
        return self._slot.dropped

    def __iter__(self) -> Iterator[Frame]:
        index, last_pts = 0, -1
        while not self._stop.is_set():
            # The picture that the constructor waited for is the first frame.
            if self._first is not None:
                taken, self._first = self._first, None
            else:
                maybe = self._take(self._read_timeout_s)
                if maybe is None:
                    return
                taken = maybe
            image, captured_s = taken
            last_pts = max(last_pts + 1, round((captured_s - self._start_s) / LIVE_TIME_BASE))
            yield Frame(image_bgr=image, index=index, timestamp_s=captured_s, pts=last_pts)
            index += 1

    def close(self) -> None:
        """Stop the thread; a waiting reader gets the end mark."""
        self._stop.set()
        self._slot.end()
        if self._thread is not threading.current_thread():
            self._thread.join(_JOIN_LIMIT_S)


class CameraCapture:
    """A camera, opened by its number through OpenCV."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._camera: Any = None

    def open(self) -> tuple[Fraction | None, PictureTags]:
        """Open the camera.

        Raises:
            SourceError: there is no such camera, or another program uses it.
        """
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # the error below suffices
        try:
            self._camera = cv2.VideoCapture(self._index)
        finally:
            cv2.utils.logging.setLogLevel(level)
        if not self._camera.isOpened():
            raise SourceError(
                f"camera {self._index} cannot be opened: no such camera, or another program uses it"
                f" ({program_command()} --doctor lists the cameras)"
            )
        # Drivers that queue frames would deliver old ones; drivers without a queue ignore the setting.
        self._camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        rate = float(self._camera.get(cv2.CAP_PROP_FPS))
        return (Fraction(rate).limit_denominator(1001) if 1 <= rate <= 1000 else None), PictureTags()

    def read(self) -> UInt8Array | None:
        """The next picture.

        Raises:
            SourceError: the camera delivers no more pictures.
        """
        done, image = self._camera.read()
        if not done or image is None:
            raise SourceError(f"camera {self._index} stopped sending pictures; was it unplugged?")
        # OpenCV may return grey pictures for industrial cameras.
        return np.ascontiguousarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image)

    def close(self) -> None:
        """Release the camera."""
        if self._camera is not None:
            self._camera.release()
