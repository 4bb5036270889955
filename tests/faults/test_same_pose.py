"""The same picture gives the same pose: whatever is drawn, in whatever size it is stored, however a tie falls."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from engine.backends import Backend, open_pose_backend
from engine.geometry import boxes_to_affines, overlaps, warp_crops
from engine.pipeline.opening import open_pipeline
from engine.pipeline.pose_pipeline import PipelineOptions, PosePipeline
from engine.pipeline.pose_stage import PendingFrame, PoseStage
from engine.skeleton import COCO17
from engine.sources.photos import read_photo
from engine.tracking.false_positives import FalsePositiveFilter, confidences
from engine.types import Frame, Poses, UInt8Array
from tests.faults.ledger import Fault

pytestmark = pytest.mark.fault("same picture, same pose")

STILL = PipelineOptions(tracking=False, smoothing=False, detect_every=1)
MAPS = list(itertools.product((False, True), repeat=2))


@pytest.fixture(scope="module")
def pipeline() -> Iterator[PosePipeline]:
    with open_pipeline(STILL) as opened:
        yield opened


@pytest.fixture(scope="module", params=["openvino", "onnxruntime", "torch"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    with open_pose_backend(None, backend=request.param, device="cpu").backend as opened:
        yield opened


def still(image_bgr: UInt8Array) -> Frame:
    return Frame(image_bgr=image_bgr.copy(), index=0, timestamp_s=0.0, is_still=True)


def test_what_is_shown_does_not_change_what_is_found(
    backend: Backend, pipeline: PosePipeline, photo_paths: list[Path], fault: Fault
) -> None:
    """All people, with no map, either and both; to the last bit."""
    tried = 0
    for path in photo_paths:
        image = read_photo(path)
        people = pipeline.find(still(image)).detections
        poses = []
        for areas, attention in MAPS:
            stage = PoseStage(backend, want_areas=areas, want_attention=attention, max_people=16)
            poses.append(stage.run([PendingFrame(frame=still(image), detections=people, detected=True)])[0].poses)
            tried += 1
        for other in poses[1:]:
            np.testing.assert_array_equal(other.keypoints_xy, poses[0].keypoints_xy)
            np.testing.assert_array_equal(other.scores, poses[0].scores)
    fault.more(tried)


def resized(image_bgr: UInt8Array, long_side: int) -> tuple[UInt8Array, float]:
    scale = long_side / max(image_bgr.shape[:2])
    size_wh = (round(image_bgr.shape[1] * scale), round(image_bgr.shape[0] * scale))
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(image_bgr, size_wh, interpolation=how), np.uint8), scale


def share_keypoints(poses: Poses, others: Poses) -> npt.NDArray[np.bool_]:
    """(N, M) bool: at least five visible keypoints of both are within a tenth of the narrower box's width."""
    seen = (poses.scores > 0.2)[:, None] & (others.scores > 0.2)[None]
    distance = np.linalg.norm(poses.keypoints_xy[:, None] - others.keypoints_xy[None], axis=-1)
    width, other = (boxes[:, 2] - boxes[:, 0] for boxes in (poses.boxes_xyxy, others.boxes_xyxy))
    widths = np.minimum(width[:, None], other[None])
    return np.asarray((seen & (distance < 0.1 * widths[..., None])).sum(axis=-1) >= 5)


def test_a_photo_has_the_same_people_in_720p_and_4k(
    pipeline: PosePipeline, photo_paths: list[Path], people_data_dir: Path, fault: Fault
) -> None:
    """Whoever is above the threshold by 0.05 in one size is found in the other, if with another of two boxes."""
    missed = []
    paths = [*photo_paths, *sorted((people_data_dir / "val").iterdir())[: 10 - len(photo_paths)]]
    threshold = STILL.person_threshold
    for path in paths:
        found: list[Poses] = []
        for side in (1280, 3840):
            image, scale = resized(read_photo(path), side)
            poses = pipeline.process(still(image)).poses
            boxes_xyxy, keypoints_xy = poses.boxes_xyxy / np.float32(scale), poses.keypoints_xy / np.float32(scale)
            found.append(dataclasses.replace(poses, boxes_xyxy=boxes_xyxy, keypoints_xy=keypoints_xy))
        for poses, others in (found, found[::-1]):
            wanted = poses.take(np.flatnonzero(confidences(poses) >= threshold + 0.05))
            matched = (overlaps(wanted.boxes_xyxy, others.boxes_xyxy) > 0.5) | share_keypoints(wanted, others)
            missed += [f"{path.name}: {box}" for box in wanted.boxes_xyxy[~matched.any(axis=1)]]
    assert not missed
    fault.more(2 * len(paths))


@pytest.mark.parametrize("factor", [2, 3, 4, 6, 8])
def test_a_crop_of_a_larger_copy_is_the_same_crop(factor: int, photo_paths: list[Path], fault: Fault) -> None:
    """Fine stripes in the larger picture do not become coarse ones in the crop."""
    image = np.clip(resized(read_photo(photo_paths[0]), 640)[0], 40, 215)
    height, width = image.shape[:2]
    large = np.repeat(np.repeat(image, factor, axis=0), factor, axis=1)
    large = (large + np.where(np.arange(width * factor) % 2, 40, -40)[None, :, None]).astype(np.uint8)
    box = np.array([[0.2 * width, 0.1 * height, 0.8 * width, 0.95 * height]], np.float32)
    small_crop = warp_crops(image, boxes_to_affines(box, (96, 128)), (96, 128))[0].astype(int)
    large_crop = warp_crops(large, boxes_to_affines(box * factor, (96, 128)), (96, 128))[0].astype(int)
    inside = (slice(20, 108), slice(16, 80))
    assert np.abs(small_crop[inside] - large_crop[inside]).mean() < 8


def duplicates(scores: tuple[float, float], sizes: tuple[float, float]) -> Poses:
    """Two boxes on one person, and somebody else; the boxes differ in their height."""
    rng = np.random.default_rng(0)
    shape = rng.uniform([10, 10], [90, 190], (17, 2))
    boxes = np.array([[0, 0, 100, 200 * sizes[0]], [2, 0, 102, 200 * sizes[1]], [500, 0, 600, 200]], np.float32)
    heights = np.array([*scores, 0.7], np.float32)
    return Poses(
        keypoints_xy=np.stack([shape, shape + 1, shape + np.array([500, 0])]).astype(np.float32),
        scores=np.repeat(heights[:, None], 17, axis=1),
        boxes_xyxy=boxes,
        box_scores=np.ones(3, np.float32),
        person_scores=heights,
    )


def test_a_tie_of_duplicates_falls_the_same_way_whatever_the_noise(fault: Fault) -> None:
    """Scores within 10 percent, noise of 3 percent: the larger box stays; beyond a tie the better one does."""
    chooser = FalsePositiveFilter(threshold=0.3, oks_sigmas=COCO17.oks_sigmas)
    rng = np.random.default_rng(1)
    tried = 0
    for score, ratio, small in itertools.product((0.4, 0.6, 0.8), (0.9, 1.0, 1.1), (0.5, 0.7, 0.9)):
        for sizes, larger in (((1.0, small), 0), ((small, 1.0), 1)):
            noise = rng.uniform(0.97, 1.03, 2)
            poses = duplicates((score * noise[0], score * ratio * noise[1]), sizes)
            kept = chooser.kept(poses, confidences(poses))
            assert kept is not None and kept.tolist() == [larger, 2]
            tried += 1
    poses = duplicates((0.9, 0.5), (0.6, 1.0))
    kept = chooser.kept(poses, confidences(poses))
    assert kept is not None and kept.tolist() == [0, 2]
    fault.more(tried)


def test_a_box_on_two_people_does_not_take_both(fault: Fault) -> None:
    """It would tie with each, but is a duplicate of somebody else as well."""
    rng = np.random.default_rng(0)
    shape = rng.uniform([10, 10], [90, 190], (17, 2))
    boxes = np.array([[0, 0, 100, 200], [110, 0, 210, 200], [0, 0, 210, 200]], np.float32)
    poses = Poses(
        keypoints_xy=np.stack([shape, shape + np.array([110, 0]), shape + np.array([3, 0])]).astype(np.float32),
        scores=np.repeat(np.array([[0.8], [0.75], [0.74]], np.float32), 17, axis=1),
        boxes_xyxy=boxes,
        box_scores=np.ones(3, np.float32),
        person_scores=np.array([0.8, 0.75, 0.74], np.float32),
    )
    chooser = FalsePositiveFilter(threshold=0.3, oks_sigmas=COCO17.oks_sigmas)
    kept = chooser.kept(poses, confidences(poses))
    assert kept is not None and kept.tolist() == [0, 1]
