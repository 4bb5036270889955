"""Where random crops lie, against numbers worked out from the official code's rules (HRNet, `JointsDataset.py`)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.geometry import apply_affines
from engine.skeleton import COCO17
from engine.types import Float32Array
from models.pose_model import PoseModelConfig
from tests.train.people_folder import write_people
from train.config import TrainConfig
from train.data.boxes import labelled_boxes, outer_pixels
from train.data.coco_data import read_coco
from train.data.dataset import ImageStore
from train.data.people import Person
from train.data.placement import draw_scale_rotation, half_body_crop, is_half_body_candidate, random_affine
from train.data.reading import read_people
from train.data.yolo_pose_data import read_yolo_pose

SIZE = (192, 256)
UPPER = COCO17.upper_body


def config(**fields: object) -> TrainConfig:
    run = TrainConfig(pose_model=PoseModelConfig(name="kcam_resnet18"), data=Path(), output=Path())
    return dataclasses.replace(run, **fields)  # type: ignore[arg-type]


def standing(labelled: list[int]) -> Float32Array:
    """Keypoint k at (100 + 2 k, 10 k), labelled where listed."""
    points = np.array([[100 + 2 * k, 10 * k, 0] for k in range(17)], np.float32)
    points[labelled, 2] = 2
    return points


def person(keypoints: Float32Array) -> Person:
    box = np.array([90, 0, 140, 170], np.float32)
    return Person(image=0, image_id=1, annotation_id=1, box_xyxy=box, keypoints=keypoints, source="")


def test_a_half_is_centred_on_its_keypoints_and_one_and_a_half_times_as_large() -> None:
    keypoints = standing(list(range(17)))
    expected = {
        "upper": ((110, 50), (112.5, 150)),  # keypoints 0 to 10: 20 px wide, 100 high, so 75 wide at 3:4
        "lower": ((127, 135), (56.25, 75)),  # keypoints 11 to 16: 10 wide, 50 high
    }
    drawn = {"upper": 0, "lower": 0}
    rng = np.random.default_rng(0)
    for _ in range(4000):
        crop = half_body_crop(keypoints, UPPER, SIZE, rng)
        assert crop is not None
        name = "upper" if crop[0][1] < 100 else "lower"
        np.testing.assert_allclose(crop[0], expected[name][0], rtol=1e-6)
        np.testing.assert_allclose(crop[1], expected[name][1], rtol=1e-6)
        drawn[name] += 1
    assert drawn["upper"] / 4000 == pytest.approx(0.6915, abs=0.025)


@pytest.mark.parametrize(
    ("labelled", "chosen"),
    [
        ([0, 1, 5, 6, 11, 12], [0, 1, 5, 6]),  # two of the lower half are too few: always the upper one
        ([0, 1, 11, 12, 13, 14], [11, 12, 13, 14]),  # and the other way round
        ([0, 1, 11, 12], [0, 1]),  # too few in both: the upper half, of which two do
        ([0, 11, 12], None),
    ],
)
def test_a_half_with_too_few_keypoints_gives_way_to_the_other(labelled: list[int], chosen: list[int] | None) -> None:
    keypoints = standing(labelled)
    for seed in range(20):
        crop = half_body_crop(keypoints, UPPER, SIZE, np.random.default_rng(seed))
        if chosen is None:
            assert crop is None
        else:
            assert crop is not None
            np.testing.assert_allclose(crop[0], keypoints[chosen, :2].mean(axis=0), rtol=1e-6)


def test_halves_are_for_people_with_more_than_eight_labelled_keypoints() -> None:
    assert not is_half_body_candidate(person(standing(list(range(8)))), UPPER)
    assert is_half_body_candidate(person(standing(list(range(9)))), UPPER)
    assert not is_half_body_candidate(person(standing(list(range(17)))), ())  # a skeleton without halves


def test_the_paper_draws_evenly_and_the_official_code_from_clipped_normals() -> None:
    rng = np.random.default_rng(0)
    paper = np.array([draw_scale_rotation(config(), rng) for _ in range(4000)])
    assert 0.5 <= paper[:, 0].min() < 0.52 and 1.48 < paper[:, 0].max() <= 1.5
    assert np.abs(paper[:, 1]).max() <= 40 and paper[:, 0].std() == pytest.approx(1 / 12**0.5, abs=0.01)
    run = config(augmentation="official", rotation_deg=45.0, scale_range=(0.65, 1.35))
    official = np.array([draw_scale_rotation(run, rng) for _ in range(4000)])
    scale, rotation = official.T
    # A normal number lies beyond one deviation in 31.7 % of the draws, beyond two in 4.6 %.
    assert (np.isclose(scale, 0.65) | np.isclose(scale, 1.35)).mean() == pytest.approx(0.317, abs=0.03)
    assert (rotation == 0).mean() == pytest.approx(0.4, abs=0.03)
    turned = np.abs(rotation[rotation != 0])
    assert turned.max() == 90 and (turned == 90).mean() == pytest.approx(0.0455, abs=0.015)
    assert np.median(turned) == pytest.approx(0.6745 * 45, rel=0.08)


def test_a_mirrored_crop_keeps_its_centre() -> None:
    """The official code mirrors the picture and the centre before it crops."""
    still = config(rotation_deg=0.0, scale_range=(1.0, 1.0), half_body_probability=0.0, flip_probability=1.0)
    someone = person(standing(list(range(17))))
    affine, mirrored = random_affine(someone, still, SIZE, UPPER, np.random.default_rng(0), mirror=True)
    center = np.array([[[114.5, 84.5]]], np.float32)  # of the box, in pixel centres
    np.testing.assert_allclose(apply_affines(affine[None], center)[0, 0], (96, 128), atol=1e-4)
    assert mirrored and affine[0, 0] < 0
    assert not random_affine(someone, still, SIZE, UPPER, np.random.default_rng(0), mirror=False)[1]


def test_a_labelled_box_runs_through_the_centres_of_its_outer_pixels(tmp_path: Path) -> None:
    np.testing.assert_array_equal(outer_pixels(np.array([[10, 20, 11, 60]], np.float32)), [[10, 20, 10, 59]])
    people = read_people(write_people(tmp_path / "p"), "val")
    annotation = people.ground_truth["annotations"][0]
    x, y, width, height = annotation["bbox"]
    expected = [x, y, x + width - 1, y + height - 1]
    np.testing.assert_allclose(labelled_boxes(people).boxes_xyxy[0], expected, rtol=1e-6)


def test_people_without_area_are_left_out(tmp_path: Path) -> None:
    folder = write_people(tmp_path / "p")
    content = json.loads((folder / "val.json").read_text())
    content["annotations"][2]["area"] = 0
    (folder / "val.json").write_text(json.dumps(content))
    people = read_coco(folder / "val.json", folder / "val")
    assert [one.annotation_id for one in people.people] == [1, 2, 4, 5, 6] and not people.complaints
    assert len(people.ground_truth["annotations"]) == 6  # AP counts them as before


def turned_jpeg(file: Path, orientation: int) -> None:
    """A 40x20 picture whose left half is white, with an EXIF orientation."""
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[:, :20] = 255
    plain = cv2.imencode(".jpg", picture)[1].tobytes()
    tiff = b"II*\0\x08\0\0\0\x01\0" + b"\x12\x01\x03\0\x01\0\0\0" + bytes([orientation, 0, 0, 0]) + b"\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:])


@pytest.mark.parametrize(
    ("orientation", "labels_wh", "turned"),
    [(6, (40, 20), False), (6, (20, 40), True), (3, (40, 20), False)],
)
def test_pixels_are_counted_as_in_the_labels(
    tmp_path: Path, orientation: int, labels_wh: tuple[int, int], turned: bool
) -> None:
    """COCO counts stored pixels whatever the EXIF orientation; other programs count those of the upright picture."""
    turned_jpeg(tmp_path / "val" / "a.jpg", orientation)
    image = {"id": 1, "file_name": "a.jpg", "width": labels_wh[0], "height": labels_wh[1]}
    label = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "area": 50, "keypoints": [5, 5, 2]}
    category = {"id": 1, "name": "dot", "keypoints": ["dot"], "skeleton": []}
    content = {"images": [image], "annotations": [label], "categories": [category]}
    (tmp_path / "val.json").write_text(json.dumps(content))
    people = read_coco(tmp_path / "val.json", tmp_path / "val")
    found = ImageStore(people, keep=False)[0]
    assert found.shape[:2] == ((40, 20) if turned else (20, 40))
    if not turned:
        assert found[:, 5].mean() > 200 and found[:, 35].mean() < 50


def test_ultralytics_labels_are_on_the_upright_picture(tmp_path: Path) -> None:
    turned_jpeg(tmp_path / "images" / "val" / "a.jpg", 6)
    (tmp_path / "labels" / "val").mkdir(parents=True)
    (tmp_path / "labels" / "val" / "a.txt").write_text("0 0.5 0.5 0.5 0.5 0.5 0.25 2\n")
    yaml = "train: images/val\nval: images/val\nkpt_shape: [1, 3]\nnames: [dot]\n"
    (tmp_path / "d.yaml").write_text(yaml)
    people = read_yolo_pose(tmp_path / "d.yaml", "val")
    found = ImageStore(people, keep=False)[0]
    assert found.shape[:2] == (40, 20)
    x, y, _ = people.people[0].keypoints[0]
    assert (x, y) == (10, 10) and found[10, 10].mean() > 200  # turned by 90 degrees, the white half is on top
