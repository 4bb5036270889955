"""Prefetching threads: order, bounds, errors, and termination."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from engine.pipeline.prefetch import Steps


def wait_for(condition: Callable[[], bool], limit_s: float = 10) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


class Counting:
    """Numbers, with a count of those taken."""

    def __init__(self, until: int = 10**9, fail_at: int | None = None) -> None:
        self.taken = 0
        self._until, self._fail_at = until, fail_at

    def __iter__(self) -> Iterator[int]:
        for number in range(self._until):
            if number == self._fail_at:
                raise ValueError(f"number {number} is broken")
            self.taken += 1
            yield number


def test_everything_comes_in_order_through_several_steps() -> None:
    with Steps() as steps:
        first = steps.prefetch(Counting(500), room=3, name="a")
        second = steps.prefetch((number * 2 for number in first), room=2, name="b")
        assert list(second) == list(range(0, 1000, 2))


@pytest.mark.parametrize("room", [1, 4])
def test_prefetch_is_bounded(room: int) -> None:
    numbers = Counting()
    with Steps() as steps:
        prefetched = steps.prefetch(numbers, room=room, name="a")
        wait_for(lambda: numbers.taken == room + 1)
        time.sleep(0.05)
        assert numbers.taken == room + 1
        assert [next(prefetched), next(prefetched)] == [0, 1]
        wait_for(lambda: numbers.taken == room + 3)
        time.sleep(0.05)
        assert numbers.taken == room + 3


def test_without_room_nothing_is_prefetched() -> None:
    numbers = Counting(3)
    with Steps() as steps:
        prefetched = steps.prefetch(numbers, room=0, name="a")
        for requested in range(4):
            time.sleep(0.02)
            assert numbers.taken == min(requested, 3)
            assert next(prefetched, None) == (requested if requested < 3 else None)


@pytest.mark.parametrize("room", [0, 2])
def test_waiting_threads_end_with_the_stop_flag(room: int) -> None:
    requested, release = threading.Event(), threading.Event()

    def camera() -> Iterator[int]:
        yield 1
        requested.set()
        release.wait(30)

    with Steps(requested.is_set) as steps:
        prefetched = steps.prefetch(camera(), room=room, name="a")
        assert list(prefetched) in ([1], [])  # with room, the flag may be set before the first item is taken
        assert not release.is_set()
        release.set()


def test_an_error_is_raised_after_the_previous_items() -> None:
    with Steps() as steps:
        first = steps.prefetch(Counting(fail_at=3), room=8, name="a")
        second = steps.prefetch(iter(first), room=8, name="b")
        got = []
        with pytest.raises(ValueError, match="number 3 is broken"):
            for number in second:
                got.append(number)
        assert got == [0, 1, 2]
        assert list(second) == []  # raised once


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_base_exceptions_are_propagated(error: BaseException) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise error

    with Steps() as steps:
        prefetched = steps.prefetch(items(), room=2, name="a")
        assert next(prefetched) == 1
        with pytest.raises(type(error)):
            next(prefetched)


def test_all_threads_end_with_the_run() -> None:
    before = threading.active_count()
    with Steps() as steps:
        full = steps.prefetch(Counting(), room=1, name="waits for room")
        slow = steps.prefetch((number for number in full), room=1, name="waits for room, too")
        empty = steps.prefetch((number for number in slow if number < 0), room=1, name="finds nothing")
        steps.prefetch(iter(empty), room=1, name="waits for an item")
        time.sleep(0.02)
        assert threading.active_count() == before + 4
    assert threading.active_count() == before


def test_a_stalled_source_does_not_delay_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.pipeline.prefetch._SOURCE_LIMIT_S", 0.05)
    release = threading.Event()
    worked_on: list[int] = []

    def camera() -> Iterator[int]:
        release.wait(30)
        yield 1

    with Steps() as steps:
        steps.prefetch(map(worked_on.append, steps.until_closed(camera())), room=1, name="pose", reads_source=True)
    release.set()
    wait_for(lambda: not any(thread.name == "pose" for thread in threading.enumerate()))
    assert worked_on == []  # what comes after the end is not worked on
