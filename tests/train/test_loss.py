"""The loss against plain loops."""

from __future__ import annotations

import pytest
import torch

from models.pose_model import PoseOutput
from train.loss import heatmap_loss, total_loss


def test_hard_keypoint_mining_counts_the_worst_keypoints_of_each_person() -> None:
    torch.manual_seed(0)
    heatmaps, targets = torch.rand(3, 5, 4, 6), torch.rand(3, 5, 4, 6)
    weights = torch.ones(3, 5)
    weights[0, 1] = 0
    expected = 0.0
    for person in range(3):
        losses = []
        for k in range(5):
            difference = (heatmaps[person, k] - targets[person, k]) * weights[person, k]
            losses.append(0.5 * float((difference**2).mean()))
        expected += sum(sorted(losses)[-2:]) / 2 / 3
    assert float(heatmap_loss(heatmaps, targets, weights, 2)) == pytest.approx(expected, rel=1e-5)
    everything = float(heatmap_loss(heatmaps, targets, weights))
    assert everything < expected and float(heatmap_loss(heatmaps, targets, weights, 5)) == pytest.approx(everything)


def test_mining_leaves_the_coarse_heatmaps_alone() -> None:
    torch.manual_seed(0)
    maps, targets = torch.rand(2, 2, 5, 4, 6), torch.rand(2, 5, 4, 6)
    weights = torch.ones(2, 5)
    mined = total_loss(PoseOutput(maps[0], coarse_heatmaps=maps[1]), targets, weights, 0.2, 2)
    assert float(mined["loss_inter"]) == pytest.approx(float(heatmap_loss(maps[1], targets, weights)))
    assert float(mined["loss"]) == pytest.approx(float(mined["loss_output"] + 0.2 * mined["loss_inter"]))
