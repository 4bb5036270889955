"""The mean of weights, and the decoding that travels with them into the compiled graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.backends import open_pose_backend
from engine.heatmap import decode_heatmaps_dark
from engine.skeleton import COCO17
from models.build import build_model
from models.checkpoints import IMAGENET_MEAN, IMAGENET_STD, load_pose_model, save_pose_model
from train.combine import main


def write(path: Path, seed: int, name: str = "kcam_resnet18") -> Path:
    torch.manual_seed(seed)
    model = build_model(name, input_size_wh=(64, 64), deconv_channels=16)
    mean, std = IMAGENET_MEAN[::-1], IMAGENET_STD[::-1]  # as of a converted SimpleBaseline file
    save_pose_model(path, model, skeleton=COCO17.to_dict(), notes={"AP": "1"}, mean=mean, std=std)
    return path


def test_every_weight_is_the_mean(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2, 3)]
    output = tmp_path / "mean.safetensors"
    assert main(["--weights", *map(str, files), "--output", str(output)]) == 0
    states = [load_pose_model(file).model.state_dict() for file in files]
    found = load_pose_model(output)
    for name, value in found.model.state_dict().items():
        if value.is_floating_point():
            expected = (states[0][name] + states[1][name] + states[2][name]) / 3
            torch.testing.assert_close(value, expected, atol=1e-3, rtol=1e-3)  # they are stored in float16
    assert "AP" not in found.notes
    assert (found.mean, found.std) == (IMAGENET_MEAN[::-1], IMAGENET_STD[::-1])


def test_dark_decoding_travels_into_the_graph(tmp_path: Path) -> None:
    output = tmp_path / "dark.safetensors"
    assert (
        main(["--weights", str(write(tmp_path / "a.safetensors", 1)), "--output", str(output), "--decode", "dark"]) == 0
    )
    assert "AP" not in load_pose_model(output).notes  # it was measured with the other decoding
    crops = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    with open_pose_backend(output, backend="onnxruntime", precision="fp32").backend as backend:
        assert backend.spec.decode == "dark"
        out = backend.infer({"crops": crops}, ("keypoints", "heatmaps"))
    expected = decode_heatmaps_dark(out["heatmaps"], (64, 64))
    # Random weights give noise, where a Newton step may be just possible in one precision and not in the other.
    assert np.mean(np.abs(out["keypoints"] - expected).max(axis=2) < 0.05) > 0.9


def test_weights_of_another_network_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [write(tmp_path / "a.safetensors", 1), write(tmp_path / "b.safetensors", 1, "resnet18")]
    assert main(["--weights", *map(str, files), "--output", str(tmp_path / "c.safetensors")]) == 2
    error = capsys.readouterr().err
    assert "b.safetensors" in error and error.count("\n") == 1
    assert not (tmp_path / "c.safetensors").exists()


def test_a_sharpened_head_attends_as_if_its_logits_were_multiplied(tmp_path: Path) -> None:
    start, output = write(tmp_path / "a.safetensors", 1), tmp_path / "sharp.safetensors"
    assert main(["--weights", str(start), "--output", str(output), "--sharpen", "4"]) == 0
    picture = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        before = load_pose_model(start).model(picture).attention
        after = load_pose_model(output).model(picture).attention
    assert before is not None and after is not None
    # exp(4 a) over its sum is the fourth power of exp(a), again brought to a sum of one.
    expected = before**4 / (before**4).sum(1, keepdim=True)
    torch.testing.assert_close(after, expected, atol=2e-3, rtol=0)
