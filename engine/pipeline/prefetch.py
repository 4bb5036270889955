"""Threads that carry the steps of a run: each works ahead of the next by a bounded number of items."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")

_WAKE_S = 0.1  # how soon a run that waits for an item sees that it is asked to end
_SOURCE_LIMIT_S = 3.0  # how long a thread that reads a source is waited for: no picture may come any more
_STEP_LIMIT_S = 30.0  # and one that works on its last item: nothing but a device that hangs takes so long


class Prefetch(Generic[T]):
    """The items of an iterable in their order, made in a thread of their own.

    At most `room` items wait to be taken, and one more is in the making; without room, one is made when it is asked
    for. What fails in the thread is raised where the item would have come. Made by `Steps.ahead`.
    """

    def __init__(
        self, items: Iterable[T], *, room: int, name: str, reads_source: bool, is_ending: Callable[[], bool]
    ) -> None:
        self._items = items if room else self._when_asked_for(items)
        self._room = max(1, room)
        self._is_ending = is_ending
        self._join_limit_s = _SOURCE_LIMIT_S if reads_source else _STEP_LIMIT_S
        self._changed = threading.Condition()
        self._waiting: deque[T] = deque()
        self._ended = self._stopped = self._asked_for = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                if not self._put(item):
                    break
                del item  # while the next one is waited for, this thread must not keep the last alive
        except BaseException as caught:
            error = caught
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def _when_asked_for(self, items: Iterable[T]) -> Iterator[T]:
        upstream = iter(items)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked_for or self._stopped)
                if self._stopped:
                    return
            try:
                yield next(upstream)
            except StopIteration:
                return

    def _put(self, item: T) -> bool:
        """Hand an item over, when there is room; False when nobody wants any more."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < self._room or self._stopped)
            if self._stopped:
                return False
            self._waiting.append(item)
            self._asked_for = False
            self._changed.notify_all()
            return True

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self._changed:
            if not self._waiting:
                self._asked_for = True
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
        """No more items are wanted; those that wait are let go."""
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify_all()

    def join(self) -> None:
        """Wait for the thread to end its last item, up to a limit."""
        self._thread.join(self._join_limit_s)


class Steps:
    """The threads of one run, all of which end with it; a context manager.

    Args:
        is_ending: looked at now and then; once it is true no step gives another item, as at the end of its items.
    """

    def __init__(self, is_ending: Callable[[], bool] = lambda: False) -> None:
        self._is_ending = is_ending
        self._running: list[Prefetch[Any]] = []
        self._closed = False

    def until_closed(self, items: Iterable[T]) -> Iterator[T]:
        """Items, but none that comes after the run has ended."""
        for item in items:
            if self._closed:
                return
            yield item

    def prefetch(self, items: Iterable[T], *, room: int, name: str, reads_source: bool = False) -> Prefetch[T]:
        """Begin to take items in a thread of their own.

        A step that reads a source may wait there for long, and is left behind when the run ends: it takes nothing more
        than the item that it waits for (see `until_closed`).

        Args:
            items: may itself take from another step; iterated in the thread alone.
            room: how many items may wait to be taken; 0: none is made before it is asked for.
            name: of the thread, for those who look at it with a debugger.
            reads_source: the items come from a source.
        """
        step = Prefetch(items, room=room, name=name, reads_source=reads_source, is_ending=self._is_ending)
        self._running.append(step)
        return step

    def close(self) -> None:
        """Stop all threads and wait for them; items that are on their way are let go."""
        self._closed = True
        # All are told before any is waited for: they wait for each other.
        for step in self._running:
            step.stop()
        for step in self._running:
            step.join()
        self._running.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
