"""Sources: what comes out of files, photos, live captures and bad input."""

from __future__ import annotations

import functools
import http.server
import itertools
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from engine.demo_source import DemoSource
from engine.errors import SourceError
from engine.frame_source import PictureTags, SourceInfo
from engine.live_source import LiveSource, NewestFrameSlot
from engine.photo_source import decode_photo, natural_key
from engine.sources import FrameSource, open_source
from engine.stream_source import url_name
from engine.types import Frame, UInt8Array
from tests.engine.clips import NTSC, ClipSpec, make_clip, picture, save_photo


def frames_of(source: FrameSource) -> list[Frame]:
    with source:
        return list(source)


def refusal(text: str | Path) -> str:
    with pytest.raises(SourceError) as caught:
        frames_of(open_source(str(text)))
    message = str(caught.value)
    assert "\n" not in message
    return message


# Video files


def test_video_gives_exact_times_and_its_facts(tmp_path: Path) -> None:
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
                pixel = image[y * 4, x * 4]  # a little inside, away from what the codec smears
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


def test_cut_off_video_gives_what_decodes_and_counts_the_rest(tmp_path: Path) -> None:
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


def test_damaged_middle_is_passed_over(tmp_path: Path) -> None:
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


def test_moov_cut_away_says_that_the_file_is_cut_off(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mp4", ClipSpec(frames=40))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[:3000])
    assert "cut off" in refusal(cut)


def test_unknown_words_are_refused() -> None:
    assert "URL" in refusal("no_such_thing")
    assert "not known" in refusal("gopher://example.org/x")
    assert "no source" in refusal("  ")


def test_ffmpeg_stays_silent(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("no video" * 100)
    code = (
        "import sys; from engine.sources import open_source; from engine.errors import SourceError\n"
        "try: open_source(sys.argv[1])\nexcept SourceError: pass"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(text)], cwd=root, capture_output=True, text=True, check=True)
    assert done.stderr == ""


# Photos


def test_folder_comes_in_natural_order_without_what_is_no_photo(tmp_path: Path) -> None:
    for name in ("p10.png", "p2.PNG", "p1.png", ".hidden.png"):
        save_photo(tmp_path / name.replace("PNG", "png"), picture(20, 16))
    (tmp_path / "p2.png").rename(tmp_path / "p2.PNG")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "sub").mkdir()
    source = open_source(str(tmp_path))
    frames = frames_of(source)
    names = [path.name for path in (source.frame_path(f.index) for f in frames) if path is not None]
    assert names == ["p1.png", "p2.PNG", "p10.png"]
    assert source.info.kind == "photos"


def test_natural_key_orders_numbers_by_value() -> None:
    names = ["b1", "a10", "a9", "A1b", "a", "10", "9"]
    ordered = sorted((Path(name) for name in names), key=natural_key)
    assert [p.name for p in ordered] == ["9", "10", "a", "A1b", "a9", "a10", "b1"]


def test_unreadable_photo_is_named_skipped_and_counted(tmp_path: Path) -> None:
    save_photo(tmp_path / "1.jpg", picture(20, 16))
    (tmp_path / "2.jpg").write_text("not a photo")
    save_photo(tmp_path / "3.jpg", picture(20, 16))
    source = open_source(str(tmp_path))
    frames = frames_of(source)
    assert [frame.index for frame in frames] == [0, 1]
    assert source.frame_path(1) == tmp_path / "3.jpg"
    assert source.unreadable_frames == 1
    assert "2.jpg" in source.notes[0]


def test_bad_photos_and_folders_are_refused(tmp_path: Path) -> None:
    assert "no photos" in refusal(tmp_path)
    (tmp_path / "a.jpg").write_text("text")
    assert "not a photo" in refusal(tmp_path / "a.jpg")
    (tmp_path / "b.png").write_text("text")
    assert "none of the 2 photos" in refusal(tmp_path)


def test_non_ascii_paths_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "Ünï 写真"
    folder.mkdir()
    save_photo(folder / "фото.jpg", picture(32, 24))
    assert len(frames_of(open_source(str(folder / "фото.jpg")))) == 1
    make_clip(folder / "vidéo: 1.mp4", ClipSpec(frames=3))
    assert len(frames_of(open_source(str(folder / "vidéo: 1.mp4")))) == 3


def test_grey_16_bit_and_alpha_photos_become_8_bit_colour() -> None:
    grey = np.full((8, 10), 77, np.uint8)
    deep = np.full((8, 10, 3), 77 * 256 + 12, np.uint16)
    clear = np.zeros((8, 10, 4), np.uint8)
    clear[:4] = (10, 20, 30, 255)
    for image, top, bottom in (
        (grey, (77, 77, 77), (77, 77, 77)),
        (deep, (77, 77, 77), (77, 77, 77)),
        (clear, (10, 20, 30), (255, 255, 255)),
    ):
        decoded = decode_photo(cv2.imencode(".png", image)[1])
        assert decoded is not None
        assert decoded.shape == (8, 10, 3)
        assert decoded.dtype == np.uint8
        assert np.abs(decoded[1, 1].astype(int) - top).max() <= 1
        assert np.abs(decoded[6, 1].astype(int) - bottom).max() <= 1


def with_exif_orientation(jpeg: bytes, orientation: int) -> bytes:
    """Put an EXIF block with one entry, the orientation, behind the start mark of a JPEG."""
    tiff = (
        b"MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01"
        + bytes([0, orientation, 0, 0])
        + b"\0" * 4
    )
    block = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + jpeg[2:]


@pytest.mark.parametrize(("orientation", "corner"), [(1, (2, 2)), (3, (-3, -3)), (6, (2, -3)), (8, (-3, 2))])
def test_exif_orientation_is_honoured(orientation: int, corner: tuple[int, int]) -> None:
    jpeg = cv2.imencode(".jpg", picture(64, 32), [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
    image = decode_photo(np.frombuffer(with_exif_orientation(jpeg, orientation), np.uint8))
    assert image is not None
    assert image.shape[:2] == ((64, 32) if orientation in (6, 8) else (32, 64))
    pixel = image[corner].astype(int)
    assert pixel[2] - pixel[0] > 100


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
    root = Path(__file__).resolve().parents[2]
    code = (
        "import sys; from engine.sources import open_source; open_source('demo'); print('ultralytics' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# Looping


def test_loop_goes_on_counting(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=5))
    source = open_source(str(clip), loop=True)
    frames = []
    with source:
        for frame in source:
            frames.append(frame)
            if len(frames) == 13:
                break
    assert [frame.index for frame in frames] == list(range(13))
    times = [frame.timestamp_s for frame in frames]
    assert np.diff(times) == pytest.approx(np.full(12, 0.04))
    stamps = [frame.pts or 0 for frame in frames]
    assert len(set(np.diff(stamps))) == 1


# Live


class FakeCapture:
    """Gives numbered pictures as fast as it is told to; fails or ends where it is told to."""

    def __init__(self, *, pictures: int, pause_s: float = 0.0, error: Exception | None = None) -> None:
        self.left, self.pause_s, self.error = pictures, pause_s, error
        self.closed = threading.Event()
        self.given = 0

    def open(self) -> tuple[Fraction | None, PictureTags]:
        return Fraction(30), PictureTags()

    def read(self) -> UInt8Array | None:
        if self.given == self.left:
            if self.error is not None:
                raise self.error
            return None
        self.given += 1
        time.sleep(self.pause_s)
        return np.full((8, 8, 3), self.given % 256, np.uint8)

    def close(self) -> None:
        self.closed.set()


CAMERA = SourceInfo(name="camera 0", kind="camera")


def test_slot_keeps_the_newest_and_counts_the_rest() -> None:
    slot = NewestFrameSlot()
    for number in range(5):
        slot.put(np.full((2, 2, 3), number, np.uint8), float(number))
    taken = slot.take(1)
    assert taken is not None
    assert taken[1] == 4.0
    assert slot.dropped == 4
    with pytest.raises(TimeoutError):
        slot.take(0.01)
    slot.end()
    assert slot.take(1) is None


def test_live_source_drops_for_a_slow_reader_and_ends() -> None:
    capture = FakeCapture(pictures=30, pause_s=0.002)
    source = LiveSource(capture, CAMERA)
    seen, stamps = [], []
    for frame in source:
        seen.append(int(frame.image_bgr[0, 0, 0]))
        stamps.append(frame.pts or 0)
        time.sleep(0.02)
    assert source.info.is_live
    assert source.info.time_base is not None
    assert seen == sorted(set(seen))
    assert stamps == sorted(set(stamps))
    assert len(seen) + source.dropped_frames == 30
    assert seen[-1] == 30, "the last picture is delivered"
    source.close()
    assert capture.closed.is_set()


def test_live_source_hands_its_error_to_the_reader() -> None:
    with pytest.raises(SourceError, match="unplugged"):
        list(LiveSource(FakeCapture(pictures=3, pause_s=0.01, error=SourceError("unplugged")), CAMERA))
    with pytest.raises(SourceError, match="camera 0 failed: RuntimeError"):
        list(LiveSource(FakeCapture(pictures=3, pause_s=0.01, error=RuntimeError("driver")), CAMERA))


def test_silent_camera_is_given_up() -> None:
    capture = FakeCapture(pictures=1, pause_s=1.0)
    with pytest.raises(SourceError, match="gave no picture"):
        LiveSource(capture, CAMERA, open_timeout_s=0.02, read_timeout_s=0.02)


def test_close_wakes_a_waiting_reader() -> None:
    source = LiveSource(FakeCapture(pictures=10_000, pause_s=0.01), CAMERA)
    reader = threading.Thread(target=lambda: list(source))
    reader.start()
    source.close()
    reader.join(5)
    assert not reader.is_alive()


def test_missing_camera_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert "camera 97" in refusal("97")
    assert capfd.readouterr().err == ""


# URLs


def test_url_name_hides_what_is_secret() -> None:
    name = url_name("rtsp://admin:hunter2@cam.local:554/live/1?token=abc")
    assert name == "rtsp://cam.local:554/live/1"


@pytest.fixture
def web_folder(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield tmp_path, f"http://user:hunter2@127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_video_behind_a_url_loses_no_frame(web_folder: tuple[Path, str]) -> None:
    folder, address = web_folder
    make_clip(folder / "clip.mp4", ClipSpec(frames=25))
    source = open_source(f"{address}/clip.mp4?key=abc")
    assert source.info.kind == "stream"
    assert not source.info.is_live
    assert "hunter2" not in repr(source.info)
    assert "abc" not in source.info.name
    assert len(frames_of(source)) == 25


def test_endless_stream_is_live(web_folder: tuple[Path, str]) -> None:
    folder, address = web_folder
    make_clip(folder / "clip.h264", ClipSpec(frames=25))  # bare H.264 tells no length, as a stream does not
    source = open_source(f"{address}/clip.h264")
    assert source.info.is_live
    frames = frames_of(source)
    assert frames
    assert len(frames) + source.dropped_frames == 25
    assert "hunter2" not in source.info.name


def test_messages_about_urls_hold_no_password(web_folder: tuple[Path, str]) -> None:
    folder, address = web_folder
    (folder / "text.mp4").write_text("no video" * 200)
    for path in ("missing.mp4", "text.mp4"):
        with pytest.raises(SourceError) as caught:
            open_source(f"{address}/{path}")
        assert "hunter2" not in str(caught.value)
        assert caught.value.__suppress_context__, "the traceback would repeat the URL"
    with pytest.raises(SourceError) as caught:
        open_source("rtsp://user:hunter2@127.0.0.1:9/none")
    assert "hunter2" not in str(caught.value)


def test_development_clips_are_read_whole(videos_dir: Path, tmp_path: Path) -> None:
    expected = {"three_people_exercising.avi": 393, "signing_walk.mkv": 89, "treadmill_one_person.mp4": 100}
    for name, count in expected.items():
        copied = shutil.copy(videos_dir / name, tmp_path / name)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            source = open_source(str(copied))
            assert len(frames_of(source)) == count, name
        assert source.unreadable_frames == 0, name
