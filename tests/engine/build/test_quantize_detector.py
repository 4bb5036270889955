"""INT8 of detectors: what stays in float, both runtimes see the people that float32 sees, and where it is used."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from engine.__main__ import main as engine_command
from engine.artifacts.folders import WEIGHTS_DIR
from engine.artifacts.int8_files import ensure_int8, existing_int8, find_int8
from engine.artifacts.model_spec import read_spec, sha256_of, spec_path, write_spec
from engine.backends import OpenOptions, int8
from engine.backends.onnxruntime import OnnxRuntimeBackend
from engine.backends.openvino import OpenVinoBackend
from engine.build import parity_gate, quantize
from engine.build.calibration import calibration_pictures
from engine.detection.detector import PersonDetector, open_detector
from engine.errors import BackendError, SourceError
from engine.geometry import overlaps
from engine.types import UInt8Array
from tests.engine.clips import ClipSpec, make_clip
from tests.train.people_folder import write_people

SHIPPED = WEIGHTS_DIR / "yolo_person.onnx"
RUNTIMES = [OpenVinoBackend, OnnxRuntimeBackend]


def quiet(_line: str) -> None:
    """Discard the line."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, photo_paths: list[Path]) -> Path:
    """A folder of cuts of two photos of people."""
    folder = tmp_path_factory.mktemp("photos")
    for path in photo_paths:
        image: UInt8Array = np.asarray(cv2.imread(str(path)), np.uint8)
        height, width = image.shape[:2]
        for index, share in enumerate(np.linspace(0.6, 1.0, 8)):
            for side, cut in enumerate((image[:, : round(width * share)], image[round(height * (1 - share)) :, ::-1])):
                cv2.imwrite(str(folder / f"{path.stem}_{index}{side}.png"), cut)
    return folder


@pytest.fixture(scope="module")
def graph(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped detector in INT8, calibrated with a handful of pictures; its weights are stored in float16."""
    output = tmp_path_factory.mktemp("int8") / "made.onnx"
    with pytest.MonkeyPatch.context() as patch:
        for name, number in (("LEAST_PICTURES", 10), ("MOST_PICTURES", 20), ("CHECKED_PICTURES", 8)):
            patch.setattr(quantize, name, number)
        printed: list[str] = []
        spec = quantize.quantize_detector(SHIPPED, output, str(photos), printed.append)
    assert any("boxes: " in line for line in printed) and spec == read_spec(output)
    return output


def test_convolutions_are_quantised_and_boxes_and_scores_are_not(graph: Path) -> None:
    spec = read_spec(graph)
    assert (spec.kind, spec.precision, spec.weights_sha256) == ("detector", "int8", sha256_of(SHIPPED))
    assert spec.made_with["calibrated"].startswith("20 pictures of ")
    proto = onnx.load(str(graph))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    makers = {name: node for node in proto.graph.node for name in node.output}
    convolutions = [node for node in proto.graph.node if node.op_type == "Conv"]
    assert len(convolutions) > 40
    for node in convolutions:
        assert makers[node.input[1]].op_type == "DequantizeLinear", f"the weights of {node.name} are left in float"
    for node in proto.graph.node:
        if node.op_type in ("Sigmoid", "Div", "Sub", "Reshape"):
            sources = [makers[name].op_type for name in node.input if name in makers]
            assert "DequantizeLinear" not in sources, f"{node.name} computes in eight bits"
        if node.op_type == "QuantizeLinear":
            assert constants[node.input[2]].dtype == np.uint8, "OpenVINO errs behind concatenations of int8"


@pytest.mark.parametrize("kind", RUNTIMES)
def test_each_runtime_sees_the_people_that_float32_sees(
    kind: type[OpenVinoBackend | OnnxRuntimeBackend], graph: Path, photo_paths: list[Path]
) -> None:
    """With signed activations OpenVINO finds nobody in this graph, and ONNX Runtime everybody."""
    with (
        PersonDetector(kind(graph, OpenOptions(precision="int8", device="cpu"))) as ours,
        PersonDetector(OnnxRuntimeBackend(SHIPPED, OpenOptions(precision="fp32", device="cpu"))) as theirs,
    ):
        assert ours.backend.precision == "int8"
        for path in photo_paths:
            image: UInt8Array = np.asarray(cv2.imread(str(path)), np.uint8)
            found, expected = ours.detect(image), theirs.detect(image)
            expected = expected.take(expected.scores > 0.45)
            assert len(expected) >= 2
            shared = overlaps(expected.boxes_xyxy, found.boxes_xyxy)
            assert (shared.max(axis=1) > 0.75).all()
            assert np.abs(found.scores[shared.argmax(axis=1)] - expected.scores).max() < 0.15


def test_a_graph_that_sees_other_people_is_not_kept(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blind(proto: onnx.ModelProto, *_rest: object) -> onnx.ModelProto:
        for tensor in proto.graph.initializer:
            if "cv3" in tensor.name and tensor.name.endswith(".2.bias"):  # those of the scores
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) - np.float32(9), tensor.name))
        return proto

    monkeypatch.setattr(quantize, "quantized_graph", blind)
    monkeypatch.setattr(parity_gate, "_LEAST_BOXES", 1)
    for name, number in (("LEAST_PICTURES", 10), ("MOST_PICTURES", 20), ("CHECKED_PICTURES", 8)):
        monkeypatch.setattr(quantize, name, number)
    with pytest.raises(BackendError, match="loses too much accuracy in INT8, the graph is not kept: boxes: "):
        quantize.quantize_detector(SHIPPED, tmp_path / "x.onnx", str(photos), quiet)
    assert list(tmp_path.iterdir()) == []


def test_auto_takes_it_where_it_pays_and_only_for_its_own_weights(
    graph: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, beside = tmp_path / "mine.onnx", tmp_path / "mine.int8.onnx"
    for source, target in ((SHIPPED, mine), (graph, beside)):
        target.write_bytes(source.read_bytes())
        spec_path(target).write_bytes(spec_path(source).read_bytes())
    features: list[str] = ["avx512_vnni"]
    monkeypatch.setattr(int8, "processor", lambda: ("some processor", features))

    def precision(**options: str) -> str:
        detector, opened = open_detector(mine, **options)  # type: ignore[arg-type]
        with detector:
            return opened.backend.precision

    assert find_int8(mine) == beside and precision(backend="openvino") == "int8"
    assert precision(backend="onnxruntime") == "fp32", "measured to be slower there"
    assert precision(backend="onnxruntime", precision="int8") == "int8"
    assert precision(backend="openvino", precision="fp32") == "fp32"
    features.clear()
    assert precision(backend="openvino") != "int8"
    features.append("avx512_vnni")
    spec = read_spec(beside)
    write_spec(beside, type(spec).from_dict({**spec.to_dict(), "weights_sha256": "0" * 64}))
    assert existing_int8(mine) is None and precision(backend="openvino") != "int8"
    with pytest.raises(BackendError, match=r"engine build --detector .*mine\.onnx .*--precision int8 --calibrate"):
        find_int8(mine)


def test_one_that_was_built_is_found_in_the_cache(
    graph: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: list[list[str]] = []

    def copy_instead(arguments: list[str], _notify: object) -> Path:
        orders.append(arguments)
        output = Path(arguments[arguments.index("--output") + 1])
        output.write_bytes(graph.read_bytes())
        spec_path(output).write_bytes(spec_path(graph).read_bytes())
        return output

    monkeypatch.setattr("engine.artifacts.compiler.run_build", copy_instead)
    built = ensure_int8(SHIPPED, "photos")
    assert find_int8(SHIPPED) == built == ensure_int8(SHIPPED, "photos") and len(orders) == 1
    assert orders[0][:2] == ["--detector", str(SHIPPED)]


def test_the_one_that_ships_is_of_the_detector_that_ships() -> None:
    assert existing_int8(SHIPPED) is not None, (
        "make it: python -m engine build --detector yolo_person --precision int8 --calibrate DATA --output "
        "models/weights/yolo_person.int8.onnx"
    )


def test_a_built_graph_can_be_checked_against_what_it_was_made_from(
    graph: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert engine_command(["check", str(graph)]) == 0
    out = capfd.readouterr().out
    assert "made on openvino passed: boxes: " in out or "yolo_person on openvino passed: boxes: " in out


def test_pictures_come_from_a_video_photos_or_a_data_set(tmp_path: Path, photos: Path) -> None:
    video = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=40))
    frames = calibration_pictures(str(video), longest_px=80, least=10, most=10, notify=quiet)
    assert [frame.shape for frame in frames] == [(60, 80, 3)] * 10
    short = make_clip(tmp_path / "short.mp4", ClipSpec(frames=19))  # each frame is brighter than the one before
    frames = calibration_pictures(str(short), longest_px=80, least=10, most=10, notify=quiet)
    brightness = [int(frame[-1, -1, 0]) for frame in frames]
    assert len(set(brightness)) == 10 and max(brightness) > 60 + 5 * 14, "from the whole video"
    assert len(calibration_pictures(str(photos), longest_px=4000, least=10, most=20, notify=quiet)) == 20
    data = write_people(tmp_path / "p", pictures=5)
    found = calibration_pictures(str(data), longest_px=4000, least=5, most=20, notify=quiet)
    assert len(found) == 5 and {picture.ndim for picture in found} == {3}
    with pytest.raises(SourceError, match=r"has 40 pictures to calibrate with, 50 are needed"):
        calibration_pictures(str(video), longest_px=80, least=50, most=60, notify=quiet)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pose-model", "kcam_resnet18"], "int8 is for one model at a time"),
        (["--input-size", "320"], "--input-size is for an export in float: make FILE.onnx first, then INT8 of it"),
        (["--one-to-many"], "--one-to-many is for an export in float"),
    ],
)
def test_what_does_not_go_with_it_is_one_line(
    arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert (
        engine_command(["build", "--detector", str(SHIPPED), "--precision", "int8", "--calibrate", "x", *arguments])
        == 2
    )
    assert message in capfd.readouterr().err
