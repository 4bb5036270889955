"""Runs interrupted by Ctrl-C, termination signals or a kill; and the next start."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import pytest

from engine.sources.opening import open_source
from tests.engine.clips import ClipSpec, left_in, make_clip, read_back
from tests.faults.ledger import Fault, Hung
from tests.faults.light import Run, command
from tests.signals import arriving

__all__ = ["command"]

pytestmark = [
    pytest.mark.fault("interrupted work"),
    pytest.mark.skipif(sys.platform == "win32", reason="sends signals to a child"),
]

FRAMES, RATE = 500, 25
PREFETCHED = 10
"""Maximum number of frames processed but not yet written."""


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty seconds with sound."""
    spec = ClipSpec(frames=FRAMES, size_wh=(96, 64), audio="aac", options={"movflags": "faststart"})
    return make_clip(tmp_path_factory.mktemp("clip") / "long.mp4", spec)


def begin(fault: Fault, source: Path, folder: Path, print_at: int, frame_s: float = 0.01) -> subprocess.Popen[str]:
    """A slow export in a child process that has reached a given frame."""
    process = fault.start(
        "-m", "tests.faults.light", "--video", source, "--output", folder / "o.mp4", "--poses", folder / "o.jsonl",
        env={"FAULTS_FRAME_S": str(frame_s), "FAULTS_PRINT_AT": str(print_at)},
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("at frame"):
            return process
    raise Hung(f"ended before frame {print_at}: {fault.end(process).err}")


def decoded_times(path: Path) -> list[float]:
    """Of every frame that a file gives."""
    with open_source(str(path)) as source:
        return [frame.timestamp_s for frame in source]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("at", [1, 60])
def test_a_stop_signal(name: str, at: int, tmp_path: Path, long_clip: Path, fault: Fault) -> None:
    number = arriving(name)
    process = begin(fault, long_clip, tmp_path, at)
    process.send_signal(number)
    done = fault.end(process)
    assert done.code == 128 + number, done.err
    if at < PREFETCHED and left_in(tmp_path) == []:
        assert "stopped after 0 frames" in done.out  # before the first one was written
        return
    fault.keeps(left_in(tmp_path) == ["o.jsonl", "o.mp4"], f"left: {left_in(tmp_path)}")
    video = read_back(tmp_path / "o.mp4")
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    fault.keeps(
        len(video.times) == len(lines) == video.listed_frames >= at - PREFETCHED, f"{len(video.times)}, {len(lines)}"
    )
    assert [line["time_s"] for line in lines] == pytest.approx([float(time) for time in video.times], abs=1e-6)
    assert f"stopped after {len(lines)} frame" in done.out


def test_repeated_stop_signals(tmp_path: Path, long_clip: Path, fault: Fault) -> None:
    """Repeated signals lose no data."""
    numbers = [arriving(name) for name in ("SIGINT", "SIGINT", "SIGTERM", "SIGINT")]
    process = begin(fault, long_clip, tmp_path, 40)
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.01)
    done = fault.end(process)
    fault.keeps(left_in(tmp_path) == ["o.jsonl", "o.mp4"], f"left: {left_in(tmp_path)} {done.err}")
    lines = (tmp_path / "o.jsonl").read_text().splitlines()
    fault.keeps(len(read_back(tmp_path / "o.mp4").times) == len(lines) >= 40 - PREFETCHED, "frames are missing")
    assert f"stopped after {len(lines)} frame" in done.out


def test_killed_and_started_again(tmp_path: Path, long_clip: Path, fault: Fault, command: Run) -> None:
    process = begin(fault, long_clip, tmp_path, 300)
    process.kill()
    fault.end(process)
    assert left_in(tmp_path) == ["o.part.jsonl", "o.part.mp4"], "nothing under the final name"
    lines = (tmp_path / "o.part.jsonl").read_text().splitlines()
    times = decoded_times(tmp_path / "o.part.mp4")
    fault.keeps(len(lines) >= 300 - PREFETCHED, f"{len(lines)} lines")
    fault.keeps(len(times) >= len(lines) - 2 * RATE, f"{len(times)} of {len(lines)} frames: more than 2 s are lost")
    assert times == pytest.approx([number / RATE for number in range(len(times))], abs=1e-6)
    video, poses = (tmp_path / "o.part.mp4").read_bytes(), (tmp_path / "o.part.jsonl").read_bytes()
    # The next run reports where it keeps them, and so does every later one.
    arguments = ("--video", long_clip, "--output", tmp_path / "o.mp4", "--poses", tmp_path / "o.jsonl")
    done = command(*arguments, "--max-frames", "3")
    assert done.code == 0, done.err
    again = command(*arguments, "--max-frames", "3", "--overwrite")
    assert again.code == 0, again.err
    assert "earlier run" not in again.out + again.err
    kept = {path for path in tmp_path.iterdir() if "unfinished" in path.name}
    fault.keeps(sorted(path.read_bytes() for path in kept) == sorted([video, poses]), f"left: {left_in(tmp_path)}")
    assert all(path.name in done.err for path in kept), done.err
    assert left_in(tmp_path, *kept) == ["o.jsonl", "o.mp4"]


def test_killed_before_anything_was_written(tmp_path: Path, long_clip: Path, fault: Fault, command: Run) -> None:
    """An empty file is not user data."""
    for name in ("o.part.mp4", "o.part.jsonl"):
        (tmp_path / name).touch()
    arguments = ("--output", tmp_path / "o.mp4", "--poses", tmp_path / "o.jsonl", "--max-frames", "3")
    done = command("--video", long_clip, *arguments)
    assert done.code == 0
    assert left_in(tmp_path) == ["o.jsonl", "o.mp4"]
    assert "earlier run" not in done.out + done.err


def test_stdout_is_closed(tmp_path: Path, long_clip: Path, fault: Fault) -> None:
    """`main.py ... | head -0`: the files matter, not the output."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.light", "--video", str(long_clip), "--output", str(tmp_path / "o.mp4"),
         "--max-frames", "20"],
        stdout=write_end, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(write_end)
    done = fault.end(process)
    assert done.code == 0, done.err
    assert "error" not in done.err.lower()
    fault.keeps(len(read_back(tmp_path / "o.mp4").times) == 20, "frames are missing")


def test_a_power_failure(
    tmp_path: Path, long_clip: Path, command: Run, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is synced while it grows and before it gets its name; only the order can be tested."""
    reported: list[str] = []
    sync, replace = os.fsync, os.link

    def fsync(handle: int) -> None:
        reported.append(f"sync {Path(f'/proc/self/fd/{handle}').readlink().name}")
        sync(handle)

    def link(old: Path, new: Path) -> None:
        reported.append(f"name {Path(new).name}")
        replace(old, new)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc to tell which file is synced")
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr("engine.artifacts.part_file._SYNC_EVERY_S", 0.01)
    assert command("--video", long_clip, "--output", tmp_path / "o.mp4", "--max-frames", "100").code == 0
    named = reported.index("name o.mp4")
    assert reported[:named].count("sync o.part.mp4") >= 3
    assert reported[named - 1] == "sync o.part.mp4"
    assert re.fullmatch("sync .+", reported[-1]), "the folder, which holds the name"


class SignalsAt:
    """Sends a signal at the first frame, and another at a chosen line of the program after it."""

    FILES = (
        "export.py",
        "prefetch.py",
        "file_runner.py",
        "stop_flag.py",
        "output/files.py",
        "part_file.py",
        "threading.py",
    )

    def __init__(self, line: int) -> None:
        self.line = line
        self.seen = 0
        self.sent = False

    def __call__(self, frame: FrameType, event: str, _argument: object) -> SignalsAt | None:
        if event == "call":
            return self if frame.f_code.co_filename.endswith(self.FILES) else None
        if self.seen == 0 and frame.f_code.co_name != "write":
            return self  # the first signal arrives while a frame is written
        if event == "line":
            self.seen += 1
            if self.seen in (1, self.line):
                self.sent = self.seen == self.line
                signal.raise_signal(signal.SIGINT)
        return self


@pytest.mark.skipif(sys.gettrace() is not None, reason="somebody else traces this run")
def test_a_second_signal_at_every_line_of_the_end(tmp_path: Path, long_clip: Path, command: Run, fault: Fault) -> None:
    """The files are complete wherever the second Ctrl-C arrives."""
    arriving("SIGINT")
    lines = 0
    while True:
        lines += 1
        folder = tmp_path / str(lines)
        tracer = SignalsAt(lines)
        sys.settrace(tracer)
        try:
            done = command("--video", long_clip, "--output", folder / "o.mp4", "--poses", folder / "o.jsonl")
        finally:
            sys.settrace(None)
        fault.keeps(left_in(folder) == ["o.jsonl", "o.mp4"], f"line {lines}: {left_in(folder)} {done.err}")
        written = len((folder / "o.jsonl").read_text().splitlines())
        fault.keeps(len(read_back(folder / "o.mp4").times) == written == 1, f"line {lines}: {written}")
        fault.quiet(done.err)
        assert done.code == 130
        assert "stopped after 1 frame" in done.out
        if not tracer.sent:
            break
    fault.more(lines)
    assert lines > 100, "few lines were traced"


AFTER_NETWORKS = """
import gc, signal
from pathlib import Path
from engine.backends import open_detector_backend
from engine.backends.contract import OpenOptions
opened = [open_detector_backend(Path("models/weights/yolo_person.onnx"), backend="openvino",
                                options=OpenOptions(device="cpu")).backend for _ in range(2)]
while opened:
    opened.pop(0).close()  # the first one first
    gc.collect()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("it came")
"""


def test_an_interrupt_after_networks_were_closed(fault: Fault) -> None:
    """A runtime that frees the thread's signal stack too early turns Ctrl-C into a crash."""
    pytest.importorskip("openvino")
    arriving("SIGINT")
    done = fault.run("-c", AFTER_NETWORKS)
    assert (done.code, done.out.strip()) == (0, "it came"), done.err
