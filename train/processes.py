"""The processes that share a run, one a device: rank, number, and exchange of values."""

from __future__ import annotations

import os
from typing import TypeVar

import torch.distributed as dist

from train.config import TrainConfig

T = TypeVar("T")


def process_rank(config: TrainConfig) -> int:
    """Number of this process among all of the run, from 0; known before they are connected.

    torchrun sets RANK; Lightning sets LOCAL_RANK in the processes that it starts, and not in the first.
    """
    if "RANK" in os.environ:
        return int(os.environ["RANK"])
    return int(os.environ.get("NODE_RANK", "0")) * config.devices + int(os.environ.get("LOCAL_RANK", "0"))


def process_count(config: TrainConfig) -> int:
    """Number of processes of the run."""
    return config.devices * config.nodes


def connected() -> tuple[int, int]:
    """Rank and number of the processes that are connected; (0, 1) for one alone."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def gather(value: T) -> list[T]:
    """The value of each connected process, in order of rank; all of them have to call this."""
    _, count = connected()
    if count == 1:
        return [value]
    gathered: list[T | None] = [None] * count
    dist.all_gather_object(gathered, value)
    return [part for part in gathered if part is not None]
