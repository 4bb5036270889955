"""Each bad video through the command line: every frame that can be decoded at its time, or one line and exit code 2."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.engine.clips import left_in, read_back
from tests.faults.bad_videos import CORPUS, BadVideo, clip, transparent
from tests.faults.ledger import ROOT, Fault
from tests.faults.light import Run, command

__all__ = ["command"]

pytestmark = pytest.mark.fault("bad videos")


def decodable(path: Path) -> tuple[list[float | None], int]:
    """The times of all frames that FFmpeg decodes with one thread, in seconds, and the number of packets without."""
    times: list[float | None] = []
    packets = 0
    with av.open(f"file:{path}") as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for packet in container.demux(stream):
            packets += packet.size > 0
            try:
                times += [frame.time for frame in packet.decode()]
            except av.error.EOFError:
                break
            except av.error.FFmpegError:
                continue
    return times, packets - len(times)


@pytest.mark.parametrize("bad", CORPUS, ids=lambda bad: bad.name[:40])
def test_a_bad_video(bad: BadVideo, tmp_path: Path, command: Run, fault: Fault) -> None:
    source = tmp_path / "in" / bad.name
    source.parent.mkdir()
    bad.make(source)
    before = source.read_bytes()
    out, poses = tmp_path / "out.mp4", tmp_path / "out.jsonl"
    done = command("--video", source, "--output", out, "--poses", poses)
    fault.quiet(done.out + done.err)
    fault.keeps(source.read_bytes() == before, "the source was changed")
    if done.code == 2:
        line = fault.refused(done.code, done.err)
        assert bad.refused is not None or bad.name.startswith("cut "), line
        assert re.search(bad.refused or "damaged|cut off", line), line
        assert left_in(tmp_path) == ["in"]
        return
    assert done.code == 0, done.err
    assert bad.refused is None, "it was not refused"
    assert left_in(tmp_path) == ["in", "out.jsonl", "out.mp4"]
    times, silent = decodable(source)
    after = read_back(out)
    fault.keeps(len(after.times) == len(times), f"{len(after.times)} of {len(times)} frames that can be decoded")
    lines = [json.loads(line) for line in poses.read_text().splitlines()]
    assert [line["time_s"] for line in lines] == pytest.approx([float(time) for time in after.times], abs=2e-3)
    if not bad.name.startswith(("a century", "no time", "two sizes")) and source.suffix != ".ts":
        assert [float(time) for time in after.times] == pytest.approx([float(t or 0) for t in times], abs=2e-3)
    printed = " ".join(f"{done.out} {done.err}".split())
    if bad.note is not None:
        assert re.search(bad.note, printed), printed
    if silent:
        assert re.search(r"could not be read|is cut off|are damaged", printed), printed
    if bad.size_wh is not None:
        assert after.size_wh == bad.size_wh


def test_frames_without_time_stamps_are_evenly_spaced(tmp_path: Path, command: Run, fault: Fault) -> None:
    for name in ("no time stamps.h264", "two sizes.h264", "a century.mkv"):
        next(bad for bad in CORPUS if bad.name == name).make(tmp_path / name)
        assert command("--video", tmp_path / name, "--output", tmp_path / "o.mp4", "--overwrite").code == 0
        steps = np.diff([float(time) for time in read_back(tmp_path / "o.mp4").times])
        assert steps == pytest.approx(np.full(11, 0.04), abs=2e-3), name


def test_transparency_is_blended_onto_white(tmp_path: Path, command: Run, fault: Fault) -> None:
    transparent(tmp_path / "alpha.mov")
    assert command("--video", tmp_path / "alpha.mov", "--output", tmp_path / "o.mp4").code == 0
    first = read_back(tmp_path / "o.mp4").first_bgr.astype(int)
    assert np.abs(first[4:8, 4:8] - 255).max() < 12
    assert np.abs(first[4:8, 60:64] - (0, 0, 200)).max() < 12


def test_a_picture_of_another_size_keeps_its_aspect_ratio(tmp_path: Path, command: Run, fault: Fault) -> None:
    next(bad for bad in CORPUS if bad.name == "two sizes.h264").make(tmp_path / "v.h264")
    assert command("--video", tmp_path / "v.h264", "--output", tmp_path / "o.mp4").code == 0
    capture = cv2.VideoCapture(str(tmp_path / "o.mp4"))
    frames = [capture.read()[1] for _ in range(12)]
    capture.release()
    # A square in 96x64 is 64 px wide, in the middle.
    assert frames[-1][:, :14].max() < 40
    assert frames[-1][:, -14:].max() < 40
    assert frames[-1][40:60, 40:60].min() > 40
    assert frames[0][:, :14].max() > 100


@pytest.mark.parametrize("length", [250, 255])
def test_a_long_path(length: int, tmp_path: Path, command: Run, fault: Fault) -> None:
    """The whole path has 250 characters; or the name has the maximum length."""
    folder = tmp_path
    if length == 250:
        while len(str(folder)) < 180:
            folder = folder / "deep folder"
    folder.mkdir(parents=True, exist_ok=True)
    stem = "y" * (length - len(str(folder)) - len("/.mp4") if length == 250 else 255 - len(".mp4"))
    source = clip()(folder / "short.mp4").rename(folder / f"{stem}.mp4")
    assert length == 255 or len(str(source)) == 250
    results = tmp_path / "results"
    results.mkdir()
    done = command("--video", source, "--output", results)
    assert done.code == 0, done.err
    (video,) = results.iterdir()
    assert len(read_back(video).times) == 12


@pytest.mark.parametrize(("option", "value"), [("--video", "z" * 5000), ("--output", "z" * 300 + ".mp4")])
def test_a_name_that_is_too_long(option: str, value: str, tmp_path: Path, command: Run, fault: Fault) -> None:
    source = clip()(tmp_path / "clip.mp4")
    chosen = {"--video": str(source), "--output": str(tmp_path / "o.mp4"), option: value}
    done = command(*(part for pair in chosen.items() for part in pair))
    fault.refused(done.code, done.err)
    assert left_in(tmp_path) == ["clip.mp4"]


@pytest.mark.parametrize("name", ["1x1.mkv", "list.mp4"])
def test_the_program_itself(name: str, tmp_path: Path, fault: Fault) -> None:
    """With the shipped networks, in a child process."""
    bad = next(bad for bad in CORPUS if bad.name == name)
    bad.make(tmp_path / name)
    done = fault.run(
        ROOT / "main.py", "--video", tmp_path / name, "--output", tmp_path / "o.mp4", "--threads", "1",
        "--max-frames", "4", env={"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT)])},
    )  # fmt: skip
    if bad.refused is not None:
        fault.refused(done.code, done.err)
        assert left_in(tmp_path) == [name]
    else:
        assert done.code == 0, done.err
        assert 1 <= len(read_back(tmp_path / "o.mp4").times) <= 4
