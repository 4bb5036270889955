"""People pasted into a detector's training pictures: whole, labelled where they are, and nobody else lost."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engine.errors import ModelError, SourceError
from engine.skeleton import COCO17
from engine.system.ultralytics_env import prepare_ultralytics
from engine.types import Float32Array, UInt8Array
from tests.train.people_folder import write_people
from train.data.dataset import ImageStore
from train.data.people import PeopleSet, Person
from train.data.reading import read_people
from train.detector.paste import CutOut, PastePeople, _insert, cut_out, cut_outs, paste
from train.detector.training import main
from train.detector.yolo_dataset import write_yolo_dataset

RED = (30, 30, 220)
# Nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles of a person who stands upright.
STANDING = [
    (50, 18), (46, 14), (54, 14), (42, 16), (58, 16), (38, 40), (62, 40), (20, 60), (80, 60), (8, 84), (92, 84),
    (42, 96), (58, 96), (41, 136), (59, 136), (40, 176), (60, 176),
]  # fmt: skip
BOX = (2, 4, 98, 186)


def person(dx: float = 0.0, image: int = 0) -> Person:
    keypoints = np.array([(x + dx, y, 2) for x, y in STANDING], np.float32)
    box = np.array(BOX, np.float32) + np.array([dx, 0, dx, 0], np.float32)
    return Person(image=image, image_id=image, annotation_id=1, box_xyxy=box, keypoints=keypoints, source="")


def people_of(*listed: Person, files: tuple[Path, ...] = ()) -> PeopleSet:
    return PeopleSet(
        origin=Path("train.json"),
        image_files=files,
        people=listed,
        skeleton=COCO17,
        class_names=("person",),
        ground_truth={},
    )


@pytest.fixture(scope="module")
def red_person() -> CutOut:
    """A red man on a white wall, painted somewhat slimmer than the outline is drawn."""
    image: UInt8Array = np.full((200, 100, 3), 255, np.uint8)
    for a, b in COCO17.edges:
        cv2.line(image, STANDING[a], STANDING[b], RED, 10)
    cv2.fillConvexPoly(image, np.array([STANDING[i] for i in (5, 6, 12, 11)]), RED)
    return cut_out(person(), image, COCO17)


def test_the_outline_holds_the_person_and_little_else(red_person: CutOut) -> None:
    is_red = (red_person.image.astype(int) - RED).max(axis=2) < 60
    assert red_person.alpha[is_red].min() > 0.5, "nothing of the person is lost"
    assert (red_person.alpha > 0.5).mean() < 0.75 and red_person.alpha[-60:, :12].max() < 0.1
    left, top, right, bottom = red_person.box_xyxy
    for x, y in np.array(STANDING):
        assert left <= x <= right and top <= y <= bottom
    assert right - left <= BOX[2] - BOX[0] + 1 and bottom - top <= BOX[3] - BOX[1] + 1


def test_pasted_people_are_where_their_boxes_say(red_person: CutOut) -> None:
    heights = []
    for seed in range(30):
        image: UInt8Array = np.full((320, 400, 3), 114, np.uint8)
        boxes = paste(image, np.zeros((0, 4), np.float32), [red_person], np.random.default_rng(seed))
        assert 1 <= len(boxes) <= 8
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [400, 320]).all()
        red = image[..., 2].astype(int) - image[..., 0] > 60
        assert red.any()
        inside = np.zeros_like(red)
        for left, top, right, bottom in boxes.round().astype(int):
            inside[max(0, top - 1) : bottom + 1, max(0, left - 1) : right + 1] = True
            assert red[top:bottom, left:right].mean() > 0.15
        assert not (red & ~inside).any()
        heights += list(boxes[:, 3] - boxes[:, 1])
    assert min(heights) < 0.09 * 320 and max(heights) > 0.35 * 320
    assert max(heights) <= red_person.box_xyxy[3] - red_person.box_xyxy[1] + 1, "nobody is blown up"


def test_nobody_is_covered_by_much(red_person: CutOut) -> None:
    """The picture is full of one person up to a strip: only there, or over less than a third, is room."""
    there = np.array([[0, 0, 300, 320], [340, 100, 380, 200]], np.float32)
    for seed in range(30):
        image: UInt8Array = np.full((320, 400, 3), 114, np.uint8)
        pasted = paste(image, there, [red_person], np.random.default_rng(seed))
        changed = (image != 114).any(axis=2)
        assert changed[100:200, 340:380].mean() < 0.7
        every = np.concatenate([there, pasted])
        for number, later in enumerate(pasted, start=2):
            for earlier in every[:number]:
                shared = np.minimum(earlier[2:], later[2:]) - np.maximum(earlier[:2], later[:2])
                size = earlier[2:] - earlier[:2]
                assert np.prod(np.maximum(shared, 0)) <= 0.3 * np.prod(size) + 1e-3


def test_only_people_who_stand_alone_are_cut_out(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.full((200, 400, 3), 90, np.uint8))
    files = (tmp_path / "0.png",)
    alone, one, other = person(0), person(150), person(170)
    few = person(300)
    few.keypoints[5, 2] = 0  # a shoulder
    beside = replace(person(image=1), box_xyxy=np.array([300, 4, 396, 186], np.float32))  # a wrong label
    people = people_of(alone, one, other, few, beside, files=(*files, *files))
    found = cut_outs(people, ImageStore(people, keep=False), 10, 0)
    assert len(found) == 1
    crowd = people_of(one, other, few, files=files)
    with pytest.raises(SourceError, match="no person to paste"):
        cut_outs(crowd, ImageStore(crowd, keep=False), 10, 0)


def test_people_without_shoulders_and_hips_cannot_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_people(tmp_path / "p")
    people = read_people(data, "train")
    with pytest.raises(SourceError, match="no person to paste"):
        cut_outs(people, ImageStore(people, keep=False), 10, 0)
    assert main(["--data", str(data), "--output", str(tmp_path / "run"), "--paste-people", "1.5"]) == 2
    assert capsys.readouterr().err == "train.detector: --paste-people is 1.5; expected 0 to 1\n"


def _options(mosaic: float) -> Any:
    from ultralytics.cfg import get_cfg

    return get_cfg(overrides={"imgsz": 160, "mosaic": mosaic, "copy_paste": 1.0})


def yolo_dataset(folder: Path, mosaic: float) -> Any:
    """Pictures and boxes as ultralytics trains on them."""
    prepare_ultralytics(verbose=False)
    from ultralytics.data.dataset import YOLODataset

    write_yolo_dataset(write_people(folder / "p"), folder / "yolo")
    return YOLODataset(
        img_path=str(folder / "yolo" / "images" / "train"), imgsz=160, augment=True, hyp=_options(mosaic),
        data={"names": {0: "person"}, "channels": 3}, task="detect", single_cls=True, cache="ram",
    )  # fmt: skip


def drawn(dataset: Any, seed: int) -> tuple[UInt8Array, Float32Array]:
    random.seed(seed)
    np.random.seed(seed)
    sample = dataset[0]
    return sample["img"].numpy(), sample["bboxes"].numpy()


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_in_training_people_are_added_and_leave_before_the_last_epochs(
    tmp_path: Path, red_person: CutOut, mosaic: float
) -> None:
    """Also: with boxes alone ultralytics' own copy-paste, which is on here, adds nobody; and cached pictures stay."""
    dataset = yolo_dataset(tmp_path, mosaic)
    before = [drawn(dataset, seed) for seed in range(4)]
    if not mosaic:
        assert all(len(boxes) <= 1 for _, boxes in before)
    _insert(dataset.transforms, PastePeople([red_person], 1.0))
    pasted = [drawn(dataset, seed) for seed in range(4)]
    assert sum(len(boxes) for _, boxes in pasted) > sum(len(boxes) for _, boxes in before)
    again = [drawn(dataset, seed) for seed in range(4)]
    for (image, boxes), (other_image, other_boxes) in zip(pasted, again, strict=True):
        assert (image == other_image).all() and (boxes == other_boxes).all()
        assert (boxes >= 0).all() and (boxes <= 1).all()
    dataset.close_mosaic(_options(0.0))
    assert all(len(drawn(dataset, seed)[1]) <= 1 for seed in range(4))


def test_never_means_the_same_picture(red_person: CutOut) -> None:
    labels = {"img": np.zeros((8, 8, 3), np.uint8)}
    assert PastePeople([red_person], 0.0)(labels) is labels


def test_another_order_of_transforms_is_refused(red_person: CutOut) -> None:
    prepare_ultralytics(verbose=False)
    from ultralytics.data.augment import Compose

    with pytest.raises(ModelError, match="begins its transforms with"):
        _insert(Compose([Compose([])]), PastePeople([red_person], 1.0))  # type: ignore[no-untyped-call]
