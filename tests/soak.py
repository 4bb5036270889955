"""Long runs: a live source with changes of the model, and an export of many frames; fails on growth.

    python -m tests.soak [--live-seconds 1800] [--frames 100000]

Prints memory, threads, open files and latency at the start (once everything has been opened) and at the end. The live
source is a camera on 127.0.0.1 that shows the demo and hangs up now and then; the networks are the shipped ones.
"""

from __future__ import annotations

import gc
import itertools
import math
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import psutil  # type: ignore[import-untyped]

from engine.output.export import export
from engine.output.files import ExportOptions
from engine.pipeline.opening import open_pipeline
from engine.pipeline.options import PipelineOptions
from engine.sources.demo import DemoSource
from engine.sources.frame_source import FrameSource
from engine.sources.opening import open_source
from engine.sources.reconnect import ReconnectingSource
from engine.system.one_line_parser import OneLineParser
from engine.types import Frame
from tests.faults.live_server import Connection, camera

SWITCH_S = 15.0
"""How long one model is used."""
HANG_UP_S = 40.0
"""How long one connection of the camera lasts."""
CHOICES = (
    PipelineOptions(backend="openvino", want_attention=True),
    PipelineOptions(backend="onnxruntime", detect_every=3),
    PipelineOptions(backend="openvino", precision="fp32", detect_every=1, smoothing=False),
)
_WARM_FRAMES = 400
_FIRST_FRAMES = 3  # after a change of the model these wait for what is compiled at first use
# What may differ between start and end without being growth: caches of the runtimes fill once (decision 0017).
_MORE_MB = 50.0
_MORE_THREADS, _MORE_FILES = 2, 4
_SLOWER, _SLOWER_MS = 1.5, 20.0


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Resources of this process, and the latency since the last sample."""

    memory_mb: float
    threads: int
    files: int
    latency_ms: float


@dataclass
class Watch:
    """Takes samples, and compares the first after the warm-up with the last."""

    name: str
    samples: list[Sample] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)

    def take(self) -> None:
        """A sample, taken after garbage collection."""
        gc.collect()
        process = psutil.Process()
        self.samples.append(
            Sample(
                memory_mb=process.memory_info().rss / 1e6,
                threads=process.num_threads(),
                files=len(process.open_files()) + len(process.net_connections()),
                latency_ms=statistics.median(self.latencies_ms) if self.latencies_ms else math.nan,
            )
        )
        self.latencies_ms.clear()

    def report(self, what: str) -> list[str]:
        """Print the table; returns what has grown."""
        if len(self.samples) < 3:
            return [f"{self.name}: too short to judge, {len(self.samples)} sample(s)"]
        quarter = max(1, (len(self.samples) - 1) // 4)
        start, end = _of_several(self.samples[1 : 1 + quarter]), _of_several(self.samples[-quarter:])
        print(f"\n{self.name}: {what}")
        print(f"{'':14}{'start':>10}{'end':>10}{'highest':>10}")
        for name in ("memory_mb", "threads", "files", "latency_ms"):
            highest = max(getattr(sample, name) for sample in self.samples)
            print(f"{name:14}{getattr(start, name):>10.1f}{getattr(end, name):>10.1f}{highest:>10.1f}")
        limits = {
            "memory_mb": start.memory_mb + _MORE_MB,
            "threads": start.threads + _MORE_THREADS,
            "files": start.files + _MORE_FILES,
            "latency_ms": start.latency_ms * _SLOWER + _SLOWER_MS,
        }
        return [
            f"{self.name}: {name} went from {getattr(start, name):.1f} to {getattr(end, name):.1f}"
            for name, limit in limits.items()
            if not getattr(end, name) <= limit  # so that an unknown latency is reported, too
        ]


def _of_several(samples: list[Sample]) -> Sample:
    """The minimum of several samples, because the runtimes end their threads at any time."""

    def values(name: str) -> list[float]:
        found = [float(getattr(sample, name)) for sample in samples]
        return [value for value in found if not math.isnan(value)] or [math.nan]

    return Sample(
        memory_mb=statistics.median(values("memory_mb")),
        threads=round(min(values("threads"))),
        files=round(min(values("files"))),
        latency_ms=statistics.median(values("latency_ms")),
    )


def demo_parts(count: int = 150) -> list[bytes]:
    """Frames of the demo as parts of an MJPEG stream."""
    parts = []
    with DemoSource() as source:
        for frame in itertools.islice(source, count):
            done, data = cv2.imencode(".jpg", frame.image_bgr)
            assert done
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            parts.append(head.encode() + data.tobytes() + b"\r\n")
    return parts


def live(seconds: float, switch_s: float) -> list[str]:
    """Run a camera for a while and change the model repeatedly."""
    parts = demo_parts()

    def show(connection: Connection) -> None:
        connection.head()
        until_s = time.monotonic() + HANG_UP_S
        for part in itertools.cycle(parts):
            connection.send(part)
            if connection.stopped.wait(1 / 25) or time.monotonic() > until_s:
                return

    watch = Watch("live")
    before = set(threading.enumerate())
    with camera("mjpeg", show) as server, open_source(server.url("admin:word")) as source:
        assert isinstance(source, ReconnectingSource)
        reported: list[object] = []
        source.watch(reported.append)
        ends_s = time.monotonic() + seconds
        frames = iter(source)
        switches = seen = people = 0
        for options in itertools.cycle(CHOICES):
            with open_pipeline(options) as pipeline:
                until_s = min(time.monotonic() + switch_s, ends_s)
                for number, frame in enumerate(frames):
                    result = pipeline.process(frame)
                    if number >= _FIRST_FRAMES:
                        watch.latencies_ms.append((time.monotonic() - frame.timestamp_s) * 1000)
                    seen += 1
                    people += len(result.poses) > 0
                    if time.monotonic() > until_s:
                        break
            switches += 1
            if switches % len(CHOICES) == 0:  # always after the same one, because models differ in size
                watch.take()
            if time.monotonic() > ends_s:
                break
        losses = reported.count(None)
        dropped = source.dropped_frames
    what = (
        f"{seconds:.0f} s, {seen} frames ({people} with people, {dropped} dropped), {switches} models, {losses} losses"
    )
    grown = watch.report(what)
    left = sorted(thread.name for thread in set(threading.enumerate()) - before)
    return [*grown, *([f"live: thread(s) left: {', '.join(left)}"] if left else [])]


class _Sampling:
    """The progress of an export: samples at equal steps."""

    def __init__(self, watch: Watch, every: int) -> None:
        self._watch, self._every = watch, every
        self.done, self._last_s = 0, time.monotonic()

    def start(self, name: str, total: int | None) -> None:
        """Nothing is shown."""

    def advance(self) -> None:
        """A frame is written."""
        now_s = time.monotonic()
        self._watch.latencies_ms.append((now_s - self._last_s) * 1000)
        self._last_s = now_s
        self.done += 1
        if self.done == _WARM_FRAMES:
            self._watch.latencies_ms.clear()  # one lap of the demo: every shape of a batch has been met
        if self.done >= _WARM_FRAMES and (self.done - _WARM_FRAMES) % self._every == 0:
            self._watch.take()

    def close(self) -> None:
        """The run is over."""


class Looped(FrameSource):
    """The demo, which begins anew at its end, as one long file."""

    def __init__(self) -> None:
        with DemoSource() as demo:
            super().__init__(demo.info)

    def __iter__(self) -> Iterator[Frame]:
        for lap in itertools.count():
            with DemoSource() as demo:
                for frame in demo:
                    number = lap * (self.info.frame_count or 0) + frame.index
                    yield Frame(image_bgr=frame.image_bgr, index=number, timestamp_s=number / 30, pts=number)


def exporting(frames: int) -> list[str]:
    """Export the demo, which begins anew at its end, with poses; then read both files back."""
    watch = Watch("export")
    with tempfile.TemporaryDirectory(prefix="kcam-soak-") as folder:
        video, poses = Path(folder) / "long.mp4", Path(folder) / "long.jsonl"
        sampling = _Sampling(watch, max(1, (frames - _WARM_FRAMES) // 24))
        with Looped() as source, open_pipeline(PipelineOptions(detect_every=1)) as pipeline:
            options = ExportOptions(output=video, poses=[poses], max_frames=frames, quiet=True)
            summary = export(source, pipeline, options, progress=sampling)
        with av.open(str(video)) as container:
            shown = sum(packet.size > 0 for packet in container.demux(container.streams.video[0]))
        with poses.open(encoding="utf-8") as stream:
            lines = sum(1 for _ in stream)
        size_mb = video.stat().st_size / 1e6
    grown = watch.report(f"{summary.frames} frames, {summary.fps:.1f} frames/s, {size_mb:.1f} MB")
    if not shown == lines == frames:
        grown.append(f"export: {frames} frames were wanted, {shown} in the video, {lines} in the poses file")
    return grown


def main() -> int:
    """Both runs; 1 where something grew."""
    parser = OneLineParser(prog="python -m tests.soak", description="Long runs that must stay flat.")
    parser.add_argument("--live-seconds", type=float, default=1800, metavar="S", help="length of the live run (1800)")
    parser.add_argument("--switch-seconds", type=float, default=SWITCH_S, metavar="S", help="how long a model serves")
    parser.add_argument("--frames", type=int, default=100_000, metavar="N", help="length of the export (100000)")
    arguments = parser.parse_args()
    grown: list[str] = []
    if arguments.live_seconds > 0:
        grown += live(arguments.live_seconds, arguments.switch_seconds)
    if arguments.frames > 0:
        grown += exporting(arguments.frames)
    print("\n" + ("\n".join(grown) if grown else "nothing grew"))
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
