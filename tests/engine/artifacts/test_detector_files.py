"""Foreign detectors: plain exports, pickled files, damaged ones."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from engine.artifacts import folders
from engine.artifacts.compiler import ensure_detector
from engine.artifacts.model_spec import read_spec
from engine.build.detector_export import export_detector
from engine.build.onnx_export import store_weights_in_float16
from engine.detection.detector import open_detector
from engine.errors import ModelError
from engine.types import UInt8Array


def _plain_export(path: Path, answer: np.ndarray, half: bool = False, **metadata: str) -> Path:
    """An ONNX file as ultralytics writes them; it gives `answer` plus the mean of the picture's red plane."""
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    array = answer.astype(np.float16 if half else np.float32)
    nodes = [
        helper.make_node("Gather", ["images", "zero"], ["red"], axis=1),
        helper.make_node("ReduceMean", ["red"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "mask"], ["shift"]),
        helper.make_node("Add", ["answer", "shift"], ["output0"]),
    ]
    mask = np.zeros_like(array)
    mask.reshape(-1)[4 if array.shape[2] == 6 else 4 * array.shape[2]] = 1  # the first score
    graph = helper.make_graph(
        nodes,
        "plain",
        [helper.make_tensor_value_info("images", kind, [1, 3, 64, 96])],
        [helper.make_tensor_value_info("output0", kind, list(array.shape))],
        [
            numpy_helper.from_array(np.array([0]), "zero"),
            numpy_helper.from_array(array, "answer"),
            numpy_helper.from_array(mask, "mask"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    values = {"task": "detect", "names": "{0: 'person', 1: 'dog'}", "imgsz": "[64, 96]", "stride": "32", **metadata}
    helper.set_model_props(model, {key: value for key, value in values.items() if value})
    onnx.save(model, str(path))
    return path


@pytest.fixture
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(folders.CACHE_VARIABLE, str(tmp_path / "cache"))


@pytest.mark.usefixtures("_cache")
@pytest.mark.parametrize("half", [False, True])
def test_a_plain_export_with_final_boxes_runs(tmp_path: Path, half: bool) -> None:
    answer = np.zeros((1, 300, 6))
    answer[0, 0] = [10, 20, 50, 60, 0.25, 0]
    answer[0, 1] = [0, 0, 30, 30, 0.5, 1]
    file = _plain_export(tmp_path / "plain.onnx", answer, half=half)
    image = np.zeros((64, 96, 3), np.uint8)
    image[..., 2] = 51  # red is the last of BGR and the first of RGB: 0.2 after scaling
    lines: list[str] = []
    detector, opened = open_detector(file, backend="onnxruntime", notify=lines.append)
    with detector:
        found = detector.detect(image)
    assert opened.backend.spec.input_size_wh == (96, 64)
    assert len(lines) == 1
    np.testing.assert_allclose(found.scores, [0.45], atol=1e-3)
    np.testing.assert_allclose(found.boxes_xyxy, [[10, 20, 50, 60]], atol=0.1)
    assert ensure_detector(file, notify=lines.append).is_file()
    assert len(lines) == 1, "the second time it is taken from the cache"


def test_a_plain_export_with_candidates_runs(tmp_path: Path) -> None:
    answer = np.zeros((1, 6, 126))
    answer[0, :, 0] = [30, 40, 20, 30, 0.5, 0]
    answer[0, :, 1] = [31, 40, 20, 30, 0.4, 0]
    output = tmp_path / "ours.onnx"
    export_detector(_plain_export(tmp_path / "plain.onnx", answer), output)
    assert read_spec(output).output_names == ("candidates",)
    for backend in ("openvino", "onnxruntime"):
        detector, _ = open_detector(output, backend=backend, precision="fp32")
        with detector:
            found = detector.detect(np.zeros((64, 96, 3), np.uint8))
        np.testing.assert_allclose(found.boxes_xyxy, [[20, 25, 40, 55]], atol=1e-3)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"task": "pose"}, "task 'pose'"),
        ({"task": "segment"}, "a detector was expected"),
        ({"task": ""}, "no metadata of an ultralytics export"),
        ({"names": "__import__('os').getcwd()"}, "class names cannot be read"),
        ({"names": "{0: 'person', 5: 'dog'}"}, "class names cannot be read"),
    ],
)
def test_other_networks_are_refused_in_one_line(metadata: dict[str, str], message: str, tmp_path: Path) -> None:
    file = _plain_export(tmp_path / "plain.onnx", np.zeros((1, 300, 6)), False, **metadata)
    with pytest.raises(ModelError, match=message):
        export_detector(file, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_damaged_files_and_sizes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"\x00\x01garbage" * 50)
    with pytest.raises(ModelError, match="not an ONNX file"):
        export_detector(garbage, tmp_path / "out.onnx")
    fixed = _plain_export(tmp_path / "plain.onnx", np.zeros((1, 300, 6)))
    with pytest.raises(ModelError, match="fixed at 96x64"):
        export_detector(fixed, tmp_path / "out.onnx", input_size=320)
    with pytest.raises(ModelError, match="multiple of 32"):
        export_detector(fixed, tmp_path / "out.onnx", input_size=100)
    with pytest.raises(ModelError, match="2 classes, 1 names"):
        export_detector(fixed, tmp_path / "out.onnx", class_names=["person"])


class _Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.marker,)


@pytest.mark.usefixtures("_cache")
def test_code_in_a_pickled_file_does_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "it_ran"
    file = tmp_path / "bomb.pt"
    with zipfile.ZipFile(file, "w") as archive:  # the form of torch.save
        archive.writestr("bomb/data.pkl", pickle.dumps({"model": _Bomb(marker)}, protocol=2))
        archive.writestr("bomb/version", "3\n")
        archive.writestr("bomb/byteorder", "little")
    with pytest.raises(ModelError, match=r"bomb\.pt"):
        ensure_detector(file)
    assert not marker.exists()
    pickle.loads(zipfile.ZipFile(file).read("bomb/data.pkl"))  # noqa: S301 - shows that the bomb works
    assert marker.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("_cache")
def test_a_pt_file_becomes_our_graph_and_gives_the_boxes_of_ultralytics(
    tmp_path: Path, photo_paths: list[Path]
) -> None:
    from engine.system.ultralytics_env import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.models import YOLO

    file = tmp_path / "random.pt"
    torch.manual_seed(0)
    network: Any = YOLO("yolo26n.yaml", task="detect")
    for branch in network.model.model[-1].one2one_cv3:
        torch.nn.init.normal_(branch[-1].weight, std=0.5)  # scores that differ, so that there is an order
    with torch.no_grad():
        for _ in range(5):
            network.model.train()(torch.rand(2, 3, 160, 160))  # statistics that keep the signal alive
    network.model.eval().float()
    network.save(str(file))
    network = YOLO(str(file))
    whole = tmp_path / "whole.onnx"
    names = [f"class {index}" for index in range(80)]
    export_detector(file, whole, input_size=320, class_names=names)
    spec = read_spec(whole)
    assert (spec.output_names, spec.input_size_wh, len(spec.class_names)) == (("boxes",), (320, 320), 80)
    image: UInt8Array = np.asarray(cv2.imread(str(photo_paths[1])), np.uint8)
    everything = ",".join(str(index) for index in range(80))
    detector, _ = open_detector(whole, classes=everything, score_threshold=0.0, backend="onnxruntime")
    with detector:
        ours = detector.detect(image)
    expected = network.predict(image, imgsz=320, conf=0.0, max_det=100, nms=False, verbose=False)[0].boxes
    order = np.argsort(-expected.conf.numpy(), kind="stable")
    np.testing.assert_allclose(ours.scores, expected.conf.numpy()[order], atol=1e-5)
    # Scores that are equal leave the order open, so each box is looked for among all.
    for box, score in zip(expected.xyxy.numpy()[order][:20], expected.conf.numpy()[order][:20], strict=True):
        same = np.abs(ours.boxes_xyxy - box).max(axis=1) < 0.05
        assert np.abs(ours.scores[same] - score).min(initial=1) < 1e-5, box

    proto = onnx.load(str(whole))
    store_weights_in_float16(proto)
    onnx.checker.check_model(proto)
    assert len(proto.SerializeToString()) < 0.62 * whole.stat().st_size
    inputs = {"images": np.random.default_rng(0).integers(0, 256, (1, 96, 160, 3), dtype=np.uint8)}
    before, after = (
        onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, inputs)[0]
        for content in (whole.read_bytes(), proto.SerializeToString())
    )
    np.testing.assert_allclose(after[0, :5, 4], before[0, :5, 4], atol=0.02)
