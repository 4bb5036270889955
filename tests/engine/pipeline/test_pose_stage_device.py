"""Whole frames instead of crops, and maps that stay on the device: the path of a frame on an engine, without a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.backends import Backend, open_pose_backend
from engine.pipeline.pose_stage import PendingFrame, PoseStage
from engine.types import Detections, Frame
from tests.engine import standin_tensorrt
from tests.engine.device_cpu import CpuMemory
from tests.engine.engine_orders import Use, build
from tests.engine.small_pose_model import random_crops

PEOPLE: tuple[list[list[int]], ...] = ([[20, 10, 90, 120], [100, 30, 190, 150]], [], [[5, 40, 70, 140]])


def _frames() -> list[PendingFrame]:
    """Three frames with two, no and one person."""
    frames = []
    for number, boxes in enumerate(PEOPLE):
        crops = random_crops(6, number)
        image = np.concatenate([np.concatenate(list(crops[:3]), axis=1), np.concatenate(list(crops[3:]), axis=1)])
        detections = Detections(
            boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
            scores=np.full(len(boxes), 0.9, np.float32),
            class_ids=np.zeros(len(boxes), np.int64),
        )
        frame = Frame(image_bgr=np.ascontiguousarray(image), index=number, timestamp_s=number / 30)
        frames.append(PendingFrame(frame=frame, detections=detections, detected=True))
    return frames


@pytest.fixture
def on_device(small_weights: Path, use_gpu: Use, own_cache: Path, quick: None, export_once: None) -> Iterator[Backend]:
    """The backend opened if the cache has an engine for whole frames and one for crops."""
    use_gpu()
    build(small_weights, precision="fp32")
    build(small_weights, precision="fp32", with_crop=True, max_frame=400)
    with open_pose_backend(small_weights, backend="tensorrt", with_crop=True).backend as backend:
        standin_tensorrt.Context.executions.clear()
        yield backend


def test_whole_frames_give_the_keypoints_that_crops_give(on_device: Backend, small_weights: Path) -> None:
    assert [tensor.name for tensor in on_device.spec.inputs] == ["frame", "crop_to_frame"]
    frames = _frames()
    with open_pose_backend(small_weights, backend="onnxruntime", with_crop=True).backend as plain:
        found, expected = (
            PoseStage(backend, want_areas=True, want_attention=True, max_people=4).run(frames)
            for backend in (on_device, plain)
        )
    assert [len(one.poses) for one in found] == [2, 0, 1]
    for ours, theirs in zip(found, expected, strict=True):
        # The warp outside rounds pixels to whole numbers; a stride of the heatmap is four px.
        far = np.abs(ours.poses.keypoints_xy - theirs.poses.keypoints_xy).max(axis=-1) > 3
        assert far.mean() <= 0.2 if far.size else True
        assert ours.attention is not None and theirs.attention is not None
        assert ours.attention.attention is not None and theirs.attention.attention is not None
        np.testing.assert_allclose(ours.attention.attention, theirs.attention.attention, atol=0.05)
    assert [shape for _, shape in standin_tensorrt.Context.executions] == [(2, 2, 3), (1, 2, 3)]


def test_maps_are_copied_only_while_they_are_shown(on_device: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[int] = []
    download = CpuMemory.download

    def counted(self: CpuMemory, source: object, target: object, nbytes: int, stream: object) -> None:
        copies.append(nbytes)
        download(self, source, target, nbytes, stream)

    monkeypatch.setattr(CpuMemory, "download", counted)
    stage = PoseStage(on_device, want_areas=False, want_attention=True, max_people=4)
    stage.maps_shown = False
    (blind,) = stage.run(_frames()[:1])
    assert (blind.attention, copies) == (None, [2 * 4 * 3 * 4])
    stage.maps_shown = True
    (seen,) = stage.run(_frames()[:1])
    assert seen.attention is not None and seen.attention.attention is not None
    np.testing.assert_allclose(seen.attention.attention.sum(axis=1), 1, atol=1e-4)
    np.testing.assert_array_equal(seen.poses.keypoints_xy, blind.poses.keypoints_xy)
    assert copies[1:] == [2 * 4 * 3 * 4, 2 * 4 * 24 * 16 * 4]


def test_crops_are_used_without_an_engine_for_whole_frames(
    small_weights: Path, use_gpu: Use, own_cache: Path, quick: None, export_once: None
) -> None:
    use_gpu()
    build(small_weights, precision="fp32")
    with open_pose_backend(small_weights, backend="tensorrt", with_crop=True).backend as backend:
        assert [tensor.name for tensor in backend.spec.inputs] == ["crops"]
