"""The exported form of the default network that ships: it is what its weights give, and it is what runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from engine.__main__ import main as engine_command
from engine.artifacts import compiler, model_files
from engine.artifacts.compiler import ensure_onnx
from engine.artifacts.folders import WEIGHTS_DIR
from engine.artifacts.model_files import resolve_pose_model, shipped_export
from engine.artifacts.model_spec import GRAPH_VERSION, read_spec, sha256_of
from engine.backends import OpenOptions
from engine.backends.onnxruntime import OnnxRuntimeBackend
from engine.backends.openvino import OpenVinoBackend
from engine.build.parity_gate import compare_pose, shipped_photos
from engine.errors import OptionError

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


@pytest.fixture
def small_shipped(small_weights: Path, small_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights in which a small network ships in both forms."""
    for file in (small_weights, small_onnx, small_onnx.with_name("small.onnx.spec.json")):
        shutil.copy(file, tmp_path)
    monkeypatch.setattr(model_files, "WEIGHTS_DIR", tmp_path)
    return tmp_path / "small.safetensors"


@pytest.mark.parametrize("change", ["damage", "weights"])
def test_one_that_does_not_fit_is_passed_over_and_the_reason_is_told(
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
