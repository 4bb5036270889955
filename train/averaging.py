"""A running average of the weights, and batch norms recalibrated for it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from train.data.batches import EpochBatches
from train.data.dataset import TrainDataset
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


@torch.no_grad()
def recalibrate_batch_norm(training: PoseTraining, batches: int = 64) -> None:
    """Measure the batch norms' statistics anew for the weights as they are now, on augmented training crops.

    Statistics that were averaged along the way belong to other weights. Batch norms that are kept as they are stay so.
    """
    norms = [norm for _, norm in training.batch_norms()]
    momenta = [norm.momentum for norm in norms]
    training.eval()
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
    for crops in _training_crops(training, batches):
        training(crops)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    training.eval()


@torch.no_grad()
def unfold_batch_norm(training: PoseTraining, batches: int = 32) -> int:
    """Give batch norms that were folded into their convolutions statistics of their own; the network stays the same.

    Such a batch norm has mean 0, variance 1 and scale 1, and only adds an offset. It gets the mean and the variance of
    what comes in, on augmented training crops in float32, and the scale and offset that undo them.

    Returns:
        how many there were.
    """
    norms = [norm for name, norm in training.batch_norms() if is_folded(norm) and training.model.backbone_stride(name)]
    if not norms:
        return 0
    training.eval()
    sums = [torch.zeros(2, norm.num_features, dtype=torch.float64) for norm in norms]
    counts = [0 for _ in norms]

    def measure(index: int, value: Tensor) -> None:
        by_channel = value.double().transpose(0, 1).flatten(1)  # (C, B h w)
        sums[index] += torch.stack([by_channel.sum(1), by_channel.square().sum(1)]).cpu()
        counts[index] += by_channel.shape[1]

    hooks = [
        norm.register_forward_pre_hook(lambda _module, inputs, index=index: measure(index, inputs[0]))
        for index, norm in enumerate(norms)
    ]
    for crops in _training_crops(training, batches):
        training(crops)
    for hook in hooks:
        hook.remove()
    for norm, total, count in zip(norms, sums, counts, strict=True):
        mean, square = total / count
        variance = (square - mean.square()).clamp(min=1e-6)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.add_(mean.to(norm.bias))
        norm.running_mean.copy_(mean)  # type: ignore[union-attr]
        norm.running_var.copy_(variance)  # type: ignore[union-attr]
    return len(norms)


def is_folded(norm: _BatchNorm) -> bool:
    """Whether a batch norm only adds an offset, because the rest of it was folded into the convolution before it."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        return False
    plain = not mean.any() and (variance == 1).all() and (norm.weight == 1).all()
    return bool(plain and norm.bias.any())


def _training_crops(training: PoseTraining, batches: int) -> Iterator[Tensor]:
    """Augmented crops (B, H, W, 3) uint8 BGR of the full input size, other ones than those that are trained on."""
    config = training.config
    dataset = TrainDataset(training.people, training.images, config, config.pose_model.input_size_wh)
    device = next(training.model.parameters()).device
    training.to(device)  # the normalisation's constants come along
    # An epoch number that no run reaches.
    for batch in list(EpochBatches(training.shares, config, epoch=10**6))[:batches]:
        yield torch.stack([dataset[key]["crop"] for key in batch]).to(device)
