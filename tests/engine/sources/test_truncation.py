"""Complete files are complete, and each of them without its last bytes is cut off."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.sources.truncation import is_cut_off
from tests.engine.clips import ClipSpec, make_clip


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", None),
        ("fast.mp4", "libx264", {"movflags": "faststart"}),
        ("fragments.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
        ("a.mov", "libx264", None),
        ("a.mkv", "libx264", None),
        ("a.webm", "libvpx-vp9", None),
        ("a.avi", "mpeg4", None),
        ("a.flv", "flv", None),
        ("a.ts", "libx264", None),
    ],
)
def test_every_format(name: str, codec: str, options: dict[str, str] | None, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / name, ClipSpec(codec=codec, options=options))
    assert not is_cut_off(clip)
    data = clip.read_bytes()
    for left in (len(data) - 1, len(data) * 2 // 3 + 1, 600):
        clip.write_bytes(data[:left])
        assert is_cut_off(clip), left


def test_other_files_are_not_reported(tmp_path: Path) -> None:
    for data in (b"", b"x", b"not a video" * 100, b"\x1aE\xdf\xa3", b"RIFX" + bytes(100), bytes(1000)):
        (tmp_path / "other").write_bytes(data)
        assert not is_cut_off(tmp_path / "other")
