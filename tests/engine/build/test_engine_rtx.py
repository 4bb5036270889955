"""TensorRT-RTX, the real one: what it builds ahead of time without a GPU, and what it refuses.

What is not shown here: that an engine runs. Without an NVIDIA driver TensorRT-RTX does not load one.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from engine.artifacts import folders
from engine.artifacts.engine_file import parts_of, read_engine
from engine.artifacts.model_spec import TensorSpec, sha256_of
from engine.backends import OpenOptions, cuda_driver
from engine.backends.tensorrt import load_engine
from engine.backends.trt_package import make_logger
from engine.backends.trt_runtime import TensorRtBackend
from engine.build import engine_build
from engine.build.engine_build import EngineOrder, build_engine
from engine.build.onnx_export import export_pose
from engine.build.tensorrt_build import DEFAULT_TARGETS, check_network, network_tensor, parse_network
from engine.errors import BackendError, ModelError, OptionError
from tests.engine.device_cpu import CpuMemory

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="the tensorrt_rtx package is not installed (pip install -r requirements-rtx.txt); it has no wheel here",
)


@pytest.fixture(scope="module")
def trt() -> Any:
    return importlib.import_module("tensorrt_rtx")


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLO26n with random weights, as our graph."""
    if importlib.util.find_spec("ultralytics") is None:
        pytest.skip("the ultralytics package is not installed")
    from engine.build.detector_export import export_detector
    from engine.system.ultralytics_env import prepare_ultralytics

    prepare_ultralytics()
    ultralytics: Any = importlib.import_module("ultralytics")

    folder = tmp_path_factory.mktemp("detector")
    ultralytics.YOLO("yolo26n.yaml", task="detect").save(str(folder / "random.pt"))
    export_detector(folder / "random.pt", folder / "random.onnx", input_size=320)
    return folder / "random.onnx"


@pytest.fixture(scope="module")
def built(small_weights: Path, detector: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Engines for all four generations of RTX GPUs in one file each, built by the product."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(folders.CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        patch.setattr(engine_build, "gpu", lambda: None)

        def build(model: Path, with_crop: bool = False) -> Path:
            order = EngineOrder(model=model, runtime="tensorrt-rtx", targets=DEFAULT_TARGETS, with_crop=with_crop)
            return build_engine(order, lambda _line: None)

        built = {"pose": build(small_weights), "crop": build(small_weights, True), "detector": build(detector)}
        shipped = folders.WEIGHTS_DIR / "yolo_person.onnx"
        return {**built, "shipped detector": build(shipped)} if shipped.is_file() else built


@pytest.mark.parametrize("name", ["pose", "crop", "detector", "shipped detector"])
def test_one_file_for_four_generations(name: str, built: dict[str, Path]) -> None:
    if name not in built:
        pytest.skip("the detector that ships is not in this checkout")
    spec, record = read_engine(built[name])
    assert built[name].stat().st_size > 2**20
    assert record.key.targets == ("sm75", "sm86", "sm89", "sm120")
    assert (record.state, record.key.precision, spec.precision) == ("unchecked", "fp16", "fp16")
    assert spec.file_sha256 == sha256_of(built[name])
    assert "tensorrt-rtx" in spec.made_with
    if "detector" in name:
        assert [(tensor.name, tensor.shape[2]) for tensor in spec.outputs] == [("boxes", 6)]
    assert record.key.with_crop == ("frame" in {tensor.name for tensor in spec.inputs})


@pytest.mark.parametrize("with_crop", [False, True])
def test_the_parsed_network_matches_the_spec(with_crop: bool, trt: Any, small_weights: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.onnx"
        spec = export_pose(small_weights, file, precision="fp16", with_crop=with_crop)
        logger = make_logger(trt)
        builder = trt.Builder(logger)
        network = parse_network(trt, builder, logger, file, "tensorrt_rtx")

    def as_parsed(tensor: TensorSpec) -> tuple[str, tuple[int, ...], str]:
        return tensor.name, tuple(n if isinstance(n, int) else -1 for n in tensor.shape), tensor.dtype

    inputs = [network_tensor(trt, network.get_input(index)) for index in range(network.num_inputs)]
    outputs = [network_tensor(trt, network.get_output(index)) for index in range(network.num_outputs)]
    assert inputs == [as_parsed(tensor) for tensor in spec.inputs]
    assert outputs == [as_parsed(tensor) for tensor in spec.outputs]


def test_the_product_compares_the_network_with_the_spec(trt: Any, small_weights: Path, tmp_path: Path) -> None:
    file = tmp_path / "graph.onnx"
    spec = export_pose(small_weights, file, precision="fp16")
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    network = parse_network(trt, builder, logger, file, "tensorrt_rtx")
    wrong = dataclasses.replace(spec.outputs[0], shape=("N", 5, 3))
    with pytest.raises(ModelError, match=r"the parsed network has .*keypoints"):
        check_network(trt, network, dataclasses.replace(spec, outputs=(wrong, *spec.outputs[1:])))
    with pytest.raises(ModelError, match="4 outputs, its spec 3"):
        check_network(trt, network, dataclasses.replace(spec, outputs=spec.outputs[:-1]))


def test_a_truncated_engine_never_reaches_the_runtime(
    trt: Any, built: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = tmp_path / "cut.engine"
    for source, target in zip(parts_of(built["pose"]), parts_of(cut), strict=True):
        target.write_bytes(source.read_bytes())
    cut.write_bytes(cut.read_bytes()[:-4096])

    def reached(*_arguments: object) -> None:
        raise AssertionError("the runtime saw it")

    monkeypatch.setattr("engine.backends.tensorrt.TensorRtBackend", reached)
    ada = cuda_driver.Gpu(name="RTX 4090", compute_capability=(8, 9))
    with pytest.raises(ModelError, match="SHA-256 differs"):
        load_engine(cut, trt, "tensorrt_rtx", ada, OpenOptions(device="cuda"))


def test_without_a_driver_an_engine_does_not_load_and_says_so(trt: Any, built: dict[str, Path]) -> None:
    if cuda_driver.cuda_device_count():
        pytest.skip("there is an NVIDIA GPU here, so it would load")
    spec, _ = read_engine(built["pose"])
    with pytest.raises(BackendError, match="cannot load the engine of kcam_resnet18"):
        TensorRtBackend(trt, "tensorrt_rtx", built["pose"].read_bytes(), spec, CpuMemory())


def test_impossible_builds_are_one_line(small_weights: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_build, "gpu", lambda: None)

    def order(precision: str = "auto", targets: tuple[str, ...] = ()) -> EngineOrder:
        return EngineOrder(model=small_weights, runtime="tensorrt-rtx", precision=precision, targets=targets)

    for bad, kind, message in (
        (order(), BackendError, "name what to build for: --target sm75"),
        (order(targets=("sm88",)), OptionError, "Did you mean 'sm8[69]'"),
        (order("fp32", ("sm75",)), BackendError, "no float32 products for sm75"),
    ):
        with pytest.raises(kind, match=message) as caught:
            build_engine(bad, lambda _line: None)
        assert "\n" not in str(caught.value)
    assert not list(own_cache.rglob("*.engine"))
    assert not list(own_cache.rglob("*.part"))


def test_float32_is_offered_where_the_gpu_has_it(
    small_weights: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_build, "gpu", lambda: None)
    order = EngineOrder(model=small_weights, runtime="tensorrt-rtx", precision="fp32", targets=("sm89",), max_people=4)
    spec, record = read_engine(build_engine(order, lambda _line: None))
    assert (spec.precision, record.key.precision, record.key.max_people) == ("fp32", "fp32", 4)
    assert sys.modules["tensorrt_rtx"].__version__ == record.key.runtime_version
