"""Weights files: round trip, and refusal of invalid files."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models.build import build_model
from models.checkpoints import (
    CheckpointError,
    initialize_from,
    load_foreign_pose_model,
    load_pose_model,
    read_foreign_tensors,
    read_metadata,
    save_pose_model,
)
from models.foreign_weights import IMAGENET_MEAN, IMAGENET_STD, ChannelOrder
from models.pose_model import PoseModel, PoseModelConfig
from models.resnet import PoseResNet

SKELETON = {"keypoint_names": ["a", "b"], "edges": [[0, 1]], "flip_pairs": [], "oks_sigmas": [0.1, 0.1]}


@pytest.fixture
def model() -> PoseModel:
    torch.manual_seed(0)
    return build_model("kcam_resnet18", num_keypoints=2, deconv_channels=16, input_size_wh=(64, 96)).eval()


def test_save_and_load_round_trip(model: PoseModel, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_pose_model(file, model, skeleton=SKELETON, class_names=("hand",), notes={"AP": "1.0"}, half=False)
    loaded = load_pose_model(file)
    images = torch.randn(1, 3, 96, 64)
    torch.testing.assert_close(loaded.model(images).heatmaps, model(images).heatmaps, rtol=0, atol=0)
    assert (loaded.config, loaded.skeleton, loaded.class_names) == (model.config, SKELETON, ("hand",))
    assert loaded.notes == {"AP": "1.0"}
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_half_weights_are_half_the_size_and_nearly_equal(model: PoseModel, tmp_path: Path) -> None:
    full, half = tmp_path / "full.safetensors", tmp_path / "half.safetensors"
    save_pose_model(full, model, skeleton=SKELETON, half=False)
    save_pose_model(half, model, skeleton=SKELETON)
    assert half.stat().st_size < 0.52 * full.stat().st_size
    images = torch.randn(1, 3, 96, 64)
    expected = model(images).heatmaps
    torch.testing.assert_close(load_pose_model(half).model(images).heatmaps, expected, rtol=0.05, atol=1e-4)


@pytest.mark.parametrize("content", [b"", b"x" * 100, (1 << 60).to_bytes(8, "little") + b"{}" * 50])
def test_a_file_of_random_bytes_is_named(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "bad.safetensors"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bad\.safetensors"):
        load_pose_model(file)


def test_a_truncated_file_is_refused(model: PoseModel, tmp_path: Path) -> None:
    file = tmp_path / "cut.safetensors"
    save_pose_model(file, model, skeleton=SKELETON)
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="damaged"):
        load_pose_model(file)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".json"])
def test_what_is_no_file_is_refused_at_once(suffix: str, tmp_path: Path) -> None:
    """The folder of a run, which was said not to exist, and a pipe, for whose writer the program waited."""
    folder, pipe = tmp_path / f"folder{suffix}", tmp_path / f"pipe{suffix}"
    folder.mkdir()
    os.mkfifo(pipe)
    for path in (folder, pipe):
        for read in (read_metadata, read_foreign_tensors):
            with pytest.raises(CheckpointError, match=r"is a folder, a pipe or a device; expected a file of weights"):
                read(path)


def test_tensors_of_another_network_are_refused(model: PoseModel, tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    other = build_model("kcam_resnet18", num_keypoints=2, deconv_channels=32, input_size_wh=(64, 96))
    save_pose_model(file, model, skeleton=SKELETON)
    metadata = {"kcam": json.dumps(read_metadata(file))}
    save_file({k: v.contiguous() for k, v in other.state_dict().items()}, file, metadata)
    with pytest.raises(CheckpointError, match=r"deconv_layers.0.weight' has shape \(512, 32, 4, 4\)"):
        load_pose_model(file)


def test_an_unrelated_safetensors_file_is_refused(tmp_path: Path) -> None:
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
        with pytest.raises(CheckpointError, match="not a file of plain tensors") as caught:
            read_foreign_tensors(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize(("content", "message"), [(b"no weights", "no weights at all"), (b"", "damaged")])
def test_a_file_that_is_not_a_checkpoint_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_foreign_tensors(tmp_path / "x.pth")
    assert "\n" not in str(caught.value)


def test_an_official_checkpoint_starts_a_kcam_model(tmp_path: Path) -> None:
    torch.manual_seed(1)
    official = build_model("resnet18").state_dict()
    tensors = {f"module.{k}": v for k, v in official.items() if not k.startswith(("deconv", "final"))}
    torch.save({"state_dict": tensors}, tmp_path / "official.pth")
    model = build_model("kcam_resnet18")
    fresh = initialize_from(model, tmp_path / "official.pth")
    assert fresh and all(name.startswith(("kcam", "deconv", "final")) for name in fresh)
    assert all(torch.equal(model.state_dict()[name], official[name]) for name in official if name not in fresh)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    torch.save(build_model("hrnet_w18").state_dict(), tmp_path / "hrnet.pth")
    with pytest.raises(CheckpointError, match="does not fit kcam_resnet18"):
        initialize_from(build_model("kcam_resnet18"), tmp_path / "hrnet.pth")


def mmpose_names(tensors: dict[str, torch.Tensor], head: str) -> dict[str, torch.Tensor]:
    """As MMPose writes them: everything under "backbone." but deconvolutions and heatmap layer."""
    return {
        f"{head if name.startswith(('deconv_layers', 'final_layer')) else 'backbone.'}{name}": value
        for name, value in tensors.items()
    }


def dataset_meta() -> dict[str, object]:
    """MMPose 1.x writes its data set's constants as NumPy arrays, which a reader of plain tensors does not know."""
    sigmas, names = np.array([0.026, 0.025], np.float32), np.array(["nose", "left_eye"], object)
    return {"dataset_meta": {"sigmas": sigmas, "names": names, "count": np.float64(2)}, "epoch": 210}


def forms(tensors: dict[str, torch.Tensor]) -> dict[str, object]:
    return {
        "official": tensors,
        "official, several cards": {f"module.{name}": value for name, value in tensors.items()},
        "official, a run's checkpoint": {"epoch": 3, "state_dict": tensors, "perf": 0.7},
        "MMPose 0.x": {"meta": {"seed": 1}, "state_dict": mmpose_names(tensors, "keypoint_head.")},
        "MMPose 1.x": {"meta": dataset_meta(), "state_dict": mmpose_names(tensors, "head.")},
    }


@pytest.mark.parametrize("name", ["resnet18", "hrnet_w18"])
def test_foreign_pose_checkpoints_run_as_bare_models_and_start_kcam(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = build_model(name, num_keypoints=5, deconv_channels=16).eval()
    tensors = theirs.state_dict()
    file = tmp_path / "pose.pth.tar"
    for content in forms(tensors).values():
        torch.save(content, file)
        read = read_foreign_tensors(file)
        assert list(read) == list(tensors)
        assert all(torch.equal(read[key], value) for key, value in tensors.items())
    model, _ = load_foreign_pose_model(file, PoseModelConfig(name=name, input_size_wh=(64, 64)))  # the last form
    assert model.config.num_keypoints == 5 and not model.training
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(model(images).heatmaps, theirs(images).heatmaps, rtol=0, atol=0)
    kcam = build_model(f"kcam_{name}", num_keypoints=5, deconv_channels=16)
    fresh = initialize_from(kcam, file)
    assert fresh and all(key.startswith("kcam") for key in fresh)
    torch.testing.assert_close(kcam.eval()(images).coarse_heatmaps, theirs(images).heatmaps, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "form", "given", "order"),
    [
        ("resnet18", "official", None, "bgr"),
        ("resnet18", "official, several cards", None, "bgr"),
        ("resnet18", "MMPose 1.x", None, "rgb"),
        ("resnet18", "official", "rgb", "rgb"),
        ("hrnet_w18", "official", None, "rgb"),
    ],
)
def test_a_network_sees_the_colours_it_was_trained_on(
    name: str, form: str, given: ChannelOrder | None, order: str, tmp_path: Path
) -> None:
    """The official SimpleBaseline code reads BGR and normalises it by ImageNet's constants in the order of RGB."""
    torch.manual_seed(0)
    theirs = build_model(name, num_keypoints=5, deconv_channels=16).eval()
    file = tmp_path / "pose.pth.tar"
    torch.save(forms(theirs.state_dict())[form], file)
    rgb = torch.rand(1, 3, 64, 64)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    expected = theirs(((rgb.flip(1) if order == "bgr" else rgb) - mean) / std).heatmaps
    model, loaded = load_foreign_pose_model(file, PoseModelConfig(name=name, input_size_wh=(64, 64)), given)
    assert loaded.channel_order == order
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (loaded.mean, loaded.std))
    torch.testing.assert_close(model((rgb - mean) / std).heatmaps, expected, rtol=1e-5, atol=1e-7)


def first_layer(model: PoseModel, images: torch.Tensor) -> torch.Tensor:
    assert isinstance(model, PoseResNet)
    return model.bn1(model.conv1(images))  # type: ignore[no-any-return]


def test_a_start_from_bgr_weights_is_adapted_to_normalised_rgb(tmp_path: Path) -> None:
    """The first layer gives what it gave, except at the border, where the padding stands for another colour."""
    torch.manual_seed(0)
    theirs = build_model("resnet18", num_keypoints=5, deconv_channels=16).eval()
    torch.save(theirs.state_dict(), tmp_path / "pose.pth")
    model, loaded = load_foreign_pose_model(tmp_path / "pose.pth", PoseModelConfig(name="resnet18"))
    kept = tmp_path / "kept.safetensors"  # the converted file carries its own normalisation
    save_pose_model(kept, model, skeleton=SKELETON, mean=loaded.mean, std=loaded.std, half=False)
    rgb = torch.rand(1, 3, 64, 64)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    expected = first_layer(theirs, (rgb.flip(1) - mean) / std)
    for file in (tmp_path / "pose.pth", kept):
        lines: list[str] = []
        model = build_model("kcam_resnet18", num_keypoints=5, deconv_channels=16).eval()
        initialize_from(model, file, notify=lines.append)
        found = first_layer(model, (rgb - mean) / std)
        torch.testing.assert_close(found[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], rtol=1e-4, atol=1e-5)
        assert bool(lines) == (file.suffix == ".pth")


def test_a_checkpoint_of_another_network_is_named(tmp_path: Path) -> None:
    torch.save(build_model("resnet18", deconv_channels=16).state_dict(), tmp_path / "simple.pth")
    with pytest.raises(CheckpointError, match=r"conv1.weight' has shape \(64, 3, 7, 7\)"):
        load_foreign_pose_model(tmp_path / "simple.pth", PoseModelConfig(name="hrnet_w18"))
    with pytest.raises(CheckpointError, match=r"is not a kcam_resnet18: 'kcam\.query\.0\.weight' is missing"):
        load_foreign_pose_model(tmp_path / "simple.pth", PoseModelConfig(name="kcam_resnet18"))
    torch.save({"final_layer.weight": torch.zeros(0, 1, 1, 1)}, tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="num_keypoints is 0"):
        load_foreign_pose_model(tmp_path / "none.pth", PoseModelConfig(name="resnet18"))


def test_a_lightning_checkpoint_gives_the_averaged_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    averaged, current = (build_model("resnet18", deconv_channels=16, input_size_wh=(64, 64)) for _ in range(2))
    checkpoint = {
        "epoch": 2,
        "state_dict": {f"model.{name}": value for name, value in averaged.state_dict().items()},
        "current_model_state": {f"model.{name}": value for name, value in current.state_dict().items()},
        "averaging_state": {"n_averaged": torch.tensor(3)},
        "optimizer_states": [{"state": {}, "param_groups": [{"lr": 0.1}]}],
    }
    torch.save(checkpoint, tmp_path / "last.ckpt")
    model, loaded = load_foreign_pose_model(tmp_path / "last.ckpt", PoseModelConfig(name="resnet18"))
    assert loaded.channel_order == "rgb" and model.config.deconv_channels == 16
    assert all(torch.equal(model.state_dict()[name], value) for name, value in averaged.state_dict().items()
               if not name.endswith("num_batches_tracked"))  # fmt: skip
