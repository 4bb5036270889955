"""People of high confidence are kept, without duplicates."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from engine.skeleton import COCO17
from engine.tracking.false_positives import FalsePositiveFilter, confidences
from engine.types import Poses

FILTER = FalsePositiveFilter(threshold=0.3, oks_sigmas=COCO17.oks_sigmas)


def kept_of(poses: Poses) -> npt.NDArray[np.intp] | None:
    return FILTER.kept(poses, confidences(poses))


def people(*each: tuple[float, float, float]) -> Poses:
    """Poses of 100x200 px people: x of the left edge, person score, height of all keypoints."""
    rng = np.random.default_rng(0)
    shape = rng.uniform([0, 0], [100, 200], (17, 2))
    return Poses(
        keypoints_xy=np.stack([shape + np.array([x, 50]) for x, _, _ in each]).astype(np.float32),
        scores=np.array([[height] * 17 for _, _, height in each], np.float32),
        boxes_xyxy=np.array([[x, 50, x + 100, 250] for x, _, _ in each], np.float32),
        box_scores=np.array([score / height for _, score, height in each], np.float32),
        person_scores=np.array([score for _, score, _ in each], np.float32),
    )


def test_confident_separate_people_are_kept() -> None:
    assert kept_of(people((0, 0.5, 0.6), (80, 0.4, 0.6))) is None  # shoulder to shoulder, boxes overlap
    assert kept_of(Poses.empty(17)) is None


def test_people_rejected_by_the_pose_network_are_dropped() -> None:
    kept = kept_of(people((0, 0.5, 0.6), (300, 0.06, 0.25), (600, 0.0, 0.1)))
    assert kept is not None and kept.tolist() == [0]


def test_confidence_against_a_plain_loop() -> None:
    poses = people((0, 0.5, 0.6), (300, 0.06, 0.25), (600, 0.0, 0.1), (900, 0.3, 0.3))
    expected = []
    for product, scores in zip(poses.person_scores, poses.scores, strict=True):
        seen = [float(score) for score in scores if score > 0.2]
        mean = sum(seen) / len(seen) if seen else 0.0
        expected.append((float(product) / mean) ** 0.3 * mean**0.7 if seen else 0.0)
    np.testing.assert_allclose(confidences(poses), expected, atol=1e-6)
    assert confidences(Poses.empty(17)).shape == (0,)


@pytest.mark.parametrize(("visible", "confident"), [(1, False), (2, False), (3, True), (17, True)])
def test_two_visible_keypoints_are_no_person(visible: int, confident: bool) -> None:
    poses = people((0, 0.9, 0.1))
    poses.scores[0, :visible] = 0.9
    assert bool(confidences(poses)[0] > 0) == confident
    assert (kept_of(poses) is None) == confident


def test_a_skeleton_of_two_keypoints_has_people() -> None:
    both = Poses(
        keypoints_xy=np.zeros((1, 2, 2), np.float32),
        scores=np.full((1, 2), 0.9, np.float32),
        boxes_xyxy=np.array([[0, 0, 10, 10]], np.float32),
        box_scores=np.ones(1, np.float32),
        person_scores=np.full(1, 0.9, np.float32),
    )
    assert confidences(both)[0] > 0.9


def test_a_weak_box_with_a_clear_pose_is_kept_and_a_strong_box_with_a_weak_pose_is_not() -> None:
    kept = kept_of(people((0, 0.12 * 0.5, 0.5), (300, 0.22 * 0.28, 0.28)))  # nearly the same product
    assert kept is not None and kept.tolist() == [0]


def test_of_two_boxes_on_one_person_the_better_stays() -> None:
    kept = kept_of(people((300, 0.4, 0.6), (4, 0.2, 0.6), (0, 0.5, 0.6)))
    assert kept is not None and kept.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("inner", "is_part"),
    [
        ((10, 50, 90, 110), False),  # 24 % of the other: may be a child
        ((10, 50, 90, 130), True),  # head and shoulders
        ((60, 50, 140, 150), False),  # half of it lies outside
        ((0, 150, 100, 250), True),  # the lower half
    ],
)
def test_a_box_on_a_part_of_a_person_is_dropped(inner: tuple[float, ...], is_part: bool) -> None:
    whole, part = people((0, 0.5, 0.6)), people((400, 0.4, 0.6))
    both = Poses(
        keypoints_xy=np.concatenate([whole.keypoints_xy, part.keypoints_xy]),
        scores=np.concatenate([whole.scores, part.scores]),
        boxes_xyxy=np.concatenate([whole.boxes_xyxy, np.array([inner], np.float32)]),
        box_scores=np.concatenate([whole.person_scores, part.person_scores]),
        person_scores=np.concatenate([whole.person_scores, part.person_scores]),
    )
    kept = kept_of(both)
    assert (kept is not None and kept.tolist() == [0]) == is_part


def test_poses_without_common_visible_keypoints_are_no_duplicates() -> None:
    poses = people((0, 0.5, 0.6), (2, 0.4, 0.6))
    scores = poses.scores.copy()
    scores[0, :9], scores[1, 8:] = 0.1, 0.1
    beside = np.array([[0, 50, 100, 250], [60, 50, 160, 250]], np.float32)
    apart = Poses(
        keypoints_xy=poses.keypoints_xy,
        scores=scores,
        boxes_xyxy=beside,
        box_scores=poses.person_scores,
        person_scores=poses.person_scores,
    )
    assert kept_of(apart) is None


def test_nan_values_are_handled() -> None:
    poses = people((0, 0.5, 0.6), (2, np.nan, 0.6), (300, 0.5, np.nan))
    kept = kept_of(poses)
    assert kept is not None and kept.tolist() == [0]


@pytest.mark.parametrize(("shared", "kept"), [(5, [0]), (4, [0, 1])])
def test_two_halves_of_a_person_that_share_the_face_are_one(shared: int, kept: list[int]) -> None:
    left, right = people((0, 0.5, 0.6)), people((60, 0.4, 0.6))
    points = np.concatenate([left.keypoints_xy, right.keypoints_xy])
    points[1, :shared] = points[0, :shared] + 1  # nose, eyes, ears
    both = Poses(
        keypoints_xy=points,
        scores=np.concatenate([left.scores, right.scores]),
        boxes_xyxy=np.concatenate([left.boxes_xyxy, right.boxes_xyxy]),
        box_scores=np.concatenate([left.person_scores, right.person_scores]),
        person_scores=np.concatenate([left.person_scores, right.person_scores]),
    )
    found = kept_of(both)
    assert ([0, 1] if found is None else found.tolist()) == kept
