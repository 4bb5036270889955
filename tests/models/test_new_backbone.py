"""docs/new-backbone.md, followed from outside: a class, its names, a family."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from engine.build.onnx_export import export_pose
from models import build, pose_model
from models.pose_model import PoseModel, PoseModelConfig
from tests.train.people_folder import write_people
from train.__main__ import main as train
from train.evaluate import main as evaluate


class PoseToy(PoseModel):
    """Two convolutions to stride 4."""

    def __init__(self, config: PoseModelConfig) -> None:
        super().__init__(config)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self._add_heads(12)

    def backbone_strides(self) -> Mapping[str, int]:
        return {"stem": 2, "body": 4}

    def features(self, images: Tensor) -> Tensor:
        return self.body(self.stem(images))  # type: ignore[no-any-return]


def test_a_backbone_from_outside_trains_exports_and_is_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pose_model, "MODEL_NAMES", (*pose_model.MODEL_NAMES, "kcam_toy_net", "toy_net"))
    monkeypatch.setitem(build.FAMILIES, "toy", PoseToy)
    data, run = write_people(tmp_path / "people"), tmp_path / "run"
    common = ["--data", str(data), "--input-size", "64x64", "--batch-size", "3", "--workers", "0", "--threads", "1"]
    assert train(["--model", "kcam_toy_net", *common, "--epochs", "1", "--output", str(run)]) == 0
    weights = run / "last.safetensors"
    # A start from its own weights, with the first layer kept as it is.
    frozen = ["--init", str(weights), "--freeze-until", "2", "--epochs", "1", "--output", str(tmp_path / "second")]
    assert train(["--model", "kcam_toy_net", *common, *frozen]) == 0
    assert "0 tensors keep" in capsys.readouterr().out
    graph = tmp_path / "toy.onnx"
    export_pose(weights, graph)
    scores = []
    for file, backend in ((weights, "torch"), (graph, "onnxruntime")):
        report = tmp_path / f"{backend}.json"
        options = ["--weights", str(file), "--data", str(data), "--backend", backend, "--report", str(report)]
        assert evaluate(options) == 0
        scores.append(json.loads(report.read_text())["metrics"]["AP"])
    assert scores[0] == pytest.approx(scores[1], abs=0.5)


def test_the_toys_gradients_reach_its_first_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pose_model, "MODEL_NAMES", (*pose_model.MODEL_NAMES, "kcam_toy_net"))
    monkeypatch.setitem(build.FAMILIES, "toy", PoseToy)
    model = build.build_model("kcam_toy_net", num_keypoints=3, input_size_wh=(64, 64))
    model(torch.rand(2, 3, 64, 64)).heatmaps.square().mean().backward()
    assert isinstance(model, PoseToy)
    gradient = model.stem[0].weight.grad
    assert isinstance(gradient, Tensor) and gradient.abs().max() > 0
