"""What a data set states of its keypoints, MPII among them, and its metric."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat  # type: ignore[import-untyped]

from engine.errors import ModelError, SourceError
from engine.geometry import box_centers_sizes
from engine.skeleton import COCO17
from train.data.boxes import labelled_boxes
from train.data.people import flip_pairs_by_name
from train.data.reading import read_people
from train.data.skeletons import AIC_NAMES, CROWDPOSE_NAMES, MPII_NAMES, OKS_SIGMAS, make_skeleton
from train.evaluation.pckh import pckh


def test_published_sigmas_have_a_number_for_each_keypoint() -> None:
    lengths = {name: len(sigmas) for name, sigmas in OKS_SIGMAS.items()}
    assert lengths == {"coco": 17, "crowdpose": 14, "aic": 14, "mpii": 16, "coco_wholebody": 133}
    assert CROWDPOSE_NAMES[:3] == ("left_shoulder", "right_shoulder", "left_elbow")
    assert OKS_SIGMAS["crowdpose"][CROWDPOSE_NAMES.index("right_hip")] == 0.107
    assert AIC_NAMES[0] == "right_shoulder" and AIC_NAMES[6] == "right_hip" and AIC_NAMES[11] == "left_ankle"


@pytest.mark.parametrize(
    ("settings", "names", "expected"),
    [
        ({"sigmas": [0.1, 0.2]}, ("a", "b"), (0.1, 0.2)),
        ({"sigmas": "crowdpose"}, tuple(f"k{i}" for i in range(14)), OKS_SIGMAS["crowdpose"]),
        ({}, CROWDPOSE_NAMES, OKS_SIGMAS["crowdpose"]),
        ({}, (*COCO17.keypoint_names, *(f"k{i}" for i in range(116))), OKS_SIGMAS["coco_wholebody"]),
        ({}, ("a", "b"), (0.05, 0.05)),
    ],
)
def test_sigmas_are_those_stated_or_published(
    settings: dict[str, object], names: tuple[str, ...], expected: tuple[float, ...]
) -> None:
    assert make_skeleton(settings, names, (), 0.05)[0].oks_sigmas == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"sigmas": [0.1]}, "not 2 numbers"), ({"sigmas": "crowdpos"}, "crowdpose"), ({"flip_idx": [0, 0]}, "no order")],
)
def test_settings_that_do_not_fit_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_skeleton(settings, ("a", "b"), (), 0.05)


def test_keypoints_that_trade_places_in_a_circle_are_refused() -> None:
    with pytest.raises(ModelError, match="name a keypoint twice"):
        make_skeleton({"flip_idx": [1, 2, 0]}, ("a", "b", "c"), (), 0.05)


def test_sides_are_known_by_name_or_by_flip_idx() -> None:
    assert flip_pairs_by_name(("l_eye", "nose", "r_eye", "tail")) == ((0, 2),)
    assert flip_pairs_by_name(("Left Ear", "right ear", "collar")) == ((0, 1),)  # "collar" and "ear" contain l and r
    assert flip_pairs_by_name(("lower", "upper")) == ()
    assert make_skeleton({}, ("left_a", "right_a"), (), 0.05)[1]
    assert make_skeleton({"flip_idx": [0, 1]}, ("a", "b"), (), 0.05)[1]  # stated: nothing trades places
    assert not make_skeleton({}, ("a", "b"), (), 0.05)[1]
    assert make_skeleton({}, ("dot",), (), 0.05)[1]


def test_a_set_with_unknown_sides_is_not_mirrored_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = {"id": 1, "file_name": "a.png", "width": 40, "height": 20}
    label = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "area": 9, "keypoints": [5, 5, 2, 7, 7, 2]}
    category = {"id": 1, "name": "part", "keypoints": ["a", "b"], "sigmas": [0.03, 0.04]}
    content = {"images": [image], "annotations": [label], "categories": [category]}
    (tmp_path / "val.json").write_text(json.dumps(content))
    people = read_people(tmp_path, "val")
    assert not people.mirrors and people.skeleton.oks_sigmas == (0.03, 0.04)
    assert "nothing is mirrored" in capsys.readouterr().out
    category["flip_idx"] = [1, 0]
    (tmp_path / "val.json").write_text(json.dumps(content))
    people = read_people(tmp_path, "val")
    assert people.mirrors and people.skeleton.flip_pairs == ((0, 1),)
    assert "mirrored" not in capsys.readouterr().out
    category["sigmas"] = "coco"
    (tmp_path / "val.json").write_text(json.dumps(content))
    with pytest.raises(SourceError, match="not 2 numbers"):
        read_people(tmp_path, "val")


@pytest.fixture
def mpii(tmp_path: Path) -> Path:
    """Two people: the head of the first is 20 px from neck to top, the second has no head labels."""
    joints = [[100.0 + i, 50.0 + 2 * i] for i in range(16)]
    joints[8], joints[9] = [200, 100], [200, 80]
    entries = [
        {"image": "a.jpg", "center": [150.0, 120.0], "scale": 1.5, "joints": joints, "joints_vis": [1] * 16},
        {"image": "a.jpg", "center": [50.0, 60.0], "scale": 1.0, "joints": joints,
         "joints_vis": [1] * 8 + [0, 0] + [1] * 6},
    ]  # fmt: skip
    (tmp_path / "annot").mkdir()
    (tmp_path / "annot" / "valid.json").write_text(json.dumps(entries))
    return tmp_path


def test_mpii_is_read_as_the_official_code_reads_it(mpii: Path) -> None:
    people = read_people(mpii, "val")
    assert people.skeleton.keypoint_names == MPII_NAMES and people.mirrors and len(people.skeleton.upper_body) == 9
    assert people.image_files == (mpii / "images" / "a.jpg",)
    assert people.people[0].keypoints[0].tolist() == [99, 49, 2]  # from 0
    # Centre: 150 - 1, and 120 + 15 * 1.5 - 1; size: 1.5 * 200 * 1.25.
    centers, sizes = box_centers_sizes(labelled_boxes(people).boxes_xyxy, (256, 256))
    np.testing.assert_allclose(centers[0], (149, 141.5), rtol=1e-6)
    np.testing.assert_allclose(sizes[0], (375, 375), rtol=1e-6)


def test_pckh_counts_keypoints_within_half_a_head(mpii: Path) -> None:
    people = read_people(mpii, "val")
    found = np.stack([person.keypoints for person in people.people])
    assert pckh(people, found)["mean"] == 100
    found[0, 0, 0] += 9.9  # right ankle, 0.495 heads
    found[0, 10, 0] += 10.1  # right wrist, 0.505 heads
    found[0, 6, 0] += 50  # pelvis, which is left out of the mean
    found[1] += 99  # no head size: left out
    report = pckh(people, found)
    assert report["ankle"] == 100 and report["wrist"] == 50 and report["pelvis"] == 0
    assert report["mean"] == pytest.approx(100 * 13 / 14)


def test_head_boxes_of_mpii_are_used_where_they_are_there(mpii: Path) -> None:
    boxes = np.zeros((2, 2, 2))
    boxes[1, :, 0] = [30, 40]  # a diagonal of 50 px
    boxes[1, :, 1] = [3, 4]
    savemat(mpii / "annot" / "gt_valid.mat", {"headboxes_src": boxes})
    assert dict(read_people(mpii, "val").head_sizes) == {1: pytest.approx(30), 2: pytest.approx(3)}
    savemat(mpii / "annot" / "gt_valid.mat", {"headboxes_src": boxes[:, :, :1]})
    with pytest.raises(SourceError, match=r"\(2, 2, 2\) was expected"):
        read_people(mpii, "val")


def test_angles_are_named_by_keypoints() -> None:
    names = ("head", "left_hand", "right_hand", "left_foot", "right_foot")
    stated = {"spread": ["left_hand", "head", "right_hand"], "lean": ["head", "left_foot+right_foot", "up"]}
    skeleton = make_skeleton({"angles": stated}, names, (), 0.05)[0]
    assert [(a.name, a.first, a.vertex, a.last) for a in skeleton.named_angles] == [
        ("spread", (1,), (0,), (2,)), ("lean", (0,), (3, 4), ())
    ]  # fmt: skip
    for wrong, message in (
        ({"x": ["head", "left_hnd", "right_hand"]}, "Did you mean 'left_hand'"),
        ({"x": ["head", "left_hand"]}, "three points"),
        (["head"], "a mapping"),
    ):
        with pytest.raises(ValueError, match=message):
            make_skeleton({"angles": wrong}, names, (), 0.05)
