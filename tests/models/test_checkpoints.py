"""Weights files: what is written is what is read, and nothing that is wrong is let in."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.checkpoints import (
    CheckpointError,
    initialize_from,
    load_pose_model,
    read_foreign_tensors,
    read_metadata,
    save_pose_model,
)
from models.pose_model import PoseModel, build_model

SKELETON = {"keypoint_names": ["a", "b"], "edges": [[0, 1]], "flip_pairs": [], "oks_sigmas": [0.1, 0.1]}


@pytest.fixture
def model() -> PoseModel:
    torch.manual_seed(0)
    return build_model("kcam_resnet18", num_keypoints=2, deconv_channels=16, input_size_wh=(64, 96)).eval()


def test_what_is_saved_is_loaded(model: PoseModel, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_pose_model(file, model, skeleton=SKELETON, class_names=("hand",), notes={"AP": "1.0"}, half=False)
    loaded = load_pose_model(file)
    images = torch.randn(1, 3, 96, 64)
    torch.testing.assert_close(loaded.model(images).heatmaps, model(images).heatmaps, rtol=0, atol=0)
    assert (loaded.config, loaded.skeleton, loaded.class_names) == (model.config, SKELETON, ("hand",))
    assert loaded.notes == {"AP": "1.0"}
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_half_weights_weigh_half_and_give_nearly_the_same(model: PoseModel, tmp_path: Path) -> None:
    full, half = tmp_path / "full.safetensors", tmp_path / "half.safetensors"
    save_pose_model(full, model, skeleton=SKELETON, half=False)
    save_pose_model(half, model, skeleton=SKELETON)
    assert half.stat().st_size < 0.52 * full.stat().st_size
    images = torch.randn(1, 3, 96, 64)
    expected = model(images).heatmaps
    torch.testing.assert_close(load_pose_model(half).model(images).heatmaps, expected, rtol=0.05, atol=1e-4)


@pytest.mark.parametrize("content", [b"", b"x" * 100, (1 << 60).to_bytes(8, "little") + b"{}" * 50])
def test_a_file_of_rubbish_is_named(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "bad.safetensors"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bad\.safetensors"):
        load_pose_model(file)


def test_a_cut_file_is_refused(model: PoseModel, tmp_path: Path) -> None:
    file = tmp_path / "cut.safetensors"
    save_pose_model(file, model, skeleton=SKELETON)
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="damaged"):
        load_pose_model(file)


def test_tensors_of_another_network_are_refused(model: PoseModel, tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    other = build_model("kcam_resnet18", num_keypoints=2, deconv_channels=32, input_size_wh=(64, 96))
    save_pose_model(file, model, skeleton=SKELETON)
    metadata = {"kcam": json.dumps(read_metadata(file))}
    save_file({k: v.contiguous() for k, v in other.state_dict().items()}, file, metadata)
    with pytest.raises(CheckpointError, match=r"deconv_layers.0.weight' has shape \(512, 32, 4, 4\)"):
        load_pose_model(file)


def test_a_strange_safetensors_file_is_no_pose_model(tmp_path: Path) -> None:
    file = tmp_path / "strange.safetensors"
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(CheckpointError, match="not a pose model"):
        read_metadata(file)


class _Runs:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.marker,))


def test_code_in_a_pickle_does_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    for name, write in (("plain.pth", pickle.dump), ("torch.pth", torch.save)):
        with (tmp_path / name).open("wb") as stream:
            write({"state_dict": _Runs(marker)}, stream)  # type: ignore[operator]
        with pytest.raises(CheckpointError, match="not a file of plain tensors"):
            read_foreign_tensors(tmp_path / name)
    assert not marker.exists()


def test_an_official_checkpoint_starts_a_kcam_model(tmp_path: Path) -> None:
    torch.manual_seed(1)
    official = build_model("resnet18").state_dict()
    torch.save({"state_dict": {f"module.{k}": v for k, v in official.items()}}, tmp_path / "official.pth")
    model = build_model("kcam_resnet18")
    fresh = initialize_from(model, tmp_path / "official.pth")
    assert fresh and all(name.startswith("kcam") for name in fresh)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in official.items())


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    torch.save(build_model("hrnet_w18").state_dict(), tmp_path / "hrnet.pth")
    with pytest.raises(CheckpointError, match="does not fit kcam_resnet18"):
        initialize_from(build_model("kcam_resnet18"), tmp_path / "hrnet.pth")
