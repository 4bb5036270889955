"""What is sent for a frame, and the base of the live channels with one reader: a thread with a bounded queue."""

from __future__ import annotations

import abc
import collections
import json
import threading
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from engine.skeleton import Skeleton

ROOM = 64
"""Frames that may wait for a reader: two seconds of a camera. Beyond them the oldest is dropped."""
PATIENCE_S = 1.0
"""How long the end of a run waits for a reader that takes nothing."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What the frames of a stream have in common.

    Attributes:
        source: short name to display.
        size_wh: width and height of the frames in px.
        skeleton: the keypoints of the poses.
    """

    source: str
    size_wh: tuple[int, int]
    skeleton: Skeleton

    @cached_property
    def text(self) -> str:
        """As JSON: source, size_wh, keypoint_names and edges (pairs of keypoint numbers to draw a line between)."""
        return json.dumps(
            {
                "source": self.source,
                "size_wh": list(self.size_wh),
                "keypoint_names": list(self.skeleton.keypoint_names),
                "edges": [list(edge) for edge in self.skeleton.edges],
            }
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Message:
    """One frame: its record (`engine.types.frame_record`), encoded once for all receivers, in the first's thread."""

    about: About
    record: dict[str, Any]

    @cached_property
    def text(self) -> str:
        """The record as JSON in one line, without its end."""
        return json.dumps(self.record, allow_nan=False)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Frames of a channel that were sent, and those that were dropped; with several readers, of all together."""

    sent: int
    dropped: int


class QueuedChannel(abc.ABC):
    """Calls `_send` for each message in a thread of its own; never more than `ROOM` messages wait.

    `offer` and `close` are called in one thread.

    Attributes:
        error: what ended its thread; None without.
    """

    ended = False
    """Whether its reader went away."""

    def __init__(self, name: str) -> None:
        """Start the thread, which needs the attributes of the subclass."""
        self._name = name
        self._waiting: collections.deque[Message] = collections.deque()
        self._changed = threading.Condition()
        self._sent = self._dropped = 0
        self._closing = False
        self._abandoned = threading.Event()  # set when nobody waits for `_send` any more
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"poses to {name}", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> Counts:
        """Sent and dropped messages."""
        with self._changed:
            return Counts(sent=self._sent, dropped=self._dropped)

    @abc.abstractmethod
    def _send(self, message: Message) -> bool:
        """Whether a message was sent, or dropped; may wait until `_abandoned` is set."""

    def offer(self, message: Message) -> None:
        """Queue a message; the oldest is dropped where the queue is full.

        Raises:
            Exception: the one that ended the thread.
        """
        with self._changed:
            if self.error is not None:
                raise self.error
            if len(self._waiting) == ROOM:
                self._waiting.popleft()
                self._dropped += 1
            self._waiting.append(message)
            self._changed.notify()

    def close(self) -> None:
        """Wait while messages go out; give up after `PATIENCE_S` without one, and count the rest as dropped."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        last, until_s = self.counts, time.monotonic() + PATIENCE_S
        while self._thread.is_alive() and time.monotonic() < until_s:
            self._thread.join(0.02)
            if self.counts != last:
                last, until_s = self.counts, time.monotonic() + PATIENCE_S
        self._abandoned.set()
        self._thread.join(0.5)
        with self._changed:
            self._dropped += len(self._waiting)
            self._waiting.clear()

    def summary(self) -> str:
        """Frames sent and dropped."""
        counts = self.counts
        return f"poses to {self._name}: {counts.sent} frames sent, {counts.dropped} dropped"

    def _run(self) -> None:
        try:
            while (message := self._next()) is not None:
                done = self._send(message)
                with self._changed:
                    self._sent += done
                    self._dropped += not done
        except Exception as error:
            with self._changed:
                self.error = error
                self._dropped += 1

    def _next(self) -> Message | None:
        with self._changed:
            while not self._waiting:
                if self._closing:
                    return None
                self._changed.wait()
            return None if self._abandoned.is_set() else self._waiting.popleft()
