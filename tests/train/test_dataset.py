"""What a network is trained on: right labels on right pixels, the same every time."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.errors import OptionError, SourceError
from engine.heatmap import decode_heatmaps
from models.pose_model import PoseModelConfig
from tests.train.people_folder import NAMES, write_people
from train.config import TrainConfig
from train.dataset import EpochSampler, ImageStore, TrainDataset, jitter_color
from train.people import read_people

SIZE = (96, 128)


def make_config(data: Path, **fields: object) -> TrainConfig:
    pose_model = PoseModelConfig(name="kcam_resnet18", num_keypoints=3, input_size_wh=SIZE, deconv_channels=16)
    config = TrainConfig(pose_model=pose_model, data=data, output=data / "run", half_body_probability=0.0)
    return dataclasses.replace(config, **fields)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("people"))


def dataset(config: TrainConfig) -> TrainDataset:
    people = read_people(config.data, "train")
    return TrainDataset(people, ImageStore(people, keep=True), config, SIZE)


def test_names_and_pairs_come_from_the_file(folder: Path) -> None:
    people = read_people(folder, "train")
    assert people.skeleton.keypoint_names == NAMES
    assert people.skeleton.flip_pairs == ((1, 2),)
    assert people.skeleton.edges == ((0, 1), (0, 2))
    assert people.class_names == ("stick",)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_targets_lie_on_the_dots_however_the_crop_is_turned(folder: Path, flip: float) -> None:
    """Mirrored too: the left hand's map must then lie on what is now the right dot's colour."""
    data = dataset(make_config(folder, flip_probability=flip, scale_range=(0.8, 1.2)))
    for epoch in range(4):
        for index in range(len(data)):
            sample = data[(epoch, index, 0)]
            crop = sample["crop"].numpy()
            found = decode_heatmaps(sample["targets"].numpy()[None], SIZE)[0]
            red, blue = (1, 2) if flip == 0 else (2, 1)
            for keypoint, channel in ((red, 2), (blue, 0)):
                x, y, score = found[keypoint]
                if score > 0 and 4 < x < SIZE[0] - 4 and 4 < y < SIZE[1] - 4:
                    color = crop[round(y), round(x)].astype(int)
                    assert color[channel] > 150 > color[2 - channel], (epoch, index, keypoint, color)


def test_a_sample_depends_on_its_key_alone(folder: Path) -> None:
    config = make_config(folder, color_jitter=0.3)
    first, second = dataset(config), dataset(config)
    second[(0, 1, 0)]  # what came before makes no difference
    for name in ("crop", "targets", "weights"):
        assert (first[(3, 2, 0)][name] == second[(3, 2, 0)][name]).all()  # type: ignore[literal-required]
    assert (first[(3, 2, 0)]["crop"] != first[(4, 2, 0)]["crop"]).any()
    assert (first[(3, 2, 0)]["crop"] != first[(3, 2, 1)]["crop"]).any()


def test_an_epoch_holds_every_person_in_an_order_of_its_own() -> None:
    first, again, next_epoch = (list(EpochSampler(np.ones(50), 1, epoch)) for epoch in (0, 0, 1))
    assert first == again
    assert sorted(index for _, index, _ in first) == list(range(50))
    assert [index for _, index, _ in first] != [index for _, index, _ in next_epoch]


def test_shares_are_kept_on_average_and_repeats_are_told_apart() -> None:
    shares = np.array([2.0] * 100 + [0.5] * 400 + [0.0] * 10)
    keys = list(EpochSampler(shares, 0, 0))
    assert len(set(keys)) == len(keys)
    counts = np.bincount([index for _, index, _ in keys], minlength=510)
    assert (counts[:100] == 2).all() and not counts[500:].any()
    assert 150 < counts[100:500].sum() < 250


def test_jitter_changes_colours_but_not_shapes() -> None:
    rng = np.random.default_rng(0)
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    changed = jitter_color(ramp, 0.3, rng).astype(int)
    assert (changed != ramp).mean() > 0.5
    assert (np.diff(changed, axis=1) >= 0).all()


def test_growing_sizes_are_multiples_of_32_and_end_full(folder: Path) -> None:
    config = make_config(folder, grow=((0.5, 0.5), (0.8, 0.75)))
    sizes = [config.input_size_at(progress) for progress in (0.0, 0.6, 0.9, 1.0)]
    assert all(side % 32 == 0 for size in sizes for side in size)
    assert sizes[2] == sizes[3] == SIZE and sizes[0][1] < sizes[1][1] <= sizes[2][1]


def test_the_paper_steps_down_at_170_and_200_of_210(folder: Path) -> None:
    config = make_config(folder)
    factors = [config.learning_rate_factor(epoch / 210, 10**6) for epoch in (0, 169, 171, 199, 201)]
    assert factors == [1, 1, 0.1, 0.1, 0.01]


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"epochs": 0}, "--epochs"), ({"schedule": "stairs"}, "--schedule"), ({"precision": "fp8"}, "--precision")],
)
def test_a_wrong_value_is_named(folder: Path, fields: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make_config(folder, **fields)


def test_broken_annotations_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"train\.json is missing"):
        read_people(tmp_path, "train")
    content = json.loads((folder / "train.json").read_text())
    content["annotations"][0]["keypoints"].pop()
    (tmp_path / "train.json").write_text(json.dumps(content))
    with pytest.raises(SourceError, match="8 numbers for 3 keypoints"):
        read_people(tmp_path, "train")
    (tmp_path / "train.json").write_text("{")
    with pytest.raises(SourceError, match="not a COCO keypoint file"):
        read_people(tmp_path, "train")


def test_a_picture_that_cannot_be_decoded_is_named(folder: Path) -> None:
    people = read_people(folder, "val")
    store = ImageStore(people, keep=False)
    assert isinstance(store[0], np.ndarray) and store[0].shape == (120, 160, 3)
    good = people.image_files[1].read_bytes()
    people.image_files[1].write_bytes(b"no picture")
    try:
        with pytest.raises(SourceError, match=r"1\.png"):
            store[1]
    finally:
        people.image_files[1].write_bytes(good)
    assert cv2.imread(str(people.image_files[1])) is not None
