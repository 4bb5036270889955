"""Sources: frames of videos and the demo, and bad input."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import warnings
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from engine.sources.demo import DemoSource
from engine.sources.opening import open_source
from engine.types import UInt8Array
from tests.engine.clips import NTSC, ClipSpec, frames_of, make_clip, picture, refusal

# Video files


def test_video_gives_exact_times_and_metadata(tmp_path: Path) -> None:
    source = open_source(str(make_clip(tmp_path / "clip.mp4", ClipSpec(rate=NTSC, frames=30, audio="aac"))))
    assert source.info.kind == "video"
    assert source.info.name == "clip.mp4"
    assert source.info.frame_rate == NTSC
    assert source.info.size_wh == (160, 120)
    assert source.info.frame_count == 30
    assert source.info.media is not None
    base = source.info.time_base
    assert base is not None
    frames = frames_of(source)
    assert [frame.index for frame in frames] == list(range(30))
    assert [(frame.pts or 0) * base for frame in frames] == [i / NTSC for i in range(30)]
    assert frames[7].timestamp_s == pytest.approx(float(7 / NTSC))
    assert source.unreadable_frames == 0
    assert source.notes == ()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_variable_frame_rate_keeps_every_time_stamp(tmp_path: Path, suffix: str) -> None:
    stamps = [0, 33, 70, 100, 190, 250, 251, 400, 1500, 1533]
    spec = ClipSpec(time_base=Fraction(1, 1000), pts=stamps)
    source = open_source(str(make_clip(tmp_path / f"vfr{suffix}", spec)))
    base = source.info.time_base
    assert base is not None
    assert [(frame.pts or 0) * base * 1000 for frame in frames_of(source)] == stamps


@pytest.mark.parametrize(
    ("rotation", "red_corner"),
    [(0, (0, 0)), (90, (-1, 0)), (180, (-1, -1)), (270, (0, -1))],  # the matrix turns counter-clockwise
)
def test_rotated_video_comes_upright(tmp_path: Path, rotation: int, red_corner: tuple[int, int]) -> None:
    spec = ClipSpec(size_wh=(160, 96), rotation=rotation, frames=3)
    source = open_source(str(make_clip(tmp_path / "turned.mp4", spec)))
    sideways = rotation % 180 == 90
    assert source.info.size_wh == ((96, 160) if sideways else (160, 96))
    for frame in frames_of(source):
        image = frame.image_bgr
        assert (image.shape[1], image.shape[0]) == source.info.size_wh
        for y in (0, -1):
            for x in (0, -1):
                pixel = image[y * 4, x * 4]  # inside, away from coding artefacts
                is_red = int(pixel[2]) - int(pixel[0]) > 100
                assert is_red == ((y, x) == red_corner)


def test_mirrored_video_is_mirrored_back(tmp_path: Path) -> None:
    path = tmp_path / "mirror.mp4"
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=25)
        video.width, video.height = 64, 48
        video.set_display_rotation(0, hflip=True)
        frame = av.VideoFrame.from_ndarray(picture(64, 48), format="bgr24")
        output.mux(video.encode(frame))
        output.mux(video.encode(None))
    image = frames_of(open_source(str(path)))[0].image_bgr
    assert int(image[4, -4, 2]) - int(image[4, -4, 0]) > 100
    assert int(image[4, 4, 2]) - int(image[4, 4, 0]) < 50


def test_odd_sizes_are_read_whole(tmp_path: Path) -> None:
    source = open_source(str(make_clip(tmp_path / "odd.mkv", ClipSpec(size_wh=(175, 143), frames=3))))
    assert source.info.size_wh == (175, 143)
    assert frames_of(source)[0].image_bgr.shape == (143, 175, 3)


def test_a_clock_that_starts_anywhere_is_set_to_the_start(tmp_path: Path) -> None:
    source = open_source(str(make_clip(tmp_path / "broadcast.ts", ClipSpec(frames=10))))
    frames = frames_of(source)
    assert frames[0].timestamp_s == 0
    assert [frame.pts for frame in frames] == [i * 3600 for i in range(10)]


def test_video_without_time_stamps_is_counted_by_its_rate(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.h264", ClipSpec(frames=12, options={}))
    frames = frames_of(open_source(str(clip)))
    assert len(frames) == 12
    stamps = [frame.pts for frame in frames]
    steps = {b - a for a, b in itertools.pairwise(stamps) if a is not None and b is not None}
    assert len(steps) == 1
    assert min(steps) > 0


def test_a_truncated_video_gives_its_frames_and_counts_the_rest(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mp4", ClipSpec(frames=60, options={"movflags": "faststart"}))
    cut = tmp_path / "cut.mp4"
    data = whole.read_bytes()
    cut.write_bytes(data[: int(len(data) * 0.6)])
    source = open_source(str(cut))
    frames = frames_of(source)
    assert 0 < len(frames) < 60
    assert 60 - 3 <= len(frames) + source.unreadable_frames <= 60 + 3
    assert source.unreadable_frames > 0
    assert any("could not be read" in note for note in source.notes)


def test_a_damaged_middle_is_skipped(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", ClipSpec(frames=60, codec="mpeg4"))
    data = bytearray(clip.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 1500] = bytes(1500)
    clip.write_bytes(bytes(data))
    source = open_source(str(clip))
    frames = frames_of(source)
    assert len(frames) >= 20
    assert frames[-1].timestamp_s > 1.0, "frames after the damage come too"


def test_whole_files_report_nothing_unreadable(tmp_path: Path) -> None:
    for name, spec in {
        "a.avi": ClipSpec(codec="mpeg4", audio="libmp3lame"),
        "b.mkv": ClipSpec(audio="aac", audio_s=3.0),
        "c.ts": ClipSpec(),
        "d.mov": ClipSpec(audio="pcm_s16le"),
    }.items():
        source = open_source(str(make_clip(tmp_path / name, spec)))
        assert len(frames_of(source)) == 20, name
        assert source.unreadable_frames == 0, name


def test_frames_belong_to_the_receiver(tmp_path: Path) -> None:
    frames = []
    for frame in open_source(str(make_clip(tmp_path / "clip.mp4", ClipSpec(frames=4)))):
        frame.image_bgr[:] = 7
        frames.append(frame)
    assert all((frame.image_bgr == 7).all() for frame in frames)


def test_colours_of_an_hd_clip_survive(tmp_path: Path) -> None:
    """An untagged clip of HD height is BT.709: pure red must not come out orange."""
    path = tmp_path / "hd.mkv"
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=25, options={"crf": "5"})
        video.width, video.height, video.pix_fmt = 1280, 720, "yuv444p"
        red = np.zeros((720, 1280, 3), np.uint8)
        red[:] = (20, 20, 230)
        frame = av.VideoFrame.from_ndarray(red, format="bgr24").reformat(format="yuv444p", dst_colorspace="ITU709")
        frame.colorspace = 2
        output.mux(video.encode(frame))
        output.mux(video.encode(None))
    pixel = frames_of(open_source(str(path)))[0].image_bgr[300, 300].astype(int)
    assert np.abs(pixel - (20, 20, 230)).max() <= 4


def test_development_clips_are_read_completely(videos_dir: Path, tmp_path: Path) -> None:
    expected = {"three_people_exercising.avi": 393, "signing_walk.mkv": 89, "treadmill_one_person.mp4": 100}
    for name, count in expected.items():
        copied = shutil.copy(videos_dir / name, tmp_path / name)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            source = open_source(str(copied))
            assert len(frames_of(source)) == count, name
        assert source.unreadable_frames == 0, name


# Bad input


def test_bad_videos_are_refused_in_one_line(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("This is no video.\n" * 50)
    assert "cannot be read as a video" in refusal(text)
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    assert "0 bytes" in refusal(empty)
    assert "does not exist" in refusal(tmp_path / "missing.mp4")
    song = tmp_path / "song.mp4"
    with av.open(str(song), "w") as output:
        sound = output.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 4800), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = 48_000
        output.mux(sound.encode(frame))
        output.mux(sound.encode(None))
    assert "audio only" in refusal(song)


def test_a_missing_moov_reports_a_truncated_file(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mp4", ClipSpec(frames=40))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[:3000])
    assert "cut off" in refusal(cut)


def test_unknown_words_are_refused() -> None:
    assert "URL" in refusal("no_such_thing")
    assert "not supported" in refusal("gopher://example.org/x")
    assert "no source" in refusal("  ")


def test_ffmpeg_stays_silent(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("no video" * 100)
    code = (
        "import sys; from engine.sources.opening import open_source; from engine.errors import SourceError\n"
        "try: open_source(sys.argv[1])\nexcept SourceError: pass"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code, str(text)], cwd=root, capture_output=True, text=True, check=True)
    assert done.stderr == ""


# The demo


def test_demo_is_smooth_and_the_same_every_time() -> None:
    first, second = DemoSource(), DemoSource()
    assert first.info.frame_rate == 30
    steps = []
    before: UInt8Array | None = None
    count = 0
    for a, b in zip(first, second, strict=True):
        assert a.image_bgr.shape == (720, 1280, 3)
        assert a.pts == count
        if count % 40 == 0:
            assert np.array_equal(a.image_bgr, b.image_bgr)
        small = np.asarray(cv2.resize(a.image_bgr, (160, 90), interpolation=cv2.INTER_AREA), np.uint8)
        if before is not None:
            steps.append(float(np.abs(small.astype(int) - before).mean()))
        before = small
        count += 1
    assert count == first.info.frame_count == 300
    jumps = [step for step in steps if step > 12]
    assert len(jumps) == 1, "one cut, and no jump besides"


def test_demo_does_not_import_ultralytics() -> None:
    root = Path(__file__).resolve().parents[3]
    code = (
        "import sys; from engine.sources.opening import open_source; open_source('demo'); "
        "print('ultralytics' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
