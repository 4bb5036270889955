"""Runtimes against float32 PyTorch, on made-up people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.build import build_model
from models.checkpoints import save_pose_model
from tests.train.people_folder import NAMES, write_people
from train.agreement import main
from train.data.reading import read_people


def test_float32_runtimes_agree_and_a_runtime_that_is_none_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_people(tmp_path / "data", pictures=3)
    model = build_model("kcam_resnet18", input_size_wh=(64, 64), deconv_channels=16, num_keypoints=len(NAMES))
    for name, value in model.named_parameters():
        if name.endswith("final_layer.bias"):
            value.data.fill_(0.5)  # scores above what is compared
    skeleton = read_people(data, "val").skeleton
    weights = tmp_path / "weights.safetensors"
    save_pose_model(weights, model, skeleton=skeleton.to_dict(), class_names=("stick",), notes={})
    report = tmp_path / "report.json"
    command = ["--weights", str(weights), "--data", str(data), "--report", str(report)]
    assert main([*command, "--runtimes", "onnxruntime:fp32"]) == 0
    found = json.loads(report.read_text())["onnxruntime fp32"]
    assert found["keypoints"] == 9
    assert found["within_1px"] == 1.0 and found["attention_max_error"] < 1e-3
    assert "3 people, 9 keypoints" in capsys.readouterr().out

    assert main([*command, "--overwrite", "--runtimes", "openvin"]) == 2
    assert "openvino" in capsys.readouterr().err  # the nearest name
