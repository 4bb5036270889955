"""Who stays: people the pose network is sure of, each once."""

from __future__ import annotations

import numpy as np

from engine.person_filter import PersonFilter
from engine.skeleton import COCO17
from engine.types import Poses

FILTER = PersonFilter(threshold=0.1, oks_sigmas=COCO17.oks_sigmas)


def people(*each: tuple[float, float, float]) -> Poses:
    """Poses of 100x200 px people: x of the left edge, person score, height of all keypoints."""
    rng = np.random.default_rng(0)
    shape = rng.uniform([0, 0], [100, 200], (17, 2))
    return Poses(
        keypoints_xy=np.stack([shape + np.array([x, 50]) for x, _, _ in each]).astype(np.float32),
        scores=np.array([[height] * 17 for _, _, height in each], np.float32),
        boxes_xyxy=np.array([[x, 50, x + 100, 250] for x, _, _ in each], np.float32),
        person_scores=np.array([score for _, score, _ in each], np.float32),
    )


def test_nobody_is_left_out_where_all_are_sure_and_apart() -> None:
    assert FILTER.kept(people((0, 0.5, 0.6), (80, 0.4, 0.6))) is None  # shoulder to shoulder, boxes overlap
    assert FILTER.kept(Poses.empty(17)) is None


def test_whom_the_pose_network_does_not_see_is_left_out() -> None:
    kept = FILTER.kept(people((0, 0.5, 0.6), (300, 0.06, 0.25), (600, 0.0, 0.1)))
    assert kept is not None and kept.tolist() == [0]


def test_of_two_boxes_on_one_person_the_better_stays() -> None:
    kept = FILTER.kept(people((300, 0.4, 0.6), (4, 0.2, 0.6), (0, 0.5, 0.6)))
    assert kept is not None and kept.tolist() == [0, 2]


def test_poses_that_share_no_seen_keypoints_are_no_doubles() -> None:
    poses = people((0, 0.5, 0.6), (2, 0.4, 0.6))
    scores = poses.scores.copy()
    scores[0, :9], scores[1, 8:] = 0.1, 0.1
    apart = Poses(
        keypoints_xy=poses.keypoints_xy, scores=scores, boxes_xyxy=poses.boxes_xyxy, person_scores=poses.person_scores
    )
    assert FILTER.kept(apart) is None


def test_values_that_are_no_numbers_do_not_stop_it() -> None:
    poses = people((0, 0.5, 0.6), (2, np.nan, 0.6), (300, 0.5, np.nan))
    kept = FILTER.kept(poses)
    assert kept is not None and kept.tolist() == [0, 2]
