"""A slot for one item between two threads: a newer item replaces one that nobody took."""

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

    @property
    def dropped(self) -> int:
        """Items that were replaced before anybody took them."""
        return self._dropped

    def put(self, item: T) -> bool:
        """Offer an item; True if the slot was empty, so that its reader is notified once and not for every item."""
        with self._changed:
            was_empty = self._item is None
            self._dropped += not was_empty
            self._item = item
            self._changed.notify_all()
            return was_empty

    def take(self, timeout_s: float = 0.0) -> T | None:
        """Take the item, waiting up to `timeout_s` for one; None if none came or `wake` was called."""
        with self._changed:
            if self._item is None and timeout_s > 0:
                self._changed.wait(timeout_s)
            item, self._item = self._item, None
            return item

    def wake(self) -> None:
        """Let a waiting reader go on without an item."""
        with self._changed:
            self._changed.notify_all()
