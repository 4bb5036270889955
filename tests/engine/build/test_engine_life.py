"""Life cycle of an engine: built, checked, cached, stale; on a fake GPU."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from engine.artifacts import engine_cache
from engine.artifacts.atomic import file_lock
from engine.artifacts.engine_file import parts_of, read_engine, read_record
from engine.backends import open_pose_backend
from engine.backends.cuda_driver import Gpu
from engine.build import engine_build, parity_gate
from engine.errors import BackendError
from tests.engine import standin_tensorrt
from tests.engine.conftest import ADA
from tests.engine.engine_orders import Use, build, distort_attention
from tests.engine.small_pose_model import random_crops, write_small_model

pytestmark = pytest.mark.usefixtures("one_thread", "export_once")
HOPPER = Gpu(name="Stand-in H200", compute_capability=(9, 0))


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
    assert build(small_weights) == (file, ["small.engine exists already"])
    assert standin_tensorrt.Builder.built == built

    with open_pose_backend(small_weights).backend as backend:
        assert (backend.name, backend.precision) == ("tensorrt", "fp16")
        keypoints = backend.infer({"crops": random_crops(9, 1)}, ["keypoints"])["keypoints"]
    with open_pose_backend(small_weights, backend="torch", device="cpu", precision="fp32").backend as truth:
        expected = truth.infer({"crops": random_crops(9, 1)}, ["keypoints"])["keypoints"]
    assert (np.abs(keypoints - expected)[..., :2].max(axis=-1) <= 1).mean() > 0.9


@pytest.mark.usefixtures("short_gate")
def test_a_deviating_engine_is_kept_but_not_used(own_cache: Path, small_weights: Path, use_gpu: Use) -> None:
    use_gpu()
    standin_tensorrt.Context.sabotage = distort_attention
    with pytest.raises(BackendError, match=r"deviates from float32: attention: off by 0\.05.*--precision fp32"):
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
    assert standin_tensorrt.Runtime.seen == seen, "it is not loaded again"
    # float32 remains, and `auto` uses it.
    build(small_weights, precision="fp32")
    with open_pose_backend(small_weights, backend="tensorrt").backend as backend:
        assert backend.precision == "fp32"


def _move_peaks(outputs: dict[str, np.ndarray]) -> None:
    outputs["keypoints"][..., 0] += 9


@pytest.mark.usefixtures("own_cache", "short_gate")
def test_the_message_names_the_deviating_output(small_weights: Path, use_gpu: Use) -> None:
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
    reported: list[str] = []
    gate = parity_gate.check
    with open_pose_backend(small_weights, backend="tensorrt_rtx", notify=reported.append, gate=gate).backend as backend:
        assert backend.name == "tensorrt_rtx"
    assert reported == ["checking small.engine against float32, once"]
    assert read_record(file).state == "passed"
    with open_pose_backend(small_weights, backend="tensorrt_rtx", notify=reported.append, gate=gate).backend:
        assert len(reported) == 1
    # A GPU of a kind that it was not built for.
    use_gpu(HOPPER, rtx=True)
    with pytest.raises(BackendError, match=r"built for sm86, sm89, not for sm90; python -m engine build --pose-model"):
        open_pose_backend(small_weights, backend="tensorrt_rtx")


@pytest.mark.usefixtures("own_cache", "short_gate")
def test_an_unchecked_deviating_engine_fails_at_the_first_load(
    small_weights: Path, use_gpu: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_gpu(rtx=True)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(engine_build, "gpu", lambda: None)
        file, _ = build(small_weights, runtime="tensorrt-rtx", targets=("sm89",))
    standin_tensorrt.Context.sabotage = distort_attention
    with pytest.raises(BackendError, match="deviates from float32: attention"):
        open_pose_backend(small_weights, backend="tensorrt_rtx", gate=parity_gate.check)
    assert read_record(file).state == "failed"


@pytest.mark.usefixtures("own_cache", "quick")
def test_a_stale_engine_is_rebuilt_and_the_reason_reported(small_weights: Path, tmp_path: Path, use_gpu: Use) -> None:
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
def test_concurrent_builds_of_the_same_engine_build_it_once(small_weights: Path, use_gpu: Use) -> None:
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
    assert results[1][1][-1] == "small.engine exists already"


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


@pytest.mark.usefixtures("own_cache", "quick")
def test_the_measurements_of_kernels_are_kept(small_weights: Path, use_gpu: Use) -> None:
    use_gpu()
    file, _ = build(small_weights)
    timing = engine_cache.timing_cache_path(read_record(file).key)
    assert timing.read_bytes() == b"."
    build(small_weights, force=True)
    assert timing.read_bytes() == b".."
