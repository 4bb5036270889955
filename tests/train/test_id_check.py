"""The count of id changes, on poses files whose answer is known, and the shipped labels' form."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from train.id_check import main

LABELS = Path("tests/data/clip_ids.json")


def person(number: int | None, x: float, y: float = 100.0) -> dict[str, Any]:
    """Someone of 40 x 100 px about a middle."""
    return {"id": number, "box_xyxy": [x - 20, y - 50, x + 20, y + 50], "score": 0.5, "keypoints": []}


def count(tmp_path: Path, lines: list[list[dict[str, Any]]], people: dict[str, list[list[float]]]) -> dict[str, Any]:
    labels = {"clips": {"a.mp4": {"reach_px": 40, "people": people}}}
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    text = "".join(json.dumps({"frame": i, "time_s": i / 10, "people": on}) + "\n" for i, on in enumerate(lines))
    (tmp_path / "a.jsonl").write_text(text)
    report = tmp_path / "report.json"
    command = ["--labels", str(tmp_path / "labels.json"), "--poses", str(tmp_path), "--report", str(report)]
    assert main(command) == 0
    counts: dict[str, Any] = json.loads(report.read_text())["a.mp4"]
    return counts


def test_people_who_walk_and_keep_their_ids(tmp_path: Path) -> None:
    lines = [[person(1, 100 + 20 * i), person(2, 300)] for i in range(6)]
    found = count(tmp_path, lines, {"walker": [[0, 100, 100], [5, 200, 100]], "other": [[1, 300, 100], [4, 300, 100]]})
    assert found["walker"] == {"frames": 6, "boxed": 6, "ids": [1], "changes": 0}
    assert found["other"] == {"frames": 4, "boxed": 4, "ids": [2], "changes": 0}


def test_changes_gaps_and_exchanged_ids(tmp_path: Path) -> None:
    a: list[list[float]] = [[0, 100, 100], [5, 100, 100]]
    b: list[list[float]] = [[0, 300, 100], [5, 300, 100]]
    lines = [
        [person(1, 100), person(2, 300)],
        [person(2, 300)],  # a gap is no change ...
        [person(1, 100), person(2, 300)],
        [person(2, 100), person(1, 300)],  # ... but this is one for each
        [person(2, 100), person(1, 300)],
        [person(7, 100), person(1, 300)],
    ]
    found = count(tmp_path, lines, {"a": a, "b": b})
    assert found["a"] == {"frames": 6, "boxed": 5, "ids": [1, 2, 7], "changes": 2}
    assert found["b"] == {"frames": 6, "boxed": 6, "ids": [2, 1], "changes": 1}


def test_a_second_box_on_a_person_takes_nothing_over(tmp_path: Path) -> None:
    lines = [[person(1, 100)], [person(1, 112), person(9, 101)], [person(9, 100)], [person(None, 100)]]
    found = count(tmp_path, lines, {"a": [[0, 100, 100], [3, 100, 100]]})
    assert found["a"] == {"frames": 4, "boxed": 3, "ids": [1, 9], "changes": 1}


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--labels", str(LABELS), "--poses", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "people_walking_through.jsonl cannot be read" in error and error.count("\n") == 1


def test_the_labels_that_ship_have_their_form() -> None:
    clips = json.loads(LABELS.read_text())["clips"]
    assert {name: len(clip["people"]) for name, clip in clips.items()} == {
        "people_walking_through.mp4": 6,
        "three_people_exercising.avi": 3,
    }
    spans = []
    for waypoints in clips["people_walking_through.mp4"]["people"].values():
        frames = [frame for frame, _, _ in waypoints]
        assert frames == sorted(set(frames)) and all(0 <= x <= 768 and 0 <= y <= 432 for _, x, y in waypoints)
        spans.append((frames[0], frames[-1]))
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(spans)), "one at a time"
