"""Pose data sets in ultralytics' form, with keypoints of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.errors import SourceError
from train.data.boxes import image_indices
from train.data.reading import read_people

YAML = """
path: .
train: images/train
val: images/val
kpt_shape: [5, 3]
flip_idx: [0, 2, 1, 4, 3]
names: {0: robot}
kpt_names: {0: [head, left_hand, right_hand, left_foot, right_foot]}
skeleton: [[0, 1], [0, 2], [0, 3], [0, 4]]
"""
GOOD = "0 0.5 0.5 0.5 1.0 " + " ".join(["0.5 0.25 2", "0.3 0.5 2", "0.7 0.5 1", "0 0 0", "0.6 0.9 2"])


def write_set(folder: Path, lines: dict[str, str], yaml: str = YAML) -> Path:
    for split in ("train", "val"):
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
    for name, text in lines.items():
        cv2.imwrite(str(folder / "images" / "train" / f"{name}.png"), np.zeros((80, 40, 3), np.uint8))
        (folder / "labels" / "train" / f"{name}.txt").write_text(text)
    file = folder / "robots.yaml"
    file.write_text(yaml)
    return file


def test_labels_become_px_names_and_pairs_come_along(tmp_path: Path) -> None:
    people = read_people(write_set(tmp_path, {"a": GOOD + "\n" + GOOD, "empty": ""}), "train")
    assert people.class_names == ("robot",)
    assert people.skeleton.keypoint_names == ("head", "left_hand", "right_hand", "left_foot", "right_foot")
    assert people.skeleton.flip_pairs == ((1, 2), (3, 4)) and people.skeleton.edges[0] == (0, 1)
    assert len(people.people) == 2 and len(people.ground_truth["images"]) == 2
    person = people.people[0]
    assert person.box_xyxy.tolist() == [10, 0, 30, 80]
    np.testing.assert_allclose(person.keypoints[:3], [[20, 20, 2], [12, 40, 2], [28, 40, 1]], atol=1e-5)
    assert person.keypoints[3, 2] == 0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (GOOD.rsplit(" ", 1)[0], "19 numbers, 20 were expected"),
        ("1" + GOOD[1:], "class is not one"),
        (GOOD.replace("0.25", "nan"), "not finite"),
        (GOOD.replace("0.25", "up"), "could not convert"),
        ("0 2.5 0.5 0.1 0.1" + GOOD[17:], "no area inside"),
    ],
)
def test_a_broken_line_is_skipped_and_named(
    tmp_path: Path, line: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    people = read_people(write_set(tmp_path, {"a": line + "\n" + GOOD}), "train")
    assert len(people.people) == 1
    printed = capsys.readouterr().out
    assert "a.txt line 1" in printed and reason in printed and "1 broken" in printed


def test_nothing_usable_is_an_error_that_names_the_first_reason(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no usable person.*a\.txt line 1"):
        read_people(write_set(tmp_path, {"a": "0 1 2"}), "train")


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("a: [", "is not YAML"),
        ("train: images/train", "not the YAML of a pose data set"),
        (YAML.replace("[5, 3]", "[5, 7]"), r"\[K, 2\] or \[K, 3\]"),
        (YAML.replace("images/train", "nowhere"), "not a folder of pictures"),
        (YAML.replace("[0, 2, 1, 4, 3]", "[0, 2, 2, 4, 3]"), "no order of 5"),
    ],
)
def test_a_wrong_yaml_says_what_is_wrong(tmp_path: Path, yaml: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read_people(write_set(tmp_path, {"a": GOOD}, yaml), "train")


def test_a_picture_that_cannot_be_decoded_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_set(tmp_path, {"a": GOOD, "b": GOOD})
    (tmp_path / "images" / "train" / "a.png").write_bytes(b"nothing")
    assert len(read_people(file, "train").people) == 1
    assert "a.png: not a picture" in capsys.readouterr().out


def test_seventeen_keypoints_without_names_are_cocos(tmp_path: Path) -> None:
    yaml = "path: .\ntrain: images/train\nval: images/val\nkpt_shape: [17, 2]\nnames: [person]\n"
    people = read_people(write_set(tmp_path, {"a": "0 .5 .5 1 1" + " .5 .5" * 17}, yaml), "train")
    assert people.skeleton.keypoint_names[0] == "nose" and (people.people[0].keypoints[:, 2] == 2).all()


def test_pictures_of_one_name_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    """Also where a broken one shifts the count; a detector's boxes name pictures by their id."""
    file = write_set(tmp_path, {"a": GOOD, "b": GOOD}, YAML.replace("images/train\n", "[images/train, images/more]\n"))
    shutil.copytree(tmp_path / "images" / "train", tmp_path / "images" / "more")
    shutil.copytree(tmp_path / "labels" / "train", tmp_path / "labels" / "more")
    (tmp_path / "images" / "train" / "b.png").write_bytes(b"nothing")
    people = read_people(file, "train")
    assert [person.image for person in people.people] == [0, 2, 3]
    indices = image_indices(people)
    assert [indices[person.image_id] for person in people.people] == [0, 2, 3]


def test_roboflows_yaml_is_found_beside_its_folders(tmp_path: Path) -> None:
    yaml = YAML.replace("path: .\n", "").replace("images/train", "../images/train")
    people = read_people(write_set(tmp_path / "set", {"a": GOOD}, yaml), "train")
    assert people.image_files == (tmp_path / "set" / "images" / "train" / "a.png",)
