"""Backends give the numbers of float32 PyTorch, within the tolerance of their precision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import openvino
import pytest
import torch

from engine import backends, geometry
from engine.artifacts import folders, model_files
from engine.backends import OpenOptions, open_pose_backend
from engine.backends.onnxruntime import OnnxRuntimeBackend
from engine.backends.openvino import OpenVinoBackend
from engine.backends.pose_graph import PoseGraph, pose_spec
from engine.build import parity
from engine.build.onnx_export import export_pose, save_with_spec, trace_to_onnx
from engine.errors import BackendError
from engine.heatmap import decode_heatmaps
from engine.skeleton import Skeleton
from engine.types import UInt8Array
from models.checkpoints import PoseCheckpoint, load_pose_model
from models.pose_model import PoseModel, PoseModelConfig, PoseOutput
from tests.engine.small_pose_model import INPUT_SIZE_WH, open_small, random_crops

MAPS = ("heatmaps", "areas", "attention")
RUNTIMES = ("openvino", "onnxruntime", "torch")


@pytest.fixture(scope="module")
def reference(small_weights: Path, small_onnx: Path) -> Iterator[backends.Backend]:
    with open_small("torch", small_weights, small_onnx) as backend:
        yield backend


@pytest.mark.parametrize("name", RUNTIMES)
@pytest.mark.parametrize("count", [0, 1, 5])
def test_float32_backends_match_the_plain_model(name: str, count: int, small_weights: Path, small_onnx: Path) -> None:
    crops = random_crops(count, seed=1000)
    checkpoint = load_pose_model(small_weights)
    images = torch.from_numpy(crops[..., ::-1].copy()).float() / 255
    images = ((images - torch.tensor(checkpoint.mean)) / torch.tensor(checkpoint.std)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = checkpoint.model(images) if count else None
    with open_small(name, small_weights, small_onnx) as backend:
        outputs = backend.infer({"crops": crops}, ("keypoints", *MAPS))
    assert outputs["keypoints"].shape == (count, 4, 3)
    for output in outputs.values():
        assert output.dtype == np.float32
        assert output.flags.c_contiguous
    if expected is not None:
        np.testing.assert_array_equal(outputs["keypoints"], decode_heatmaps(outputs["heatmaps"], INPUT_SIZE_WH))
        for map_name in MAPS:
            np.testing.assert_allclose(outputs[map_name], getattr(expected, map_name).numpy(), atol=2e-4)
        plain = decode_heatmaps(expected.heatmaps.numpy(), INPUT_SIZE_WH)
        np.testing.assert_allclose(outputs["keypoints"][..., 2], plain[..., 2], atol=2e-4)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_parity_with_float32_pytorch(
    name: str, small_weights: Path, small_onnx: Path, reference: backends.Backend
) -> None:
    with open_small(name, small_weights, small_onnx) as backend:
        report = parity.compare(backend, reference, random_crops(48, seed=3000))
    assert report.keypoints > 100
    assert report.failures("fp32") == [], report


@pytest.fixture(scope="module")
def shipped() -> Path:
    if not (folders.WEIGHTS_DIR / "default.json").is_file():
        pytest.skip("the weights that ship are not in this checkout")
    return model_files.resolve_pose_model()


def _people_crops(photo_paths: list[Path], size_wh: tuple[int, int]) -> np.ndarray:
    """Crops of the people of the two photos, upright, turned, scaled and mirrored."""
    boxes = {
        "bus.jpg": [[48, 398, 245, 903], [669, 392, 809, 877], [221, 405, 344, 858]],
        "zidane.jpg": [[123, 197, 1110, 711], [746, 41, 1142, 712]],
    }
    crops = []
    for path in photo_paths:
        image: UInt8Array = np.asarray(cv2.imread(str(path)), np.uint8)
        centers, sizes = geometry.box_centers_sizes(np.array(boxes[path.name], np.float32), size_wh)
        for angle in (-30, -10, 0, 20):
            for factor in (0.8, 1, 1.3):
                rotations = np.full(len(centers), angle, np.float32)
                affines = geometry.crop_affines(centers, sizes * np.float32(factor), size_wh, rotations)
                turned = geometry.warp_crops(image, affines, size_wh)
                crops += [turned, turned[:, :, ::-1]]
    return np.concatenate(crops)


@pytest.mark.parametrize(
    ("name", "precision"), [("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"), ("torch", "bf16")]
)
def test_the_shipped_model_keeps_its_keypoints_in_every_backend(
    name: str, precision: str, shipped: Path, photo_paths: list[Path], tmp_path: Path
) -> None:
    model = shipped
    if name != "torch":
        model = tmp_path / "shipped.onnx"
        export_pose(shipped, model)
    try:
        opened = open_pose_backend(model, backend=name, precision=precision)
    except BackendError as error:
        pytest.skip(f"{precision}: {error}")
    with opened.backend as backend, open_pose_backend(shipped, backend="torch", precision="fp32").backend as truth:
        report = parity.compare(backend, truth, _people_crops(photo_paths, truth.spec.input_size_wh))
    assert report.keypoints > 300
    # The attention of the 16-bit forms is checked loosely. On the first weights the worst of a million
    # pixels was off by 0.13 under OpenVINO, the mean by 0.0002.
    # A backbone in bfloat16 moves single pixels of a sharp attention far (decisions 0011, 0015); on average nothing.
    tolerance = 0.02 if precision == "fp32" else 0.35
    assert report.failures(precision, attention_tolerance=tolerance) == [], report
    assert report.attention_mean_error is not None and report.attention_mean_error < 0.002


@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_bfloat16_does_not_round_the_heatmaps(name: str, small_weights: Path, small_onnx: Path) -> None:
    crops = random_crops(2, seed=1)
    try:
        backend = open_small(name, small_weights, small_onnx, "bf16")
    except BackendError as error:
        pytest.skip(str(error))
    with backend:
        outputs = backend.infer({"crops": crops}, ("keypoints", *MAPS))
    # Rounded to eight bits, a peak and its neighbours become equal and keypoints land on the wrong one.
    assert (outputs["heatmaps"].view(np.uint32) & 0xFFFF).any()
    expected = decode_heatmaps(outputs["heatmaps"], INPUT_SIZE_WH)
    if name == "torch":
        np.testing.assert_array_equal(outputs["keypoints"], expected)
    else:  # of another program than the maps, and OpenVINO decodes in bfloat16 (decision 0011)
        np.testing.assert_allclose(outputs["keypoints"], expected, atol=0.01)
    np.testing.assert_allclose(outputs["attention"].sum(axis=1), 1, atol=0.02)


def test_attention_in_bfloat16_is_nearer_to_float32_than_openvino_alone_brings_it(
    shipped: Path, photo_paths: list[Path], tmp_path: Path
) -> None:
    file = tmp_path / "shipped.onnx"
    crops = _people_crops(photo_paths, export_pose(shipped, file).input_size_wh)[:50]
    with OpenVinoBackend(file, OpenOptions(precision="fp32")) as backend:
        exact = backend.infer({"crops": crops}, ["attention"])["attention"]
    with OpenVinoBackend(file, OpenOptions()) as backend:
        if backend.precision != "bf16":
            pytest.skip("this processor has no bfloat16 of its own")
        error = np.abs(backend.infer({"crops": crops}, ["keypoints", "attention"])["attention"] - exact)
        for count in (1, 3, 5, 8, 16):  # one method gave wrong results from the fifth crop on
            some = backend.infer({"crops": crops[:count]}, ["keypoints", "attention"])["attention"]
            assert np.abs(some - exact[:count]).mean() < 2 * error.mean()
    plain = openvino.Core().compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    alone = np.abs(plain({"crops": crops})["attention"] - exact)
    assert 0 < error.mean() < 0.8 * alone.mean()


def test_parity_detects_deviations(reference: backends.Backend) -> None:
    crops = random_crops(16, seed=1)
    keypoints = reference.infer({"crops": crops}, ["keypoints"])["keypoints"]
    sigmas = (0.05, 0.05, 0.07, 0.07)
    same = parity.compare_keypoints(keypoints, keypoints, sigmas, INPUT_SIZE_WH)
    assert (same.within_1px, same.beyond_4px, same.similarity) == (1, 0, 1)
    moved = keypoints + np.array([3, 4, 0], np.float32)
    assert parity.compare_keypoints(moved, keypoints, sigmas, INPUT_SIZE_WH).beyond_4px == 1
    broken = keypoints.copy()
    broken[0] = np.nan
    assert parity.compare_keypoints(broken, keypoints, sigmas, INPUT_SIZE_WH).failures("fp32")
    unsure = keypoints * np.array([1, 1, 0], np.float32)
    assert parity.compare_keypoints(keypoints, unsure, sigmas, INPUT_SIZE_WH).failures("fp32")


class _PictureAsHeatmaps(PoseModel):
    """Heatmaps that are the picture itself, thinned and lowered: every pattern of ties and borders can be made."""

    def forward(self, images: torch.Tensor) -> PoseOutput:
        return PoseOutput(images[:, :, ::4, ::4] - 100)


def test_decoding_of_ties_and_borders_is_the_same_in_every_runtime(tmp_path: Path) -> None:
    config = PoseModelConfig(name="resnet18", num_keypoints=3, input_size_wh=INPUT_SIZE_WH)
    checkpoint = PoseCheckpoint(
        model=_PictureAsHeatmaps(config), skeleton={}, class_names=("person",), mean=(0, 0, 0),
        std=(1 / 255, 1 / 255, 1 / 255), notes={},
    )  # fmt: skip
    graph = PoseGraph(checkpoint.model, checkpoint.mean, checkpoint.std).eval()
    file, names = tmp_path / "ties.onnx", graph.output_names
    example = torch.zeros((2, 96, 64, 3), dtype=torch.uint8)
    axes = {name: {0: "N"} for name in ("crops", *names)}
    skeleton = Skeleton(keypoint_names=("a", "b", "c"), edges=(), flip_pairs=(), oks_sigmas=(0.1, 0.1, 0.1))
    proto = trace_to_onnx(graph, (example,), ("crops",), names, axes)
    save_with_spec(proto, file, pose_spec(checkpoint, skeleton), Path(__file__))
    rng = np.random.default_rng(0)
    maps = rng.integers(95, 105, (60, 24, 16, 3))  # ties everywhere
    maps[40:50] = rng.integers(0, 101, (10, 24, 16, 3))  # nothing positive
    for number in range(50, 60):  # one peak on or beside the border
        maps[number] = 90
        maps[number, [0, 1, 22, 23, 12][number % 5], [0, 1, 14, 15, 2][number % 4]] = 200
    crops = np.repeat(np.repeat(maps, 4, axis=1), 4, axis=2).astype(np.uint8)
    expected = decode_heatmaps((maps[..., ::-1] - 100).transpose(0, 3, 1, 2).astype(np.float32), INPUT_SIZE_WH)
    for kind in (OnnxRuntimeBackend, OpenVinoBackend):
        with kind(file, OpenOptions(precision="fp32")) as backend:
            found = backend.infer({"crops": crops}, ["keypoints"])["keypoints"]
        np.testing.assert_allclose(found, expected, atol=1e-3, err_msg=kind.name)
