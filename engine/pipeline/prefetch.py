"""Threads for the steps of a run: each prefetches a bounded number of items for the next."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from engine.system.closing import Closing

T = TypeVar("T")

_WAKE_S = 0.1  # how often a run that waits for an item checks the stop flag
_SOURCE_LIMIT_S = 3.0  # timeout of the join with a thread that reads a source, from which no picture may ever come
_STEP_LIMIT_S = 30.0  # and with any other thread: only a hanging device takes so long for one item


class Prefetch(Generic[T]):
    """The items of an iterable in their order, produced in a thread of their own.

    At most `room` items wait in the queue while one more is produced; with room 0, an item is produced when it is
    requested. An error in the thread is raised in place of the item. Create it with `Steps.prefetch`.
    """

    def __init__(
        self, items: Iterable[T], *, room: int, name: str, reads_source: bool, is_ending: Callable[[], bool]
    ) -> None:
        self._items = items if room else self._on_request(items)
        self._room = max(1, room)
        self._is_ending = is_ending
        self._join_limit_s = _SOURCE_LIMIT_S if reads_source else _STEP_LIMIT_S
        self._changed = threading.Condition()
        self._waiting: deque[T] = deque()
        self._ended = self._stopped = self._requested = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                if not self._put(item):
                    break
                del item  # this thread must not keep the last item alive while it waits for the next
        except BaseException as caught:
            error = caught
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def _on_request(self, items: Iterable[T]) -> Iterator[T]:
        upstream = iter(items)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._requested or self._stopped)
                if self._stopped:
                    return
            try:
                yield next(upstream)
            except StopIteration:
                return

    def _put(self, item: T) -> bool:
        """Queue an item when there is room; False after `stop`."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < self._room or self._stopped)
            if self._stopped:
                return False
            self._waiting.append(item)
            self._requested = False
            self._changed.notify_all()
            return True

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self._changed:
            if not self._waiting:
                self._requested = True
                self._changed.notify_all()
            while not (self._waiting or self._ended or self._stopped or self._is_ending()):
                self._changed.wait(_WAKE_S)
            if self._is_ending():
                raise StopIteration
            if self._waiting and not self._stopped:
                item = self._waiting.popleft()
                self._changed.notify_all()
                return item
            error, self._error = self._error, None
            if error is not None and not self._stopped:
                raise error
            raise StopIteration

    def stop(self) -> None:
        """End the thread after its present item; drop the queued items."""
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify_all()

    def join(self) -> None:
        """Wait until the thread has ended, up to a limit."""
        self._thread.join(self._join_limit_s)


class Steps(Closing):
    """The threads of one run, all of which end with it; a context manager.

    Args:
        is_ending: the stop flag, checked regularly; once it is true, every step ends as at the end of its items.
    """

    def __init__(self, is_ending: Callable[[], bool] = lambda: False) -> None:
        self._is_ending = is_ending
        self._running: list[Prefetch[Any]] = []
        self._closed = False

    def until_closed(self, items: Iterable[T]) -> Iterator[T]:
        """Items, until the run is closed."""
        for item in items:
            if self._closed:
                return
            yield item

    def prefetch(self, items: Iterable[T], *, room: int, name: str, reads_source: bool = False) -> Prefetch[T]:
        """Start a thread that takes the items.

        A step that reads a source may block for long, and may outlive the run: it then takes only the item that it
        waits for, and no further one (see `until_closed`).

        Args:
            items: may itself take from another step; iterated in the thread alone.
            room: length of the queue; 0: an item is produced on request only.
            reads_source: the items come from a source.
        """
        step = Prefetch(items, room=room, name=name, reads_source=reads_source, is_ending=self._is_ending)
        self._running.append(step)
        return step

    def close(self) -> None:
        """Stop all threads and wait for them; queued items are dropped."""
        self._closed = True
        # Stop all before joining any: they wait for each other.
        for step in self._running:
            step.stop()
        for step in self._running:
            step.join()
        self._running.clear()
