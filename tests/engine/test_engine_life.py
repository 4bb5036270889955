"""The life of an engine: built, checked, found again, grown stale, refused, cleaned away; on a stand-in for the GPU."""

from __future__ import annotations

import dataclasses
import errno
import shutil
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from engine import __main__ as command_line
from engine import engine_build, engine_cache, model_files, parity_gate
from engine.backends import Backend, open_pose_backend
from engine.backends.cuda_driver import Gpu
from engine.background_build import BackgroundBuild, SwappingBackend
from engine.detector import open_detector
from engine.engine_build import EngineOrder, build_engine
from engine.engine_file import parts_of, read_engine, read_record, record_path
from engine.errors import BackendError, EngineError, ModelError, OptionError, OutputError
from engine.file_lock import file_lock
from engine.model_spec import ModelSpec, TensorSpec, read_spec, sha256_of, spec_path
from engine.onnx_export import OPSET, export_pose, save_with_spec
from engine.types import UInt8Array
from tests.engine import standin_tensorrt
from tests.engine.conftest import ADA
from tests.engine.small_pose_model import random_crops, write_small_model

HOPPER = Gpu(name="Stand-in H200", compute_capability=(9, 0))
Use = Callable[..., None]
SEPARATOR = b"-- here the spec begins --"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Several threads wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def exports() -> dict[tuple[object, ...], bytes]:
    """Graphs that were exported already, by what they were exported from."""
    return {}


@pytest.fixture(autouse=True)
def export_once(exports: dict[tuple[object, ...], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """The export is the slow part of a build on a stand-in, and not what these tests are about."""

    def export(weights: Path, output: Path, **options: object) -> ModelSpec:
        key = (sha256_of(weights), *sorted(options.items()))
        if key not in exports:
            export_pose(weights, output, **options)  # type: ignore[arg-type]
            exports[key] = output.read_bytes() + SEPARATOR + spec_path(output).read_bytes()
        graph, _, spec = exports[key].partition(SEPARATOR)
        output.write_bytes(graph)
        spec_path(output).write_bytes(spec)
        return read_spec(output)

    monkeypatch.setattr(engine_build, "export_pose", export)


@pytest.fixture
def short_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that is content with fewer keypoints, where the gate is not what a test is about."""
    monkeypatch.setattr(parity_gate, "LEAST_KEYPOINTS", 450)


def build(weights: Path, **fields: object) -> tuple[Path, list[str]]:
    lines: list[str] = []
    order = EngineOrder(model=weights, **{"runtime": "tensorrt", "max_people": 4, **fields})  # type: ignore[arg-type]
    return build_engine(order, lines.append), lines


def distort_attention(outputs: dict[str, np.ndarray]) -> None:
    outputs["attention"] += 0.05


def test_built_checked_and_found_again(own_cache: Path, small_weights: Path, use_gpu: Use) -> None:
    use_gpu()
    file, lines = build(small_weights)
    assert lines[0] == "building small for sm89 with tensorrt 10.13.0: no engine has been built for it"
    assert any("compiling: Building, 1 of 2" in line for line in lines)
    spec, record = read_engine(file)
    assert (record.state, spec.precision, record.key.gpu) == ("passed", "fp16", ADA.name)
    assert int(record.report.split()[0]) >= 1000, record.report
    assert "attention within 0.0" in record.report
    assert file.is_relative_to(own_cache)
    assert [path.name for path in file.parent.iterdir() if path not in parts_of(file)] == []
    built = standin_tensorrt.Builder.built
    assert build(small_weights) == (file, ["small.engine is there already"])
    assert standin_tensorrt.Builder.built == built

    with open_pose_backend(small_weights).backend as backend:
        assert (backend.name, backend.precision) == ("tensorrt", "fp16")
        keypoints = backend.infer({"crops": random_crops(9, 1)}, ["keypoints"])["keypoints"]
    with open_pose_backend(small_weights, backend="torch", device="cpu", precision="fp32").backend as truth:
        expected = truth.infer({"crops": random_crops(9, 1)}, ["keypoints"])["keypoints"]
    assert (np.abs(keypoints - expected)[..., :2].max(axis=-1) <= 1).mean() > 0.9


@pytest.mark.usefixtures("short_gate")
def test_an_engine_that_strays_is_kept_but_not_used(own_cache: Path, small_weights: Path, use_gpu: Use) -> None:
    use_gpu()
    standin_tensorrt.Context.sabotage = distort_attention
    with pytest.raises(BackendError, match=r"strays from float32: attention: off by 0\.05.*--precision fp32"):
        build(small_weights)
    standin_tensorrt.Context.sabotage = None
    (entry,) = engine_cache.entries()
    assert entry.record is not None
    assert entry.record.state == "failed"
    seen = standin_tensorrt.Runtime.seen
    with pytest.raises(BackendError, match="attention: off by"):
        open_pose_backend(small_weights, backend="tensorrt")
    with pytest.raises(BackendError, match="attention: off by"):
        build(small_weights)
    assert standin_tensorrt.Runtime.seen == seen, "nobody loads it again"
    # float32 is what is left, and `auto` takes it.
    build(small_weights, precision="fp32")
    with open_pose_backend(small_weights, backend="tensorrt").backend as backend:
        assert backend.precision == "fp32"


def _move_peaks(outputs: dict[str, np.ndarray]) -> None:
    outputs["keypoints"][..., 0] += 9


@pytest.mark.usefixtures("own_cache", "short_gate")
def test_the_message_names_the_output_that_strayed(small_weights: Path, use_gpu: Use) -> None:
    use_gpu()
    standin_tensorrt.Context.sabotage = _move_peaks
    with pytest.raises(BackendError, match=r"keypoints: .*off by more than 4 px") as caught:
        build(small_weights)
    assert "attention" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("own_cache", "short_gate")
def test_ahead_of_time_means_unchecked_until_the_first_load(
    small_weights: Path, use_gpu: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_gpu(rtx=True)
    monkeypatch.setattr(engine_build, "gpu", lambda: None)
    file, lines = build(small_weights, runtime="tensorrt-rtx", targets=("sm86", "sm89"))
    assert "stored unchecked" in lines[-1]
    assert read_record(file).state == "unchecked"
    told: list[str] = []
    with open_pose_backend(small_weights, backend="tensorrt_rtx", say=told.append).backend as backend:
        assert backend.name == "tensorrt_rtx"
    assert told == ["checking small.engine against float32, once"]
    assert read_record(file).state == "passed"
    with open_pose_backend(small_weights, backend="tensorrt_rtx", say=told.append).backend:
        assert len(told) == 1
    # A GPU of a kind that it was not built for.
    use_gpu(HOPPER, rtx=True)
    with pytest.raises(BackendError, match=r"built for sm86, sm89, not for sm90; python -m engine build --pose-model"):
        open_pose_backend(small_weights, backend="tensorrt_rtx")


@pytest.mark.usefixtures("own_cache", "short_gate")
def test_an_unchecked_engine_that_strays_does_not_pass_the_first_load(
    small_weights: Path, use_gpu: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_gpu(rtx=True)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(engine_build, "gpu", lambda: None)
        file, _ = build(small_weights, runtime="tensorrt-rtx", targets=("sm89",))
    standin_tensorrt.Context.sabotage = distort_attention
    with pytest.raises(BackendError, match="strays from float32: attention"):
        open_pose_backend(small_weights, backend="tensorrt_rtx")
    assert read_record(file).state == "failed"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that lets everything through unseen, for tests of what comes before and after it."""
    passed = parity_gate.Checked(state="passed", report="not looked at")
    monkeypatch.setattr(parity_gate, "check", lambda *_arguments: passed)


@pytest.mark.usefixtures("own_cache", "quick")
def test_a_stale_engine_is_rebuilt_and_the_reason_told(small_weights: Path, tmp_path: Path, use_gpu: Use) -> None:
    weights = Path(shutil.copy(small_weights, tmp_path / "mine.safetensors"))
    use_gpu()
    old, _ = build(weights)
    use_gpu(version="10.14.1")
    with pytest.raises(BackendError, match=r"built by tensorrt 10\.13\.0, 10\.14\.1 runs; python -m engine build"):
        open_pose_backend(weights, backend="tensorrt")
    new, lines = build(weights)
    assert lines[0].endswith("because it was built by tensorrt 10.13.0, 10.14.1 runs")
    assert not old.exists()
    write_small_model(weights, "resnet18")
    _, lines = build(weights)
    assert lines[0].endswith("because the weights have changed")
    assert not new.exists()
    assert len(list(engine_cache.entries())) == 1
    other_gpu = Gpu(name="Stand-in RTX 4090", compute_capability=(8, 9))
    use_gpu(other_gpu, version="10.14.1")
    _, lines = build(weights)
    assert lines[0].endswith("because it was built for Stand-in RTX 4070, this is Stand-in RTX 4090")
    assert len(list(engine_cache.entries())) == 2, "the other GPU may come back"
    _, lines = build(weights, max_people=8)
    assert lines[0].endswith("because it takes at most 4 people, 8 are wanted")


@pytest.mark.usefixtures("own_cache", "quick")
@pytest.mark.parametrize("damage", ["cut", "no spec", "no record", "foreign record"])
def test_a_damaged_engine_is_not_shown_to_the_runtime(damage: str, small_weights: Path, use_gpu: Use) -> None:
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
    from engine.engine_commands import check_engine

    return check_engine(file, None, None, lambda _line: None)


@pytest.mark.usefixtures("own_cache", "quick")
def test_two_that_build_the_same_build_it_once(small_weights: Path, use_gpu: Use) -> None:
    use_gpu()
    before = standin_tensorrt.Builder.built
    results: list[tuple[Path, list[str]]] = []
    threads = [threading.Thread(target=lambda: results.append(build(small_weights))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert standin_tensorrt.Builder.built == before + 1
    assert results[0][0] == results[1][0]
    assert results[1][1][-1] == "small.engine is there already"


def test_a_lock_that_is_held_is_waited_for(tmp_path: Path) -> None:
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        with file_lock(tmp_path / "a.lock", waiting.set):
            order.append("second")

    with file_lock(tmp_path / "a.lock"):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(20)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


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


@pytest.mark.usefixtures("own_cache", "quick")
def test_the_measurements_of_kernels_are_kept(small_weights: Path, use_gpu: Use) -> None:
    use_gpu()
    file, _ = build(small_weights)
    timing = engine_cache.timing_cache_path(read_record(file).key)
    assert timing.read_bytes() == b"."
    build(small_weights, force=True)
    assert timing.read_bytes() == b".."


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
def test_torch2trt_is_a_second_way_and_says_where_it_is_none(
    small_weights: Path, tmp_path: Path, use_gpu: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_gpu()
    monkeypatch.setattr("engine.backends.trt_package.installed_version", lambda _package: "10.13.0")
    with pytest.raises(BackendError, match=r"torch2trt package is not installed .*--runtime tensorrt builds the same"):
        build(small_weights, runtime="torch2trt")
    asked: dict[str, object] = {}

    def convert(module: torch.nn.Module, inputs: list[torch.Tensor], **options: object) -> types.SimpleNamespace:
        asked.update(options, uint8=inputs[0].dtype == torch.uint8)
        export_pose(small_weights, tmp_path / "graph.onnx", precision="fp16")
        builder, network = standin_tensorrt.Builder(standin_tensorrt.ILogger()), standin_tensorrt._Network()
        standin_tensorrt.OnnxParser(network, standin_tensorrt.ILogger()).parse((tmp_path / "graph.onnx").read_bytes())
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
    assert (asked["use_onnx"], asked["fp16_mode"], asked["uint8"]) == (True, True, True)
    with open_pose_backend(small_weights, backend="tensorrt").backend as backend:
        assert len(backend.infer({"crops": random_crops(5, 0)}, ["keypoints"])["keypoints"]) == 5
    monkeypatch.setattr("engine.backends.trt_package.installed_version", lambda _package: "11.1.0")
    with pytest.raises(BackendError, match=r"needs TensorRT 10 .*--runtime tensorrt builds the same"):
        build(small_weights, runtime="torch2trt")


def test_a_build_that_the_package_refuses_is_told_in_its_words(
    own_cache: Path, small_weights: Path, use_gpu: Use
) -> None:
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
    assert "no engine has been built yet" in capfd.readouterr().out
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
    assert command_line.main(["clean"]) == 0
    assert "MiB freed" in capfd.readouterr().out
    assert list(engine_cache.entries()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--runtime", "tensort"], "Did you mean 'tensorrt'"),
        (["--runtime", "tensorrt", "--precision", "int8"], "fp16 and fp32, not in int8"),
        (["--runtime", "tensorrt", "--target", "sm89"], "--target is for --runtime tensorrt-rtx"),
        (["--runtime", "tensorrt-rtx", "--max-people", "0"], "--max-people is 0"),
        (["--runtime", "torch2trt", "--with-crop"], "--with-crop is for"),
        (["--runtime", "onnx", "--precision", "fp16"], "exports in fp32"),
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


def test_what_differs_is_said(small_weights: Path) -> None:
    key = engine_build._key(
        EngineOrder(model=small_weights, runtime="tensorrt"), standin_tensorrt.module(), ADA, None
    )  # fmt: skip
    assert key.difference(key) is None
    assert (
        dataclasses.replace(key, system="win32-amd64").difference(key)
        == "it was built on win32-amd64, this is " + key.system
    )
    assert dataclasses.replace(key, max_people=32).difference(key) is None
    assert model_files.cache_dir() is not None
    with pytest.raises(OptionError, match="64 to 8192"):
        EngineOrder(model=small_weights, runtime="tensorrt", max_frame=9)


def _bright_boxes(folder: Path) -> Path:
    """A detector of sorts: a few boxes that move with the picture's mean brightness, behind a convolution."""
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
    save_with_spec(
        proto, file, kind="detector", name="bright", input_size_wh=(160, 160),
        inputs=(TensorSpec(name="images", shape=("B", 160, 160, 3), dtype="uint8"),),
        outputs=(TensorSpec(name="boxes", shape=("B", 2, 6), dtype="float32"),),
        skeleton=None, class_names=("person",), weights=Path(__file__),
    )  # fmt: skip
    return file


@pytest.mark.usefixtures("own_cache")
def test_a_detector_goes_the_same_way(tmp_path: Path, use_gpu: Use, photo_paths: list[Path]) -> None:
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
    with pytest.raises(BackendError, match="strays from float32: boxes: 12 of 24"):
        build(detector, precision="fp32")


@pytest.mark.usefixtures("own_cache", "quick")
def test_another_backend_serves_until_the_engine_is_ready(
    small_weights: Path, use_gpu: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_gpu()
    may_end = threading.Event()

    def slow_build(arguments: list[str], say: Callable[[str], None]) -> Path:
        assert arguments == ["--pose-model", "small"]
        say("compiling")
        assert may_end.wait(60)
        return build(small_weights)[0]

    monkeypatch.setattr("engine.background_build.run_build", slow_build)
    told: list[str] = []
    serving = open_pose_backend(small_weights, backend="torch", device="cpu", precision="fp32").backend
    running = BackgroundBuild(["--pose-model", "small"], told.append)

    def open_successor(file: Path) -> Backend:
        assert file.is_file()
        return open_pose_backend(small_weights, backend="tensorrt").backend

    with SwappingBackend(serving, running, open_successor, told.append) as backend:
        crops = random_crops(2, 3)
        before = backend.infer({"crops": crops}, ["keypoints"])["keypoints"]
        assert (backend.name, backend.precision, backend.device) == ("torch", "fp32", "cpu")
        may_end.set()
        running.result()
        after = backend.infer({"crops": crops}, ["keypoints"])["keypoints"]
        assert (backend.name, backend.precision) == ("tensorrt", "fp16")
    assert (np.abs(before - after)[..., :2].max(axis=-1) <= 1).mean() > 0.7
    assert told == ["compiling", "tensorrt (fp16) has taken over from torch"]
    with pytest.raises(BackendError, match="closed"):
        serving.infer({"crops": crops}, ["keypoints"])


def test_a_failing_build_leaves_the_other_serving(small_weights: Path) -> None:
    told: list[str] = []
    serving = open_pose_backend(small_weights, backend="torch", device="cpu", precision="fp32").backend
    running = BackgroundBuild(["--pose-model", "no_such_model", "--runtime", "tensorrt-rtx"])
    with pytest.raises(ModelError, match="no_such_model"):
        running.result()

    def never(_file: Path) -> Backend:
        raise AssertionError("nothing was built")

    with SwappingBackend(serving, running, never, told.append) as backend:
        assert len(backend.infer({"crops": random_crops(1, 0)}, ["keypoints"])["keypoints"]) == 1
    assert told[0].startswith("torch goes on: unknown pose model 'no_such_model'")


def test_a_build_can_be_cancelled_and_leaves_nothing(small_weights: Path, own_cache: Path) -> None:
    running = BackgroundBuild(
        ["--pose-model", str(small_weights), "--runtime", "onnx", "--output", str(own_cache / "x.onnx")],
    )
    running.cancel()
    assert not running.is_running
    with pytest.raises(BackendError, match="cancelled"):
        running.result()
    assert not list(own_cache.rglob("*.onnx"))
