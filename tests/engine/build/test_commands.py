"""list, check and clean, and one-line errors."""

from __future__ import annotations

import dataclasses
import errno
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from engine import __main__ as command_line
from engine.__main__ import as_shipped
from engine.artifacts import engine_cache, folders
from engine.artifacts.compiler import ensure_onnx
from engine.artifacts.engine_file import parts_of, read_engine, read_record, record_path
from engine.artifacts.model_spec import read_spec, sha256_of, spec_path, write_spec
from engine.backends import open_pose_backend
from engine.build import engine_build, parity_gate
from engine.build.engine_build import EngineOrder
from engine.build.options import BuildOptions, check_build
from engine.errors import BackendError, EngineError, ModelError, OptionError, OutputError
from tests.engine import standin_tensorrt
from tests.engine.conftest import ADA
from tests.engine.engine_orders import Use, build, distort_attention

pytestmark = pytest.mark.usefixtures("one_thread", "export_once")


@pytest.mark.usefixtures("own_cache", "quick")
@pytest.mark.parametrize("damage", ["cut", "no spec", "no record", "foreign record"])
def test_a_damaged_engine_is_not_passed_to_the_runtime(damage: str, small_weights: Path, use_gpu: Use) -> None:
    use_gpu()
    file, _ = build(small_weights)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-1000])
    elif damage == "no spec":
        spec_path(file).unlink()
    elif damage == "no record":
        record_path(file).unlink()
    else:
        record_path(file).write_text(
            record_path(file).read_text().replace('"weights_sha256": "', '"weights_sha256": "0')
        )
    seen = standin_tensorrt.Runtime.seen
    with pytest.raises(EngineError, match="python -m engine build") as caught:
        open_pose_backend(small_weights, backend="tensorrt")
    assert "\n" not in str(caught.value)
    named = file.with_name("named.engine")
    for source, target in zip(parts_of(file), parts_of(named), strict=True):
        if source.exists():
            shutil.copy(source, target)
    with pytest.raises(ModelError, match="build it again"):
        list(command_line_check(named))
    assert standin_tensorrt.Runtime.seen == seen
    again, lines = build(small_weights)
    read_engine(again)
    assert lines[0].startswith("building small")


def command_line_check(file: Path) -> Iterator[str]:
    from engine.build.commands import check_engine

    return check_engine(file, None, None, lambda _line: None)


@pytest.mark.usefixtures("quick")
def test_no_disk_space_leaves_nothing_behind(
    own_cache: Path, small_weights: Path, use_gpu: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_gpu()
    write_bytes = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        if self.suffix == ".engine":
            write_bytes(self, content[:100])
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return write_bytes(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=r"No space left on device.*MiB are needed"):
        build(small_weights)
    assert not list(own_cache.rglob("*.part"))
    assert not list(own_cache.rglob("*.engine"))


def test_a_build_refused_by_the_package_reports_its_message(own_cache: Path, small_weights: Path, use_gpu: Use) -> None:
    use_gpu()
    standin_tensorrt.Builder.fail_with = "no tactic\nfor layer 7"
    with pytest.raises(BackendError, match="could not compile the network: no tactic for layer 7"):
        build(small_weights)
    assert not list(own_cache.rglob("*.engine"))


@pytest.mark.usefixtures("own_cache", "short_gate")
def test_list_check_and_clean(
    small_weights: Path, tmp_path: Path, use_gpu: Use, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["list"]) == 0
    assert "nothing has been built yet" in capfd.readouterr().out
    use_gpu()
    build_it = ["build", "--pose-model", str(small_weights), "--runtime", "tensorrt", "--max-people", "4"]
    assert command_line.main([*build_it, "--output", str(tmp_path / "out.engine")]) == 0
    read_engine(tmp_path / "out.engine")
    capfd.readouterr()
    assert command_line.main(["list"]) == 0
    listed = capfd.readouterr().out
    for part in ("small", "tensorrt 10.13.0", "fp16", "sm89 (Stand-in RTX 4070)", "up to 4 people", "passed:"):
        assert part in listed
    assert command_line.main(["check", str(tmp_path / "out.engine")]) == 0
    checked = capfd.readouterr().out
    assert "kcam_resnet18 passed:" in checked
    assert "batch 1:" in checked
    assert "batch 4:" in checked
    standin_tensorrt.Context.sabotage = distort_attention
    assert command_line.main(["check", str(tmp_path / "out.engine")]) == 2
    captured = capfd.readouterr()
    assert "attention: off by" in captured.err
    assert read_record(tmp_path / "out.engine").state == "failed"
    assert command_line.main(["clean", "--yes"]) == 0
    assert "MiB freed" in capfd.readouterr().out
    assert list(engine_cache.entries()) == []


@pytest.mark.usefixtures("own_cache")
def test_an_exported_graph_is_compared_with_its_weights(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parity_gate, "LEAST_KEYPOINTS", 30)
    weights, graph = tmp_path / "mine.safetensors", tmp_path / "out" / "graph.onnx"
    shutil.copy(small_weights, weights)
    graph.parent.mkdir()
    assert command_line.main(["build", "--pose-model", str(weights), "--output", str(graph)]) == 0
    assert command_line.main(["check", str(graph)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert "on openvino passed:" in lines[1] and "on onnxruntime passed:" in lines[2]
    moved = weights.rename(tmp_path / "moved.safetensors")
    assert command_line.main(["check", str(graph)]) == 2
    assert f"not here any more ({weights}); name them with --weights" in capfd.readouterr().err
    spec, proto = read_spec(graph), onnx.load(str(graph))
    for tensor in proto.graph.initializer:
        if len(tensor.dims) == 4:
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * 0.9, tensor.name))
    onnx.save(proto, str(graph))
    spec = dataclasses.replace(spec, file_sha256=sha256_of(graph))
    write_spec(graph, spec)
    assert command_line.main(["check", str(graph), "--weights", str(moved)]) == 2
    captured = capfd.readouterr()
    assert "on openvino failed: " in captured.out
    assert "graph.onnx deviates from float32 on openvino and onnxruntime" in captured.err


def test_exported_graphs_are_listed_and_cleaned_with_the_engines(
    own_cache: Path, small_weights: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    graph = ensure_onnx(small_weights)
    torn = own_cache / "onnx" / f"torn-{'0' * 32}-g1"
    torn.mkdir()
    (torn / "torn.onnx").write_bytes(b"half")
    assert command_line.main(["list"]) == 0
    *shipped_lines, first, second = capfd.readouterr().out.splitlines()
    shipped = next(line for line in shipped_lines if line.startswith("kcam_resnet18"))
    assert "M parameters, " in shipped and "GFLOPs" in shipped
    assert first.split()[:4] == ["small", "onnx", "fp32", "96x64"] and first.endswith(str(graph))
    assert second.startswith(f"{torn.name}  damaged: ")
    assert command_line.main(["clean", "--yes"]) == 0
    assert command_line.main(["list"]) == 0
    assert "nothing has been built yet" in capfd.readouterr().out


def test_an_unknown_option_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.main(["build", "--nonsense"])
    assert ended.value.code == 2
    assert capfd.readouterr().err.splitlines() == [
        "error: unrecognized arguments: --nonsense (see python -m engine --help)"
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--runtime", "tensort"], "Did you mean 'tensorrt'"),
        (["--runtime", "tensorrt", "--precision", "int8"], "fp16 and fp32, not in int8"),
        (["--runtime", "tensorrt", "--target", "sm89"], "--target is for --runtime tensorrt-rtx"),
        (["--runtime", "tensorrt-rtx", "--max-people", "0"], "--max-people is 0"),
        (["--runtime", "torch2trt", "--with-crop"], "--with-crop is for"),
        (["--runtime", "onnx", "--precision", "fp16"], "exports in fp32"),
        (["--max-people", "0"], "--max-people is for --runtime tensorrt"),
        (["--runtime", "openvino", "--with-crop"], "not for openvino"),
        (["--runtime", "openvino", "--precision", "int8"], "int8 needs images of people"),
        (["--one-to-many"], "--one-to-many needs --detector"),
        (["--runtime", "tensorrt", "--detector", "x.pt", "--input-size", "320"], "--input-size is for an export"),
        (["--runtime", "tensorrt", "--max-frame", "1280"], "--max-frame needs --with-crop"),
        (["--sha256", "0" * 64], "--sha256 needs --fetch-detector"),
        (["--fetch-detector", "yolo26n.pt"], "only downloads: leave --pose-model out"),
        (["--runtime", "tensorrt"], "no NVIDIA GPU"),
        (["--runtime", "tensorrt-rtx"], "--target sm75"),
    ],
)
@pytest.mark.usefixtures("own_cache")
def test_bad_input_is_one_line_and_code_2(
    options: list[str],
    message: str,
    small_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for rtx in (False, True):
        made = standin_tensorrt.module(rtx=rtx)
        monkeypatch.setitem(sys.modules, made.__name__, made)
    monkeypatch.setattr(engine_build, "gpu", lambda: None)
    monkeypatch.setattr(engine_build, "why_no_cuda", lambda: "no NVIDIA GPU with a working driver was found")
    assert command_line.main(["build", "--pose-model", str(small_weights), *options]) == 2
    captured = capfd.readouterr()
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1


def test_models_that_do_not_exist_are_named(
    small_weights: Path, own_cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for arguments, message in (
        (["--pose-model", "kcam_resnet1"], "unknown pose model 'kcam_resnet1'"),
        (["--detector", "yolo99"], "unknown detector 'yolo99'"),
        ([], "name what to build"),
        (["--pose-model", str(small_weights), "--detector", "x", "--output", "y"], "--output is one file"),
    ):
        assert command_line.main(["build", *arguments, "--runtime", "tensorrt-rtx"]) == 2
        assert message in capfd.readouterr().err
    assert command_line.main(["check", str(own_cache / "none.engine")]) == 2
    assert "none.engine does not exist; python -m engine list" in capfd.readouterr().err
    assert not own_cache.exists()


def test_an_existing_file_is_not_replaced_without_force(
    small_weights: Path,
    own_cache: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights = tmp_path / "my.safetensors"
    shutil.copy(small_weights, weights)
    kept = tmp_path / "kept.onnx"
    kept.write_bytes(b"precious")
    build_it = ["build", "--pose-model", str(weights), "--output"]
    for output, options, message in (
        (kept, [], "kept.onnx exists already"),
        (weights, [], "is the input itself"),
        (weights, ["--force"], "is the input itself"),
    ):
        assert command_line.main([*build_it, str(output), *options]) == 2
        assert message in capfd.readouterr().err
    assert weights.read_bytes() == small_weights.read_bytes() and kept.read_bytes() == b"precious"
    assert command_line.main([*build_it, str(kept), "--force"]) == 0
    assert kept.stat().st_size > 1000

    def on_a_full_disk(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(onnx, "save", on_a_full_disk)
    assert command_line.main([*build_it, str(kept), "--force"]) == 2
    assert "No space left on device" in capfd.readouterr().err
    read_spec(kept)  # the one before is whole


def test_deviations_are_reported(small_weights: Path) -> None:
    key = engine_build._key(
        EngineOrder(model=small_weights, runtime="tensorrt"), standin_tensorrt.module(), ADA, None
    )  # fmt: skip
    assert key.difference(key) is None
    assert (
        dataclasses.replace(key, system="win32-amd64").difference(key)
        == "it was built on win32-amd64, this is " + key.system
    )
    assert dataclasses.replace(key, max_people=32).difference(key) is None
    assert folders.cache_dir() is not None
    with pytest.raises(OptionError, match="64 to 8192"):
        EngineOrder(model=small_weights, runtime="tensorrt", max_frame=9)


def test_the_exported_form_is_written_over_itself_with_force_alone() -> None:
    """It stands beside the weights under their name, and is none of the inputs."""
    check_build(as_shipped(BuildOptions(shipped=True, force=True)))
    with pytest.raises(OutputError, match=r"exists already.*--force"):
        check_build(as_shipped(BuildOptions(shipped=True)))
