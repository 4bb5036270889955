"""The example of docs/training.md with five keypoints, by its own YAML and commands."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

import main as program
from tests.conftest import ROOT
from train.__main__ import main as train
from train.evaluate import main as evaluate

LIMIT_S = 900  # the commands export a network in a process of their own
PARTS = np.array([[0, -22], [20, -4], [-20, -4], [12, 22], [-12, 22]])


def blocks() -> list[str]:
    """The indented blocks of the section, without their indentation."""
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    section = text.partition("## Your own keypoints")[2].partition("\n## ")[0]
    return [re.sub(r"(?m)^ {4}", "", block) for block in re.findall(r"(?m)(?:^ {4}.*\n)+", section)]


def write_robots(folder: Path) -> None:
    """Pictures of one robot each: five dots."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        images, labels = folder / "images" / split, folder / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for index in range(4):
            picture = rng.integers(0, 60, (128, 128, 3)).astype(np.uint8)
            points = rng.uniform(50, 78, 2) + PARTS
            for x, y in points:
                cv2.circle(picture, (round(x), round(y)), 4, (255, 255, 255), -1)
            cv2.imwrite(str(images / f"{index}.png"), picture)
            low, high = points.min(axis=0) - 6, points.max(axis=0) + 6
            box = [*((low + high) / 2 / 128), *((high - low) / 128)]
            keypoints = [value for x, y in points for value in (x / 128, y / 128, 2)]
            (labels / f"{index}.txt").write_text(" ".join(map(str, [0, *box, *keypoints])))


@pytest.mark.timeout(LIMIT_S)
def test_the_example_trains_evaluates_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    yaml, commands = blocks()
    assert len(yaml.splitlines()) == 7
    write_robots(tmp_path)
    (tmp_path / "robots.yaml").write_text(yaml)
    monkeypatch.chdir(tmp_path)
    training, evaluation, drawing = (shlex.split(line) for line in commands.splitlines())
    assert training[:3] == ["python", "-m", "train"] and evaluation[2] == "train.evaluate"
    # Shorter than in the example, where it is given once already: the last one counts.
    short = ["--epochs", "1", "--batch-size", "4", "--workers", "0", "--threads", "1"]
    assert train([*training[3:], *short]) == 0
    assert "mirrored" not in capsys.readouterr().out  # flip_idx states it
    assert evaluate(evaluation[3:]) == 0
    assert "4 people" in capsys.readouterr().out
    assert drawing[:2] == ["python", "main.py"]
    poses = ["--poses", "poses.jsonl", "--angles"]
    assert program.main([*drawing[2:], *poses]) == 0
    (person,) = json.loads((tmp_path / "poses.jsonl").read_text())["people"]
    assert person["box_xyxy"] == [0, 0, 127, 127] and len(person["keypoints"]) == 5
    assert list(person["angles"]) == ["spread", "lean"], "those of the YAML, through the weights"
    drawn = cv2.imread(str(next((tmp_path / "outputs").iterdir())))
    assert drawn is not None and drawn.shape == (128, 128, 3)
