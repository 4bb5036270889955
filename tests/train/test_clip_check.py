"""The count against labelled frames, on a made-up poses file whose answer is known, and the shipped labels' form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.skeleton import COCO17
from train.clip_check import main

LABELS = Path("tests/data/clip_people.json")


def person(box: list[float], left_x: float, right_x: float, score: float = 0.9) -> dict[str, Any]:
    """Someone with nothing but shoulders."""
    keypoints = np.zeros((17, 3))
    for name, x in (("left_shoulder", left_x), ("right_shoulder", right_x)):
        keypoints[COCO17.keypoint_names.index(name)] = (x, 50, score)
    return {"id": None, "box_xyxy": box, "score": 0.5, "keypoints": keypoints.tolist()}


def run(tmp_path: Path, lines: list[list[dict[str, Any]]], labels: dict[str, Any]) -> dict[str, int]:
    (tmp_path / "labels.json").write_text(json.dumps({"clips": {"a.mp4": labels}}))
    text = "".join(
        json.dumps({"frame": i, "time_s": i / 10, "people": people}) + "\n" for i, people in enumerate(lines)
    )
    (tmp_path / "a.jsonl").write_text(text)
    report = tmp_path / "report.json"
    command = ["--labels", str(tmp_path / "labels.json"), "--poses", str(tmp_path), "--report", str(report)]
    assert main(command) == 0
    counts: dict[str, int] = json.loads(report.read_text())["a.mp4"]
    return counts


def test_counts_of_a_known_file(tmp_path: Path) -> None:
    box = [10.0, 10.0, 60.0, 110.0]
    facing = {"box_xyxy": box, "faces": "camera"}
    other = {"box_xyxy": [200.0, 10.0, 260.0, 110.0], "faces": "away"}
    lines = [
        [person(box, 50, 20), person([205, 10, 260, 110], 250, 210)],  # the second one faces away: exchanged
        [person(box, 50, 20, score=0.1), person([120, 10, 170, 110], 150, 130)],  # no limb drawn; a box on nobody
        [],
        [person(box, 50, 20)],  # in an empty frame
        [person(box, 50, 20, score=0.1)],
    ]
    labels = {"frames": {"0": [facing, other], "1": [facing, other]}, "empty": [[2, 4]]}
    counts = run(tmp_path, lines, labels)
    assert counts == {
        "frames": 2, "people": 4, "boxes": 4, "found": 3, "skeletons": 3, "posed": 2, "sided": 2, "swapped": 1,
        "empty": 3, "empty_with_box": 2, "empty_with_skeleton": 1,
    }  # fmt: skip


def test_a_label_counts_once_however_many_boxes_lie_on_it(tmp_path: Path) -> None:
    box = [10.0, 10.0, 60.0, 110.0]
    counts = run(tmp_path, [[person(box, 50, 20), person(box, 50, 20)]], {"frames": {"0": [
        {"box_xyxy": box, "faces": "side"}]}})  # fmt: skip
    assert (counts["found"], counts["boxes"], counts["sided"]) == (1, 2, 0)


def test_a_poses_file_that_is_missing_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--labels", str(LABELS), "--poses", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--poses" in error


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("[]", "labels.json is not a file of labelled clips"),
        ('{"clip": {}}', "labels.json is not a file of labelled clips: 'clips' is missing"),
        ('{"clips": {"a.mp4": {}}}', "the labels of 'a.mp4' in "),
        (
            '{"clips": {"a.mp4": {"frames": {"0": [{"faces": "side"}]}}}}',
            "their form: 'box_xyxy' is missing",
        ),
    ],
)
def test_labels_of_another_form_are_one_line(
    labels: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels.json").write_text(labels)
    (tmp_path / "a.jsonl").write_text('{"frame": 0, "people": []}\n')
    assert main(["--labels", str(tmp_path / "labels.json"), "--poses", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_labels_lie_inside_their_frames() -> None:
    for name, clip in json.loads(LABELS.read_text())["clips"].items():
        width, height = clip["size_wh"]
        for number, people in clip["frames"].items():
            for label in people:
                x1, y1, x2, y2 = label["box_xyxy"]
                assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height, (name, number)
                assert label["faces"] in ("camera", "away", "side")
