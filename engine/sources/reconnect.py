"""A live source that reconnects when it is lost, with exponential back-off and jitter."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from engine.errors import SourceError
from engine.sources.frame_source import FrameSource, SignalLoss
from engine.sources.live import LIVE_TIME_BASE
from engine.types import Frame


@dataclass(frozen=True, kw_only=True)
class Retry:
    """When to reconnect a lost source.

    Attributes:
        first_s: wait before the first attempt; each further wait is twice as long.
        most_s: longest wait.
        jitter: fraction by which a wait may be longer or shorter, so that many clients that lost the same camera do
            not reconnect at the same moment.
        give_up_s: time without a picture after which the source is given up; None for never.
    """

    first_s: float = 0.5
    most_s: float = 8.0
    jitter: float = 0.25
    give_up_s: float | None = 120.0

    def wait_s(self, tries: int, chance: float) -> float:
        """Seconds to wait before attempt number `tries` (from 0); `chance` is a random number from 0 to 1."""
        wait_s = min(self.first_s * 2.0 ** min(tries, 30), self.most_s)
        return wait_s * (1 + self.jitter * (2 * chance - 1))


class ReconnectingSource(FrameSource):
    """The frames of a live source across connection losses; frame numbers and time stamps stay continuous.

    The listener (see `watch`) is called for each loss and reconnection, in the reading thread, and `notes` sums them
    up. A source that ends without an error is not reopened.
    """

    def __init__(self, first: FrameSource, reopen: Callable[[], FrameSource], retry: Retry | None = None) -> None:
        """Wrap an opened source.

        Args:
            first: the opened source; closed with this one.
            reopen: opens it again, or raises SourceError.
            retry: when to reconnect; None for the defaults.
        """
        super().__init__(first.info)
        self._current, self._reopen, self.retry = first, reopen, retry or Retry()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._dropped = 0
        self._losses, self._lost_s = 0, 0.0

    @property
    def dropped_frames(self) -> int:
        """Pictures that newer ones replaced before they were read."""
        return self._dropped + self._current.dropped_frames

    @property
    def notes(self) -> tuple[str, ...]:
        """How often and for how long the source was lost, if at all."""
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
                    del frame  # or this thread would keep the frame alive while it waits for the next one
                return
            except SourceError as error:
                if not self._stop.is_set():
                    self._reconnect(str(error))

    def _reconnect(self, message: str) -> None:
        """Try to reopen the source until that succeeds.

        Raises:
            SourceError: the source is given up.
        """
        self._current.close()
        began_s = time.monotonic()
        self._losses += 1
        tries = 0
        try:
            while not self._stop.is_set():
                wait_s = self.retry.wait_s(tries, random.random())
                limit_s = self.retry.give_up_s
                if limit_s is not None and time.monotonic() - began_s + wait_s > limit_s:
                    raise SourceError(f"{message}; given up after {tries} attempt(s) to reconnect in {limit_s:.0f} s")
                self.notify(SignalLoss(message=message, retry_in_s=wait_s))
                if self._stop.wait(wait_s):
                    return
                tries += 1
                try:
                    reopened = self._reopen()
                except SourceError as error:
                    message = str(error)
                    continue
                self._continue_with(reopened)
                return
        finally:
            self._lost_s += time.monotonic() - began_s

    def _continue_with(self, reopened: FrameSource) -> None:
        with self._lock:
            self._dropped += self._current.dropped_frames
            self._current = reopened
            if self._stop.is_set():
                reopened.close()
                return
        self.notify(None)

    def end(self) -> None:
        """Set the stop flag, which also ends the wait for a lost source. Returns at once."""
        self._stop.set()

    def close(self) -> None:
        """Close the current source and stop reconnecting."""
        self._stop.set()
        with self._lock:
            self._current.close()
