"""Retraining for other objects, and the result in the program, with its new names and skeleton."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.conftest import ROOT
from train.__main__ import main as train

NAMES = ("head", "left_hand", "right_hand", "left_foot", "right_foot")
PICTURE_WH = (96, 128)


def write_robots(folder: Path) -> Path:
    """A YOLO-pose set of one dotted figure a picture, with 5 keypoints."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for index in range(6):
            picture = rng.integers(0, 60, (PICTURE_WH[1], PICTURE_WH[0], 3)).astype(np.uint8)
            points = np.array([[48, 30], [30, 60], [66, 60], [38, 100], [58, 100]]) + rng.integers(-6, 7, 2)
            for x, y in points:
                cv2.circle(picture, (int(x), int(y)), 5, (255, 255, 255), -1)
            cv2.imwrite(str(folder / "images" / split / f"{index}.png"), picture)
            numbers = (points / PICTURE_WH).reshape(-1, 2)
            label = "0 0.5 0.5 0.8 0.9 " + " ".join(f"{x:.5f} {y:.5f} 2" for x, y in numbers)
            (folder / "labels" / split / f"{index}.txt").write_text(label)
    file = folder / "robots.yaml"
    file.write_text(
        "path: .\ntrain: images/train\nval: images/val\nkpt_shape: [5, 3]\nflip_idx: [0, 2, 1, 4, 3]\n"
        f"names: [robot]\nkpt_names: {{0: [{', '.join(NAMES)}]}}\nskeleton: [[0, 1], [0, 2], [0, 3], [0, 4]]\n"
    )
    return file


def write_detector(path: Path) -> Path:
    """A detector in ultralytics' plain form that always finds one robot, and a dog beside it."""
    boxes = np.zeros((1, 300, 6), np.float32)
    boxes[0, :2] = [[8, 8, 88, 120, 0.9, 1], [10, 10, 40, 40, 0.8, 0]]
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "zeros"], ["nothing"]),
            helper.make_node("Add", ["boxes", "nothing"], ["output0"]),
        ],
        "fixed",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, PICTURE_WH[1], PICTURE_WH[0]])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 300, 6])],
        [numpy_helper.from_array(boxes, "boxes"), numpy_helper.from_array(np.zeros_like(boxes), "zeros")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    size = f"[{PICTURE_WH[1]}, {PICTURE_WH[0]}]"
    metadata = {"task": "detect", "names": "{0: 'dog', 1: 'robot'}", "imgsz": size, "stride": "32"}
    helper.set_model_props(model, metadata)
    onnx.save(model, str(path))
    return path


def test_a_set_with_other_keypoints_becomes_a_model_that_the_program_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KCAM_CACHE_DIR", str(tmp_path / "cache"))
    data, output = write_robots(tmp_path / "set"), tmp_path / "run"
    options = ["--model", "kcam_resnet18", "--deconv-channels", "16", "--input-size", "64x64", "--batch-size", "3"]
    assert train([*options, "--data", str(data), "--output", str(output), "--epochs", "1", "--workers", "0"]) == 0
    picture, poses = tmp_path / "set" / "images" / "val" / "0.png", tmp_path / "poses.csv"
    command = [
        sys.executable, "main.py", "--video", str(picture), "--output", str(tmp_path / "out.png"),
        "--poses", str(poses),
        "--pose-model", str(output / "best.safetensors"), "--detector", str(write_detector(tmp_path / "robot.onnx")),
        "--attention", "left_foot", "--backend", "onnxruntime", "--quiet",
    ]  # fmt: skip
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert finished.returncode == 0, finished.stderr
    with poses.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 1  # the robot; the weights do not pose dogs
    columns = " ".join(rows[0])
    assert all(name in columns for name in NAMES) and "nose" not in columns
    assert (tmp_path / "out.png").is_file()
