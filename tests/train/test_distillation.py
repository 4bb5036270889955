"""Distillation: the teacher's heatmaps in the student's grid, and which keypoints it teaches."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engine.errors import OptionError
from engine.geometry import heatmap_stride
from engine.heatmap import decode_heatmaps_dark
from engine.skeleton import COCO17
from engine.types import Float32Array, UInt8Array
from models.checkpoints import load_pose_model
from tests.engine.small_pose_model import SKELETON, random_crops, write_small_model
from train.distillation import Teacher, open_teacher, resample
from train.evaluation.prediction import flip_averaged, normalize_crops


def gaussian(
    place_xy: tuple[float, float], input_wh: tuple[int, int], maps_wh: tuple[int, int], sigma_px: float, udp: bool
) -> torch.Tensor:
    """One heatmap (1, 1, h, w) with its peak at a place in crop px."""
    stride = heatmap_stride(input_wh, maps_wh, udp=udp)
    x = torch.arange(maps_wh[0]) * stride[0] - place_xy[0]
    y = torch.arange(maps_wh[1]) * stride[1] - place_xy[1]
    return torch.exp(-(x[None] ** 2 + y[:, None] ** 2) / (2 * sigma_px**2))[None, None]


@pytest.mark.parametrize("udp", [False, True])
@pytest.mark.parametrize(
    ("teacher", "student"), [((192, 256), (128, 192)), ((128, 192), (192, 256)), ((192, 256), (96, 128))]
)
def test_a_keypoint_stays_at_its_place_in_a_crop_of_another_size(
    teacher: tuple[int, int], student: tuple[int, int], udp: bool
) -> None:
    own, wanted = ((width // 4, height // 4) for width, height in (teacher, student))
    place = (student[0] * 0.4, student[1] * 0.6)
    # Resizing keeps the corners of the outer pixels in place, and so does what the teacher sees.
    scales = [a / b for a, b in zip(teacher, student, strict=True)]
    seen = tuple(s * p + (s - 1) / 2 for s, p in zip(scales, place, strict=True))
    maps = gaussian(seen, teacher, own, 10.0, udp)  # type: ignore[arg-type]
    found = resample(maps, teacher, student, wanted, udp=udp)
    assert found.shape == (1, 1, wanted[1], wanted[0])
    sigma = 10.0 / scales[0] / heatmap_stride(student, wanted, udp=udp)[0]
    decoded = decode_heatmaps_dark(found.numpy(), student, sigma, udp=udp)[0, 0]
    np.testing.assert_allclose(decoded[:2], place, atol=0.35)
    assert decoded[2] > 0.9


@pytest.fixture
def teacher_file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return write_small_model(tmp_path / "teacher.safetensors")


def test_it_teaches_the_mean_of_the_flip_test(teacher_file: Path) -> None:
    checkpoint = load_pose_model(teacher_file)
    teacher = Teacher(checkpoint, 0.0)
    crops = random_crops(2, seed=3)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (checkpoint.mean, checkpoint.std))

    @torch.no_grad()
    def predict(batch: UInt8Array) -> Float32Array:
        maps: Float32Array = checkpoint.model(normalize_crops(torch.from_numpy(batch), mean, std)).heatmaps.numpy()
        return maps

    expected = flip_averaged(predict, SKELETON.flip_order)(crops)
    width, height = checkpoint.config.input_size_wh
    found = teacher.heatmaps(torch.from_numpy(crops), (width // 4, height // 4))
    np.testing.assert_allclose(found.numpy()[..., 1:], expected[..., 1:], atol=1e-5)


@pytest.mark.parametrize("student_wh", [(64, 96), (48, 64)])  # the teacher's own size, and another
def test_its_compiled_form_teaches_what_pytorch_teaches(teacher_file: Path, student_wh: tuple[int, int]) -> None:
    checkpoint = load_pose_model(teacher_file)
    size = (student_wh[0] // 4, student_wh[1] // 4)
    crops = np.stack([cv2.resize(crop, student_wh) for crop in random_crops(3, seed=3)])
    compiled = Teacher(checkpoint, 0.0, teacher_file).to(torch.device("cpu"))
    found = compiled.heatmaps(torch.from_numpy(crops), size)
    expected = Teacher(checkpoint, 0.0).heatmaps(torch.from_numpy(crops), size)
    assert found.shape == (3, SKELETON.num_keypoints, size[1], size[0])
    assert (found - expected).abs().max() < 0.03 * expected.abs().max()  # bfloat16 where the processor has it


def test_it_fills_in_what_has_no_label_and_is_silent_where_it_is_not_sure(
    teacher_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = Teacher(load_pose_model(teacher_file), 0.5)
    maps = torch.zeros(1, 4, 3, 2)
    maps[0, :, 1, 1] = torch.tensor([0.9, 0.9, 0.4, 0.4])
    monkeypatch.setattr(teacher, "heatmaps", lambda crops, size_wh: maps)
    targets, weights = teacher.lesson(
        torch.zeros(1, 12, 8, 3), torch.tensor([[1.0, 0.0, 1.0, 0.0]]), (2, 3), weight=0.25
    )
    assert targets is maps
    torch.testing.assert_close(weights, torch.tensor([[0.5, 1.0, 0.0, 0.0]]))  # squared by the loss


def test_a_teacher_of_other_keypoints_or_coordinates_is_refused(teacher_file: Path, tmp_path: Path) -> None:
    open_teacher(str(teacher_file), SKELETON, udp=False, threshold=0.3)
    with pytest.raises(OptionError, match="the data set has others"):
        open_teacher(str(teacher_file), COCO17, udp=False, threshold=0.3)
    with pytest.raises(OptionError, match="without UDP coordinates"):
        open_teacher(str(teacher_file), SKELETON, udp=True, threshold=0.3)
    with pytest.raises(OptionError, match="safetensors"):
        (tmp_path / "graph.onnx").write_bytes(b"x")
        open_teacher(str(tmp_path / "graph.onnx"), SKELETON, udp=False, threshold=0.3)
