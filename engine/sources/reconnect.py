"""A live source that is looked for again when it is lost: later and later, each time at another moment."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from engine.errors import SourceError
from engine.sources.frame_source import FrameSource, SignalLoss, SourceBase
from engine.sources.live import LIVE_TIME_BASE
from engine.types import Frame


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How a lost source is looked for.

    Attributes:
        first_s: wait before the first try; each further wait is twice as long.
        most_s: no wait is longer.
        jitter: part of a wait by which it may be longer or shorter, so that many who lost the same camera do not come
            back at the same moment.
        give_up_s: after so long without a picture the source is given up; None for never.
    """

    first_s: float = 0.5
    most_s: float = 8.0
    jitter: float = 0.25
    give_up_s: float | None = 120.0

    def wait_s(self, tries: int, chance: float) -> float:
        """How long to wait before try number `tries` (from 0); `chance` is a random number from 0 to 1."""
        wait_s = min(self.first_s * 2.0 ** min(tries, 30), self.most_s)
        return wait_s * (1 + self.jitter * (2 * chance - 1))


class ReconnectingSource(SourceBase):
    """The frames of a live source, also of those that come after it was lost; their numbers and times go on.

    What is lost and found again is told to the listener (see `watch`) in the thread that reads, and summed up in
    `notes`. A source that ends by itself has ended.
    """

    def __init__(self, first: FrameSource, reopen: Callable[[], FrameSource], retry: Retry | None = None) -> None:
        """Take an opened source, and what opens it again.

        Args:
            first: closed with this source.
            reopen: opens it again, or raises SourceError.
            retry: when.
        """
        super().__init__(first.info)
        self._current, self._reopen, self.retry = first, reopen, retry or Retry()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._dropped = 0
        self._losses, self._lost_s = 0, 0.0

    @property
    def dropped_frames(self) -> int:
        """Pictures that nobody took in time."""
        return self._dropped + self._current.dropped_frames

    @property
    def notes(self) -> tuple[str, ...]:
        """How often it was lost, where it was."""
        if not self._losses:
            return ()
        times = "once" if self._losses == 1 else f"{self._losses} times"
        return (f"{self._info.name} was lost {times}, for {self._lost_s:.1f} s in all",)

    def __iter__(self) -> Iterator[Frame]:
        index, last_pts, start_s = 0, -1, None
        while not self._stop.is_set():
            try:
                for frame in self._current:
                    start_s = frame.timestamp_s if start_s is None else start_s
                    last_pts = max(last_pts + 1, round((frame.timestamp_s - start_s) / LIVE_TIME_BASE))
                    yield Frame(image_bgr=frame.image_bgr, index=index, timestamp_s=frame.timestamp_s, pts=last_pts)
                    index += 1
                    del frame  # while the next one is waited for, this thread must not keep the last alive
                return
            except SourceError as error:
                if not self._stop.is_set():
                    self._find_again(str(error))

    def _find_again(self, message: str) -> None:
        """Open the source anew, however often it takes.

        Raises:
            SourceError: it is given up.
        """
        self._current.close()
        began_s = time.monotonic()
        self._losses += 1
        tries = 0
        while not self._stop.is_set():
            wait_s = self.retry.wait_s(tries, random.random())
            limit_s = self.retry.give_up_s
            if limit_s is not None and time.monotonic() - began_s + wait_s > limit_s:
                raise SourceError(f"{message}; it was looked for {tries} time(s) in {limit_s:.0f} s and given up")
            self.tell(SignalLoss(message=message, retry_in_s=wait_s))
            if self._stop.wait(wait_s):
                return
            tries += 1
            try:
                found = self._reopen()
            except SourceError as error:
                message = str(error)
                continue
            self._lost_s += time.monotonic() - began_s
            self._go_on_with(found)
            return

    def _go_on_with(self, found: FrameSource) -> None:
        with self._lock:
            self._dropped += self._current.dropped_frames
            self._current = found
            if self._stop.is_set():
                found.close()
                return
        self.tell(None)

    def end(self) -> None:
        """No more frames are wanted: whoever waits for a lost source waits no longer. Returns at once."""
        self._stop.set()

    def close(self) -> None:
        """Close what is open, and look for it no more."""
        self._stop.set()
        with self._lock:
            self._current.close()
