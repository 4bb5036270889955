"""Network cameras that stall, hang up, send random bytes or change: reported, reconnected, no thread left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SourceError
from engine.sources.frame_source import SignalLoss
from engine.sources.opening import open_source
from engine.sources.reconnect import ReconnectingSource, Retry
from engine.sources.streams import open_url
from engine.types import Frame
from tests.faults import live_server
from tests.faults.ledger import Fault, Hung
from tests.faults.live_server import Act, Camera, Connection, camera, plays, plays_on, stalls, within

pytestmark = pytest.mark.fault("live sources")

KINDS = ("mjpeg", "h264")
SECRET = "admin:Sesame17"
OPEN_S, READ_S = 1.5, 0.6
QUICK = Retry(first_s=0.05, most_s=0.2)


def capture_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("capture ")]


@contextmanager
def no_thread_left() -> Iterator[None]:
    """Threads of sources have ended shortly after the block: a read that waits is ended by its time limit."""
    yield
    if not within(2 * OPEN_S + 1, lambda: not capture_threads()):
        raise Hung(f"left: {capture_threads()}")


class Watched:
    """A source as the program uses it, with its events."""

    def __init__(self, server: Camera, retry: Retry = QUICK) -> None:
        def reach() -> object:
            return open_url(server.url(SECRET), open_timeout_s=OPEN_S, read_timeout_s=READ_S)

        self.reported: list[SignalLoss | None] = []
        self.source = ReconnectingSource(reach(), reach, retry)  # type: ignore[arg-type]
        self.source.watch(self.reported.append)
        self.frames: list[Frame] = []
        self._coming = iter(self.source)

    def read_until(self, condition: object, limit_s: float = 30.0) -> None:
        """Read until a condition (no arguments) holds; each frame is checked against the previous one."""
        until = time.monotonic() + limit_s
        for frame in self._coming:
            self.frames.append(frame)
            if condition():  # type: ignore[operator]
                return
            if time.monotonic() > until:
                break
        raise AssertionError(f"{len(self.frames)} frames, reported {self.reported}")

    @property
    def was_found_again(self) -> bool:
        return None in self.reported

    def check(self) -> None:
        """Invariants of every live source, however often it was lost."""
        assert [frame.index for frame in self.frames] == list(range(len(self.frames)))
        stamps = [frame.pts for frame in self.frames]
        assert all(a is not None and b is not None and a < b for a, b in pairwise(stamps))
        assert all(a.timestamp_s <= b.timestamp_s for a, b in pairwise(self.frames))
        for loss in self.reported:
            if loss is not None:
                assert "\n" not in loss.message
                assert "Sesame17" not in loss.message and "admin" not in loss.message
                assert "127.0.0.1" in loss.message, "the source is named"
        assert "Sesame17" not in " ".join((self.source.info.name, repr(self.source.info), *self.source.notes))


FAILURES: dict[str, Act] = {
    "stalls": stalls(10),
    "hangs up": plays(10),
    "breaks off in a picture": live_server.breaks_off_in_the_middle,
    "sends rubbish": live_server.rubbish(10),
    "drips": live_server.drips(10),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("failure", sorted(FAILURES))
def test_a_failed_camera_is_reconnected(failure: str, kind: str) -> None:
    with camera(kind, FAILURES[failure], plays_on) as server, no_thread_left():
        watched = Watched(server)
        with watched.source:
            watched.read_until(lambda: watched.was_found_again)
            first = len(watched.frames)
            watched.read_until(lambda: len(watched.frames) > first + 10)
        watched.check()
        assert server.connections >= 2
        assert "was lost once" in watched.source.notes[0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_failure_to_reconnect_is_handled(kind: str, fault: Fault) -> None:
    """After a connection it answers in every wrong way before it is available again."""
    wrong = (
        live_server.hangs_up,
        live_server.answers("404 Not Found"),
        live_server.answers("503 Service Unavailable"),
        live_server.answers("401 Unauthorized"),
        live_server.sends_nothing,
        live_server.rubbish(),
        live_server.drips(),
    )
    fault.more(len(wrong) + 1)
    with camera(kind, plays(10), *wrong, plays_on) as server, no_thread_left():
        watched = Watched(server)
        with watched.source:
            watched.read_until(lambda: watched.was_found_again, limit_s=60)
            first = len(watched.frames)
            watched.read_until(lambda: len(watched.frames) > first + 5)
        watched.check()
        losses = [loss for loss in watched.reported if loss is not None]
        assert len(losses) == len(wrong) + 1
        assert watched.source.notes[0].startswith(watched.source.info.name)


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_another_size_are_unchanged(kind: str) -> None:
    with camera(kind, live_server.changes_size) as server, no_thread_left():
        watched = Watched(server)
        with watched.source:
            watched.read_until(lambda: {f.image_bgr.shape for f in watched.frames} == {(48, 64, 3), (64, 96, 3)})
        watched.check()
        assert watched.reported == []


def test_it_reconnects_repeatedly(fault: Fault) -> None:
    fault.more(30)
    with camera("mjpeg", plays(3)) as server, no_thread_left():
        watched = Watched(server, Retry(first_s=0.005, most_s=0.01))
        with watched.source:
            watched.read_until(lambda: watched.reported.count(None) >= 30, limit_s=100)
        watched.check()
        assert len(watched.source.notes) == 1, "a night of losses is one line"


def test_a_camera_that_is_gone_for_good_is_given_up() -> None:
    with camera("mjpeg", plays(10), live_server.hangs_up) as server, no_thread_left():
        watched = Watched(server, Retry(first_s=0.05, most_s=0.1, give_up_s=0.8))
        with (
            watched.source,
            pytest.raises(SourceError, match=r"given up after \d+ attempt") as caught,
        ):
            watched.read_until(lambda: False)
        assert "Sesame17" not in str(caught.value)
        assert len(watched.reported) >= 4
        (note,) = watched.source.notes
        assert "was lost once" in note and ", for 0.0 s" not in note, "the last loss counts, too"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "act",
    [live_server.hangs_up, live_server.sends_nothing, live_server.rubbish(), live_server.answers("403 Forbidden")],
)
def test_a_source_that_never_existed_is_refused_at_once(act: Act, kind: str) -> None:
    """No retries before the first picture: the address is more likely wrong than the camera off."""
    with camera(kind, act) as server, no_thread_left():
        with pytest.raises(SourceError) as caught:
            Watched(server)
        assert server.connections <= 2
        assert "\n" not in str(caught.value) and "Sesame17" not in str(caught.value)


def test_closing_ends_the_wait_for_a_lost_camera() -> None:
    with camera("mjpeg", plays(5), live_server.hangs_up) as server, no_thread_left():
        watched = Watched(server, Retry(first_s=60, most_s=60))
        reader = threading.Thread(target=lambda: list(watched.source), name="reader")
        reader.start()
        assert within(5, lambda: bool(watched.reported))
        watched.source.close()
        reader.join(3)
        assert not reader.is_alive()


def test_ending_returns_at_once_and_ends_the_reader() -> None:
    with camera("mjpeg", plays(5), live_server.hangs_up) as server, no_thread_left():
        watched = Watched(server, Retry(first_s=60, most_s=60))
        reader = threading.Thread(target=lambda: list(watched.source), name="reader")
        reader.start()
        assert within(5, lambda: bool(watched.reported))
        watched.source.end()
        reader.join(3)
        assert not reader.is_alive()
        watched.source.close()


@pytest.mark.parametrize("kind", KINDS)
def test_closing_during_a_stall_leaves_no_thread(kind: str) -> None:
    with camera(kind, stalls(60)) as server, no_thread_left():
        watched = Watched(server)
        iterator = iter(watched.source)
        assert next(iterator).image_bgr.size
        watched.source.close()
        assert list(iterator) == [], "it ends"


def test_a_slow_reader_loses_old_pictures_not_new_ones() -> None:
    with camera("mjpeg", plays_on) as server, no_thread_left():
        watched = Watched(server)
        with watched.source:
            for frame in watched.source:
                time.sleep(0.1)
                watched.frames.append(frame)
                if len(watched.frames) == 5:
                    break
            assert time.monotonic() - watched.frames[-1].timestamp_s < 1
            assert watched.source.dropped_frames > 0
        watched.check()


@pytest.mark.slow
def test_a_camera_lost_for_ten_seconds_is_reconnected() -> None:
    """With the limits and waits that the program uses."""
    away: list[float] = []

    def act(connection: Connection) -> None:
        if not away:
            away.append(time.monotonic() + 10)
            connection.head()
            connection.frames(10)
        elif time.monotonic() > away[0]:
            plays_on(connection)

    with camera("mjpeg", act) as server, no_thread_left():
        source = open_source(server.url(SECRET))
        reported: list[SignalLoss | None] = []
        source.watch(reported.append)
        after = 0
        with source:
            for number, frame in enumerate(source):
                assert frame.index == number
                after += reported[-1:] == [None]
                if after > 10:
                    break
        assert time.monotonic() > away[0]
        waits = [loss.retry_in_s for loss in reported if loss is not None]
        assert len(waits) >= 3
        assert "was lost once, for 1" in source.notes[0]


# The waits


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_waits_grow_to_a_limit_and_differ(tries: int, chance: float) -> None:
    retry = Retry()
    plain = retry.wait_s(tries, 0.5)
    assert plain == min(0.5 * 2 ** min(tries, 20), 8.0)
    assert 0.75 * plain <= retry.wait_s(tries, chance) <= 1.25 * plain
    assert retry.wait_s(tries, 0.0) < retry.wait_s(tries, 1.0)


def test_two_clients_of_one_camera_do_not_reconnect_at_once() -> None:
    waits = []
    for _ in range(6):
        with camera("mjpeg", plays(3), live_server.hangs_up) as server:
            watched = Watched(server, Retry(first_s=0.02, most_s=0.02, give_up_s=0.05))
            with watched.source, pytest.raises(SourceError):
                watched.read_until(lambda: False)
            waits += [loss.retry_in_s for loss in watched.reported if loss is not None]
    assert len(set(waits)) == len(waits) > 6
