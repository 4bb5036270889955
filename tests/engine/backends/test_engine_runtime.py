"""The GPU runtime code on the CPU implementation of device memory, with ONNX Runtime in place of TensorRT's kernels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.artifacts.engine_file import EngineKey
from engine.artifacts.model_spec import GRAPH_VERSION, ModelSpec
from engine.backends import Array, OpenOptions
from engine.backends.pose_graph import PoseGraph, load_pose
from engine.backends.torch import TorchBackend
from engine.backends.torch_graphs import GraphedModule
from engine.backends.trt_runtime import TensorRtBackend
from engine.build.onnx_export import export_pose
from engine.build.tensorrt_build import build_plan_bytes, profiles_of
from engine.errors import BackendError
from engine.geometry import crop_affines, invert_affines
from tests.engine import standin_tensorrt
from tests.engine.device_cpu import CpuMemory, CpuStream
from tests.engine.small_pose_model import INPUT_SIZE_WH, random_crops

MAPS = ("heatmaps", "areas", "attention")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Several threads wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def built(small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, tuple[ModelSpec, bytes]]:
    """Spec and plan of the small model in float32, without and with cropping, for up to six people."""
    made = {}
    for with_crop in (False, True):
        file = tmp_path_factory.mktemp("graph") / "small.onnx"
        spec = export_pose(small_weights, file, with_crop=with_crop)
        key = EngineKey(
            weights_sha256="", graph_version=GRAPH_VERSION, runtime="tensorrt", runtime_version="", targets=("sm89",),
            gpu="", precision="fp32", max_people=6, with_crop=with_crop, max_side=400,
        )  # fmt: skip
        with pytest.MonkeyPatch.context() as changed:
            changed.setenv("KCAM_CACHE_DIR", str(file.parent))
            plan = build_plan_bytes(standin_tensorrt.module(), file, spec, key, lambda _line: None)
        made[with_crop] = spec, plan
    return made


@pytest.fixture
def open_it(
    built: dict[bool, tuple[ModelSpec, bytes]], use_gpu: Callable[..., None]
) -> Iterator[Callable[..., TensorRtBackend]]:
    opened: list[TensorRtBackend] = []

    def open_one(with_crop: bool = False, *, rtx: bool = False) -> TensorRtBackend:
        spec, plan = built[with_crop]
        name = "tensorrt_rtx" if rtx else "tensorrt"
        opened.append(TensorRtBackend(standin_tensorrt.module(rtx=rtx), name, plan, spec, CpuMemory()))
        standin_tensorrt.Context.executions.clear()
        return opened[-1]

    yield open_one
    for backend in opened:
        backend.close()


@pytest.fixture(scope="module")
def reference(small_weights: Path) -> TorchBackend:
    return TorchBackend(small_weights, OpenOptions(precision="fp32", device="cpu"))


@pytest.mark.parametrize("rtx", [False, True])
def test_keypoints_and_maps_are_those_of_pytorch(
    rtx: bool, open_it: Callable[..., TensorRtBackend], reference: TorchBackend
) -> None:
    backend = open_it(rtx=rtx)
    for count in (1, 4, 2, 6, 1, 5, 15):
        crops = random_crops(count, seed=count)
        found = backend.infer({"crops": crops}, ("keypoints", *MAPS))
        expected = reference.infer({"crops": crops}, ("keypoints", *MAPS))
        near = np.abs(found["keypoints"][..., :2] - expected["keypoints"][..., :2]).max(axis=-1) <= 1
        assert near.mean() > 0.97
        for name in MAPS:
            assert found[name].flags.owndata
            np.testing.assert_allclose(found[name], expected[name], atol=2e-4)


def test_the_smallest_fitting_profile_runs_and_large_batches_run_in_parts(
    open_it: Callable[..., TensorRtBackend],
) -> None:
    backend = open_it()
    for count in (1, 3, 4, 5, 6, 14):
        assert len(backend.infer({"crops": random_crops(count, 0)}, ["keypoints"])["keypoints"]) == count
    people = [(profile, shape[0]) for profile, shape in standin_tensorrt.Context.executions]
    assert people == [(0, 1), (1, 3), (1, 4), (2, 5), (2, 6), (2, 6), (2, 6), (1, 2)]


def test_an_empty_batch_runs_nothing(open_it: Callable[..., TensorRtBackend]) -> None:
    outputs = open_it().infer({"crops": random_crops(0, 0)}, ["keypoints", "attention"])
    assert outputs["keypoints"].shape == (0, 4, 3)
    assert outputs["attention"].shape == (0, 4, 24, 16)
    assert standin_tensorrt.Context.executions == []


def test_only_requested_outputs_are_copied_from_the_device(
    open_it: Callable[..., TensorRtBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = open_it()
    copies: list[int] = []
    download = CpuMemory.download

    def counted(self: CpuMemory, source: object, target: object, nbytes: int, stream: object) -> None:
        copies.append(nbytes)
        download(self, source, target, nbytes, stream)

    monkeypatch.setattr(CpuMemory, "download", counted)
    crops = {"crops": random_crops(3, 9)}
    assert list(backend.infer(crops, ["keypoints"])) == ["keypoints"]
    assert copies == [3 * 4 * 3 * 4]
    assert list(backend.infer(crops, ["attention"])) == ["attention"]
    assert copies[1:] == [3 * 4 * 24 * 16 * 4]


def test_a_call_waits_once(open_it: Callable[..., TensorRtBackend], monkeypatch: pytest.MonkeyPatch) -> None:
    backend = open_it()
    waits: list[int] = []
    synchronize = CpuStream.synchronize

    def counted(self: CpuStream) -> None:
        waits.append(1)
        synchronize(self)

    monkeypatch.setattr(CpuStream, "synchronize", counted)
    backend.infer({"crops": random_crops(4, 0)}, ("keypoints", *MAPS))
    assert len(waits) == 1


def test_recurring_shapes_are_captured_and_replayed_correctly(
    open_it: Callable[..., TensorRtBackend], reference: TorchBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = open_it()
    captured: list[int] = []
    capture = CpuMemory.capture

    def counted(self: CpuMemory, stream: object, work: Callable[[], None]) -> object:
        captured.append(1)
        return capture(self, stream, work)

    monkeypatch.setattr(CpuMemory, "capture", counted)
    for seed in range(5):
        for count in (2, 2, 3):
            crops = random_crops(count, seed)
            found = backend.infer({"crops": crops}, ["keypoints"])["keypoints"]
            expected = reference.infer({"crops": crops}, ["keypoints"])["keypoints"]
            assert (np.abs(found[..., :2] - expected[..., :2]).max(axis=-1) <= 1).mean() > 0.8
            np.testing.assert_allclose(found[..., 2], expected[..., 2], atol=2e-4)
    # Three people always come right after a change of shape, when nothing may be captured.
    assert len(captured) == 1
    rtx = open_it(rtx=True)
    for seed in range(5):
        rtx.infer({"crops": random_crops(2, seed)}, ["keypoints"])
    assert len(captured) == 1, "TensorRT-RTX captures by itself"


def test_whole_frames_are_copied_once_and_give_the_keypoints_of_pytorch(
    open_it: Callable[..., TensorRtBackend], small_weights: Path
) -> None:
    backend = open_it(with_crop=True)
    rng = np.random.default_rng(5)
    options = OpenOptions(precision="fp32", device="cpu", with_crop=True)
    with TorchBackend(small_weights, options) as reference:
        for size_wh, count in (((300, 200), 2), ((200, 300), 8), ((64, 48), 1)):
            frame = rng.integers(0, 255, (size_wh[1], size_wh[0], 3)).astype(np.uint8)
            centers = rng.uniform(20, 60, (count, 2)).astype(np.float32)
            sizes = np.tile(np.array([[40, 60]], np.float32), (count, 1))
            affines = invert_affines(crop_affines(centers, sizes, INPUT_SIZE_WH))
            inputs: dict[str, Array] = {"frame": frame, "crop_to_frame": affines}
            found, expected = backend.infer(inputs, ["heatmaps"]), reference.infer(inputs, ["heatmaps"])
            np.testing.assert_allclose(found["heatmaps"], expected["heatmaps"], atol=1e-3)
    with pytest.raises(BackendError, match=r"inputs up to \(400, 400, 3\).*build another"):
        backend.infer({"frame": np.zeros((100, 500, 3), np.uint8), "crop_to_frame": affines}, ["keypoints"])


def test_errors_are_one_line(
    built: dict[bool, tuple[ModelSpec, bytes]], open_it: Callable[..., TensorRtBackend]
) -> None:
    spec, plan = built[False]
    package = standin_tensorrt.module()
    with pytest.raises(BackendError, match="cannot load the engine of kcam_resnet18: the plan is not a plan"):
        TensorRtBackend(package, "tensorrt", b"nonsense", spec, CpuMemory())
    fewer = dataclasses.replace(spec, outputs=spec.outputs[:2])
    with pytest.raises(BackendError, match=r"the engine has .*attention"):
        TensorRtBackend(package, "tensorrt", plan, fewer, CpuMemory())
    other = dataclasses.replace(
        spec, outputs=(*spec.outputs[:-1], dataclasses.replace(spec.outputs[-1], dtype="int64"))
    )
    with pytest.raises(BackendError, match="'attention' is float32"):
        TensorRtBackend(package, "tensorrt", plan, other, CpuMemory())
    backend = open_it()
    standin_tensorrt.Context.fail_with = "CUDA error\n700"
    with pytest.raises(BackendError, match="tensorrt failed on kcam_resnet18: CUDA error 700"):
        backend.infer({"crops": random_crops(1, 0)}, ["keypoints"])
    standin_tensorrt.Context.fail_with = None
    assert len(backend.infer({"crops": random_crops(1, 0)}, ["keypoints"])["keypoints"]) == 1
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.infer({"crops": random_crops(1, 0)}, ["keypoints"])


def test_time_is_taken_on_the_device(open_it: Callable[..., TensorRtBackend]) -> None:
    assert open_it().time_ms({"crops": random_crops(1, 0)}, 3) > 0
    assert len(standin_tensorrt.Context.executions) == 4


def test_the_processor_form_keeps_the_rules_of_a_device() -> None:
    memory = CpuMemory()
    stream, host, device = memory.stream(), memory.allocate_host(8), memory.allocate(8)
    host.view((8,), "uint8")[:] = 7
    memory.upload(host, device, 8, stream)
    host.view((8,), "uint8")[:] = 9
    assert (device.view((8,), "uint8") == 0xA5).all(), "nothing happens before somebody waits"
    stream.synchronize()
    assert (device.view((8,), "uint8") == 9).all(), "a copy reads what is there when it happens"
    graph = memory.capture(stream, lambda: memory.download(device, host, 4, stream))
    stream.synchronize()
    host.view((8,), "uint8")[:] = 0
    graph.replay()
    stream.synchronize()
    assert host.view((8,), "uint8").tolist() == [9, 9, 9, 9, 0, 0, 0, 0]
    with pytest.raises(BackendError, match="does not fit"):
        memory.upload(host, memory.allocate(4), 8, stream)
    with pytest.raises(BackendError, match="has not happened"):
        memory.record(stream).elapsed_time(memory.record(stream))
    with pytest.raises(BackendError, match="while a graph is captured"):
        memory.capture(stream, stream.synchronize)


def test_profiles_are_for_one_for_four_and_for_all(built: dict[bool, tuple[ModelSpec, bytes]]) -> None:
    def batches(max_people: int) -> list[tuple[int, int, int]]:
        profiles = profiles_of(built[False][0], max_people, 0)
        return [(low[0], tuned[0], high[0]) for low, tuned, high in (profile["crops"] for profile in profiles)]

    assert batches(16) == [(1, 1, 1), (1, 4, 4), (1, 16, 16)]
    assert batches(4) == [(1, 1, 1), (1, 4, 4)]
    assert batches(1) == [(1, 1, 1)]
    assert profiles_of(built[True][0], 1, 1920)[0]["frame"] == ((16, 16, 3), (1088, 1920, 3), (1920, 1920, 3))


def test_pytorch_with_cuda_graphs_matches_plain_pytorch(small_weights: Path, reference: TorchBackend) -> None:
    """PyTorch's GPU path on the CPU implementation: static buffers, captured work, one wait."""
    checkpoint, _ = load_pose(small_weights)
    graph = PoseGraph(checkpoint.model, checkpoint.mean, checkpoint.std).eval()
    graphed = GraphedModule(torch, graph, reference.spec, CpuMemory())
    for seed in range(6):
        for count in (2, 1):
            crops = random_crops(count, seed)
            want = ("keypoints", "attention") if seed % 2 else ("keypoints",)
            found, expected = graphed({"crops": crops}, want), reference.infer({"crops": crops}, want)
            assert set(found) == set(want)
            for name in want:
                np.testing.assert_allclose(found[name], expected[name], atol=1e-3)
    assert all(place.graph is not None for place in graphed._buffers_by_shapes.values())
