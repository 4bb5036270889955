"""The export and its cache: built once, completely or not at all, in a child process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import onnx
import pytest

from engine.artifacts import compiler, folders, model_files
from engine.artifacts.compiler import ensure_onnx, run_build
from engine.artifacts.model_spec import GRAPH_VERSION, read_spec, sha256_of, spec_path
from engine.errors import BackendError, ModelError, OptionError, OutputError
from tests.engine.small_pose_model import SKELETON, write_small_model

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture(scope="module")
def built_cache(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    """A cache in which the small model has been built once, from another working folder."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(folders.CACHE_VARIABLE, str(cache))
        patch.chdir(cache)
        lines: list[str] = []
        ensure_onnx(weights, notify=lines.append)
        assert lines == ["preparing small for this machine, once: exporting it to ONNX"]
    return cache


@pytest.fixture
def cache(built_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(folders.CACHE_VARIABLE, str(built_cache))
    return built_cache


def test_the_graph_is_clean_and_open_in_the_number_of_people(cache: Path, weights: Path) -> None:
    file = ensure_onnx(weights)
    spec = read_spec(file)
    assert (spec.kind, spec.name, spec.precision) == ("pose", "kcam_resnet18", "fp32")
    assert spec.skeleton == SKELETON
    assert (spec.weights_sha256, spec.graph_version) == (sha256_of(weights), GRAPH_VERSION)
    graph = onnx.load(str(file)).graph
    for value, tensor in [*zip(graph.input, spec.inputs, strict=True), *zip(graph.output, spec.outputs, strict=True)]:
        shape = tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim)
        assert (value.name, shape) == (tensor.name, tensor.shape)
    # TensorRT takes a uint8 input into nothing but a cast.
    assert [node.op_type for node in graph.node if "crops" in node.input] == ["Cast"]
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("ArgMax") == 1
    assert "BatchNormalization" not in kinds, "batch norms belong into the convolutions"
    # One for the picture, one for F in equation 1, and what the small (K, C) products need.
    assert kinds.count("Transpose") <= 5
    assert not {"If", "Loop", "Shape", "NonZero"} & set(kinds)


def test_a_cached_file_is_used_without_a_message(cache: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_build(*_arguments: object) -> Path:
        raise AssertionError("built again")

    monkeypatch.setattr(compiler, "run_build", no_build)
    lines: list[str] = []
    file = ensure_onnx(weights, notify=lines.append)
    assert lines == []
    assert ensure_onnx(file) == file


def test_force_rebuilds_and_keeps_the_old_file_until_then(
    cache: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ensure_onnx(weights)
    content, spec = file.read_bytes(), spec_path(file).read_bytes()

    def build_a_longer_one(arguments: list[str], _notify: object) -> Path:
        assert ensure_onnx(weights) == file
        output = Path(arguments[arguments.index("--output") + 1])
        output.write_bytes(content + b"more")
        spec_path(output).write_bytes(json.dumps(json.loads(spec) | {"file_sha256": sha256_of(output)}).encode())
        return output

    monkeypatch.setattr(compiler, "run_build", build_a_longer_one)
    assert ensure_onnx(weights, force=True) == file
    assert file.read_bytes() == content + b"more"
    assert [path.name for path in file.parent.parent.iterdir()] == [file.parent.name], "nothing is left over"
    file.write_bytes(content)
    spec_path(file).write_bytes(spec)


@pytest.mark.parametrize("damage", ["cut", "no spec", "old graph", "other weights"])
def test_damaged_and_stale_files_are_rebuilt(
    damage: str, cache: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = ensure_onnx(weights)
    whole = {path: path.read_bytes() for path in (file, spec_path(file))}
    spec = json.loads(whole[spec_path(file)])
    if damage == "cut":
        file.write_bytes(whole[file][:-100])
    elif damage == "no spec":
        spec_path(file).unlink()
    else:
        change = {"graph_version": GRAPH_VERSION - 1} if damage == "old graph" else {"weights_sha256": "0" * 64}
        spec_path(file).write_text(json.dumps(spec | change))

    def copy_instead(arguments: list[str], _notify: object) -> Path:
        output = Path(arguments[arguments.index("--output") + 1])
        output.write_bytes(whole[file])
        spec_path(output).write_bytes(whole[spec_path(file)])
        return output

    monkeypatch.setattr(compiler, "run_build", copy_instead)
    lines: list[str] = []
    assert ensure_onnx(weights, notify=lines.append) == file
    assert len(lines) == 1
    assert ("out of date" if damage in ("old graph", "other weights") else "damaged") in lines[0]
    assert {path: path.read_bytes() for path in whole} == whole
    assert [path.name for path in file.parent.parent.iterdir()] == [file.parent.name], "nothing is left over"


def test_concurrent_builds_of_the_same_file_do_not_collide(
    weights: Path, built_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = next((built_cache / "onnx").glob("small-*")) / "small.onnx"
    monkeypatch.setenv(folders.CACHE_VARIABLE, str(tmp_path))
    both_are_here = threading.Barrier(2, timeout=30)

    def copy_instead(arguments: list[str], _notify: object) -> Path:
        output = Path(arguments[arguments.index("--output") + 1])
        output.write_bytes(made.read_bytes())
        spec_path(output).write_bytes(spec_path(made).read_bytes())
        both_are_here.wait()
        return output

    monkeypatch.setattr(compiler, "run_build", copy_instead)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(ensure_onnx(weights))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] == found[1]
    read_spec(found[0])
    assert len(list((tmp_path / "onnx").iterdir())) == 1


def test_a_failing_build_leaves_no_file_and_reports_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(folders.CACHE_VARIABLE, str(tmp_path / "cache"))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{not json at all}")
    with pytest.raises(ModelError, match=r"broken\.safetensors"):
        ensure_onnx(broken)
    assert list((tmp_path / "cache" / "onnx").iterdir()) == []


def test_a_crashed_child_is_an_error_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="ended with code 2"):
        run_build(["--no-such-option"])


def test_a_cache_that_cannot_be_written_is_one_line(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(folders.CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot be written"):
        ensure_onnx(weights)


def test_the_command_line_ends_with_one_line_and_code_2(tmp_path: Path) -> None:
    for arguments, message in (
        (["--pose-model", "kcam_resnet1"], "unknown pose model 'kcam_resnet1'"),
        (["--pose-model", "x", "--runtime", "tensorflow"], "--runtime tensorflow"),
        (["--detector", str(tmp_path / "none.pt")], "does not exist"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "engine", "build", "--json", *arguments],
            cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONUTF8": "1"},
        )  # fmt: skip
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert json.loads(done.stdout.splitlines()[-1])["event"] == "error"


def test_names_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "WEIGHTS_DIR", tmp_path)
    (tmp_path / "kcam_resnet18.safetensors").write_bytes(b"x")
    (tmp_path / "people.onnx").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty.safetensors").touch()
    assert model_files.resolve_pose_model("kcam_resnet18") == tmp_path / "kcam_resnet18.safetensors"
    assert model_files.find_detector("people") == tmp_path / "people.onnx"
    for text, message in (
        ("kcam_resnet19", "Did you mean 'kcam_resnet18'"),
        (tmp_path / "notes.txt", "is not a pose model"),
        (tmp_path / "empty.safetensors", "is empty"),
        (tmp_path / "old.pth", "pickled"),
        (tmp_path / "gone.safetensors", "does not exist"),
    ):
        with pytest.raises(ModelError, match=message):
            model_files.resolve_pose_model(text)
    with pytest.raises(ModelError, match="--download"):
        model_files.find_detector("yolo26n")
    with pytest.raises(ModelError, match=r"default\.json"):
        model_files.default_models()
    (tmp_path / "default.json").write_text('{"pose_model": "kcam_resnet18", "detector": "people", "precision": "auto"}')
    assert model_files.resolve_pose_model().stem == "kcam_resnet18"
    assert model_files.find_detector().stem == "people"


def test_an_error_of_the_child_keeps_its_kind() -> None:
    with pytest.raises(OptionError, match="tensorflow"):
        run_build(["--pose-model", "x", "--runtime", "tensorflow"])


def test_the_child_has_the_cache_of_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It works in another folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(folders.CACHE_VARIABLE, "relative")
    monkeypatch.setenv(folders.OFFLINE_VARIABLE, "1")
    with pytest.raises(ModelError) as caught:
        run_build(["--fetch-detector", "yolo26n.pt"])
    assert str(tmp_path / "relative" / "downloads" / "yolo26n.pt") in str(caught.value)
