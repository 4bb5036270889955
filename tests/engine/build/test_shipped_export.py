"""The exported form of the default network that ships: it is what its weights give, and it is what runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine.__main__ import main as engine_command
from engine.artifacts import compiler, model_files
from engine.artifacts.compiler import ensure_onnx
from engine.artifacts.folders import WEIGHTS_DIR
from engine.artifacts.int8_files import shipped_int8
from engine.artifacts.model_files import resolve_pose_model, shipped_export
from engine.artifacts.model_spec import GRAPH_VERSION, read_spec, sha256_of
from engine.backends import OpenOptions, open_pose_backend
from engine.backends.onnxruntime import OnnxRuntimeBackend
from engine.backends.openvino import OpenVinoBackend
from engine.build.parity_gate import compare_pose, shipped_photos
from engine.errors import BackendError, EngineError, OptionError, OutputError
from engine.geometry import boxes_to_affines, warp_crops

REMAKE = "make exported"
MOST_BYTES = 80_000_000


@pytest.fixture(scope="module")
def shipped() -> tuple[Path, Path]:
    """The default network's weights and their exported form."""
    weights = resolve_pose_model()
    file = shipped_export(weights)
    assert file is not None and file.is_file(), REMAKE
    return weights, file


def test_the_exported_form_is_made_from_the_weights_that_ship(shipped: tuple[Path, Path]) -> None:
    weights, file = shipped
    spec = read_spec(file)
    assert spec.weights_sha256 == sha256_of(weights) and spec.graph_version == GRAPH_VERSION, REMAKE


@pytest.mark.parametrize("kind", [OnnxRuntimeBackend, OpenVinoBackend])
def test_it_computes_what_the_weights_compute(
    kind: type[OnnxRuntimeBackend | OpenVinoBackend], shipped: tuple[Path, Path], photo_paths: list[Path]
) -> None:
    weights, file = shipped
    with kind(file, OpenOptions(precision="fp32")) as backend:
        report = compare_pose(backend, weights, shipped_photos())
    # Weights in float16 move a keypoint by far less than a pixel; single pixels of a sharp attention move further.
    assert report.failures("fp32", attention_tolerance=0.05) == [], (report, REMAKE)
    assert report.attention_mean_error is not None and report.attention_mean_error < 0.0005


def test_it_is_used_and_nothing_is_built(
    shipped: tuple[Path, Path], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "run_build", lambda *_arguments: pytest.fail("something was built"))
    assert ensure_onnx(shipped[0]) == shipped[1]
    assert not own_cache.exists()
    assert shipped[1].stem not in model_files.bundled_detectors()


@pytest.fixture(scope="module")
def shipped_in_int8(shipped: tuple[Path, Path]) -> Path:
    """The INT8 graph of the default network."""
    file = shipped_int8(shipped[0])
    assert file is not None, f"{REMAKE}, and with --precision int8 --calibrate: none ships, or it is of other weights"
    return file


def test_the_int8_graph_finds_the_keypoints_of_the_weights(shipped: tuple[Path, Path], shipped_in_int8: Path) -> None:
    with OpenVinoBackend(shipped_in_int8, OpenOptions(precision="int8")) as backend:
        report = compare_pose(backend, shipped[0], shipped_photos())
    assert report.failures("int8") == [], report


def test_looking_at_the_attention_changes_no_keypoint_and_shows_that_of_the_float_graph(
    shipped: tuple[Path, Path], shipped_in_int8: Path, photo_paths: list[Path]
) -> None:
    photo = shipped_photos()[0]
    size = read_spec(shipped[1]).input_size_wh
    crops = {"crops": warp_crops(photo.image_bgr, boxes_to_affines(photo.boxes_xyxy, size), size)}
    with (
        open_pose_backend(shipped[0], backend="openvino", precision="int8").backend as backend,
        OpenVinoBackend(shipped[1], OpenOptions(precision="auto")) as in_float,
        OpenVinoBackend(shipped_in_int8, OpenOptions(precision="int8")) as in_int8,
    ):
        alone = backend.infer(crops, ("keypoints",))
        together = backend.infer(crops, ("keypoints", "areas", "attention"))
        expected = in_float.infer(crops, ("areas", "attention"))
        coarse = in_int8.infer(crops, ("attention",))
    np.testing.assert_array_equal(alone["keypoints"], together["keypoints"])
    for name, values in expected.items():
        np.testing.assert_allclose(together[name], values, atol=1e-4)
    assert np.abs(coarse["attention"] - expected["attention"]).max() > 0.01, "else one graph would do"


@pytest.mark.parametrize(
    ("features", "runtime", "expected"),
    [
        (("avx2", "avx512f", "avx512_vnni"), "openvino", {"int8"}),
        (("avx2", "avx512f", "avx512_vnni"), "onnxruntime", {"fp32"}),
        (("avx2", "avx512f", "avx512_vnni", "avx512_bf16"), "openvino", {"int8"}),
        (("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"), "openvino", {"fp32", "bf16"}),
        (("avx2",), "openvino", {"fp32", "bf16"}),
        ((), "openvino", {"fp32", "bf16"}),
    ],
)
def test_auto_takes_int8_where_it_was_measured_to_be_faster(
    features: tuple[str, ...], runtime: str, expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.backends.int8.processor", lambda: ("a processor", features))
    with open_pose_backend(backend=runtime).backend as backend:
        assert backend.precision in expected
    with open_pose_backend(backend=runtime, precision="fp32").backend as backend:
        assert backend.precision == "fp32", "what is requested by name is what runs"


@pytest.mark.parametrize(
    "error",
    [BackendError("exporting it needs PyTorch"), OutputError("the cache cannot be written")],
    ids=["export", "cache"],
)
def test_without_the_float_graph_the_maps_are_those_of_int8_and_that_is_told(
    error: EngineError, shipped: tuple[Path, Path], shipped_in_int8: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_arguments: object, **_options: object) -> Path:
        raise error

    monkeypatch.setattr("engine.backends.int8.ensure_onnx", missing)
    told: list[str] = []
    width, height = read_spec(shipped[1]).input_size_wh
    crops = np.zeros((1, height, width, 3), np.uint8)
    with open_pose_backend(shipped[0], backend="openvino", precision="int8", notify=told.append).backend as backend:
        for _ in range(2):
            assert set(backend.infer({"crops": crops}, ("keypoints", "attention"))) == {"keypoints", "attention"}
    assert told == [f"attention is computed in INT8, less exactly: {error}"]


@pytest.fixture
def small_shipped(small_weights: Path, small_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights in which a small network ships in both forms."""
    for file in (small_weights, small_onnx, small_onnx.with_name("small.onnx.spec.json")):
        shutil.copy(file, tmp_path)
    monkeypatch.setattr(model_files, "WEIGHTS_DIR", tmp_path)
    return tmp_path / "small.safetensors"


@pytest.mark.parametrize("change", ["damage", "weights"])
def test_one_that_does_not_fit_is_skipped_and_the_reason_is_told(
    change: str, small_shipped: Path, own_cache: Path
) -> None:
    assert ensure_onnx(small_shipped) == small_shipped.with_suffix(".onnx")
    if change == "damage":
        with small_shipped.with_suffix(".onnx").open("ab") as exported:
            exported.write(b"x")
    else:
        from safetensors import safe_open
        from safetensors.numpy import save_file

        with safe_open(small_shipped, "numpy") as opened:
            tensors, notes = {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata()  # noqa: SIM118
        name = next(name for name, values in tensors.items() if np.issubdtype(values.dtype, np.floating))
        save_file({**tensors, name: tensors[name] + 1}, small_shipped, metadata=notes)
    told: list[str] = []
    file = ensure_onnx(small_shipped, notify=told.append)
    assert own_cache in file.parents
    assert "small.onnx, which ships with it, is " in told[0]


def test_exports_of_other_folders_are_not_taken(small_shipped: Path, own_cache: Path, tmp_path: Path) -> None:
    """Weights are safe to open wherever they come from; a graph that lies beside them is not."""
    other = tmp_path / "other"
    other.mkdir()
    for file in tmp_path.glob("small.*"):
        shutil.copy(file, other)
    assert own_cache in ensure_onnx(other / "small.safetensors").parents


def test_the_command_makes_the_same_file_again(small_shipped: Path, tmp_path: Path) -> None:
    (tmp_path / "default.json").write_text('{"pose_model": "small", "detector": "none"}')
    exported = small_shipped.with_suffix(".onnx")
    assert engine_command(["build", "--shipped"]) == 2, "it is there already"
    made = []
    for _ in range(2):
        assert engine_command(["build", "--shipped", "--force"]) == 0
        made.append(exported.read_bytes())
    assert made[0] == made[1]
    spec = read_spec(exported)
    assert spec.weights_sha256 == sha256_of(small_shipped)
    assert ensure_onnx(small_shipped) == exported


@pytest.mark.parametrize(
    "arguments",
    [
        ["--shipped", "--output", "x.onnx"],
        ["--shipped", "--precision", "bf16"],
        ["--pose-model", "kcam_resnet18", "--half-weights"],
        ["--pose-model", "kcam_resnet18", "--half-weights", "--output", "x.engine", "--runtime", "tensorrt"],
    ],
)
def test_options_that_would_be_ignored_are_refused(arguments: list[str], tmp_path: Path) -> None:
    from engine.__main__ import build, build_parser
    from engine.build.options import BuildOptions

    given = vars(build_parser().parse_args(["build", *arguments]))
    given.pop("command")
    with (tmp_path / "events").open("w") as events, pytest.raises(OptionError, match=r"--shipped|--half-weights"):
        build(BuildOptions(**given), events)


def test_what_ships_stays_small() -> None:
    total = sum(file.stat().st_size for file in WEIGHTS_DIR.iterdir())
    assert total < MOST_BYTES * 0.9, "all tracked files together stay under 80 MB"


def test_no_file_that_ships_names_a_path_of_the_machine_that_made_it() -> None:
    specs = sorted(WEIGHTS_DIR.glob("*.spec.json"))
    assert len(specs) >= 4
    for spec in specs:
        recorded = json.loads(spec.read_text())["made_with"].get("weights", "")
        assert recorded == Path(recorded).name, f"{spec.name} names {recorded}"
