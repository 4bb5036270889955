"""A running average of the weights, and batch norms that fit it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import update_bn

from train.batches import EpochBatches
from train.dataset import TrainDataset
from train.module import PoseTraining


def warm_average(decay: float) -> WeightAveraging:
    """An exponential average that forgets the random start: its decay rises to `decay` as (1 + n) / (10 + n).

    With a fixed decay, the starting values weigh 0.999^n: after 1,000 steps still a third, and a batch norm whose true
    variance is 0.02 is then divided by one that is mostly the initial 1.
    """

    def average(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        done = float(count)
        weight = min(decay, (1 + done) / (10 + done))
        return averaged * weight + current * (1 - weight)

    return WeightAveraging(avg_fn=average)


def recalibrate_batch_norm(training: PoseTraining, batches: int = 64) -> None:
    """Measure the batch norms' statistics anew for the weights as they are now, on augmented training crops.

    Statistics that were averaged along the way belong to other weights.
    """
    config = training.config
    dataset = TrainDataset(training.people, training.images, config, config.pose_model.input_size_wh)
    # An epoch number that no run reaches: other crops than those last trained on.
    keys = list(EpochBatches(training.shares, config, epoch=10**6))[:batches]

    def crops() -> Iterator[Tensor]:
        for batch in keys:
            yield torch.stack([dataset[key]["crop"] for key in batch])

    device = next(training.model.parameters()).device
    training.to(device)  # the normalisation's constants come along
    update_bn(crops(), training, device)
    training.eval()
