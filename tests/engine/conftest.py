"""Fixtures of the engine tests: weights, a separate cache, and a machine with a fake GPU."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from engine.artifacts import folders
from engine.artifacts.model_spec import ModelSpec, read_spec, sha256_of, spec_path
from engine.backends import cuda_driver
from engine.backends.contract import Checked
from engine.backends.cuda_driver import Gpu
from engine.build import engine_build, parity_gate
from engine.build.onnx_export import export_pose
from tests.engine import standin_tensorrt
from tests.engine.device_cpu import CpuMemory
from tests.engine.small_pose_model import write_small_model

SEPARATOR = b"-- here the spec begins --"
ADA = Gpu(name="Stand-in RTX 4070", compute_capability=(8, 9))


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small KCAM model with random weights."""
    return write_small_model(tmp_path_factory.mktemp("small") / "small.safetensors")


@pytest.fixture(scope="session")
def small_onnx(small_weights: Path) -> Path:
    """The graph of that model, with its spec."""
    file = small_weights.with_suffix(".onnx")
    export_pose(small_weights, file)
    return file


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv(folders.CACHE_VARIABLE, str(folder))
    return folder


@pytest.fixture
def use_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Call it to work on a machine with a GPU of a kind and a version of TensorRT, both stand-ins."""

    def use(gpu: Gpu = ADA, version: str = "10.13.0", *, rtx: bool = False) -> None:
        made = standin_tensorrt.module(version, rtx=rtx)
        monkeypatch.setitem(sys.modules, made.__name__, made)
        monkeypatch.setattr(cuda_driver, "cuda_device_count", lambda: 1)
        for module in ("engine.build.engine_build", "engine.backends.tensorrt", "engine.build.commands"):
            monkeypatch.setattr(f"{module}.gpu", lambda _index=0: gpu)
        memory = CpuMemory()
        for module in ("engine.build.engine_build", "engine.backends.tensorrt"):
            monkeypatch.setattr(f"{module}.open_memory", lambda _device: memory)

    standin_tensorrt.Context.executions.clear()
    yield use
    standin_tensorrt.Context.sabotage = standin_tensorrt.Context.fail_with = None
    standin_tensorrt.Builder.fail_with = None


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Several threads wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def exports() -> dict[tuple[object, ...], bytes]:
    """Graphs that were exported already, by what they were exported from."""
    return {}


@pytest.fixture
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
    """A gate that needs fewer keypoints, for tests that are not about the gate."""
    monkeypatch.setattr(parity_gate, "LEAST_KEYPOINTS", 450)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that accepts everything, for tests of the steps before and after it."""
    passed = Checked(state="passed", report="not looked at")
    monkeypatch.setattr(parity_gate, "check", lambda *_arguments: passed)
