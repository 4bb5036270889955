"""`--video` with several sources, with fake networks."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import main
from engine.output import run_many
from engine.pipeline.opening import Networks
from engine.pipeline.options import PipelineOptions
from tests.engine.clips import ClipSpec, make_clip, picture, read_back, save_photo
from tests.engine.fakes import BrightestPixel, FixedDetector, boxes, weights_header

DESCRIPTION = {
    "pose_model": "a", "backend": "b", "device": "cpu", "precision": "fp32", "skipped": [],
    "detector": "d", "detector_backend": "none", "detector_device": "none", "detector_precision": "none",
}  # fmt: skip


class Opened:
    """Counts how often networks are opened."""

    def __init__(self) -> None:
        self.times = 0
        self.detector = FixedDetector(boxes((10, 10, 100, 100)), np.ones(1, np.float32))
        self.pose = BrightestPixel()

    def __call__(self, options: PipelineOptions, **_notify: Any) -> Networks:
        self.times += 1
        return Networks(detector=self.detector, pose=self.pose, description=DESCRIPTION)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    fake = Opened()
    monkeypatch.setattr(run_many, "open_networks", fake)
    return fake


@pytest.fixture
def place(tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> Path:
    weights_header(tmp_path)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def run(place: Path, *arguments: str) -> int:
    models = [
        "--pose-model",
        str(place.parent / "weights.safetensors"),
        "--detector",
        str(place.parent / "detector.onnx"),
    ]
    return main.main([*arguments, *models])


def written(place: Path) -> list[str]:
    return sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())


def test_outputs_stand_side_by_side_and_networks_are_opened_once(
    place: Path, opened: Opened, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, frames in (("a.mp4", 3), ("more/a.mp4", 4), ("more/a.mkv", 5)):
        (place / name).parent.mkdir(exist_ok=True)
        make_clip(place / name, ClipSpec(frames=frames))
    assert run(place, "--video", "a.mp4", "more", "--output", "out", "--poses", "poses.jsonl") == 0
    assert opened.times == 1
    assert opened.detector.closed and opened.pose.closed
    files = [f"out/{name}_{end}" for name in ("a_mkv", "a_mp4", "a") for end in ("pose.mp4", "poses.jsonl")]
    assert [name for name in written(place) if name.startswith("out/")] == files
    counts = {name: len(read_back(place / "out" / name).times) for name in ("a_pose.mp4", "a_mkv_pose.mp4")}
    assert counts == {"a_pose.mp4": 3, "a_mkv_pose.mp4": 5}
    assert len((place / "out" / "a_mkv_poses.jsonl").read_text().splitlines()) == 5
    table = capsys.readouterr().out
    assert "3 of 3 sources done, 0 failed; 12 frames" in table


def test_a_bad_file_is_reported_and_the_rest_goes_on(
    place: Path, opened: Opened, capsys: pytest.CaptureFixture[str]
) -> None:
    make_clip(place / "good.mp4", ClipSpec(frames=3))
    make_clip(place / "taken.mp4", ClipSpec(frames=3))
    (place / "bad.mp4").write_text("this is no video " * 20)
    (place / "out").mkdir()
    (place / "out" / "taken_pose.mp4").write_text("precious")
    code = run(place, "--video", "gone.mp4", "bad.mp4", "taken.mp4", "good.mp4", "--output", "out")
    assert code == main.EXIT_SOME_FAILED == 3
    assert (place / "out" / "taken_pose.mp4").read_text() == "precious"
    assert len(read_back(place / "out" / "good_pose.mp4").times) == 3
    out, err = capsys.readouterr()
    for name in ("gone.mp4", "bad.mp4", "taken.mp4"):
        assert any(line.startswith("error: ") and name in line for line in err.splitlines()), name
        assert any(line.startswith(name) and "failed:" in line for line in out.splitlines()), name
    assert "1 of 4 sources done, 3 failed; 3 frames" in out


def test_no_output_replaces_another_source(place: Path) -> None:
    make_clip(place / "a.mp4", ClipSpec(frames=2))
    make_clip(place / "a_pose.mp4", ClipSpec(frames=5))
    assert run(place, "--video", "a.mp4", "a_pose.mp4", "--output", ".", "--overwrite", "--quiet") == 3
    assert len(read_back(place / "a_pose.mp4").times) == 5


def test_no_source_replaces_the_poses_of_an_earlier_one(place: Path) -> None:
    """`a` with `y_x.jsonl` and `a_y` with `x.jsonl` want the same name."""
    make_clip(place / "a.mp4", ClipSpec(frames=2))
    make_clip(place / "a_y.mp4", ClipSpec(frames=5))
    words = ["--video", "a.mp4", "a_y.mp4", "--output", ".", "--poses", "x.jsonl", "y_x.jsonl", "--quiet"]
    assert run(place, *words, "--overwrite") == 3
    assert len((place / "a_y_x.jsonl").read_text().splitlines()) == 2


def test_what_fits_one_source_only_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.mp4", "b.mp4"):
        make_clip(place / name, ClipSpec(frames=2))
    for arguments, words in (
        (["--output", "out.mp4"], "must name a folder"),
        (["--boxes", "a.jsonl"], "of one source"),
        (["--poses", "out.xml"], "no format"),
    ):
        assert run(place, "--video", "a.mp4", "b.mp4", *arguments) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    assert written(place) == ["a.mp4", "b.mp4"]


def test_photos_from_anywhere_keep_their_names_in_every_format(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.output import run_video

    opened = Opened()
    monkeypatch.setattr(run_video, "open_pipeline", lambda options, **_notify: opened(options).pipeline(options))
    for name in ("a/7.jpg", "b/7.jpg", "b/zoë.png"):
        (place / name).parent.mkdir(exist_ok=True)
        save_photo(place / name, picture(160, 120))
    (place / "b" / "bad.jpg").write_text("no photo")
    formats = ["r.jsonl", "r.csv", "r.json"]
    assert run(place, "--video", "a/7.jpg", "b/*", "--output", "out", "--poses", *formats, "--quiet") == 3
    names = ["a/7.jpg", "b/7.jpg", "zoë.png"]
    assert [json.loads(line)["file_name"] for line in Path("r.jsonl").read_text().splitlines()] == names
    with Path("r.csv").open(newline="", encoding="utf-8") as file:
        assert [row["file_name"] for row in csv.DictReader(file)] == names
    results = json.loads(Path("r.json").read_text())
    assert [result["file_name"] for result in results] == names
    assert len({result["image_id"] for result in results}) == 3
    assert sorted(path.name for path in Path("out").iterdir()) == ["7_jpg_pose.jpg", "7_pose.jpg", "zoë_pose.png"]


def test_ctrl_c_ends_the_file_whole_and_begins_no_other(
    place: Path, opened: Opened, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.mp4", "b.mp4"):
        make_clip(place / name, ClipSpec(frames=300))
    detect, seen = opened.detector.detect, 0

    def interrupting(image_bgr: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == 10:
            signal.raise_signal(signal.SIGINT)
        return detect(image_bgr)

    opened.detector.detect = interrupting  # type: ignore[method-assign]
    assert run(place, "--video", "a.mp4", "b.mp4", "--output", "out") == 130
    assert [name for name in written(place) if name.startswith("out/")] == ["out/a_pose.mp4"]
    assert 0 < len(read_back(place / "out" / "a_pose.mp4").times) < 300
    table = capsys.readouterr().out
    assert "stopped early" in table
    assert any(line.startswith("b.mp4") and "not begun" in line for line in table.splitlines())
