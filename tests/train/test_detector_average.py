"""The mean of exported detectors: of like ones only, and it runs as they do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from engine.artifacts.model_spec import read_spec, sha256_of, spec_path
from train.detector_average import main

SHIPPED = Path("models/weights/yolo_person.onnx")


def weights_of(file: Path) -> dict[str, np.ndarray]:
    proto = onnx.load(str(file))
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def changed(folder: Path, name: str, change: Callable[[onnx.ModelProto], None]) -> Path:
    """The shipped detector, changed, with a spec that fits it."""
    file = folder / name
    proto = onnx.load(str(SHIPPED))
    change(proto)
    onnx.save(proto, str(file))
    shutil.copy(spec_path(SHIPPED), spec_path(file))
    values = spec_path(file).read_text().replace(sha256_of(SHIPPED), sha256_of(file))
    values = values.replace('"made_with": {', '"made_with": {"weights": "/home/somebody/last.pt",')
    spec_path(file).write_text(values)
    return file


def scale_biases(proto: onnx.ModelProto) -> None:
    for tensor in proto.graph.initializer:
        if tensor.name.endswith(".bias"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.04), tensor.name))


def test_each_weight_is_the_mean_by_the_shares_and_the_file_runs(tmp_path: Path) -> None:
    other = changed(tmp_path, "other.onnx", scale_biases)
    output = tmp_path / "new" / "mean.onnx"
    arguments = ["--weights", str(other), str(SHIPPED), "--shares", "1", "3", "--output", str(output)]
    assert main(arguments) == 0
    first, mean = weights_of(SHIPPED), weights_of(output)
    biases = [name for name in first if name.endswith(".bias")]
    assert len(biases) > 50
    for name, value in first.items():
        np.testing.assert_allclose(mean[name], value * (1.01 if name in biases else 1), rtol=1e-5, atol=1e-7)
    assert read_spec(output).name == "mean" and "weights" not in read_spec(output).made_with
    picture = np.full((1, 64, 96, 3), 90, np.uint8)
    assert onnxruntime.InferenceSession(str(output)).run(None, {"images": picture})[0].shape[1] == 5


def test_what_has_no_mean_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def drop_last(proto: onnx.ModelProto) -> None:
        proto.graph.node.pop()

    def printed(*files: Path, shares: str = "1 1", output: str = "mean.onnx") -> str:
        names = [str(file) for file in files]
        arguments = ["--weights", *names, "--shares", *shares.split(), "--output", str(tmp_path / output)]
        assert main(arguments) == 2
        return capsys.readouterr().err

    def narrow(proto: onnx.ModelProto) -> None:
        for tensor in proto.graph.initializer:
            if tensor.name.endswith("cv3.0.2.bias"):
                tensor.CopyFrom(numpy_helper.from_array(np.zeros(3, np.float32), tensor.name))

    for change in (drop_last, narrow):
        other = changed(tmp_path, f"{change.__name__}.onnx", change)
        assert f"{other.name} is another network than" in printed(SHIPPED, other)
    assert "2 positive numbers" in printed(SHIPPED, SHIPPED, shares="1")
    assert "2 positive numbers" in printed(SHIPPED, SHIPPED, shares="1 -1")
    assert "2 positive numbers" in printed(SHIPPED, SHIPPED, shares="1 inf")
    assert "gone.onnx does not exist" in printed(SHIPPED, tmp_path / "gone.onnx")
    (tmp_path / "there.onnx").write_bytes(b"kept")
    assert "there.onnx exists" in printed(SHIPPED, SHIPPED, output="there.onnx")
    assert (tmp_path / "there.onnx").read_bytes() == b"kept"
    assert not (tmp_path / "mean.onnx").exists()
