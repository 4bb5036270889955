"""What `--video` names: patterns, folders, photos from anywhere, and texts that name nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import SourceError
from engine.sources.requests import distinct_names, requested
from tests.engine.clips import picture, save_photo


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("clip10.mp4", "clip2.mp4", "notes.txt", "videos/b.MOV", "videos/a.mkv", "videos/read.me",
                 "mixed/one.jpg", "mixed/clip.avi", "photos/1.png", "photos/.hidden.mp4", "deep/er/x.mp4"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def texts(*given: str) -> list[str]:
    return [Path(one.text).as_posix() if one.text else "photos" for one in requested(given)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("clip*.mp4",), ["clip2.mp4", "clip10.mp4"]),
        (("**/*.mp4",), ["clip2.mp4", "clip10.mp4", "deep/er/x.mp4"]),
        (("videos",), ["videos/a.mkv", "videos/b.MOV"]),
        (("mixed",), ["mixed", "mixed/clip.avi"]),
        (("photos",), ["photos"]),
        (("clip2.mp4", "*.mp4", "./clip2.mp4"), ["clip2.mp4", "clip10.mp4"]),
        (("demo", "0", "-", "rtsp://host/a?b=[1]"), ["demo", "0", "-", "rtsp:/host/a?b=[1]"]),
        (("gone.mp4", "no*thing"), ["gone.mp4", "no*thing"]),
        (("notes.txt",), ["notes.txt"]),
    ],
)
def test_texts_become_sources(place: Path, given: tuple[str, ...], expected: list[str]) -> None:
    assert texts(*given) == expected


def test_a_name_with_the_signs_of_a_pattern_is_a_name(place: Path) -> None:
    (place / "take[1].mp4").write_bytes(b"x")
    (place / "take1.mp4").write_bytes(b"x")
    assert texts("take[1].mp4") == ["take[1].mp4"]


def test_single_photos_are_one_source_and_keep_their_names(place: Path) -> None:
    for name in ("a/1.jpg", "b/1.jpg", "b/2.jpg"):
        (place / name).parent.mkdir(exist_ok=True)
        save_photo(place / name, picture(32, 24))
    first, second = requested(["a/1.jpg", "clip2.mp4", "b/*.jpg"])
    assert [photo.as_posix() for photo in first.photos] == ["a/1.jpg", "b/1.jpg", "b/2.jpg"]
    assert second.text == "clip2.mp4"
    assert list(distinct_names(first.photos).values()) == ["a/1.jpg", "b/1.jpg", "2.jpg"]
    with first.open() as source:
        assert [source.frame_path(frame.index) for frame in source] == list(first.photos)


def test_a_pattern_without_a_match_says_so(place: Path) -> None:
    (request,) = requested(["no*thing.mp4"])
    with pytest.raises(SourceError, match=r"no file matches no\*thing.mp4"):
        request.open()
