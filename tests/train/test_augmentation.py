"""Harder crops: what each does to the picture and to the labels, and that none of it is there unless asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from engine.types import Float32Array, UInt8Array
from tests.train.people_folder import write_people
from tests.train.test_dataset import SIZE, dataset, make_config
from train.data.augmentation import blur_gaussian, blur_motion, cut_by_frame, cut_out, jitter_color, lower_resolution
from train.data.people import Person

HARDER = ("truncation_probability", "cut_out_probability", "blur_probability", "low_resolution_probability")
PART = {"crop", "targets", "weights"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("people"))


@pytest.fixture
def picture() -> UInt8Array:
    """Every pixel says where it is: blue counts columns, green rows."""
    rows, columns = np.mgrid[0:200, 0:240].astype(np.uint8)
    return np.stack([columns, rows, np.full_like(rows, 90)], axis=2)


def person(keypoints: Float32Array) -> Person:
    return Person(
        image=0,
        image_id=1,
        annotation_id=1,
        box_xyxy=np.array([40, 20, 140, 190], np.float32),
        keypoints=keypoints.astype(np.float32),
        source="",
    )


def seventeen(rng: np.random.Generator) -> Float32Array:
    """Keypoints anywhere in the box, three of them not labelled."""
    points = np.column_stack([rng.integers(40, 140, 17), rng.integers(20, 190, 17), rng.integers(1, 3, 17)])
    points[rng.choice(17, 3, replace=False)] = 0
    return np.asarray(points, np.float32)


def test_beyond_the_frames_edge_nothing_is_labelled_and_within_all_stays_in_place(picture: UInt8Array) -> None:
    ends = set()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        whole = person(seventeen(rng))
        cut, smaller = cut_by_frame(whole, picture, rng)
        height, width = smaller.shape[:2]
        assert (height < 200) != (width < 240), "one side is cut"
        left, top = int(smaller[0, 0, 0]), int(smaller[0, 0, 1])
        ends.add((left > 0, top > 0, height < 200))
        shown = cut.keypoints[:, 2] > 0
        place = whole.keypoints[:, :2] - [left, top]
        within = (place >= 0).all(axis=1) & (place < [width, height]).all(axis=1)
        np.testing.assert_array_equal(shown, (whole.keypoints[:, 2] > 0) & within)
        assert 5 <= shown.sum() < 17  # a quarter of 17, rounded up
        for x, y in cut.keypoints[shown, :2].astype(int):  # on the same pixels as before
            assert tuple(smaller[y, x, :2]) in {tuple(p.astype(int)) for p in whole.keypoints[:, :2]}
        low, high = cut.box_xyxy[:2], cut.box_xyxy[2:]
        expected_low = np.maximum(whole.box_xyxy[:2] - [left, top], 0)
        expected_high = np.minimum(whole.box_xyxy[2:] - [left, top], [width, height])
        np.testing.assert_array_equal([low, high], [expected_low, expected_high])
    assert len(ends) == 4  # bottom and right, left, top


@pytest.mark.parametrize("labelled", [0, 4])
def test_a_person_of_whom_too_little_is_labelled_is_not_cut(picture: UInt8Array, labelled: int) -> None:
    keypoints = seventeen(np.random.default_rng(0))
    keypoints[labelled:] = 0
    for seed in range(20):
        cut, same = cut_by_frame(person(keypoints), picture, np.random.default_rng(seed))
        assert same is picture and (cut.keypoints == keypoints).all()


def test_what_is_cut_off_is_neither_seen_nor_taught(folder: Path) -> None:
    """Dots of the made-up people on the crop's border colour would be learnt as keypoints on nothing."""
    calm = {"rotation_deg": 0.0, "scale_range": (1.0, 1.0), "flip_probability": 0.0}
    cut = dataset(make_config(folder, truncation_probability=1.0, **calm))
    whole = dataset(make_config(folder, **calm))
    lost = 0
    for index in range(len(cut)):
        taught = cut[(0, index, 0)]["weights"].numpy() > 0
        bright = cut[(0, index, 0)]["crop"].numpy().max(axis=2) > 150
        assert (whole[(0, index, 0)]["weights"].numpy() > 0).all() and taught.any()
        assert bool(bright.any()) and bright.mean() < 0.2
        lost += int((~taught).sum())
    assert lost > 0


def test_off_is_as_before_and_each_leaves_the_others_draws_alone(folder: Path) -> None:
    """Turn, scale, mirror and colour are drawn apart, so that runs with and without compare."""
    plain = make_config(folder, color_jitter=0.3)
    almost_never = make_config(folder, color_jitter=0.3, **dict.fromkeys(HARDER, 1e-12))
    blurred = dataclasses.replace(plain, blur_probability=1.0)
    for index in range(6):
        key = (2, index, 0)
        off, never, soft = (dataset(config)[key] for config in (plain, almost_never, blurred))
        for name in PART:
            assert (off[name] == never[name]).all()  # type: ignore[literal-required]
        assert (off["targets"] == soft["targets"]).all() and (off["crop"] != soft["crop"]).any()


def test_a_harder_sample_depends_on_its_key_alone(folder: Path) -> None:
    config = make_config(folder, **dict.fromkeys(HARDER, 0.7))
    first, second = dataset(config), dataset(config)
    second[(0, 1, 0)]
    for name in PART:
        assert (first[(3, 2, 0)][name] == second[(3, 2, 0)][name]).all()  # type: ignore[literal-required]
    other_seed = dataset(dataclasses.replace(config, seed=1))
    assert (first[(3, 2, 0)]["crop"] != other_seed[(3, 2, 0)]["crop"]).any()


def grain() -> UInt8Array:
    """As fine as pixels go: lost wherever a crop is blurred or coarse."""
    light = np.random.default_rng(0).integers(0, 2, (SIZE[1], SIZE[0], 1)) * 255
    return np.repeat(light.astype(np.uint8), 3, axis=2)


@pytest.mark.parametrize("harm", [blur_gaussian, blur_motion, lower_resolution])
def test_fine_detail_goes_and_brightness_stays(harm: object) -> None:
    for seed in range(8):
        blurred = harm(grain(), np.random.default_rng(seed))  # type: ignore[operator]
        assert blurred.shape == grain().shape and blurred.dtype == np.uint8
        inside = blurred[16:-16, 16:-16].astype(float)
        assert inside.std() < 0.8 * grain()[16:-16, 16:-16].std() and abs(inside.mean() - grain().mean()) < 8


def test_motion_blurs_along_a_line_through_the_point() -> None:
    crop = np.zeros((129, 129, 3), np.uint8)
    crop[64, 64] = 255
    for seed in range(20):
        y, x = np.nonzero(blur_motion(crop, np.random.default_rng(seed))[:, :, 0])
        assert 3 <= len(x) <= 26 and abs(x.mean() - 64) < 0.6 and abs(y.mean() - 64) < 0.6
        spread = np.linalg.svd(np.column_stack([x - x.mean(), y - y.mean()]), compute_uv=False)
        assert spread[1] < 0.35 * spread[0]


def test_patches_hide_some_of_a_crop_and_touch_nothing_else() -> None:
    crop = grain()
    for seed in range(20):
        covered = cut_out(crop, np.random.default_rng(seed))
        hidden = (covered != crop).any(axis=2)
        assert 0 < hidden.mean() < 0.3
    assert (crop == grain()).all(), "the crop itself is not written to"


def test_jitter_changes_colours_but_not_shapes() -> None:
    rng = np.random.default_rng(0)
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    changed = jitter_color(ramp, 0.3, rng).astype(int)
    assert (changed != ramp).mean() > 0.5
    assert (np.diff(changed, axis=1) >= 0).all()
