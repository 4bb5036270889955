"""A slot for one item between two threads: a newer item replaces one that was not taken."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class LatestSlot(Generic[T]):
    """Holds the newest item until it is taken; older ones are dropped and counted, so that no queue builds up."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._dropped = 0
        self._ended = False
        self._error: Exception | None = None

    @property
    def dropped(self) -> int:
        """Items that were replaced before they were taken."""
        return self._dropped

    @property
    def ended(self) -> bool:
        """Whether no more items will come."""
        return self._ended

    def put(self, item: T) -> bool:
        """Offer an item; True if the slot was empty, so that its reader is notified once and not for every item."""
        with self._changed:
            was_empty = self._item is None
            self._dropped += not was_empty
            self._item = item
            self._changed.notify_all()
            return was_empty

    def take(self, timeout_s: float = 0.0) -> T | None:
        """Take the item, waiting up to `timeout_s` for one; None if none came, or after `wake` or the end.

        Raises:
            Exception: the one that `end` was given, once the last item is taken.
        """
        with self._changed:
            if self._item is None and not self._ended and timeout_s > 0:
                self._changed.wait(timeout_s)
            item, self._item = self._item, None
            if item is None and self._error is not None:
                raise self._error
            return item

    def give_back(self, item: T) -> None:
        """Put back what was taken and is not used, for another reader; a newer item stays."""
        with self._changed:
            if self._item is None:
                self._item = item
                self._changed.notify_all()

    def wake(self) -> None:
        """Let a waiting reader go on without an item."""
        with self._changed:
            self._changed.notify_all()

    def end(self, error: Exception | None = None) -> None:
        """No more items will come; the first error given, if any, is raised in the reader after the last item."""
        with self._changed:
            self._ended, self._error = True, self._error or error
            self._changed.notify_all()
