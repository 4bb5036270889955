"""Exports of a part of a file, and in a smaller size: frames, times, poses and sound are those of the source."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from engine.errors import SourceError
from engine.options import seconds_from_start
from engine.output.export import export
from engine.output.files import ExportOptions
from engine.sources.opening import open_source
from engine.types import UInt8Array
from main import main
from tests.engine.clips import ClipSpec, ConstantPipeline, make_clip, read_back, run_export


def grey_of(image_bgr: UInt8Array) -> float:
    """Of the lower right quarter, which tells the number of a frame of the clip."""
    return float(image_bgr[image_bgr.shape[0] // 2 + 4 :, image_bgr.shape[1] // 2 + 4 :].mean())


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_range_has_the_frames_of_the_source_from_there_on(tmp_path: Path, suffix: str) -> None:
    clip = make_clip(tmp_path / f"clip{suffix}", ClipSpec(frames=50))
    poses = tmp_path / "poses.jsonl"
    summary = run_export(clip, tmp_path / "part.mp4", start_s=1.0, duration_s=0.4, poses=[poses])
    after = read_back(tmp_path / "part.mp4")
    assert summary.frames == 10 and after.times == [Fraction(number, 25) for number in range(10)]
    assert abs(grey_of(after.first_bgr) - (60 + 25 * 5 % 120)) < 4, "frame 25, not an earlier key frame"
    lines = [json.loads(line) for line in poses.read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(25, 35))
    assert [line["time_s"] for line in lines] == [pytest.approx(number / 25, abs=1e-3) for number in range(25, 35)]


@pytest.mark.parametrize(("name", "audio"), [("a.mp4", "aac"), ("b.mov", "pcm_s16le")])
def test_a_range_has_the_sound_of_its_frames(tmp_path: Path, name: str, audio: str) -> None:
    clip = make_clip(tmp_path / name, ClipSpec(frames=75, audio=audio))
    run_export(clip, tmp_path / "part.mp4", start_s=1.0, duration_s=1.0)
    after = read_back(tmp_path / "part.mp4")
    assert len(after.times) == 25 and 0.95 <= after.audio_end_s < 1.06
    with av.open(str(tmp_path / "part.mp4")) as container:
        first = next(container.demux(container.streams.audio[0]))
        assert first.pts is not None and -0.05 <= float(first.pts * first.time_base) < 0.05
    if audio == "aac":  # copied packets are those of the source at that time
        source = read_back(clip).audio_packets
        at = source.index(after.audio_packets[2])
        assert abs((at - 2) * 1024 / 48_000 - 1.0) < 0.05


def test_a_smaller_video_keeps_the_pixels_of_the_poses(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=5, size_wh=(320, 180)))
    (whole, small) = (tmp_path / name for name in ("whole.jsonl", "small.jsonl"))
    run_export(clip, tmp_path / "whole.mp4", poses=[whole])
    run_export(clip, tmp_path / "small.mp4", poses=[small], shorter_px=91)
    assert read_back(tmp_path / "small.mp4").size_wh == (162, 92)
    run_export(clip, tmp_path / "as_it_is.mp4", shorter_px=1080)
    assert read_back(tmp_path / "as_it_is.mp4").size_wh == (320, 180), "nothing is enlarged"
    assert small.read_text() == whole.read_text()


@pytest.mark.parametrize(("options", "said"), [({"start_s": 9.0}, "2.0 s long"), ({"start_s": 1.0}, "no seconds to")])
def test_a_start_that_is_not_there_is_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=50))
    if said.startswith("no"):
        photo = tmp_path / "photo.png"
        cv2.imwrite(str(photo), np.full((60, 80, 3), 90, np.uint8))
        clip = photo
    with pytest.raises(SourceError, match=said), open_source(str(clip)) as source:
        export(source, ConstantPipeline(), ExportOptions(output=tmp_path / "out.mp4", quiet=True, **options))
    assert not list(tmp_path.glob("out*"))


def test_a_start_is_refused_before_the_networks_and_leaves_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=50))
    monkeypatch.setattr("engine.output.run_video.open_pipeline", lambda *_args, **_kwargs: pytest.fail("opened"))
    assert main(["--video", str(clip), "--start", "9", "--output", str(tmp_path / "new" / "out.mp4")]) == 2
    assert "2.0 s long" in capsys.readouterr().err and not (tmp_path / "new").exists()


def test_a_start_of_0_is_the_whole_file(tmp_path: Path) -> None:
    assert seconds_from_start("0") == 0.0
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=10))
    run_export(clip, tmp_path / "whole.mp4", start_s=0.0)
    assert len(read_back(tmp_path / "whole.mp4").times) == 10
