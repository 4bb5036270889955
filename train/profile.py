"""`python -m train ... --profile`: images/s of the loader alone, of the network alone and of both together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import torch
from torch.utils.data import DataLoader

from train.config import TrainConfig
from train.data.batches import EpochBatches, loader_processes
from train.data.dataset import Sample, TrainDataset
from train.loss import total_loss
from train.module import PoseTraining
from train.run import build_training

_WARM_UP, _STEPS = 4, 24
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def profile(config: TrainConfig) -> dict[str, float]:
    """Measure and print; the whole should come near the slower of its two parts.

    Returns:
        images/s by part: "loader", "model", "both", and "share", both / the slower part.
    """
    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    training = build_training(config)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    training.to(device)
    optimizer = training.configure_optimizers()
    batches = _batches(training)
    first = next(batches)
    rates = {
        "model": _rate(config, lambda: _step(training, optimizer, first, device)),
        "loader": _rate(config, lambda: next(batches)),
        "both": _rate(config, lambda: _step(training, optimizer, next(batches), device)),
    }
    rates["share"] = rates["both"] / min(rates["loader"], rates["model"])
    size = config.pose_model.input_size_wh
    print(
        f"{config.pose_model.name} {size[1]}x{size[0]}, batch {config.batch_size}, {config.precision}, {device.type}, "
        f"{loader_processes(config)} loader processes"
    )
    for name in ("loader", "model", "both"):
        print(f"{name:>8}: {rates[name]:8.1f} images/s")
    print(f"both / the slower part: {rates['share']:.2f}")
    return rates


def _batches(training: PoseTraining) -> Iterator[Sample]:
    """Batches without end, as a run would load them at its full input size."""
    config = training.config
    dataset = TrainDataset(training.people, training.images, config, config.pose_model.input_size_wh)
    epoch = 0
    while True:
        sampler = EpochBatches(training.shares, config, epoch)
        workers = loader_processes(config)
        prefetch = 4 if workers else None
        loader = DataLoader(dataset, batch_sampler=sampler, num_workers=workers, prefetch_factor=prefetch)
        yield from loader
        epoch += 1


def _step(training: PoseTraining, optimizer: torch.optim.Optimizer, batch: Sample, device: torch.device) -> None:
    crops, targets, weights = (batch[name].to(device, non_blocking=True) for name in ("crop", "targets", "weights"))
    dtype = _DTYPES.get(training.config.precision)
    with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
        loss = total_loss(training(crops), targets, weights, training.config.alpha, training.config.ohkm)["loss"]
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize()


def _rate(config: TrainConfig, run: Callable[[], object]) -> float:
    """Images/s of a step."""
    for _ in range(_WARM_UP):
        run()
    start = time.perf_counter()
    for _ in range(_STEPS):
        run()
    return _STEPS * config.batch_size / config.accumulate / (time.perf_counter() - start)
