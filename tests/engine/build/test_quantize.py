"""INT8: calibration, nodes that stay in float, both runtimes, and the cache."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from engine.__main__ import main
from engine.artifacts import model_files
from engine.artifacts.int8_files import ensure_int8, find_int8
from engine.artifacts.model_spec import read_spec, sha256_of, spec_path, write_spec
from engine.backends import open_pose_backend
from engine.build import calibration, quantize
from engine.build.calibration import calibration_crops
from engine.build.parity import ParityReport
from engine.errors import BackendError, ModelError, OptionError, SourceError
from engine.geometry import boxes_to_affines, warp_crops
from tests.engine.clips import ClipSpec, make_clip, picture
from tests.engine.fakes import FixedDetector, boxes, pose_spec
from tests.engine.small_pose_model import random_crops, write_small_model
from tests.train.people_folder import write_people


@pytest.fixture
def one_person(monkeypatch: pytest.MonkeyPatch) -> FixedDetector:
    """A detector that finds one person, and one who is too small."""
    detector = FixedDetector(boxes((20, 10, 80, 110), (100, 10, 110, 30)), np.array([0.9, 0.5], np.float32))
    monkeypatch.setattr(calibration, "open_detector", lambda **_options: (detector, None))
    return detector


def quiet(_line: str) -> None:
    """Discard the line."""


def test_a_video_gives_crops_from_its_whole_length(tmp_path: Path, one_person: FixedDetector) -> None:
    video = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=60))
    crops = calibration_crops(str(video), pose_spec(), least=10, most=15, notify=quiet)
    assert crops.shape == (15, 128, 96, 3)
    box, size = one_person.boxes_xyxy[:1], (96, 128)
    expected = [warp_crops(picture(160, 120, n), boxes_to_affines(box, size), size)[0] for n in range(60)]
    nearest = [int(np.argmin([np.abs(crop.astype(int) - one).mean() for one in expected])) for crop in crops]
    # Every fourth of 60 frames; `picture` repeats every 24 numbers, so each of six pictures comes two or three times.
    assert sorted(Counter(n % 24 for n in nearest).values()) == [2, 2, 2, 3, 3, 3]
    again = calibration_crops(str(video), pose_spec(), least=10, most=15, notify=quiet)
    np.testing.assert_array_equal(crops, again)


def test_too_few_people_and_sources_without_an_end_are_refused(tmp_path: Path, one_person: FixedDetector) -> None:
    video = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=12))
    with pytest.raises(SourceError, match=r"shows 12 people large enough to calibrate with, 13 are needed"):
        calibration_crops(str(video), pose_spec(), least=13, most=20, notify=quiet)
    with pytest.raises(SourceError, match="gone"):
        calibration_crops(str(tmp_path / "gone.mp4"), pose_spec(), least=1, most=2, notify=quiet)


def test_a_data_set_gives_its_labelled_people_of_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_detector(**_options: object) -> None:
        raise AssertionError("the labels give the boxes")

    monkeypatch.setattr(calibration, "open_detector", no_detector)
    data = write_people(tmp_path / "p")
    crops = calibration_crops(str(data), pose_spec(), least=6, most=20, notify=quiet)
    assert len(crops) == 6 and (crops.max(axis=(1, 2, 3)) > 200).all(), "the dots are in every crop"
    (data / "train" / "3.png").write_bytes(b"no picture")
    assert len(calibration_crops(str(data), pose_spec(), least=5, most=20, notify=quiet)) == 5
    (data / "train.json").write_text("[]")
    with pytest.raises(SourceError, match=r"train\.json is not a COCO keypoint file"):
        calibration_crops(str(data), pose_spec(), least=1, most=2, notify=quiet)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture(scope="module")
def graph(weights: Path) -> Path:
    """The small model in INT8, calibrated with a handful of crops, since only its structure matters here."""
    output = weights.with_name("made.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantize, "calibration_crops", lambda *_arguments, **_numbers: random_crops(100, seed=5))
        patch.setattr(quantize, "_refuse_if_bad", lambda _report: None)
        printed: list[str] = []
        spec = quantize.quantize_pose(weights, output, "some/people.mp4", printed.append)
    assert any("measuring the ranges" in line for line in printed) and any("keypoints" in line for line in printed)
    assert spec == read_spec(output)
    return output


def test_the_backbone_is_quantised_and_the_rest_is_not(weights: Path, graph: Path) -> None:
    spec = read_spec(graph)
    assert (spec.precision, spec.weights_sha256) == ("int8", sha256_of(weights))
    assert spec.made_with["calibrated"].endswith("crops of people.mp4")
    assert "within 1 px" in spec.made_with["against float32"]
    nodes = onnx.load(str(graph)).graph.node
    from_quantized = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    for node in nodes:
        own = bool(from_quantized & set(node.input))
        if node.op_type in ("Conv", "ConvTranspose") and node.name.startswith(("/model/layer", "/model/deconv")):
            assert own, f"{node.name} is left in float"
        if node.name.startswith(("/model/kcam", "/model/final_layer")) and node.op_type in ("Conv", "MatMul", "Div"):
            constants = [name for name in node.input if name in from_quantized and "kcam" in name]
            assert not constants, f"{node.name} has weights in eight bits"
    assert graph.stat().st_size < weights.stat().st_size, "a byte a weight, where the weights file has two"


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_both_runtimes_run_the_same_graph(name: str, weights: Path, graph: Path) -> None:
    crops = random_crops(6, seed=77)
    maps = ("heatmaps", "areas", "attention")
    with open_pose_backend(weights, backend="torch", precision="fp32").backend as plain:
        outputs = plain.infer({"crops": crops}, maps)
    for precision in ("int8", "auto"):
        with open_pose_backend(graph, backend=name, precision=precision, threads=1).backend as backend:
            assert backend.precision == "int8"
            found = backend.infer({"crops": crops}, ("keypoints", *maps))
    assert found["keypoints"].shape == (6, 4, 3)
    for wanted in maps:
        difference = float(np.abs(found[wanted] - outputs[wanted]).mean())
        assert 0 < difference < 0.25 * float(outputs[wanted].std()), f"{wanted}: near float32, and not float32 itself"
    np.testing.assert_allclose(found["attention"].sum(axis=1), 1, atol=1e-3)
    with pytest.raises(BackendError, match="int8"):
        open_pose_backend(graph, backend=name, precision="fp32")


def copied(graph: Path, output: Path, digest: str) -> None:
    output.write_bytes(graph.read_bytes())
    spec = read_spec(graph)
    write_spec(output, type(spec).from_dict({**spec.to_dict(), "weights_sha256": digest}))


def test_it_is_built_once_and_cached(
    weights: Path, graph: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def copy_instead(arguments: list[str], _notify: object) -> Path:
        calls.append(arguments)
        copied(graph, Path(arguments[arguments.index("--output") + 1]), sha256_of(weights))
        return graph

    monkeypatch.setattr("engine.artifacts.compiler.run_build", copy_instead)
    with pytest.raises(BackendError, match=r"--pose-model .*small\.safetensors .*--precision int8 --calibrate"):
        find_int8(weights)
    first = ensure_int8(weights, "a.mp4")
    assert calls[0][calls[0].index("--precision") + 1] == "int8"
    assert find_int8(weights) == first == ensure_int8(weights, "a.mp4") and len(calls) == 1
    second = ensure_int8(weights, "b.mp4")
    assert second != first and not first.exists() and find_int8(weights) == second
    assert ensure_int8(weights, "b.mp4", force=True) != second and len(calls) == 3
    assert len(list((own_cache / "onnx").iterdir())) == 1
    with open_pose_backend(weights, backend="openvino", precision="int8", threads=1).backend as backend:
        assert backend.spec.precision == "int8"
    with pytest.raises(ModelError, match=r"a \.safetensors file was expected"):
        ensure_int8(graph, "a.mp4")


def test_a_graph_beside_the_weights_is_used(
    weights: Path, graph: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "w.safetensors"
    mine.write_bytes(weights.read_bytes())
    beside = tmp_path / f"w{model_files.INT8_SUFFIX}"
    copied(graph, beside, sha256_of(mine))
    assert find_int8(mine) == beside
    monkeypatch.setattr(model_files, "WEIGHTS_DIR", tmp_path)
    assert model_files.bundled_detectors() == (), "it is no detector"
    copied(graph, beside, "0" * 64)  # of other weights
    with pytest.raises(BackendError, match="has not been made into an INT8 graph"):
        find_int8(mine)
    spec_path(beside).unlink()
    with pytest.raises(BackendError, match="has not been made into an INT8 graph"):
        find_int8(mine)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"keypoints": 0}, "finds no clear keypoint"),
        ({"similarity": 0.9}, "loses too much accuracy in INT8"),
        ({"beyond_4px": 0.2}, "loses too much accuracy in INT8"),
    ],
)
def test_a_deviating_graph_is_not_kept(values: dict[str, float], message: str) -> None:
    good = {"keypoints": 300, "within_1px": 0.8, "beyond_4px": 0.004, "similarity": 0.985}
    fields: dict[str, object] = {**good, "attention_max_error": None, "attention_mean_error": None}
    quantize._refuse_if_bad(ParityReport(**fields))  # type: ignore[arg-type]
    with pytest.raises(BackendError, match=message):
        quantize._refuse_if_bad(ParityReport(**{**fields, **values}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pose-model", "kcam_resnet18", "--precision", "int8"], "--calibrate VIDEO|FOLDER"),
        (["--detector", "x.onnx", "--precision", "int8"], "--calibrate VIDEO|FOLDER"),
        (["--pose-model", "kcam_resnet18", "--calibrate", "a.mp4"], "--calibrate is for --precision int8"),
        (["--pose-model", "kcam_resnet18", "--precision", "fp16"], "in fp32 and int8, not in fp16"),
    ],
)
def test_invalid_builds_are_one_line(arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["build", *arguments]) == 2
    out, err = capfd.readouterr()
    assert message in err and err.count("\n") == 1
    assert out == "", "words, and no JSON, unless it is asked for"
    assert main(["build", "--json", *arguments]) == 2
    out, err = capfd.readouterr()
    assert json.loads(out.splitlines()[-1])["kind"] == OptionError.__name__
