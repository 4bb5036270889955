"""Part files: final names, and leftovers."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from engine.artifacts.part_file import PartFile, check_writable
from engine.artifacts.unfinished import set_aside, unfinished_in
from engine.errors import OutputError


def write(part: PartFile, text: str) -> PartFile:
    part.path.write_text(text)
    return part


def test_a_leftover_is_renamed_and_reported(tmp_path: Path) -> None:
    (tmp_path / "a.part.mp4").write_text("old")
    (tmp_path / "a.b.part.mp4").write_text("of another file")
    part = write(PartFile(tmp_path / "a.mp4"), "new")
    assert part.note is not None
    assert part.commit().read_text() == "new"
    (kept,) = tmp_path.glob("a.unfinished-*.mp4")
    assert re.fullmatch(r"a\.unfinished-\d{8}-\d{6}\.mp4", kept.name)
    assert str(kept) in part.note
    assert kept.read_text() == "old"
    assert (tmp_path / "a.b.part.mp4").read_text() == "of another file"


def test_leftovers_of_the_same_second_are_all_kept(tmp_path: Path) -> None:
    for text in "abc":
        (tmp_path / "o.part.csv").write_text(text)
        os.utime(tmp_path / "o.part.csv", (1e9, 1e9))
        PartFile(tmp_path / "o.csv").discard()
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_a_running_export_is_not_touched(tmp_path: Path) -> None:
    first = write(PartFile(tmp_path / "o.mp4"), "first")
    with pytest.raises(OutputError, match="another run is writing"):
        PartFile(tmp_path / "o.mp4", overwrite=True)
    with pytest.raises(OutputError, match="another run is writing"):
        check_writable(tmp_path / "o.mp4")
    with pytest.raises(OutputError, match="another run is writing"):
        set_aside(first.path)
    assert unfinished_in(tmp_path) == []
    assert first.commit().read_text() == "first"
    assert PartFile(tmp_path / "o.mp4", overwrite=True).note is None


def test_what_is_kept_after_an_error_is_found_again(tmp_path: Path) -> None:
    kept = write(PartFile(tmp_path / "o.mp4"), "half").keep()
    (tmp_path / "empty.part.mp4").touch()
    (tmp_path / "folder.part.mp4").mkdir()
    assert unfinished_in(tmp_path) == [kept]
    aside = set_aside(kept)
    assert aside is not None
    assert aside.name.startswith("o.unfinished-")
    assert aside.read_text() == "half"
    assert unfinished_in(tmp_path) == []


def test_a_file_created_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    part = write(PartFile(tmp_path / "o.mp4"), "mine")
    (tmp_path / "o.mp4").write_text("theirs")
    with pytest.raises(OutputError, match=r"kept as .*o\.part\.mp4"):
        part.commit()
    assert (tmp_path / "o.mp4").read_text() == "theirs"
    assert part.path.read_text() == "mine"


def test_without_hard_links_a_file_still_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_paths: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    assert write(PartFile(tmp_path / "o.mp4"), "mine").commit().read_text() == "mine"
    part = write(PartFile(tmp_path / "p.mp4"), "mine")
    (tmp_path / "p.mp4").write_text("theirs")
    with pytest.raises(OutputError, match="appeared during"):
        part.commit()
    assert (tmp_path / "p.mp4").read_text() == "theirs"


def test_a_disk_that_fails_at_the_end_gives_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = write(PartFile(tmp_path / "o.mp4"), "half")

    def fail(_handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match="Input/output error"):
        part.commit()
    assert not (tmp_path / "o.mp4").exists()
    assert part.path.exists()


@pytest.mark.parametrize("stem", ["n" * 251, "名" * 83])
def test_names_of_maximum_length(stem: str, tmp_path: Path) -> None:
    part = write(PartFile(tmp_path / f"{stem}.mp4"), "whole")
    assert part.commit().name == f"{stem}.mp4"
