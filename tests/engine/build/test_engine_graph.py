"""The strongly typed graph: 16 bits where intended, float32 elsewhere, and the same keypoints."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from engine.artifacts.model_spec import read_spec
from engine.backends import OpenOptions
from engine.backends.pose_graph import FoldedKCAM
from engine.backends.torch import TorchBackend
from engine.build.onnx_export import export_pose
from engine.build.strong_typing import PRODUCTS, lower_graph
from engine.errors import ModelError
from engine.geometry import boxes_to_affines, invert_affines, warp_crops
from models.kcam import KCAM, Fusion
from tests.engine.small_pose_model import INPUT_SIZE_WH, random_crops

HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT


@pytest.fixture(scope="module", params=[False, True], ids=["crops", "frame"])
def typed(request: pytest.FixtureRequest, small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("typed") / "typed.onnx"
    export_pose(small_weights, file, precision="fp16", with_crop=request.param)
    return file


def types_of(graph: Any) -> dict[str, int]:
    """The element type of every value, by strict inference: a mix of types in one node is an error."""
    model = onnx.shape_inference.infer_shapes(graph, check_type=True, strict_mode=True).graph
    values = {v.name: v.type.tensor_type.elem_type for v in [*model.input, *model.value_info, *model.output]}
    return values | {tensor.name: tensor.data_type for tensor in model.initializer}


def test_products_are_in_16_bits_and_sums_and_soft_max_are_not(typed: Path) -> None:
    model = onnx.load(str(typed))
    types = types_of(model)
    found = Counter(node.op_type for node in model.graph.node)
    assert found["MatMul"] >= 3, "equations 1, 2 and 3"
    assert found["Conv"] > 20
    for node in model.graph.node:
        kinds = {types[name] for name in [*node.input, *node.output] if name and types[name] in (HALF, FLOAT)}
        if node.op_type in PRODUCTS:
            assert kinds == {HALF}, node.name
        if node.op_type in ("Softmax", "ReduceSum", "ReduceMean", "GridSample"):
            assert kinds == {FLOAT}, node.name
        if node.op_type == "Relu":
            assert kinds == {HALF}, "activations between the layers"
    weights = [tensor for tensor in model.graph.initializer if len(tensor.dims) >= 3 and np.prod(tensor.dims) > 1000]
    assert {tensor.data_type for tensor in weights} == {HALF}


def test_inputs_and_outputs_match_the_spec(typed: Path) -> None:
    graph, spec = onnx.load(str(typed)).graph, read_spec(typed)
    assert spec.precision == "fp16"
    assert spec.mean is not None
    assert spec.std is not None
    np.testing.assert_allclose((*spec.mean, *spec.std), (0.5, 0.45, 0.4, 0.25, 0.24, 0.23), rtol=1e-6)
    for value, tensor in [*zip(graph.input, spec.inputs, strict=True), *zip(graph.output, spec.outputs, strict=True)]:
        shape = tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim)
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        assert (value.name, shape, dtype) == (tensor.name, tensor.shape, np.dtype(tensor.dtype))
    first = graph.input[0].name
    assert [node.op_type for node in graph.node if first in node.input] == ["Cast"]


def test_the_frame_is_never_copied_for_every_person(small_weights: Path, tmp_path: Path) -> None:
    export_pose(small_weights, tmp_path / "crop.onnx", precision="fp16", with_crop=True)
    model = onnx.load(str(tmp_path / "crop.onnx"))
    assert {"Expand", "Tile", "AffineGrid"}.isdisjoint(node.op_type for node in model.graph.node)
    (sample,) = [node for node in model.graph.node if node.op_type == "GridSample"]
    shapes = onnx.shape_inference.infer_shapes(model).graph.value_info
    picture = next(value for value in shapes if value.name == sample.input[0])
    assert picture.type.tensor_type.shape.dim[0].dim_value == 1


@pytest.fixture(scope="module")
def frame_and_boxes() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    crops = random_crops(6, seed=11)
    frame = cv2.resize(np.concatenate([np.concatenate(crops[:3], 1), np.concatenate(crops[3:], 1)]), (421, 333))
    # The last one exceeds the edge of the frame.
    boxes = rng.uniform([0, 0, 80, 90], [200, 150, 120, 160], (4, 4))
    boxes[:, 2:] += boxes[:, :2]
    boxes[3] += [150, 130, 150, 130]
    return np.ascontiguousarray(frame, np.uint8), boxes.astype(np.float32)


def test_cropping_in_the_graph_matches_cropping_outside(
    small_weights: Path, tmp_path: Path, frame_and_boxes: tuple[np.ndarray, np.ndarray]
) -> None:
    frame, boxes = frame_and_boxes
    affines = boxes_to_affines(boxes, INPUT_SIZE_WH)
    crops = warp_crops(frame, affines, INPUT_SIZE_WH)
    options = OpenOptions(precision="fp32", device="cpu", threads=1)
    with TorchBackend(small_weights, options) as plain:
        outside = plain.infer({"crops": crops}, ["keypoints", "heatmaps"])
    export_pose(small_weights, tmp_path / "crop.onnx", with_crop=True)
    session = onnxruntime.InferenceSession(str(tmp_path / "crop.onnx"))
    inputs = {"frame": frame, "crop_to_frame": invert_affines(affines)}
    inside = dict(zip(["keypoints", "heatmaps"], session.run(["keypoints", "heatmaps"], inputs), strict=True))
    # OpenCV alone places samples on a grid of 1/32 px and rounds to whole grey values.
    spread = outside["heatmaps"].std()
    assert np.abs(inside["heatmaps"] - outside["heatmaps"]).mean() < 0.02 * spread
    same = np.abs(inside["keypoints"][..., :2] - outside["keypoints"][..., :2]).max(axis=-1) <= 1
    assert same.mean() >= 0.9
    with TorchBackend(small_weights, OpenOptions(precision="fp32", device="cpu", threads=1, with_crop=True)) as torch_:
        from_torch = torch_.infer(inputs, ["heatmaps"])["heatmaps"]
    np.testing.assert_allclose(inside["heatmaps"], from_torch, atol=1e-3)


def test_weights_stored_in_16_bits_are_used_as_they_are() -> None:
    proto = _little_graph(stored=np.float16)
    lower_graph(proto, "fp16")
    assert [node.op_type for node in proto.graph.node] == ["Cast", "Conv", "Cast"]
    types_of(proto)


def test_constants_beyond_16_bits_are_refused() -> None:
    with pytest.raises(ModelError, match="does not fit into 16 bits"):
        lower_graph(_little_graph(scale=1e6), "fp16")
    with pytest.raises(ModelError, match="not in bf16"):
        lower_graph(_little_graph(), "bf16")
    same = _little_graph()
    lower_graph(same, "fp32")
    assert same == _little_graph()


def test_coordinates_after_the_last_product_stay_exact() -> None:
    """A detector's boxes reach past 1024 px, where 16 bits count in whole pixels."""
    proto = _little_graph(tail=True)
    lower_graph(proto, "fp16")
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    picture = np.full((1, 2, 3, 3), 0.5, np.float32)
    (boxes,) = session.run(None, {"x": picture})
    np.testing.assert_allclose(boxes, 1500.3 + 18 * 0.5 * 0.25, atol=1e-3)


def _little_graph(stored: Any = np.float32, scale: float = 0.25, tail: bool = False) -> Any:
    weight = np.full((2, 2, 3, 3), scale, np.float32)
    nodes, constants = [], [numpy_helper.from_array(weight.astype(stored), "w0" if stored == np.float16 else "w")]
    if stored == np.float16:
        nodes.append(helper.make_node("Cast", ["w0"], ["w"], to=FLOAT))
    nodes.append(helper.make_node("Conv", ["x", "w"], ["y" if not tail else "c"], name="conv"))
    if tail:
        constants.append(numpy_helper.from_array(np.array(1500.3, np.float32), "anchor"))
        nodes.append(helper.make_node("Add", ["c", "anchor"], ["y"], name="decode"))
    graph = helper.make_graph(
        nodes, "little",
        [helper.make_tensor_value_info("x", FLOAT, [1, 2, 3, 3])],
        [helper.make_tensor_value_info("y", FLOAT, [1, 2, 1, 1])], constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("fusion", ["concat", "add", "none"])
def test_the_folded_attention_matches_the_plain_one(fusion: Fusion) -> None:
    torch.manual_seed(0)
    kcam = KCAM(24, 5, fusion)
    for _ in range(3):  # statistics and so offsets that are not those of a fresh batch norm
        kcam.train()(torch.randn(4, 24, 12, 8) * 3 + 1, torch.rand(4, 5, 12, 8))
    kcam.eval()
    features, coarse = torch.randn(2, 24, 12, 8) * 2, torch.rand(2, 5, 12, 8)
    with torch.inference_mode():
        plain, folded = kcam(features, coarse), FoldedKCAM(kcam)(features, coarse)
    assert plain.attention.std() > 0.05, "attention that is flat anyway shows nothing"
    for name in plain._fields:
        torch.testing.assert_close(getattr(folded, name), getattr(plain, name), atol=2e-5, rtol=1e-4)
