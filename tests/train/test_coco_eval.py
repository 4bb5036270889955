"""AP, rescoring, OKS-NMS and the flip test against results worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.types import Float32Array, UInt8Array
from models.pose_model import PoseOutput
from tests.train.people_folder import write_people
from train.coco_eval import coco_results, keypoint_ap, oks_nms, rescore
from train.loss import context_statistics, heatmap_loss, total_loss
from train.people import read_people
from train.prediction import flip_averaged


def test_rescoring_is_box_score_times_the_mean_above_a_fifth() -> None:
    scores = rescore(np.array([0.5, 1.0], np.float32), np.array([[0.9, 0.5, 0.1], [0.1, 0.2, 0.0]], np.float32))
    np.testing.assert_allclose(scores, [0.5 * 0.7, 0.0])


def test_doubles_are_dropped_and_neighbours_kept() -> None:
    one = np.array([[10, 10], [30, 40], [50, 10]], np.float32)
    people = np.stack([one, one + 0.5, one + 30])
    kept = oks_nms(people, np.array([0.5, 0.9, 0.1], np.float32), np.full(3, 2500, np.float32), [0.05] * 3, 0.9)
    assert kept == [1, 2]


@pytest.mark.parametrize(("shift", "low", "high"), [(0.0, 99.9, 100.1), (200.0, -0.1, 0.1)])
def test_perfect_keypoints_give_100_and_far_ones_nothing(tmp_path: Path, shift: float, low: float, high: float) -> None:
    people = read_people(write_people(tmp_path / "p"), "val")
    keypoints = np.stack([person.keypoints for person in people.people])
    keypoints[..., 2] = 0.9
    keypoints[..., 0] += shift
    count = len(keypoints)
    results = coco_results(
        [person.image_id for person in people.people],
        keypoints,
        np.ones(count, np.float32),
        np.full(count, 2000, np.float32),
        people.skeleton.oks_sigmas,
    )
    metrics = keypoint_ap(people.ground_truth, results, people.skeleton.oks_sigmas)
    assert low <= metrics["AP"] <= high


def test_flip_averaging_of_a_symmetric_network_changes_nothing_but_the_known_shift() -> None:
    """A network that answers the mirrored crop with mirrored, swapped maps agrees with itself up to one px."""

    def predict(crops: UInt8Array) -> Float32Array:
        small = crops[:, ::4, ::4].astype(np.float32)  # (N, h, w, 3)
        left, right = small[..., 0], small[..., 2]
        return np.stack([left, right], axis=1)

    crops = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3)).astype(np.uint8)
    averaged = flip_averaged(predict, (1, 0))(crops)
    mirrored = predict(np.ascontiguousarray(crops[:, :, ::-1]))[:, [1, 0]]
    by_hand = predict(crops)
    expected = by_hand.copy()
    for x in range(8):
        expected[..., x] = (by_hand[..., x] + mirrored[..., 7 - max(x - 1, 0)]) / 2
    np.testing.assert_allclose(averaged, expected)


def test_losses_by_hand() -> None:
    targets = torch.zeros(1, 2, 2, 2)
    heatmaps = torch.tensor([[[[1.0, 0], [0, 0]], [[3.0, 3], [3, 3]]]])
    weights = torch.tensor([[1.0, 0.0]])
    assert heatmap_loss(heatmaps, targets, weights).item() == pytest.approx(0.5 * 1 / 8)
    output = PoseOutput(heatmaps, coarse_heatmaps=heatmaps * 2)
    total = total_loss(output, targets, weights, alpha=0.2)
    assert total["loss"].item() == pytest.approx(0.5 * 1 / 8 + 0.2 * 0.5 * 4 / 8)
    assert "loss_inter" not in total_loss(output, targets, weights, alpha=0.0)


def test_statistics_tell_a_flat_head_from_a_sharp_one() -> None:
    flat = PoseOutput(
        torch.zeros(1, 3, 4, 4),
        areas=torch.full((1, 3, 4, 4), 1 / 16),
        attention=torch.full((1, 3, 4, 4), 1 / 3),
        representations=torch.ones(1, 3, 5),
    )
    values = context_statistics(flat)
    assert values["peak_times_pixels"].tolist() == [[1.0] * 3]
    assert values["representation_cosine"].item() == pytest.approx(1)
    assert values["attention_entropy"].item() == pytest.approx(1)
    sharp_areas = torch.zeros(1, 3, 4, 4)
    sharp_areas[:, :, 1, 1] = 1
    attention = torch.zeros(1, 3, 4, 4)
    attention[:, 0] = 1
    sharp = flat._replace(areas=sharp_areas, attention=attention, representations=torch.eye(3, 5)[None])
    values = context_statistics(sharp)
    assert values["peak_times_pixels"].tolist() == [[16.0] * 3]
    assert values["representation_cosine"].item() == pytest.approx(0)
    assert values["attention_entropy"].item() == pytest.approx(0, abs=1e-6)
