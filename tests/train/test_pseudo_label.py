"""Pseudo-labels: labels stay as they are, gaps are filled, and what is not sure is left out and counted."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from engine.heatmap import encode_heatmaps
from engine.skeleton import Angle, Skeleton
from engine.types import Float32Array
from tests.engine.fakes import FixedDetector, boxes
from tests.engine.small_pose_model import SKELETON, write_small_model
from tests.train.people_folder import NAMES, write_people
from train import pseudo_label as module
from train.data.reading import read_people
from train.data.skeletons import make_skeleton
from train.pseudo_label import Labeller, PseudoLabelOptions, main

SIZE = (64, 96)
POINTS = np.array([[16, 16], [40, 20], [20, 60], [44, 80]], np.float32)
"""Keypoints that the teacher finds in every crop, in crop px."""


class FixedTeacher:
    """Finds the same keypoints in every crop; the last one is not sure."""

    config = SimpleNamespace(input_size_wh=SIZE, udp=False, decode="quarter", sigma=2.0)

    def to(self, _device: torch.device) -> FixedTeacher:
        return self

    def heatmaps(self, crops: Tensor, heatmap_size_wh: tuple[int, int]) -> Tensor:
        maps, _ = encode_heatmaps(POINTS, np.ones(4, np.float32), SIZE, heatmap_size_wh, 2.0)
        maps[3] *= 0.2
        return torch.from_numpy(maps).expand(len(crops), -1, -1, -1)


def labeller(found: Float32Array, **options: Any) -> Labeller:
    detector = FixedDetector(found, np.full(len(found), 0.9, np.float32))
    chosen = PseudoLabelOptions(images=Path(), weights="w", output=Path("o"), **{"min_keypoints": 3, **options})
    return Labeller(detector, FixedTeacher(), SKELETON, chosen)  # type: ignore[arg-type]


IMAGE = np.zeros((300, 400, 3), np.uint8)
BOX = (100, 50, 164, 146)  # its crop is 80 x 120 px around (132, 98)


def annotation(box: tuple[float, ...], keypoints: list[float], **more: Any) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    return {"bbox": [x1, y1, x2 - x1, y2 - y1], "keypoints": keypoints, "iscrowd": 0, **more}


def test_a_person_without_a_label_gets_one_with_sure_keypoints() -> None:
    one = labeller(boxes(BOX))
    (person,) = one.label(IMAGE, [])
    assert person["bbox"] == [100, 50, 64, 96] and person["num_keypoints"] == 3
    keypoints = np.array(person["keypoints"]).reshape(4, 3)
    scale = 80 / SIZE[0]
    np.testing.assert_allclose(keypoints[:3, :2], POINTS[:3] * scale + [132 - 40, 98 - 60], atol=0.6 * scale)
    assert keypoints[:, 2].tolist() == [2, 2, 2, 0] and keypoints[3].tolist() == [0, 0, 0]
    assert one.counts["people added"] == 1


def test_labels_stay_and_only_gaps_are_filled() -> None:
    one = labeller(boxes(BOX))  # the detector finds the labelled person, too
    labelled = annotation(BOX, [111.0, 77.0, 1.0] + [0.0] * 9, id=7)
    (kept,) = one.label(IMAGE, [labelled])
    keypoints = np.array(kept["keypoints"]).reshape(4, 3)
    assert keypoints[0].tolist() == [111, 77, 1] and keypoints[1:, 2].tolist() == [2, 2, 0]
    assert kept["pseudo_keypoints"] == [1, 2] and kept["id"] == 7
    assert labelled["keypoints"] == [111.0, 77.0, 1.0] + [0.0] * 9
    assert one.counts["keypoints added to labelled people"] == 2 and one.counts["people added"] == 0


def test_crowds_are_not_labelled_and_hide_what_is_in_them() -> None:
    crowd = annotation(BOX, [0.0] * 12, iscrowd=1)
    assert labeller(boxes(BOX)).label(IMAGE, [crowd]) == [crowd]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"min_height": 100.0}, "boxes below --min-height"),
        ({"person_threshold": 0.99}, "boxes below --person-threshold, or second ones on a person"),
        ({"min_keypoints": 4}, "people with too few sure keypoints"),
    ],
)
def test_what_is_left_out_is_counted(options: dict[str, Any], reason: str) -> None:
    one = labeller(boxes(BOX), **options)
    assert one.label(IMAGE, []) == []
    assert one.counts[reason] == 1


def test_two_boxes_on_one_person_give_one_label() -> None:
    one = labeller(boxes(BOX, (101, 51, 165, 147)))
    assert len(one.label(IMAGE, [])) == 1


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights file; the detector finds a person in the middle of every picture."""
    monkeypatch.setattr(
        module, "open_detector", lambda *_given, **_options: (FixedDetector(boxes(BOX), np.ones(1, np.float32)), None)
    )
    monkeypatch.setattr(module, "Teacher", lambda *_given: FixedTeacher())
    return write_small_model(tmp_path / "w.safetensors")


def test_a_folder_of_photos_becomes_a_data_set_that_training_reads(
    networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(20):
        cv2.imwrite(str(photos / f"{number}.png"), IMAGE)
    (photos / "broken.png").write_bytes(b"no picture")
    output = tmp_path / "set"
    options = ["--images", str(photos), "--weights", str(networks), "--output", str(output), "--min-keypoints", "3"]
    assert main(options) == 0
    out = capsys.readouterr().out
    assert "20 people added" in out and "1 pictures that cannot be read" in out
    train, val = read_people(output, "train"), read_people(output, "val")
    assert (len(train.people), len(val.people)) == (18, 2)
    assert train.skeleton == SKELETON and train.mirrors
    assert all(file.is_file() for file in train.image_files)
    assert main(options) == 2  # nothing is replaced
    assert "is not empty" in capsys.readouterr().err


def test_no_picture_replaces_another_and_sizes_are_those_of_the_pixels(tmp_path: Path) -> None:
    """The third would be called as the first: through its hard link, it would be written over the original."""
    files = [tmp_path / "a" / "3_x.png", tmp_path / "a" / "x.png", tmp_path / "b" / "x.png"]
    for number, file in enumerate(files):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"picture %d" % number)
    writer = module._SplitWriter(tmp_path / "set", "train", {"id": 1})
    for file in files:
        # MPII does not state sizes.
        writer.add(module.Picture(file=file, entry={"width": 0, "height": 0}, annotations=[]), [], (40, 30))
    assert [file.read_bytes() for file in files] == [b"picture 0", b"picture 1", b"picture 2"]
    written = writer.content["images"]
    assert [(tmp_path / "set" / "train" / one["file_name"]).read_bytes() for one in written] == [
        file.read_bytes() for file in files
    ]
    assert [(one["width"], one["height"]) for one in written] == [(40, 30)] * 3


@pytest.mark.parametrize("sides", [True, False])
def test_the_category_gives_the_skeleton_again(sides: bool) -> None:
    names = ("left_tip", "right_tip", "root") if sides else ("one", "two", "three")
    angle = Angle(name="lean", first=(0, 1), vertex=(2,), last=())
    skeleton = Skeleton(
        keypoint_names=names, edges=((0, 2),), flip_pairs=((0, 1),) if sides else (), oks_sigmas=(0.1, 0.2, 0.3),
        upper_body=(0, 1), angles=(angle,),
    )  # fmt: skip
    category = module._category({}, skeleton, "hand")
    edges = tuple((a - 1, b - 1) for a, b in category["skeleton"])
    assert make_skeleton(category, tuple(category["keypoints"]), edges, 0.05) == (skeleton, sides)
    assert category["name"] == "hand"


def test_a_labelled_set_keeps_its_labels_and_its_val(
    networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_people(tmp_path / "people", pictures=3)
    options = ["--data", str(data), "--weights", str(networks), "--output", str(tmp_path / "set")]
    assert main(options) == 2
    assert "name different keypoints" in capsys.readouterr().err
    fitting = json.dumps(list(SKELETON.keypoint_names))
    for split in ("train", "val"):
        text = (data / f"{split}.json").read_text().replace(json.dumps(list(NAMES)), fitting)
        content = json.loads(text)
        for one in content["annotations"]:
            one["keypoints"] += [0, 0, 0]
        (data / f"{split}.json").write_text(json.dumps(content))
    assert main([*options, "--min-keypoints", "3"]) == 0
    before, after = (json.loads((folder / "val.json").read_text()) for folder in (data, tmp_path / "set"))
    assert [one["keypoints"] for one in after["annotations"]] == [one["keypoints"] for one in before["annotations"]]
    train = json.loads((tmp_path / "set" / "train.json").read_text())
    assert len(train["annotations"]) >= 3 and len({one["id"] for one in train["annotations"]}) == len(
        train["annotations"]
    )
