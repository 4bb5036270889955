"""Readers of live poses that stop reading: frames a second and memory before, meanwhile and after.

    python -m tests.live_stall --seconds 10

Poses of 16 people come 60 times a second, without a network, so that what is measured is the sending: about 600 kB/s
for each of a pipe, a UDP, an OSC and two WebSocket readers. For the given time they read, then all but one stop, then
they read again.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import psutil  # type: ignore[import-untyped]
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from engine.output.export import export
from engine.output.files import ExportOptions
from engine.output.live.live_poses import LivePoses
from engine.output.live.targets import STDOUT, LiveTarget
from engine.sources.frame_source import FrameSource, SourceInfo
from engine.types import Frame, FrameResult
from tests.engine.clips import ConstantPipeline, picture

WARM_FRAMES = 20
RATE, PEOPLE = 60, 16


class Paced(FrameSource):
    """Pictures at a steady rate, until it is closed."""

    def __init__(self) -> None:
        super().__init__(SourceInfo(name="paced", kind="camera", is_live=True))
        self._closed = False

    def __iter__(self) -> Iterator[Frame]:
        image, begun_s = picture(160, 120), time.monotonic()
        for index in itertools.count():
            time.sleep(max(0.0, begun_s + index / RATE - time.monotonic()))
            if self._closed:
                return
            yield Frame(image_bgr=image, index=index, timestamp_s=index / RATE)

    def close(self) -> None:
        self._closed = True


class Crowd(ConstantPipeline):
    """The same people in every picture."""

    def process(self, frame: Frame) -> FrameResult:
        result = super().process(frame)
        return dataclasses.replace(result, poses=result.poses.take(np.zeros(PEOPLE, np.int64)))


class Phases:
    """Progress of an export that counts the frames of each phase, and ends it after the last."""

    def __init__(self, seconds: float, stalled: threading.Event, stop: Callable[[], None]) -> None:
        self._seconds, self._stalled, self._stop = seconds, stalled, stop
        self._names = ["all read", "stalled", "all read again"]
        self._begun_s = 0.0
        self._frames = -WARM_FRAMES
        self.lines: list[str] = []

    def start(self, name: str, total: int | None) -> None:
        pass

    def advance(self) -> None:
        self._frames += 1
        if self._frames == 0:
            self._begun_s = time.monotonic()
        spent_s = time.monotonic() - self._begun_s
        if self._frames <= 0 or spent_s < self._seconds or not self._names:
            return
        memory = psutil.Process().memory_info().rss / 2**20
        self.lines.append(f"{self._names.pop(0):15} {self._frames / spent_s:6.1f} frames/s {memory:7.0f} MiB")
        self._frames, self._begun_s = 0, time.monotonic()
        if len(self._names) == 2:
            self._stalled.set()
        else:
            self._stalled.clear()
        if not self._names:
            self._stop()

    def close(self) -> None:
        pass


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=10.0)
    seconds = parser.parse_args(argv).seconds
    stalled, ended = threading.Event(), threading.Event()
    read_end, write_end = os.pipe()
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    targets = [
        LiveTarget(scheme=STDOUT),
        *(
            LiveTarget(scheme=scheme, host="127.0.0.1", port=one.getsockname()[1])
            for scheme, one in zip(("udp", "osc"), sockets, strict=True)
        ),
        LiveTarget(scheme="ws", host="127.0.0.1", port=0),
    ]
    got = dict.fromkeys(("pipe, bytes", "udp", "osc", "websocket", "websocket that never stalls"), 0)

    def reading(name: str, read: Callable[[], int]) -> None:
        while not ended.is_set():
            if stalled.is_set() and "never" not in name:
                time.sleep(0.05)
            else:
                got[name] += read()

    def pipe() -> int:
        return len(os.read(read_end, 1 << 16)) if select.select([read_end], [], [], 0.1)[0] else 0

    def datagram(one: socket.socket) -> Callable[[], int]:
        return lambda: len(one.recv(1 << 16)) > 0 if select.select([one], [], [], 0.1)[0] else 0

    with contextlib.ExitStack() as stack, LivePoses(targets, stdout=write_end) as live, Paced() as source:
        clients = [
            stack.enter_context(connect(live.servers[0].address, max_queue=2, compression=None)) for _ in range(2)
        ]

        def message(number: int) -> Callable[[], int]:
            def read() -> int:
                try:
                    clients[number].recv(timeout=0.1)
                except TimeoutError:
                    return 0
                except ConnectionClosed:
                    ended.set()
                    return 0
                return 1

            return read

        readers = [pipe, datagram(sockets[0]), datagram(sockets[1]), message(0), message(1)]
        threads = [threading.Thread(target=reading, args=pair, daemon=True) for pair in zip(got, readers, strict=True)]
        for thread in threads:
            thread.start()
        phases = Phases(seconds, stalled, source.close)
        export(source, Crowd(), ExportOptions(pictures=False, quiet=True), progress=phases, live=live)
        ended.set()
    print("\n".join([*phases.lines, *live.summaries(), *(f"{name}: {count} read" for name, count in got.items())]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
