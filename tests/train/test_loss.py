"""The loss against plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from models.pose_model import PoseOutput
from train.loss import attention_loss, heatmap_loss, total_loss


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


def test_attention_is_wanted_at_the_nearest_labelled_keypoints() -> None:
    """Against plain loops; keypoints without a label count neither as wanted nor as found."""
    height, width, count = 16, 12, 4
    places = [[(2, 3), (9, 3), (5, 12), (0, 0)], [(1, 1), (10, 14), (6, 6), (3, 9)]]
    weights = torch.tensor([[1.0, 1.0, 1.2, 0.0], [1.0, 1.0, 1.0, 1.0]])
    targets = torch.zeros(2, count, height, width)
    for person, keypoints in enumerate(places):
        for k, (x, y) in enumerate(keypoints):
            targets[person, k, y, x] = 1.0
    torch.manual_seed(0)
    attention = torch.softmax(3 * torch.randn(2, count, height, width), dim=1)
    expected = 0.0
    for person, keypoints in enumerate(places):
        labelled = [k for k in range(count) if weights[person, k] > 0]
        for y in range(height):
            for x in range(width):
                close = {k: math.exp(-((x - keypoints[k][0]) ** 2 + (y - keypoints[k][1]) ** 2) / 2) for k in labelled}
                found = {k: float(attention[person, k, y, x]) for k in labelled}
                for k in labelled:
                    wanted = close[k] / sum(close.values())
                    if wanted > 0:
                        expected += wanted * math.log(wanted * sum(found.values()) / found[k])
    expected /= 2 * height * width
    assert float(attention_loss(attention, targets, weights)) == pytest.approx(expected, rel=1e-4)


def test_people_without_labels_add_nothing_to_the_attention_loss() -> None:
    attention = torch.softmax(torch.randn(3, 5, 8, 6), dim=1).requires_grad_()
    weights = torch.zeros(3, 5)
    weights[0, 2] = 1  # one keypoint alone says nothing about which is next
    loss = attention_loss(attention, torch.rand(3, 5, 8, 6), weights)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert attention.grad is not None and torch.isfinite(attention.grad).all()
