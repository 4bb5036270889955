"""Exports that are refused, end early or fail, and those of live sources."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from engine.errors import BackendError, OptionError, OutputError, SourceError
from engine.output.export import export
from engine.output.files import ExportOptions, resolve_output
from engine.output.progress import FrameProgress
from engine.sources.frame_source import FrameSource, SourceInfo
from engine.sources.live import LIVE_TIME_BASE
from engine.types import Frame
from tests.engine.clips import (
    ClipSpec,
    ConstantPipeline,
    left_in,
    make_clip,
    picture,
    read_back,
    run_export,
)
from tests.signals import arriving

ROOT = Path(__file__).resolve().parents[3]


# Refusals


def test_existing_outputs_are_kept_without_overwrite(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=4))
    out = tmp_path / "out.mp4"
    out.write_text("precious")
    with pytest.raises(OutputError, match="--overwrite"):
        run_export(clip, out)
    assert out.read_text() == "precious"
    assert run_export(clip, out, overwrite=True).outputs == (out,)
    assert len(read_back(out).times) == 4
    poses = tmp_path / "p.csv"
    poses.write_text("precious")
    with pytest.raises(OutputError, match="--overwrite"):
        run_export(clip, tmp_path / "new.mp4", poses=[poses])
    assert left_in(tmp_path, clip) == ["out.mp4", "p.csv"]


def test_the_input_is_never_an_output(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=4))
    link = tmp_path / "link.mp4"
    link.symlink_to(clip)
    for output in (clip, link, tmp_path / "." / "clip.mp4"):
        with pytest.raises(OutputError, match="input itself"):
            run_export(clip, output, overwrite=True)
    assert len(read_back(clip).times) == 4


def test_unwritable_outputs_are_reported_before_any_frame(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=4))
    blocked = tmp_path / "file"
    blocked.write_text("a file where a folder is wanted")
    pipeline = ConstantPipeline()
    for output, poses in ((blocked / "out.mp4", []), (tmp_path / "out.mp4", [blocked / "p.csv"])):
        with pytest.raises(OutputError, match=r"cannot|is a file"):
            run_export(clip, output, pipeline, poses=poses)
    assert pipeline.seen == []
    assert left_in(tmp_path, clip, blocked) == []


def test_names_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=4))
    with pytest.raises(OptionError, match=r"\.mp4"):
        run_export(clip, tmp_path / "out.avi")
    loop = tmp_path / "loop.mp4"
    loop.symlink_to(loop)
    with pytest.raises(OutputError, match="cannot write to"):
        run_export(clip, loop, poses=[tmp_path / "a.json"])
    wrong: list[dict[str, Any]] = [{"max_frames": 0}, {"duration_s": 0.0}, {"duration_s": float("nan")}]
    for options in wrong:
        with pytest.raises(OptionError):
            ExportOptions(**options)


def test_default_names() -> None:
    assert resolve_output(SourceInfo(name="demo", kind="demo"), None) == Path("outputs/demo_pose.mp4")
    camera = SourceInfo(name="camera 0", kind="camera", is_live=True)
    assert resolve_output(camera, None) == Path("outputs/camera_0_pose.mp4")
    stream = SourceInfo(name="rtsp://cam.local/live/1", kind="stream", is_live=True)
    assert resolve_output(stream, None) == Path("outputs/cam_local_live_1_pose.mp4")
    video = SourceInfo(name="a.b.mkv", kind="video", path=Path("x/a.b.mkv"))
    assert resolve_output(video, None) == Path("outputs/a.b_pose.mp4")


# Runs that end early


def test_ctrl_c_leaves_complete_matching_files(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=40, audio="aac"))
    pipeline = ConstantPipeline(fail_at=15, error=KeyboardInterrupt())
    summary = run_export(clip, tmp_path / "o.mp4", pipeline, poses=[tmp_path / "o.json"])
    assert summary.interrupted
    assert summary.frames == 15
    after = read_back(tmp_path / "o.mp4")
    assert len(after.times) == after.listed_frames == 15
    assert after.audio_end_s < 0.7
    assert len(json.loads((tmp_path / "o.json").read_text())) == 15
    assert left_in(tmp_path, clip) == ["o.json", "o.mp4"]


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to a child")
def test_a_real_ctrl_c_in_a_child_process(tmp_path: Path) -> None:
    number = arriving("SIGINT")
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from engine.sources.opening import open_source\nfrom engine.output.files import ExportOptions\n"
        "from engine.output.export import export\n"
        "from tests.engine.clips import ConstantPipeline\n"
        "class Slow(ConstantPipeline):\n"
        "    def process(self, frame):\n"
        "        if frame.index == 5: print('go', flush=True)\n"
        "        time.sleep(0.02)\n"
        "        return super().process(frame)\n"
        "with open_source('demo') as s:\n"
        "    r = export(s, Slow(), ExportOptions(output=Path(sys.argv[1]), poses=[Path(sys.argv[2])], quiet=True))\n"
        "print(r.frames, r.interrupted)\n"
    )
    out, poses = tmp_path / "o.mp4", tmp_path / "o.jsonl"
    child = subprocess.Popen([sys.executable, "-c", code, out, poses], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline().strip() == "go"
    child.send_signal(number)
    text = child.communicate(timeout=60)[0]
    frames, interrupted = text.split()
    assert interrupted == "True"
    assert int(frames) < 300
    assert len(read_back(out).times) == int(frames) == len(poses.read_text().splitlines())
    assert left_in(tmp_path) == ["o.jsonl", "o.mp4"]


def test_ctrl_c_before_the_first_frame_leaves_nothing(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=4))
    pipeline = ConstantPipeline(fail_at=0, error=KeyboardInterrupt())
    summary = run_export(clip, tmp_path / "o.mp4", pipeline, poses=[tmp_path / "o.jsonl"])
    assert summary.interrupted
    assert summary.outputs == ()
    assert left_in(tmp_path, clip) == []


def test_an_error_in_mid_run_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=40))
    pipeline = ConstantPipeline(fail_at=20, error=BackendError("the device was lost"))
    with pytest.raises(BackendError, match=r"the device was lost \(the 20 frame") as caught:
        run_export(clip, tmp_path / "o.mp4", pipeline, poses=[tmp_path / "o.jsonl"])
    assert left_in(tmp_path, clip) == ["o.part.jsonl", "o.part.mp4"]
    assert str(tmp_path / "o.part.mp4") in str(caught.value)
    assert len(read_back(tmp_path / "o.part.mp4").times) == 20


def test_an_error_at_the_first_frame_leaves_nothing_at_all(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=4))
    pipeline = ConstantPipeline(fail_at=0, error=RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        run_export(clip, tmp_path / "o.mp4", pipeline, poses=[tmp_path / "o.json"])
    assert left_in(tmp_path, clip) == []


# Live sources


class LateCamera(FrameSource):
    """A live source whose frames come at uneven times, the first of them late."""

    TIMES_S = (5.0, 5.04, 5.09, 5.3, 6.8, 6.83)

    def __init__(self, fail: bool = False) -> None:
        super().__init__(
            SourceInfo(
                name="camera 0",
                kind="camera",
                is_live=True,
                size_wh=(64, 48),
                frame_rate=Fraction(30),
                time_base=LIVE_TIME_BASE,
            )
        )
        self._fail = fail

    def __iter__(self) -> Iterator[Frame]:
        for index, time_s in enumerate(self.TIMES_S):
            image = picture(64, 48, index)
            yield Frame(image_bgr=image, index=index, timestamp_s=1000 + time_s, pts=round(time_s * 90_000))
        if self._fail:
            raise SourceError("camera 0 was unplugged")


def test_live_video_is_written_at_real_times(tmp_path: Path) -> None:
    with LateCamera() as source:
        options = ExportOptions(output=tmp_path / "o.mp4", poses=[tmp_path / "o.jsonl"], quiet=True)
        export(source, ConstantPipeline(), options)
    expected = [time_s - 5.0 for time_s in LateCamera.TIMES_S]
    assert [float(time) for time in read_back(tmp_path / "o.mp4").times] == pytest.approx(expected, abs=1e-5)
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [line["time_s"] for line in lines] == pytest.approx(expected, abs=1e-5)


def test_live_source_ends_at_its_duration(tmp_path: Path) -> None:
    with LateCamera() as source:
        summary = export(source, ConstantPipeline(), ExportOptions(output=tmp_path / "o.mp4", duration_s=1, quiet=True))
    assert summary.frames == 4


def test_unplugged_camera_keeps_the_recorded_frames(tmp_path: Path) -> None:
    with LateCamera(fail=True) as source, pytest.raises(SourceError, match=r"unplugged \(the 6 frame.*part\.mp4"):
        export(source, ConstantPipeline(), ExportOptions(output=tmp_path / "o.mp4", quiet=True))
    assert left_in(tmp_path) == ["o.part.mp4"]


# Progress


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (300, r"clip.mp4: \d+/300 frames, +[\d.]+ frames/s, [\d:]+ left"),
        (None, r"clip.mp4: \d+ frames, +[\d.]+ frames/s"),
    ],
)
def test_progress_lines_show_rate_and_remaining_time(
    total: int | None, expected: str, capfd: pytest.CaptureFixture[str]
) -> None:
    progress = FrameProgress(every_s=0.1)
    progress.start("clip.mp4", total)
    for _ in range(30):
        time.sleep(0.01)
        progress.advance()
    progress.close()
    lines = capfd.readouterr().err.splitlines()
    assert 1 <= len(lines) < 30
    assert all(re.fullmatch(expected, line) for line in lines), lines


def test_a_short_run_without_a_terminal_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    progress = FrameProgress()
    progress.start("clip.mp4", 3)
    progress.advance()
    progress.close()
    assert capfd.readouterr().err == ""


def test_quiet_run_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=5, audio="aac"))
    run_export(clip, tmp_path / "o.mp4")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
