"""A detector that begins as a NanoDet: the same features, a training, and a file that a training can go on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from engine.detection.detector import open_detector
from engine.errors import ModelError
from engine.system.ultralytics_env import prepare_ultralytics
from tests.train.people_folder import write_people
from train.detector.nanodet_start import load_nanodet, nanodet_layout
from train.detector.start import starting_point
from train.detector.training import ARCHITECTURE, main

SIDE = 160
PUBLISHED = Path("../shared/teachers/nanodet_416.onnx")
MEAN = np.array([103.53, 116.28, 123.675], np.float32)
STD = np.array([57.375, 57.12, 58.395], np.float32)


class Graph:
    """Writes a NanoDet-g with random weights, layer by layer as its configuration has it."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.nodes: list[Any] = []
        self.stored: list[Any] = []

    def node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, values: np.ndarray) -> str:
        name = f"stored_{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(values, name))
        return name

    def convolution(self, x: str, channels: tuple[int, int], size: int = 3, stride: int = 1, act: bool = True) -> str:
        into, out = channels
        scale = (2 / (into * size * size)) ** 0.5
        weight = self.constant(self.rng.normal(0, scale, (out, into, size, size)).astype(np.float16))
        bias = self.constant(self.rng.normal(0, 0.1, out).astype(np.float32))
        weight = self.node("Cast", [weight], to=TensorProto.FLOAT)
        half = size // 2
        x = self.node("Conv", [x, weight, bias], strides=[stride, stride], pads=[half] * 4)
        return self.node("LeakyRelu", [x], alpha=0.1) if act else x

    def stage(self, x: str, width: int, blocks: int, stride: int) -> str:
        first = x = self.convolution(x, (width, width), stride=stride)
        for _ in range(blocks):
            half = self.convolution(x, (width, width // 2))
            x = self.node("Concat", [self.convolution(half, (width // 2, width // 2)), half], axis=1)
        return self.node("Concat", [self.convolution(x, (width, width)), first], axis=1)

    def resized(self, x: str, scale: float) -> str:
        scales = self.constant(np.array([1, 1, scale, scale], np.float32))
        return self.node("Resize", [x, "", scales], mode="linear", coordinate_transformation_mode="half_pixel")


def write_nanodet(file: Path, side: int = SIDE) -> list[str]:
    """Returns the names of the features before the last layers, of the finest stride first."""
    graph = Graph()
    x = graph.convolution("image", (3, 32), stride=2)
    x = graph.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    x = graph.stage(x, 32, 1, 1)
    fine = graph.stage(x, 64, 2, 2)
    middle = graph.stage(fine, 128, 2, 2)
    coarse = graph.stage(middle, 256, 3, 2)
    coarse = graph.convolution(coarse, (512, 128), 1, act=False)
    middle = graph.convolution(middle, (256, 128), 1, act=False)
    middle = graph.node("Add", [middle, graph.resized(coarse, 2)])
    fine = graph.convolution(fine, (128, 128), 1, act=False)
    fine = graph.node("Add", [fine, graph.resized(middle, 2)])
    middle = graph.node("Add", [middle, graph.resized(fine, 0.5)])
    coarse = graph.node("Add", [coarse, graph.resized(middle, 0.5)])
    features, outputs = [], []
    rows, sizes = graph.constant(np.array([0, 0, -1])), graph.constant(np.array([80, 44]))
    for stride, level in ((32, coarse), (16, middle), (8, fine)):
        features.append(graph.convolution(level, (128, 128)))
        both = graph.convolution(features[-1], (128, 124), 1, act=False)
        graph.nodes.append(helper.make_node("Split", [both, sizes], [f"s{stride}", f"d{stride}"], axis=1))
        scores = graph.node("Sigmoid", [f"s{stride}"])
        for values, length in ((scores, 80), (f"d{stride}", 44)):
            flat = graph.node("Reshape", [values, rows])
            out = graph.node("Transpose", [flat], perm=[0, 2, 1])
            outputs.append(helper.make_tensor_value_info(out, TensorProto.FLOAT, [1, (side // stride) ** 2, length]))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, side, side])
    whole = helper.make_graph(graph.nodes, "nanodet", [image], outputs, graph.stored)
    onnx.save(helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(file))
    return features[::-1]


def features_of(file: Path, names: list[str], picture: np.ndarray) -> list[np.ndarray]:
    """What the file's network has at these places for a picture (S, S, 3) BGR."""
    model = onnx.load(str(file))
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    entry = ((picture - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32)
    found: list[np.ndarray] = session.run(names, {session.get_inputs()[0].name: entry})
    return found


def check_features(file: Path, names: list[str], photo: Path, side: int) -> None:
    prepare_ultralytics(verbose=False)
    from ultralytics import YOLO  # type: ignore[attr-defined]

    picture = cv2.resize(np.asarray(cv2.imread(str(photo))), (side, side), interpolation=cv2.INTER_AREA)
    folder = file.parent / "pictures"
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "one.png"), picture)
    start = starting_point(
        file, architecture=ARCHITECTURE, start=file.parent / "s.pt", pictures=folder, input_size=side, one_to_many=True
    )
    network: Any = YOLO(str(start)).model.float().eval()  # type: ignore[union-attr]
    seen: dict[int, np.ndarray] = {}
    for index in network.model[-1].f:
        network.model[index].register_forward_hook(
            lambda _module, _inputs, output, index=index: seen.__setitem__(index, output.numpy())
        )
    with torch.no_grad():
        network(torch.from_numpy(picture[None, :, :, ::-1].copy()).permute(0, 3, 1, 2).float() / 255)
    for own, expected in zip(seen.values(), features_of(file, names, picture), strict=True):
        assert own.shape == expected.shape
        # Not exactly: beyond the border a NanoDet sees its mean colour, and a YOLO black.
        assert np.corrcoef(own.ravel(), expected.ravel())[0, 1] > 0.97


def test_a_network_begins_with_the_features_of_a_nanodet(tmp_path: Path, photo_paths: list[Path]) -> None:
    names = write_nanodet(tmp_path / "n.onnx", 192)
    check_features(tmp_path / "n.onnx", names, photo_paths[0], 192)


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="the NanoDet file of the shared folder is not there")
def test_a_network_begins_with_the_features_of_the_published_nanodet(tmp_path: Path, photo_paths: list[Path]) -> None:
    (tmp_path / "n.onnx").write_bytes(PUBLISHED.read_bytes())
    last = [node for node in onnx.load(str(PUBLISHED)).graph.node if node.op_type == "Conv"]
    names = [node.input[0] for node in last if "LeakyRelu" in node.input[0]][-3:][::-1]
    check_features(tmp_path / "n.onnx", names, photo_paths[0], 416)


def test_a_training_starts_from_a_nanodet_and_goes_on_from_its_own_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_ultralytics(verbose=False)
    from ultralytics import YOLO  # type: ignore[attr-defined]

    data = write_people(tmp_path / "p", pictures=4, class_name="person")
    write_nanodet(tmp_path / "n.onnx")
    words = ["--data", str(data), "--output", str(tmp_path / "run"), "--init", str(tmp_path / "n.onnx")]
    words += ["--epochs", "1", "--input-size", str(SIDE), "--batch-size", "4", "--workers", "0", "--threads", "1"]
    assert main([*words, "--one-to-many", "--paste-people", "0"]) == 0
    exported = tmp_path / "run" / "run.onnx"
    assert f"detector: {exported}" in capsys.readouterr().out
    picture = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)
    detector, _ = open_detector(str(exported), backend="onnxruntime", score_threshold=0.0)
    with detector:
        assert len(detector.detect(picture)) > 0
    start = starting_point(
        exported,
        architecture=ARCHITECTURE,
        start=tmp_path / "again.pt",
        pictures=data / "train",
        input_size=SIDE,
        one_to_many=True,
    )
    network: Any = YOLO(str(start)).model.float().eval()  # type: ignore[union-attr]
    with torch.no_grad():
        again = network(torch.from_numpy(picture[None, :, :, ::-1].copy()).permute(0, 3, 1, 2).float() / 255)
    expected = onnxruntime.InferenceSession(str(exported)).run(None, {"images": picture[None]})[0]
    np.testing.assert_allclose(again[0][:, 4].numpy(), expected[:, 4], atol=1e-2)


def test_another_network_is_refused(tmp_path: Path) -> None:
    prepare_ultralytics(verbose=False)
    from ultralytics.nn.tasks import DetectionModel

    write_nanodet(tmp_path / "n.onnx")
    model = onnx.load(str(tmp_path / "n.onnx"))
    weight = next(one for one in model.graph.initializer if list(one.dims) == [128, 128, 3, 3])
    weight.CopyFrom(numpy_helper.from_array(np.zeros((128, 128, 5, 5), np.float16), weight.name))
    onnx.save(model, str(tmp_path / "other.onnx"))
    network = DetectionModel(nanodet_layout(), nc=1, verbose=False)  # type: ignore[no-untyped-call]
    with pytest.raises(ModelError, match="expected a convolution of"):
        load_nanodet(network, tmp_path / "other.onnx")
    with pytest.raises(ModelError, match="no NanoDet-g"):
        load_nanodet(network, Path("models/weights/yolo_person.onnx"))
