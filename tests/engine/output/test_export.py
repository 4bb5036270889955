"""Exports: the files after a complete run."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from engine.artifacts.part_file import PartFile
from engine.errors import OptionError, OutputError
from engine.output.video_writer import VideoWriter
from engine.overlay.drawing import OverlayOptions
from engine.sources.frame_source import PictureTags, SourceInfo
from engine.sources.opening import open_source
from tests.engine.clips import (
    NTSC,
    ClipSpec,
    ConstantPipeline,
    left_in,
    make_clip,
    picture,
    read_back,
    run_export,
    save_photo,
)

ROOT = Path(__file__).resolve().parents[3]
BARE = OverlayOptions(skeleton=False, ids=False)


# The video


@pytest.mark.parametrize("audio", ["aac", "libmp3lame", "libopus"])
def test_copied_sound_is_the_same_byte_for_byte(tmp_path: Path, audio: str) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(rate=NTSC, frames=60, audio=audio))
    summary = run_export(clip, tmp_path / "out.mp4")
    before, after = read_back(clip), read_back(tmp_path / "out.mp4")
    assert summary.frames == 60
    assert summary.audio_note is not None
    assert "copied" in summary.audio_note
    assert after.times == [i / NTSC for i in range(60)]
    assert after.rate == NTSC
    assert after.listed_frames == 60, "a finished file has an index"
    assert (after.codec, after.pix_fmt) == ("h264", "yuv420p")
    assert after.audio_codec == before.audio_codec
    assert after.audio_packets == before.audio_packets
    assert after.audio_end_s == pytest.approx(before.audio_end_s, abs=1e-6)


@pytest.mark.parametrize(("name", "audio"), [("clip.mov", "pcm_s16le"), ("clip.mkv", "flac"), ("clip.mkv", "ac3")])
def test_other_audio_is_converted_to_aac_and_reported(tmp_path: Path, name: str, audio: str) -> None:
    clip = make_clip(tmp_path / name, ClipSpec(frames=50, audio=audio, audio_tracks=2))
    summary = run_export(clip, tmp_path / "out.mp4")
    after = read_back(tmp_path / "out.mp4")
    assert summary.audio_note == f"audio: {audio} converted to AAC (the first of 2 tracks)"
    assert after.audio_codec == "aac"
    assert after.audio_streams == 1
    assert after.audio_end_s == pytest.approx(2.0, abs=0.05)
    loudness, hertz = tone_of(tmp_path / "out.mp4")
    assert loudness > 0.1
    assert hertz == pytest.approx(440, abs=5)


def tone_of(path: Path) -> tuple[float, float]:
    """Loudness (root mean square) and main frequency of the first second of a video's sound."""
    with av.open(str(path)) as container:
        sound = container.streams.audio[0]
        parts = [frame.to_ndarray()[0] for frame in container.decode(sound)]
        samples = np.concatenate(parts)[:48_000].astype(np.float64)
        rate = sound.rate
    spectrum = np.abs(np.fft.rfft(samples))
    return float(np.sqrt((samples**2).mean())), float(spectrum.argmax() * rate / len(samples))


def test_sound_from_mpeg_ts_is_copied_in_step(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.ts", ClipSpec(frames=50, audio="aac"))
    summary = run_export(clip, tmp_path / "out.mp4")
    before, after = read_back(clip), read_back(tmp_path / "out.mp4")
    assert summary.audio_note == "audio: aac copied"
    assert np.diff([float(t) for t in after.times]) == pytest.approx(np.full(49, 0.04))
    # Audio and video are in sync as before, although both clocks now start at 0.
    assert after.audio_end_s - float(after.times[-1]) == pytest.approx(before.audio_end_s - float(before.times[-1]))
    assert tone_of(tmp_path / "out.mp4")[1] == pytest.approx(440, abs=5)


def test_sound_is_cut_with_the_frames(tmp_path: Path) -> None:
    for name, audio in (("a.mp4", "aac"), ("b.mov", "pcm_s16le")):
        clip = make_clip(tmp_path / name, ClipSpec(frames=50, audio=audio))
        limits: tuple[dict[str, Any], ...] = ({"max_frames": 20}, {"duration_s": 0.8})
        for number, limit in enumerate(limits):
            out = tmp_path / f"{name}{number}.mp4"
            assert run_export(clip, out, **limit).frames == 20
            after = read_back(out)
            assert len(after.times) == 20
            assert 0.8 <= after.audio_end_s < 0.8 + 0.05


def test_sound_longer_or_shorter_than_the_picture(tmp_path: Path) -> None:
    long = make_clip(tmp_path / "long.mp4", ClipSpec(frames=25, audio="aac", audio_s=3.0))
    run_export(long, tmp_path / "a.mp4")
    assert read_back(tmp_path / "a.mp4").audio_end_s < 1.05
    short = make_clip(tmp_path / "short.mp4", ClipSpec(frames=75, audio="aac", audio_s=0.5))
    run_export(short, tmp_path / "b.mp4")
    after = read_back(tmp_path / "b.mp4")
    assert len(after.times) == 75
    assert after.audio_end_s == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_variable_frame_rate_comes_out_exact(tmp_path: Path, suffix: str) -> None:
    stamps = [0, 33, 70, 100, 190, 250, 251, 400, 1500, 1533]
    clip = make_clip(tmp_path / f"vfr{suffix}", ClipSpec(time_base=Fraction(1, 1000), pts=stamps))
    run_export(clip, tmp_path / "out.mp4", poses=[tmp_path / "out.jsonl"])
    assert [time * 1000 for time in read_back(tmp_path / "out.mp4").times] == stamps
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["time_s"] for line in lines] == [stamp / 1000 for stamp in stamps]


@pytest.mark.parametrize("rate", [Fraction(30), NTSC, Fraction(24000, 1001), Fraction(60)])
def test_coarse_time_stamps_keep_the_exact_rate(tmp_path: Path, rate: Fraction) -> None:
    """MKV counts in milliseconds: each time stamp is preserved, and so is the rate they were rounded from."""
    clip = make_clip(tmp_path / "clip.mkv", ClipSpec(rate=rate, frames=47, time_base=1 / rate, audio="aac"))
    run_export(clip, tmp_path / "out.mp4")
    before, after = read_back(clip), read_back(tmp_path / "out.mp4")
    assert after.times == before.times
    assert after.rate == before.rate == rate


def test_late_first_frame_stays_late(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "late.mkv", ClipSpec(time_base=Fraction(1, 1000), pts=[233, 267, 300]))
    run_export(clip, tmp_path / "out.mp4")
    assert [time * 1000 for time in read_back(tmp_path / "out.mp4").times] == [233, 267, 300]


@pytest.mark.parametrize(("rotation", "red_corner"), [(90, (-1, 0)), (180, (-1, -1)), (270, (0, -1))])
def test_rotated_input_comes_out_upright_without_a_flag(
    tmp_path: Path, rotation: int, red_corner: tuple[int, int]
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(size_wh=(160, 96), rotation=rotation, frames=5))
    run_export(clip, tmp_path / "out.mp4", overlay=BARE)
    after = read_back(tmp_path / "out.mp4")
    assert after.rotation == 0
    assert after.size_wh == ((160, 96) if rotation == 180 else (96, 160))
    for y, x in itertools.product((0, -1), repeat=2):
        pixel = after.first_bgr[y * 5, x * 5].astype(int)
        assert (pixel[2] - pixel[0] > 100) == ((y, x) == red_corner)


def test_odd_sizes_are_padded_and_not_scaled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.output.video_writer.CRF", 4)
    clip = make_clip(tmp_path / "odd.mkv", ClipSpec(size_wh=(175, 143), frames=4))
    run_export(clip, tmp_path / "out.mp4", overlay=BARE)
    after, before = read_back(tmp_path / "out.mp4"), read_back(clip)
    assert after.size_wh == (176, 144)
    inner = after.first_bgr[:143, :175].astype(int) - before.first_bgr
    assert np.abs(inner).mean() < 2.5, "px stay in their places"
    assert np.abs(after.first_bgr[143, :174].astype(int) - after.first_bgr[142, :174]).mean() < 3


@pytest.mark.parametrize("size_wh", [(320, 240), (1280, 720)])
def test_colours_come_back_as_they_were(
    tmp_path: Path, size_wh: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output is read as by a player that uses the tags."""
    monkeypatch.setattr("engine.output.video_writer.CRF", 4)
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    patches = [(20, 20, 230), (20, 200, 20), (220, 40, 30), (128, 128, 128), (40, 210, 220)]
    width = size_wh[0] // len(patches)
    for number, color in enumerate(patches):
        image[:, number * width : (number + 1) * width] = color
    for matrix in (1, 6):
        info = SourceInfo(name="x", kind="video", tags=PictureTags(matrix=matrix, primaries=matrix, transfer=matrix))
        writer = VideoWriter(PartFile(tmp_path / "c.mp4", overwrite=True), info)
        writer.write(image, 0)
        writer.finish()
        path = writer.commit()
        assert read_back(path).colors == (matrix, matrix, matrix)
        frame = next(iter(open_source(str(path))))
        for number, color in enumerate(patches):
            pixel = frame.image_bgr[size_wh[1] // 2, number * width + width // 2].astype(int)
            assert np.abs(pixel - color).max() <= 5, (matrix, color)


def test_growing_file_plays_after_a_kill(tmp_path: Path) -> None:
    """The part file, cut at any byte, gives all but the last second or so."""
    part = PartFile(tmp_path / "out.mp4")
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=10, audio="aac", audio_s=0.4))
    with open_source(str(clip)) as source:
        info = source.info
    writer = VideoWriter(part, SourceInfo(**{**vars(info), "frame_rate": Fraction(10), "time_base": Fraction(1, 10)}))
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    for number in range(100):  # ten seconds; the sound ends after less than one
        writer.write(np.roll(noise, number, 1), number)
    data = part.path.read_bytes()
    assert data.count(b"moof") >= 6, "a fragment each second, but for what the encoder holds back"
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: data.rindex(b"mdat") + 2000])  # in the middle of the last fragment
    times: list[float] = []
    with av.open(str(cut)) as container, contextlib.suppress(av.error.FFmpegError):
        times.extend(float(frame.time or 0) for frame in container.decode(video=0))
    assert len(times) >= 50
    assert np.diff(times) == pytest.approx(np.full(len(times) - 1, 0.1))
    writer.finish()
    assert len(read_back(writer.commit()).times) == 100


def test_killed_run_leaves_a_part_that_plays_and_no_final_name(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal\n"
        "from pathlib import Path\n"
        "from engine.sources.opening import open_source\nfrom engine.output.export import export\n"
        "from engine.output.files import ExportOptions\n"
        "from tests.engine.clips import ConstantPipeline\n"
        "class Killer(ConstantPipeline):\n"
        "    def process(self, frame):\n"
        "        if frame.index == 120: os._exit(9)\n"
        "        return super().process(frame)\n"
        "with open_source(sys.argv[1]) as s:\n"
        "    options = ExportOptions(output=Path(sys.argv[2]), poses=[Path(sys.argv[3])], quiet=True, overlap=False)\n"
        "    export(s, Killer(), options)\n"
    )
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=130, audio="aac"))
    out, poses = tmp_path / "out.mp4", tmp_path / "out.jsonl"
    done = subprocess.run([sys.executable, "-c", code, clip, out, poses], cwd=ROOT, check=False)
    assert done.returncode == 9
    assert left_in(tmp_path, clip) == ["out.part.jsonl", "out.part.mp4"]
    with av.open(str(tmp_path / "out.part.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 120 - 2 * 25
    assert len((tmp_path / "out.part.jsonl").read_text().splitlines()) == 120
    # The next run keeps the video under an `.unfinished` name and touches no file that it does not write.
    cut_off = (tmp_path / "out.part.mp4").read_bytes()
    summary = run_export(clip, out)
    assert summary.outputs == (out,)
    (kept,) = tmp_path.glob("out.unfinished-*.mp4")
    assert kept.read_bytes() == cut_off
    assert any(kept.name in note for note in summary.notes)
    assert left_in(tmp_path, clip, kept) == ["out.mp4", "out.part.jsonl"]


# Photos


def test_a_photo_gives_a_photo(tmp_path: Path) -> None:
    photo = save_photo(tmp_path / "mé.png", picture(80, 61))
    summary = run_export(photo, tmp_path, poses=[tmp_path / "p.jsonl"])
    assert summary.outputs == (tmp_path / "mé_pose.png", tmp_path / "p.jsonl")
    image = cv2.imdecode(np.fromfile(tmp_path / "mé_pose.png", np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (61, 80, 3)
    assert not np.array_equal(image, picture(80, 61)), "the person is drawn"
    assert len((tmp_path / "p.jsonl").read_text().splitlines()) == 1


def test_a_folder_gives_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    save_photo(folder / "a.png", picture(40, 30))
    save_photo(folder / "a.ppm", picture(44, 30))
    save_photo(folder / "b.jpg", picture(60, 50))
    (folder / "c.jpg").write_text("broken")
    summary = run_export(folder, tmp_path / "out")
    assert (summary.frames, summary.unreadable_frames) == (3, 1)
    assert any("c.jpg" in note for note in summary.notes)
    assert left_in(tmp_path / "out") == ["a_pose.png", "a_ppm_pose.png", "b_pose.jpg"]
    with pytest.raises(OutputError, match="exists already"):
        run_export(folder, tmp_path / "out")
    with pytest.raises(OutputError, match="input itself"):
        run_export(folder, folder)
    with pytest.raises(OptionError, match="folder of photos"):
        run_export(folder, tmp_path / "out.mp4")


def test_a_run_that_follows_nobody_says_so(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=3))
    followed: dict[str, Any] = {"extras": frozenset({"followed"})}
    nobody = run_export(clip, tmp_path / "a.mp4", ConstantPipeline(empty=range(3)), **followed)
    assert any("nobody was followed" in note for note in nobody.notes)
    assert not any("followed" in note for note in run_export(clip, tmp_path / "b.mp4", **followed).notes)
