"""Other builds: detectors, TensorRT 11, torch2trt, and builds while another backend runs."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from engine.artifacts.compiler import BackgroundBuild
from engine.artifacts.engine_file import read_record
from engine.artifacts.model_spec import OPSET, ModelSpec, TensorSpec
from engine.backends import open_pose_backend
from engine.build.onnx_export import export_pose, save_with_spec
from engine.detection.detector import open_detector
from engine.errors import BackendError, ModelError
from engine.types import UInt8Array
from tests.engine import standin_tensorrt
from tests.engine.engine_orders import Use, build
from tests.engine.small_pose_model import random_crops
from tests.engine.standin_tensorrt_types import ILogger

pytestmark = pytest.mark.usefixtures("one_thread", "export_once")


@pytest.mark.usefixtures("own_cache", "quick")
def test_tensorrt_11_takes_the_same_graph(small_weights: Path, use_gpu: Use) -> None:
    use_gpu(version="11.0.0")
    file, _ = build(small_weights, with_crop=True)
    assert read_record(file).key.runtime_version == "11.0.0"
    with open_pose_backend(small_weights, backend="tensorrt", with_crop=True).backend as backend:
        assert [tensor.name for tensor in backend.spec.inputs] == ["frame", "crop_to_frame"]
    with pytest.raises(BackendError, match="it takes whole frames"):
        open_pose_backend(small_weights, backend="tensorrt")
    use_gpu(version="10.9.0")
    with pytest.raises(BackendError, match=r"10\.9\.0 is too old; 10\.12"):
        build(small_weights)


@pytest.mark.usefixtures("own_cache", "quick")
def test_torch2trt_builds_or_reports_why_not(
    small_weights: Path, tmp_path: Path, use_gpu: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_gpu()
    monkeypatch.setattr("engine.backends.trt_package.installed_version", lambda _package: "10.13.0")
    with pytest.raises(BackendError, match=r"torch2trt package is not installed .*--runtime tensorrt builds the same"):
        build(small_weights, runtime="torch2trt")
    requested: dict[str, object] = {}

    def convert(module: torch.nn.Module, inputs: list[torch.Tensor], **options: object) -> types.SimpleNamespace:
        requested.update(options, uint8=inputs[0].dtype == torch.uint8)
        export_pose(small_weights, tmp_path / "graph.onnx", precision="fp16")
        builder, network = standin_tensorrt.Builder(ILogger()), standin_tensorrt._Network()
        standin_tensorrt.OnnxParser(network, ILogger()).parse((tmp_path / "graph.onnx").read_bytes())
        config, profile = builder.create_builder_config(), builder.create_optimization_profile()
        shapes = [options[key][0] for key in ("min_shapes", "opt_shapes", "max_shapes")]  # type: ignore[index]
        profile.set_shape("crops", *shapes)
        config.add_optimization_profile(profile)
        config.progress_monitor = types.SimpleNamespace(
            phase_start=lambda *_: None, step_complete=lambda *_: True, phase_finish=lambda *_: None
        )
        return types.SimpleNamespace(engine=builder.build_serialized_network(network, config))

    for name in ("torch2trt", "onnx_graphsurgeon"):
        stand_in = types.ModuleType(name)
        stand_in.__spec__ = standin_tensorrt.module().__spec__
        stand_in.torch2trt = convert  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, stand_in)
    file, _ = build(small_weights, runtime="torch2trt")
    assert read_record(file).key.runtime == "torch2trt"
    assert (requested["use_onnx"], requested["fp16_mode"], requested["uint8"]) == (True, True, True)
    with open_pose_backend(small_weights, backend="tensorrt").backend as backend:
        assert len(backend.infer({"crops": random_crops(5, 0)}, ["keypoints"])["keypoints"]) == 5
    monkeypatch.setattr("engine.backends.trt_package.installed_version", lambda _package: "11.1.0")
    with pytest.raises(BackendError, match=r"needs TensorRT 10 .*--runtime tensorrt builds the same"):
        build(small_weights, runtime="torch2trt")


def _bright_boxes(folder: Path) -> Path:
    """A fake detector: a few boxes that move with the picture's mean brightness, after a convolution."""
    h = onnx.helper
    constants: dict[str, np.ndarray] = {
        "kernel": np.full((1, 3, 1, 1), 1 / 3 / 255, np.float32),
        "boxes0": np.array([[[10, 10, 60, 90, 0.9, 0], [70, 20, 130, 100, 0.7, 0]]], np.float32),
        "moves": np.array([[[40, 40, 40, 40, 0, 0], [20, 0, 20, 0, 0, 0]]], np.float32),
        "flat": np.array([1, 1, 1], np.int64),
    }
    nodes = [
        h.make_node("Cast", ["images"], ["float"], to=onnx.TensorProto.FLOAT),
        h.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        h.make_node("Conv", ["planes", "kernel"], ["grey"]),
        h.make_node("GlobalAveragePool", ["grey"], ["mean4"]),
        h.make_node("Reshape", ["mean4", "flat"], ["mean"]),
        h.make_node("Mul", ["mean", "moves"], ["moved"]),
        h.make_node("Add", ["moved", "boxes0"], ["boxes"]),
    ]
    graph = h.make_graph(
        nodes, "bright",
        [h.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["B", 160, 160, 3])],
        [h.make_tensor_value_info("boxes", onnx.TensorProto.FLOAT, ["B", 2, 6])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    file = folder / "bright.onnx"
    proto = h.make_model(graph, opset_imports=[h.make_opsetid("", OPSET)], ir_version=9)
    spec = ModelSpec(
        kind="detector", name="bright", input_size_wh=(160, 160),
        inputs=(TensorSpec(name="images", shape=("B", 160, 160, 3), dtype="uint8"),),
        outputs=(TensorSpec(name="boxes", shape=("B", 2, 6), dtype="float32"),),
        skeleton=None, class_names=("person",),
    )  # fmt: skip
    save_with_spec(proto, file, spec, Path(__file__))
    return file


@pytest.mark.usefixtures("own_cache")
def test_a_detector_is_built_the_same_way(tmp_path: Path, use_gpu: Use, photo_paths: list[Path]) -> None:
    use_gpu()
    detector = _bright_boxes(tmp_path)
    file, _ = build(detector)
    record = read_record(file)
    assert (record.state, record.report) == ("passed", "boxes: 24 of 24 as float32 sees them")
    image: UInt8Array = np.asarray(cv2.imread(str(photo_paths[0])), np.uint8)
    found = {}
    for backend in ("tensorrt", "onnxruntime"):
        opened, how = open_detector(detector, backend=backend)
        with opened:
            assert how.backend.name == backend
            found[backend] = opened.detect(image).boxes_xyxy
    np.testing.assert_allclose(found["tensorrt"], found["onnxruntime"], atol=3)

    def shift(outputs: dict[str, np.ndarray]) -> None:
        outputs["boxes"][:, 1, :4] += 30

    standin_tensorrt.Context.sabotage = shift
    with pytest.raises(BackendError, match="deviates from float32: boxes: 12 of 24"):
        build(detector, precision="fp32")


def test_a_build_returns_its_progress_and_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    may_end = threading.Event()

    def slow_build(arguments: list[str], notify: Callable[[str], None]) -> Path:
        assert arguments == ["--pose-model", "small"]
        notify("compiling")
        assert may_end.wait(60)
        return tmp_path

    monkeypatch.setattr("engine.artifacts.compiler.run_build", slow_build)
    reported: list[str] = []
    running = BackgroundBuild(["--pose-model", "small"], reported.append)
    assert running.is_running
    may_end.set()
    assert (running.result(), reported) == (tmp_path, ["compiling"])


def test_a_build_returns_the_reason_of_its_failure() -> None:
    running = BackgroundBuild(["--pose-model", "no_such_model", "--runtime", "tensorrt-rtx"])
    with pytest.raises(ModelError, match="no_such_model"):
        running.result()


def test_a_build_can_be_cancelled_and_leaves_nothing(small_weights: Path, own_cache: Path) -> None:
    running = BackgroundBuild(
        ["--pose-model", str(small_weights), "--runtime", "onnx", "--output", str(own_cache / "x.onnx")],
    )
    running.cancel()
    assert not running.is_running
    with pytest.raises(BackendError, match="cancelled"):
        running.result()
    assert not list(own_cache.rglob("*.onnx"))
