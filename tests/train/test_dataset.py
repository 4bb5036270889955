"""What a network is trained on: right labels on right pixels, the same every time."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest

from engine.errors import OptionError, SourceError
from engine.heatmap import decode_heatmaps
from models.pose_model import PoseModelConfig
from tests.train.people_folder import NAMES, write_people
from train.config import TrainConfig
from train.data.batches import EpochBatches
from train.data.dataset import ImageStore, TrainDataset, without_unreadable
from train.data.reading import read_people

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


def batches(
    config: TrainConfig, shares: np.ndarray, epoch: int = 0, **options: Any
) -> list[list[tuple[int, int, int]]]:
    return list(EpochBatches(shares, config, epoch, **options))


def test_an_epoch_holds_every_person_in_an_order_of_its_own(folder: Path) -> None:
    config = make_config(folder, batch_size=5)
    first, again, next_epoch = (batches(config, np.ones(50), epoch) for epoch in (0, 0, 1))
    assert first == again and [len(batch) for batch in first] == [5] * 10
    assert sorted(index for batch in first for _, index, _ in batch) == list(range(50))
    assert [index for _, index, _ in first[0]] != [index for _, index, _ in next_epoch[0]]


def test_a_resumed_epoch_goes_on_behind_the_batches_that_are_done(folder: Path) -> None:
    config = make_config(folder, batch_size=5)
    assert batches(config, np.ones(50), start=3) == batches(config, np.ones(50))[3:]


def test_processes_together_see_what_one_would(folder: Path) -> None:
    """Of equal parts, and a process mostly sees the pictures that it keeps."""
    config = make_config(folder, batch_size=48, accumulate=2)
    images = np.random.default_rng(0).integers(0, 60, 480).tolist()
    whole = batches(config, np.ones(480))
    parts = [batches(config, np.ones(480), rank=rank, world=3, images=images) for rank in range(3)]
    assert len(whole) == 20
    for together, shared in zip(whole, zip(*parts, strict=True), strict=True):
        assert sorted(key for part in shared for key in part) == sorted(together)
        assert [len(part) for part in shared] == [8, 8, 8]
    own = [images[index] % 3 == rank for rank, part in enumerate(parts) for batch in part for _, index, _ in batch]
    assert np.mean(own) > 0.75


def test_a_batch_in_parts_is_the_batch(folder: Path) -> None:
    whole = batches(make_config(folder, batch_size=6), np.ones(50))
    parts = batches(make_config(folder, batch_size=6, accumulate=3), np.ones(50))
    assert [sum(parts[i : i + 3], []) for i in range(0, len(parts), 3)] == whole  # noqa: RUF017
    with pytest.raises(OptionError, match="too few for 8 parts of a batch"):
        batches(make_config(folder, batch_size=8, accumulate=8), np.ones(5))


def test_pictures_are_kept_by_one_process_each(folder: Path) -> None:
    people = read_people(folder, "train")
    stores = [ImageStore(people, keep=True, rank=rank, world=2) for rank in range(2)]
    for store in stores:
        without_unreadable(people, store)  # not connected: each sees its own part alone
    assert [sorted(store._kept) for store in stores] == [[0, 2, 4], [1, 3, 5]]
    assert stores[0][1].shape == (120, 160, 3)  # another's is decoded when it is needed
    assert sorted(stores[0]._kept) == [0, 2, 4]


def test_a_data_set_smaller_than_a_batch_is_one_batch(folder: Path) -> None:
    assert [len(batch) for batch in batches(make_config(folder), np.ones(4))] == [4]


def test_shares_are_kept_on_average_and_repeats_are_told_apart(folder: Path) -> None:
    shares = np.array([2.0] * 100 + [0.5] * 400 + [0.0] * 10)
    keys = [key for batch in batches(make_config(folder, batch_size=1), shares) for key in batch]
    assert len(set(keys)) == len(keys)
    counts = np.bincount([index for _, index, _ in keys], minlength=510)
    assert (counts[:100] == 2).all() and not counts[500:].any()
    assert 150 < counts[100:500].sum() < 250


def test_growing_sizes_are_multiples_of_32_and_end_full(folder: Path) -> None:
    config = make_config(folder, grow=((0.5, 0.5), (0.8, 0.75)))
    sizes = [config.input_size_at(progress) for progress in (0.0, 0.6, 0.9, 1.0)]
    assert all(side % 32 == 0 for size in sizes for side in size)
    assert sizes[2] == sizes[3] == SIZE and sizes[0][1] < sizes[1][1] <= sizes[2][1]


def test_the_paper_steps_down_at_170_and_200_of_210(folder: Path) -> None:
    config = make_config(folder)
    factors = [config.learning_rate_factor(epoch / 210, 10**6) for epoch in (0, 169, 171, 199, 201)]
    np.testing.assert_allclose(factors, [1, 1, 0.1, 0.1, 0.01])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epochs": 0}, "--epochs"),
        ({"schedule": "stairs"}, "--schedule"),
        ({"precision": "fp8"}, "--precision"),
        ({"cut_out_probability": 1.5}, "--cut-out-probability is 1.5; expected 0 to 1"),
        ({"batch_size": 5, "devices": 2}, "shared evenly"),
        ({"batch_size": 12, "devices": 2, "accumulate": 4}, "by 2 devices in 4 passes"),
    ],
)
def test_a_wrong_value_is_named(folder: Path, fields: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make_config(folder, **fields)


def test_broken_annotations_are_skipped_and_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SourceError, match=r"train\.json is missing"):
        read_people(tmp_path, "train")
    content = json.loads((folder / "train.json").read_text())
    content["annotations"][0]["keypoints"].pop()
    content["annotations"][1]["bbox"] = [500, 0, 10, 10]
    (tmp_path / "train.json").write_text(json.dumps(content))
    people = read_people(tmp_path, "train")
    assert len(people.people) == len(people.ground_truth["annotations"]) == 4
    printed = capsys.readouterr().out
    assert "annotation 1 of train.json: 8 numbers for 3 keypoints, 9 were expected" in printed
    assert "2 broken pictures or labels skipped" in printed
    for annotation in content["annotations"]:
        annotation["keypoints"] = [0] * 16
    (tmp_path / "train.json").write_text(json.dumps(content))
    with pytest.raises(SourceError, match=r"no usable person.*16 numbers"):
        read_people(tmp_path, "train")
    (tmp_path / "train.json").write_text("{")
    with pytest.raises(SourceError, match="not a COCO keypoint file"):
        read_people(tmp_path, "train")


def test_coco_as_downloaded_is_found(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "person_keypoints_val2017.json").write_bytes((folder / "val.json").read_bytes())
    people = read_people(tmp_path, "val")
    assert people.image_files[0] == tmp_path / "val2017" / "0.png" and len(people.people) == 6


def test_pictures_that_cannot_be_decoded_are_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_people(tmp_path / "people")
    (data / "train" / "1.png").write_bytes(b"no picture")
    (data / "train" / "2.png").unlink()
    people = read_people(data, "train")
    readable = without_unreadable(people, ImageStore(people, keep=True))
    assert len(readable.people) == 4 and len(readable.ground_truth["annotations"]) == 4
    printed = capsys.readouterr().out
    assert "1.png is not a picture" in printed and "2.png cannot be read" in printed and "2 pictures skipped" in printed
    # Where pictures are not decoded in advance, the next readable person is taken.
    lazy = TrainDataset(people, ImageStore(people, keep=False), make_config(data), SIZE)
    assert lazy[(0, 1, 0)]["crop"].shape == (128, 96, 3)
    for picture in (data / "train").iterdir():
        picture.write_bytes(b"no picture")
    with pytest.raises(SourceError, match="none of its pictures"):
        without_unreadable(people, ImageStore(people, keep=True))


def test_no_more_pictures_are_kept_than_memory_has_room_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of COCO would take some 50 GB, and keeping pictures is the default."""
    rooms = iter([80, 70, 10])

    def memory() -> SimpleNamespace:
        return SimpleNamespace(total=100, available=next(rooms))

    monkeypatch.setattr(psutil, "virtual_memory", memory)
    people = read_people(folder, "train")
    store = ImageStore(people, keep=True)
    assert without_unreadable(people, store) is people
    assert "memory holds 2 of 6 pictures" in capsys.readouterr().out
    for file in people.image_files:
        file.rename(file.with_suffix(".away"))
    try:
        assert [store.readable(index) is not None for index in range(6)] == [True, True, False, False, False, False]
    finally:
        for file in people.image_files:
            file.with_suffix(".away").rename(file)


def test_joint_weights_are_the_official_ones(folder: Path) -> None:
    from engine.skeleton import COCO17
    from train.data.dataset import joint_weights

    by_name = dict(zip(COCO17.keypoint_names, joint_weights(COCO17.keypoint_names).tolist(), strict=True))
    assert by_name["left_wrist"] == by_name["right_ankle"] == pytest.approx(1.5)
    assert by_name["right_elbow"] == by_name["left_knee"] == pytest.approx(1.2)
    assert by_name["nose"] == by_name["left_hip"] == 1
