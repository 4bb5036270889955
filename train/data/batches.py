"""Which samples make a batch, and how many processes load them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Sampler

from train.config import TrainConfig

SampleKey = tuple[int, int, int]  # epoch, index, how often the person came before in this epoch

_MOST_LOADERS = 12


def loader_processes(config: TrainConfig) -> int:
    """Loader processes a device: those that were asked for, else what keeps the network busy.

    An accelerator wants the processor's cores, less one for the training itself. Where the processor trains, a crop of
    a picture in memory costs a hundredth of what the network does with it, and a process of its own would only get in
    the way of threads that wait for each other; pictures that are decoded anew want one.
    """
    if config.workers is not None:
        return config.workers
    if torch.accelerator.is_available():
        return max(1, min(_MOST_LOADERS, (os.cpu_count() or 1) // config.devices - 1))
    return 0 if config.cache_images else 1


class EpochBatches(Sampler[list[SampleKey]]):
    """Batches of keys of one epoch, in an order that depends on (seed, epoch) alone.

    Several processes share each batch, so that together they see what one process would. A last batch that is not full
    is left out, unless it is the only one.

    Args:
        shares: (N,) float64, how often each person comes on average; the part behind the point is drawn by chance.
        config: seed and total batch size.
        epoch: from 0.
        start: batches to leave out at the beginning, because they were seen before a stop.
        rank, world: this process among all.
    """

    def __init__(
        self,
        shares: npt.NDArray[np.float64],
        config: TrainConfig,
        epoch: int,
        *,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        rng = np.random.default_rng((config.seed, epoch))
        counts = np.floor(shares + rng.random(len(shares))).astype(int)
        indices = np.repeat(np.arange(len(shares)), counts)
        repeats = np.concatenate([np.arange(count) for count in counts])
        order = rng.permutation(len(indices))
        keys: list[SampleKey] = [(epoch, int(indices[i]), int(repeats[i])) for i in order]
        size = config.batch_size
        batches = [keys[i : i + size] for i in range(0, max(1, len(keys) - size + 1), size)]
        part = size // world
        self._batches = [batch[rank * part : (rank + 1) * part] if world > 1 else batch for batch in batches]
        self._start = start

    def __len__(self) -> int:
        return len(self._batches)  # of the whole epoch: Lightning counts on from where it stopped

    def __iter__(self) -> Iterator[list[SampleKey]]:
        return iter(self._batches[self._start :])
