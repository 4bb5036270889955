"""Metadata of weights files, read without torch."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from engine.artifacts.weights_info import read_weights_info
from engine.errors import ModelError
from engine.skeleton import COCO17

VALUES = {
    "config": {"name": "kcam_resnet18", "input_size_wh": [192, 256]},
    "skeleton": COCO17.to_dict(),
    "class_names": ["person"],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.2, 0.2, 0.2],
}


def written(path: Path, header: Any) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    return path


def ours(values: dict[str, Any]) -> dict[str, Any]:
    return {"__metadata__": {"kcam": json.dumps(values)}}


def test_a_file_written_by_models_is_read(tmp_path: Path) -> None:
    checkpoints = pytest.importorskip("models.checkpoints")
    from models.build import build_model

    path = tmp_path / "random.safetensors"
    model = build_model("kcam_resnet18", input_size_wh=(96, 128), num_keypoints=17, deconv_channels=16)
    checkpoints.save_pose_model(path, model, skeleton=COCO17.to_dict(), class_names=("person", "robot"))
    info = read_weights_info(path)
    assert info.name == "kcam_resnet18"
    assert info.input_size_wh == (96, 128)
    assert info.skeleton == COCO17
    assert info.class_names == ("person", "robot")
    assert info.has_attention


def test_a_bare_backbone_has_no_attention(tmp_path: Path) -> None:
    values = {**VALUES, "config": {"name": "resnet50", "input_size_wh": [192, 256]}}
    assert not read_weights_info(written(tmp_path / "a.safetensors", ours(values))).has_attention


@pytest.mark.parametrize("content", [b"", b"1234567", b"\xff" * 64, struct.pack("<Q", 20) + b"no JSON, but 20 long"])
def test_files_of_another_kind_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not a safetensors file"):
        read_weights_info(path)


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"__metadata__": {"format": "pt"}},
        {"__metadata__": {"kcam": "{}"}},
        {"__metadata__": {"kcam": "[1, 2"}},
        ours({**VALUES, "skeleton": {"keypoint_names": ["a"]}}),
        ours({**VALUES, "config": {"name": "x", "input_size_wh": 256}}),
    ],
)
def test_safetensors_of_another_program_are_refused(tmp_path: Path, header: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        read_weights_info(written(tmp_path / "a.safetensors", header))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.safetensors cannot be read: No such file"):
        read_weights_info(tmp_path / "gone.safetensors")


def test_an_onnx_file_without_its_spec_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pose.onnx"
    path.write_bytes(b"anything")
    with pytest.raises(ModelError, match=r"no readable spec beside it \(pose\.onnx\.spec\.json\)"):
        read_weights_info(path)
