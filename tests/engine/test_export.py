"""Exports: what stands on the disk after a run, a cut-off run and a failed run."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from engine.errors import BackendError, OptionError, OutputError, SourceError
from engine.export import ExportOptions, ExportSummary, export
from engine.frame_source import PictureTags, SourceBase, SourceInfo
from engine.live_source import LIVE_TIME_BASE
from engine.outputs import resolve_output
from engine.overlay import OverlayOptions
from engine.part_file import PartFile
from engine.poses_writer import PosesWriter, csv_columns
from engine.progress import LineProgress
from engine.skeleton import COCO17
from engine.sources import open_source
from engine.types import Frame, Poses
from engine.video_writer import VideoWriter
from tests.engine.clips import NTSC, ClipSpec, ConstantPipeline, make_clip, one_person, picture, read_back, save_photo

ROOT = Path(__file__).resolve().parents[2]
BARE = OverlayOptions(skeleton=False, ids=False)


def run(source: str | Path, output: Path, pipeline: ConstantPipeline | None = None, **options: Any) -> ExportSummary:
    with open_source(str(source)) as opened:
        chosen = ExportOptions(output=output, quiet=True, **options)
        return export(opened, pipeline or ConstantPipeline(), chosen)


def left_in(folder: Path, *known: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path not in known)


# The video


@pytest.mark.parametrize("audio", ["aac", "libmp3lame", "libopus"])
def test_copied_sound_is_the_same_byte_for_byte(tmp_path: Path, audio: str) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(rate=NTSC, frames=60, audio=audio))
    summary = run(clip, tmp_path / "out.mp4")
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
def test_other_sound_is_made_aac_and_said_so(tmp_path: Path, name: str, audio: str) -> None:
    clip = make_clip(tmp_path / name, ClipSpec(frames=50, audio=audio, audio_tracks=2))
    summary = run(clip, tmp_path / "out.mp4")
    after = read_back(tmp_path / "out.mp4")
    assert summary.audio_note == f"audio: {audio} made AAC (the first of 2 tracks)"
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
    summary = run(clip, tmp_path / "out.mp4")
    before, after = read_back(clip), read_back(tmp_path / "out.mp4")
    assert summary.audio_note == "audio: aac copied"
    assert np.diff([float(t) for t in after.times]) == pytest.approx(np.full(49, 0.04))
    # Sound and picture stand to each other as they did, although both clocks now begin at 0.
    assert after.audio_end_s - float(after.times[-1]) == pytest.approx(before.audio_end_s - float(before.times[-1]))
    assert tone_of(tmp_path / "out.mp4")[1] == pytest.approx(440, abs=5)


def test_sound_is_cut_with_the_frames(tmp_path: Path) -> None:
    for name, audio in (("a.mp4", "aac"), ("b.mov", "pcm_s16le")):
        clip = make_clip(tmp_path / name, ClipSpec(frames=50, audio=audio))
        limits: tuple[dict[str, Any], ...] = ({"max_frames": 20}, {"duration_s": 0.8})
        for number, limit in enumerate(limits):
            out = tmp_path / f"{name}{number}.mp4"
            assert run(clip, out, **limit).frames == 20
            after = read_back(out)
            assert len(after.times) == 20
            assert 0.8 <= after.audio_end_s < 0.8 + 0.05


def test_sound_longer_or_shorter_than_the_picture(tmp_path: Path) -> None:
    long = make_clip(tmp_path / "long.mp4", ClipSpec(frames=25, audio="aac", audio_s=3.0))
    run(long, tmp_path / "a.mp4")
    assert read_back(tmp_path / "a.mp4").audio_end_s < 1.05
    short = make_clip(tmp_path / "short.mp4", ClipSpec(frames=75, audio="aac", audio_s=0.5))
    run(short, tmp_path / "b.mp4")
    after = read_back(tmp_path / "b.mp4")
    assert len(after.times) == 75
    assert after.audio_end_s == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_variable_frame_rate_comes_out_exact(tmp_path: Path, suffix: str) -> None:
    stamps = [0, 33, 70, 100, 190, 250, 251, 400, 1500, 1533]
    clip = make_clip(tmp_path / f"vfr{suffix}", ClipSpec(time_base=Fraction(1, 1000), pts=stamps))
    run(clip, tmp_path / "out.mp4", poses=tmp_path / "out.jsonl")
    assert [time * 1000 for time in read_back(tmp_path / "out.mp4").times] == stamps
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["time_s"] for line in lines] == [stamp / 1000 for stamp in stamps]


@pytest.mark.parametrize("rate", [Fraction(30), NTSC, Fraction(24000, 1001), Fraction(60)])
def test_coarse_time_stamps_keep_the_exact_rate(tmp_path: Path, rate: Fraction) -> None:
    """MKV counts in milliseconds: each stamp comes out as it is, and so does the rate they were rounded from."""
    clip = make_clip(tmp_path / "clip.mkv", ClipSpec(rate=rate, frames=47, time_base=1 / rate, audio="aac"))
    run(clip, tmp_path / "out.mp4")
    before, after = read_back(clip), read_back(tmp_path / "out.mp4")
    assert after.times == before.times
    assert after.rate == before.rate == rate


def test_late_first_frame_stays_late(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "late.mkv", ClipSpec(time_base=Fraction(1, 1000), pts=[233, 267, 300]))
    run(clip, tmp_path / "out.mp4")
    assert [time * 1000 for time in read_back(tmp_path / "out.mp4").times] == [233, 267, 300]


@pytest.mark.parametrize(("rotation", "red_corner"), [(90, (-1, 0)), (180, (-1, -1)), (270, (0, -1))])
def test_rotated_input_comes_out_upright_without_a_flag(
    tmp_path: Path, rotation: int, red_corner: tuple[int, int]
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(size_wh=(160, 96), rotation=rotation, frames=5))
    run(clip, tmp_path / "out.mp4", overlay=BARE)
    after = read_back(tmp_path / "out.mp4")
    assert after.rotation == 0
    assert after.size_wh == ((160, 96) if rotation == 180 else (96, 160))
    for y, x in itertools.product((0, -1), repeat=2):
        pixel = after.first_bgr[y * 5, x * 5].astype(int)
        assert (pixel[2] - pixel[0] > 100) == ((y, x) == red_corner)


def test_odd_sizes_are_padded_and_not_scaled(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "odd.mkv", ClipSpec(size_wh=(175, 143), frames=4))
    run(clip, tmp_path / "out.mp4", overlay=BARE, crf=4)
    after, before = read_back(tmp_path / "out.mp4"), read_back(clip)
    assert after.size_wh == (176, 144)
    inner = after.first_bgr[:143, :175].astype(int) - before.first_bgr
    assert np.abs(inner).mean() < 2.5, "px stay in their places"
    assert np.abs(after.first_bgr[143, :174].astype(int) - after.first_bgr[142, :174]).mean() < 3


@pytest.mark.parametrize("size_wh", [(320, 240), (1280, 720)])
def test_colours_come_back_as_they_were(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    """What is written is read again by a player that believes the tags."""
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    patches = [(20, 20, 230), (20, 200, 20), (220, 40, 30), (128, 128, 128), (40, 210, 220)]
    width = size_wh[0] // len(patches)
    for number, color in enumerate(patches):
        image[:, number * width : (number + 1) * width] = color
    for matrix in (1, 6):
        info = SourceInfo(name="x", kind="video", tags=PictureTags(matrix=matrix, primaries=matrix, transfer=matrix))
        writer = VideoWriter(PartFile(tmp_path / "c.mp4", overwrite=True), info, crf=4)
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
        "from engine.sources import open_source\nfrom engine.export import export, ExportOptions\n"
        "from tests.engine.clips import ConstantPipeline\n"
        "class Killer(ConstantPipeline):\n"
        "    def process(self, frame):\n"
        "        if frame.index == 120: os._exit(9)\n"
        "        return super().process(frame)\n"
        "with open_source(sys.argv[1]) as s:\n"
        "    export(s, Killer(), ExportOptions(output=Path(sys.argv[2]), poses=Path(sys.argv[3]), quiet=True))\n"
    )
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=130, audio="aac"))
    out, poses = tmp_path / "out.mp4", tmp_path / "out.jsonl"
    done = subprocess.run([sys.executable, "-c", code, clip, out, poses], cwd=ROOT, check=False)
    assert done.returncode == 9
    assert left_in(tmp_path, clip) == ["out.part.jsonl", "out.part.mp4"]
    with av.open(str(tmp_path / "out.part.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 50
    assert len((tmp_path / "out.part.jsonl").read_text().splitlines()) == 120
    # The next run leaves them alone, and says so.
    summary = run(clip, out)
    assert summary.outputs == (out,)
    assert any("out.part.mp4" in note for note in summary.notes)
    assert (tmp_path / "out.part.mp4").exists()
    assert not (tmp_path / "out.part2.mp4").exists()


# Poses


def test_poses_match_the_video_line_for_line(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(rate=NTSC, frames=12))
    summary = run(clip, tmp_path / "o.mp4", ConstantPipeline(empty=[3, 4]), poses=tmp_path / "o.jsonl")
    assert (summary.frames, summary.frames_with_people) == (12, 10)
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(12))
    assert [line["time_s"] for line in lines] == [round(float(i / NTSC), 6) for i in range(12)]
    assert lines[3]["people"] == []
    (person,) = lines[0]["people"]
    assert list(person) == ["id", "box_xyxy", "score", "keypoints"]
    assert person["id"] is None
    assert person["box_xyxy"] == [88.0, 66.0, 152.0, 114.0]
    assert person["score"] == 0.75
    assert len(person["keypoints"]) == 17
    assert person["keypoints"][0] == [96.0, 72.0, 0.1]


def test_csv_and_coco_hold_the_same_values(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=3))
    for name in ("o.jsonl", "o.csv", "o.json"):
        run(clip, tmp_path / f"{name}.mp4", ConstantPipeline(empty=[1]), poses=tmp_path / name)
    person = json.loads((tmp_path / "o.jsonl").read_text().splitlines()[2])["people"][0]
    with (tmp_path / "o.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == csv_columns(COCO17)
    assert [row["frame"] for row in rows] == ["0", "1", "2"]
    assert (rows[1]["score"], rows[1]["left_wrist_x"]) == ("", "")
    wrist = COCO17.keypoint_index("left_wrist")
    from_csv = [float(rows[2][f"left_wrist_{part}"]) for part in ("x", "y", "score")]
    assert from_csv == person["keypoints"][wrist]
    assert [float(rows[2][f"box_{c}"]) for c in ("x1", "y1", "x2", "y2")] == person["box_xyxy"]
    results = json.loads((tmp_path / "o.json").read_text())
    assert [result["image_id"] for result in results] == [0, 2]
    assert results[1]["category_id"] == 1
    assert results[1]["keypoints"] == [value for point in person["keypoints"] for value in point]
    assert results[1]["bbox"] == [88.0, 66.0, 64.0, 48.0]


def test_coco_results_load_where_coco_is_scored(tmp_path: Path) -> None:
    """Photos named as COCO names them give results under COCO's own image ids, readable by pycocotools."""
    coco = pytest.importorskip("pycocotools.coco")
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("000000000139.jpg", "000000000785.jpg"):
        save_photo(folder / name, picture(64, 48))
    run(folder, tmp_path / "out", poses=tmp_path / "r.json")
    truth = coco.COCO()
    truth.dataset = {
        "images": [{"id": 139}, {"id": 785}],
        "annotations": [],
        "categories": [{"id": 1, "name": "person"}],
    }
    truth.createIndex()
    assert len(truth.loadRes(str(tmp_path / "r.json")).getAnnIds()) == 2


def test_no_nan_ever_reaches_a_poses_file(tmp_path: Path) -> None:
    good = one_person(picture(64, 48))
    points = good.keypoints_xy.copy()
    points[0, 0] = (np.nan, np.inf)
    broken = Poses(
        keypoints_xy=points,
        scores=good.scores,
        boxes_xyxy=np.array([[np.nan, -0.0, 1, 2]], np.float32),
        person_scores=np.array([np.nan], np.float32),
        track_ids=np.array([7], np.int64),
    )
    for suffix in (".jsonl", ".csv", ".json"):
        writer = PosesWriter(PartFile(tmp_path / f"p{suffix}"), COCO17)
        writer.write(0, 0.0, broken)
        writer.finish()
        text = writer.commit().read_text()
        for word in ("nan", "inf", "-0.0"):
            assert word not in text.lower(), suffix
    person = json.loads((tmp_path / "p.jsonl").read_text())["people"][0]
    assert person["id"] == 7
    assert person["keypoints"][0] == [0.0, 0.0, 0.0]


def test_unknown_poses_suffix_names_the_known_ones(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=2))
    with pytest.raises(OptionError, match=r"\.csv, \.json, \.jsonl"):
        run(clip, tmp_path / "o.mp4", poses=tmp_path / "o.txt")
    assert left_in(tmp_path, clip) == []


# Photos


def test_a_photo_gives_a_photo(tmp_path: Path) -> None:
    photo = save_photo(tmp_path / "mé.png", picture(80, 61))
    summary = run(photo, tmp_path, poses=tmp_path / "p.jsonl")
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
    summary = run(folder, tmp_path / "out")
    assert (summary.frames, summary.unreadable_frames) == (3, 1)
    assert any("c.jpg" in note for note in summary.notes)
    assert left_in(tmp_path / "out") == ["a_pose.png", "a_ppm_pose.png", "b_pose.jpg"]
    with pytest.raises(OutputError, match="exists already"):
        run(folder, tmp_path / "out")
    with pytest.raises(OutputError, match="input itself"):
        run(folder, folder)
    with pytest.raises(OptionError, match="folder of photos"):
        run(folder, tmp_path / "out.mp4")


# Refusals


def test_existing_outputs_are_kept_unless_told_otherwise(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=4))
    out = tmp_path / "out.mp4"
    out.write_text("precious")
    with pytest.raises(OutputError, match="--overwrite"):
        run(clip, out)
    assert out.read_text() == "precious"
    assert run(clip, out, overwrite=True).outputs == (out,)
    assert len(read_back(out).times) == 4
    poses = tmp_path / "p.csv"
    poses.write_text("precious")
    with pytest.raises(OutputError, match="--overwrite"):
        run(clip, tmp_path / "new.mp4", poses=poses)
    assert left_in(tmp_path, clip) == ["out.mp4", "p.csv"]


def test_the_input_is_never_an_output(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=4))
    link = tmp_path / "link.mp4"
    link.symlink_to(clip)
    for output in (clip, link, tmp_path / "." / "clip.mp4"):
        with pytest.raises(OutputError, match="input itself"):
            run(clip, output, overwrite=True)
    assert len(read_back(clip).times) == 4


def test_unwritable_places_are_told_before_any_frame(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=4))
    blocked = tmp_path / "file"
    blocked.write_text("a file where a folder is wanted")
    pipeline = ConstantPipeline()
    for output, poses in ((blocked / "out.mp4", None), (tmp_path / "out.mp4", blocked / "p.csv")):
        with pytest.raises(OutputError, match="cannot"):
            run(clip, output, pipeline, poses=poses)
    assert pipeline.seen == []
    assert left_in(tmp_path, clip, blocked) == []


def test_names_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=4))
    with pytest.raises(OptionError, match=r"\.mp4"):
        run(clip, tmp_path / "out.avi")
    with pytest.raises(OptionError, match="cannot both"):
        ExportOptions(output=tmp_path / "a.json", poses=tmp_path / "a.json")
    wrong: list[dict[str, Any]] = [{"max_frames": 0}, {"duration_s": 0.0}, {"duration_s": float("nan")}]
    for options in (*wrong, {"crf": 60}, {"preset": "x"}):
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


def test_ctrl_c_gives_whole_files_that_match(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=40, audio="aac"))
    pipeline = ConstantPipeline(fail_at=15, error=KeyboardInterrupt())
    summary = run(clip, tmp_path / "o.mp4", pipeline, poses=tmp_path / "o.json")
    assert summary.interrupted
    assert summary.frames == 15
    after = read_back(tmp_path / "o.mp4")
    assert len(after.times) == after.listed_frames == 15
    assert after.audio_end_s < 0.7
    assert len(json.loads((tmp_path / "o.json").read_text())) == 15
    assert left_in(tmp_path, clip) == ["o.json", "o.mp4"]


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to a child")
def test_a_real_ctrl_c_in_a_child_process(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from engine.sources import open_source\nfrom engine.export import export, ExportOptions\n"
        "from tests.engine.clips import ConstantPipeline\n"
        "class Slow(ConstantPipeline):\n"
        "    def process(self, frame):\n"
        "        if frame.index == 5: print('go', flush=True)\n"
        "        time.sleep(0.02)\n"
        "        return super().process(frame)\n"
        "with open_source('demo') as s:\n"
        "    r = export(s, Slow(), ExportOptions(output=Path(sys.argv[1]), poses=Path(sys.argv[2]), quiet=True))\n"
        "print(r.frames, r.interrupted)\n"
    )
    out, poses = tmp_path / "o.mp4", tmp_path / "o.jsonl"
    child = subprocess.Popen([sys.executable, "-c", code, out, poses], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline().strip() == "go"
    child.send_signal(signal.SIGINT)
    text = child.communicate(timeout=60)[0]
    frames, interrupted = text.split()
    assert interrupted == "True"
    assert int(frames) < 300
    assert len(read_back(out).times) == int(frames) == len(poses.read_text().splitlines())
    assert left_in(tmp_path) == ["o.jsonl", "o.mp4"]


def test_ctrl_c_before_the_first_frame_leaves_nothing(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=4))
    pipeline = ConstantPipeline(fail_at=0, error=KeyboardInterrupt())
    summary = run(clip, tmp_path / "o.mp4", pipeline, poses=tmp_path / "o.jsonl")
    assert summary.interrupted
    assert summary.outputs == ()
    assert left_in(tmp_path, clip) == []


def test_an_error_in_mid_run_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=40))
    pipeline = ConstantPipeline(fail_at=20, error=BackendError("the device was lost"))
    with pytest.raises(BackendError, match=r"the device was lost \(the 20 frame") as caught:
        run(clip, tmp_path / "o.mp4", pipeline, poses=tmp_path / "o.jsonl")
    assert left_in(tmp_path, clip) == ["o.part.jsonl", "o.part.mp4"]
    assert str(tmp_path / "o.part.mp4") in str(caught.value)
    assert len(read_back(tmp_path / "o.part.mp4").times) == 20


def test_an_error_at_the_first_frame_leaves_nothing_at_all(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=4))
    pipeline = ConstantPipeline(fail_at=0, error=RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        run(clip, tmp_path / "o.mp4", pipeline, poses=tmp_path / "o.json")
    assert left_in(tmp_path, clip) == []


# Live sources


class LateCamera(SourceBase):
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
        options = ExportOptions(output=tmp_path / "o.mp4", poses=tmp_path / "o.jsonl", quiet=True)
        export(source, ConstantPipeline(), options)
    expected = [time_s - 5.0 for time_s in LateCamera.TIMES_S]
    assert [float(time) for time in read_back(tmp_path / "o.mp4").times] == pytest.approx(expected, abs=1e-5)
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [line["time_s"] for line in lines] == pytest.approx(expected, abs=1e-5)


def test_live_source_ends_at_its_duration(tmp_path: Path) -> None:
    with LateCamera() as source:
        summary = export(source, ConstantPipeline(), ExportOptions(output=tmp_path / "o.mp4", duration_s=1, quiet=True))
    assert summary.frames == 4


def test_unplugged_camera_keeps_what_was_filmed(tmp_path: Path) -> None:
    with LateCamera(fail=True) as source, pytest.raises(SourceError, match=r"unplugged \(the 6 frame.*part\.mp4"):
        export(source, ConstantPipeline(), ExportOptions(output=tmp_path / "o.mp4", quiet=True))
    assert left_in(tmp_path) == ["o.part.mp4"]


# Progress


def test_progress_line_tells_rate_and_time_left() -> None:
    progress = LineProgress(every_s=1e9)
    progress.start("clip.mp4", 300)
    for _ in range(100):
        progress.advance()
    assert progress.line(10.0) == "clip.mp4: 100/300 frames, 10.0 frames/s, 0:20 left"


def test_quiet_run_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=5, audio="aac"))
    run(clip, tmp_path / "o.mp4")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
