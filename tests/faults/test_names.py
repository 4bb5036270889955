"""Names are data: any that a file can have is read, written and shown without harm, whatever the console's encoding."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

import main
from engine.artifacts.part_file import PartFile
from engine.errors import ModelError, SourceError, one_line
from engine.output import run_video
from engine.output.poses_writer import PosesWriter
from engine.skeleton import COCO17, Skeleton
from engine.sources.opening import open_source
from engine.system.paths import path_from
from engine.types import Poses
from tests.engine.clips import ClipSpec, make_clip, picture, save_photo
from tests.faults.ledger import Fault
from tests.faults.light import Run, command, open_light

__all__ = ["command"]

pytestmark = [
    pytest.mark.fault("names"),
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names"),
]

STEMS = (
    "~clip",
    "~root",
    "~",
    "-clip",
    "--help",
    "a\nb",
    "a\r\nb",
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "tab\tx",
    "%d",
    "%05d",
    "\u00fc",
    "\u65e5\u672c\u8a9e",
    "\u202egpj",
    "\U0001f600",
    os.fsdecode(b"\xff\xfe"),
    "a'b",
    'a"b',
    "a:b",
    "file:x",
    "http:x",
    " lead",
    "trail ",
    "$HOME",
    "`id`",
    "a;b",
    "a|b",
    "*",
    "[a]",
    "{x}",
    "<b>x",
    "x" * 200,
    "..x",
    "con",
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mkv", ClipSpec(frames=3, size_wh=(64, 48)))


def shown_well(text: str) -> None:
    """Nothing in a text that a terminal would obey."""
    for line in text.splitlines():
        assert line.isprintable(), repr(line)


@pytest.mark.parametrize("stem", STEMS, ids=ascii)
def test_a_video_of_that_name(
    *, stem: str, clip: Path, tmp_path: Path, command: Run, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """By its bare name in the current folder, by its whole path, and as an output."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(clip, tmp_path / f"{stem}.mkv")
    bare = f"--video={stem}.mkv"
    for number, source in enumerate((bare, f"--video={tmp_path / stem}.mkv")):
        if number == 0 and (stem != stem.strip() or stem.startswith(("http", "file"))):
            continue
        done = command(source, f"--output={tmp_path / f'{number}{stem}.mp4'}", f"--poses={tmp_path / f'{number}.csv'}")
        assert done.code == 0, done.err
        shown_well(done.out)
        fault.keeps((tmp_path / f"{number}{stem}.mp4").is_file(), "the video is missing")
    fault.more(2)


ENCODINGS = ("ascii", "latin-1", "cp1252", "cp437", "utf-8", "utf-16")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_console_of_any_encoding(
    encoding: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """Exit code 0 for what was done, and a refusal in one line."""
    monkeypatch.setattr(run_video, "open_pipeline", open_light)
    for stem in STEMS:
        source = tmp_path / f"{stem}.mkv"
        shutil.copy(clip, source)
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            words = [f"--video={source}", f"--output={tmp_path / 'out' / stem}.mp4"]
            assert main.main(words) == 0
            assert main.main(words) == 2
        for stream in streams:
            stream.flush()
    fault.more(2 * len(STEMS))


def test_one_line_shows_every_character(fault: Fault) -> None:
    for code in itertools.chain(range(0x300), range(0xD800, 0xE000), range(0x2000, 0x2070), (0xFEFF, 0x10FFFF)):
        shown = one_line(f"a{chr(code)}b")
        assert shown.isprintable() and shown.encode("utf-8")
    for error in (SourceError("a\nb\x1b[0m\udcff"), ModelError("x" * 10)):
        assert str(error).isprintable()
    fault.more(0x300 + 0x800)


@pytest.mark.parametrize("text", ["~x", "~", "~/x", "~nobody/x", "~\x00", "~~", "x~"])
def test_a_tilde_is_a_home_only_before_a_slash(text: str, monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    path = path_from(text)
    if text in ("~", "~/x"):
        assert path == Path.home() / text[2:]
    else:
        assert str(path) == text
    monkeypatch.delenv("HOME", raising=False)
    path_from(text)


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "", "x" * 201, "\u202e", "a\x00"], ids=ascii)
def test_names_of_keypoints(name: str, fault: Fault) -> None:
    with pytest.raises(ModelError):
        Skeleton(keypoint_names=(name, "b"), edges=(), flip_pairs=(), oks_sigmas=(0.1, 0.1))


PHOTOS = ("1.png", "3.png", "0003.png", "a.png", "b.png", "00.png", "12345678901234567890.png", "\u0663.png", "10.jpg",
          "10.png", "-1.png", os.fsdecode(b"\xff.png"), "a\nb.png", "=cmd.png")  # fmt: skip


def test_the_names_of_photos_travel_with_their_poses(tmp_path: Path, command: Run, fault: Fault) -> None:
    """In all three forms, and no two photos share an id."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, name in enumerate(PHOTOS):
        save_photo(photos / "made.png", picture(64, 48, number))
        (photos / "made.png").rename(photos / name)
    wanted = sorted(one_line(name) for name in PHOTOS)
    for suffix in (".json", ".jsonl", ".csv"):
        poses = tmp_path / f"p{suffix}"
        done = command("--video", photos, "--output", tmp_path / f"out{suffix[1:]}", "--poses", poses)
        assert done.code == 0, done.err
        shown_well(done.out)
        if suffix == ".json":
            results = json.loads(poses.read_text())
            assert sorted(result["file_name"] for result in results) == wanted
            ids = {result["file_name"]: result["image_id"] for result in results}
            fault.keeps(len(set(ids.values())) == len(PHOTOS), f"ids collide: {ids}")
            assert (ids["1.png"], ids["3.png"]) == (1, 3) or (ids["1.png"], ids["0003.png"]) == (1, 3)
        elif suffix == ".jsonl":
            lines = [json.loads(line) for line in poses.read_text().splitlines()]
            assert sorted(line["file_name"] for line in lines) == wanted
        else:
            with poses.open(newline="") as file:
                assert sorted(row["file_name"] for row in csv.DictReader(file)) == wanted
    fault.more(3 * len(PHOTOS))


def test_a_video_has_no_names_of_photos(tmp_path: Path, fault: Fault) -> None:
    for suffix in (".csv", ".jsonl"):
        writer = PosesWriter(PartFile(tmp_path / f"p{suffix}"), COCO17)
        writer.write(0, 0.0, Poses.empty(17))
        writer.finish()
        assert "file_name" not in writer.commit().read_text()


@pytest.mark.parametrize("text", ["a\x00b", "\x00", "x" * 5000, "a\nb", "\x1b[0m"], ids=lambda text: ascii(text)[:20])
def test_names_of_what_does_not_exist(text: str, fault: Fault) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(text)
    shown_well(str(caught.value))
