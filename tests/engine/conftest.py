"""What the tests of engines share: weights, a cache of their own, and a machine with a stand-in for its GPU."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine import device_memory, model_files
from engine.backends import cuda_driver
from engine.backends.cuda_driver import Gpu
from engine.device_cpu import CpuMemory
from tests.engine import standin_tensorrt
from tests.engine.small_pose_model import write_small_model

ADA = Gpu(name="Stand-in RTX 4070", compute_capability=(8, 9))


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small KCAM model with random weights."""
    return write_small_model(tmp_path_factory.mktemp("small") / "small.safetensors")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv(model_files.CACHE_VARIABLE, str(folder))
    return folder


@pytest.fixture
def use_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Call it to work on a machine with a GPU of a kind and a version of TensorRT, both stand-ins."""

    def use(gpu: Gpu = ADA, version: str = "10.13.0", *, rtx: bool = False) -> None:
        made = standin_tensorrt.module(version, rtx=rtx)
        monkeypatch.setitem(sys.modules, made.__name__, made)
        monkeypatch.setattr(cuda_driver, "cuda_device_count", lambda: 1)
        for module in ("engine.engine_build", "engine.backends.tensorrt", "engine.engine_commands"):
            monkeypatch.setattr(f"{module}.gpu", lambda _index=0: gpu)
        memory = CpuMemory()
        for module in ("engine.engine_build", "engine.backends.tensorrt"):
            monkeypatch.setattr(f"{module}.open_memory", lambda _device: memory)
        assert device_memory.open_memory("cpu").device == "cpu"

    standin_tensorrt.Context.executions.clear()
    yield use
    standin_tensorrt.Context.sabotage = standin_tensorrt.Context.fail_with = None
    standin_tensorrt.Builder.fail_with = None
