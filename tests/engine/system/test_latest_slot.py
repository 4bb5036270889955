"""The slot between two threads: newest item, count of dropped ones, end and error."""

from __future__ import annotations

import threading

import pytest

from engine.system.latest_slot import LatestSlot


def test_the_newest_item_is_kept_and_the_others_are_counted() -> None:
    slot: LatestSlot[int] = LatestSlot()
    assert slot.put(1) and not slot.put(2)
    assert slot.take() == 2 and slot.take(0.01) is None
    assert slot.dropped == 1 and not slot.ended


def test_the_error_follows_the_last_item() -> None:
    slot: LatestSlot[int] = LatestSlot()
    slot.put(7)
    slot.end(ValueError("first"))
    slot.end(ValueError("second"))
    assert slot.take(60) == 7
    with pytest.raises(ValueError, match="first"):
        slot.take(60)


@pytest.mark.parametrize("signal", ["wake", "end"])
def test_a_waiting_reader_continues_at_a_wake_and_at_the_end(signal: str) -> None:
    slot: LatestSlot[int] = LatestSlot()
    timer = threading.Timer(0.05, getattr(slot, signal))
    timer.start()
    assert slot.take(60) is None
    timer.join()
    assert slot.ended == (signal == "end")


def test_what_is_given_back_does_not_replace_a_newer_item() -> None:
    slot: LatestSlot[int] = LatestSlot()
    slot.give_back(1)
    assert slot.take() == 1
    slot.put(2)
    slot.give_back(1)
    assert slot.take() == 2 and slot.dropped == 0
