"""Which samples make a batch, and how many processes load them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Sampler

from engine.errors import OptionError
from train.config import TrainConfig

SampleKey = tuple[int, int, int]  # epoch, index, how often the person came before in this epoch

_MOST_LOADERS = 12


def loader_processes(config: TrainConfig) -> int:
    """Loader processes a device: those of --workers, else as many as keep the network busy.

    An accelerator needs the processor's cores, less one for the training itself. Where the processor trains, a crop of
    a picture in memory costs a hundredth of what the network does with it, and another process would only compete for
    the cores; pictures that are decoded every time need one.
    """
    if config.workers is not None:
        return config.workers
    if torch.accelerator.is_available():
        return max(1, min(_MOST_LOADERS, (os.cpu_count() or 1) // config.devices - 1))
    return 0 if config.cache_images else 1


class EpochBatches(Sampler[list[SampleKey]]):
    """Batches of keys of one epoch, in an order that depends on (seed, epoch) alone.

    With `accumulate`, each is a part of the batch of one step. Several processes share each batch, so that together
    they see what one process would, and a person comes to the process that keeps the picture if there is room. A last
    batch that is not full is left out, unless it is the only one.

    Args:
        shares: (N,) float64, how often each person comes on average; the part behind the point is drawn by chance.
        config: seed, total batch size, and the parts that a batch is divided into.
        epoch: from 0.
        start: batches to leave out at the beginning, because they were seen before a stop.
        rank, world: this process among all.
        images: N, index of each person's picture; needed by several processes.

    Raises:
        OptionError: there are fewer people than parts of a batch.
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
        images: Sequence[int] | None = None,
    ) -> None:
        rng = np.random.default_rng((config.seed, epoch))
        counts = np.floor(shares + rng.random(len(shares))).astype(int)
        indices = np.repeat(np.arange(len(shares)), counts)
        repeats = np.concatenate([np.arange(count) for count in counts])
        order = rng.permutation(len(indices))
        keys: list[SampleKey] = [(epoch, int(indices[i]), int(repeats[i])) for i in order]
        size = config.batch_size
        self._batches = []
        for begin in range(0, max(1, len(keys) - size + 1), size):
            batch = keys[begin : begin + size]
            part = len(batch) // config.accumulate
            if part // world == 0:
                raise OptionError(
                    f"an epoch has {len(keys)} people, too few for {config.accumulate * world} parts of a batch; "
                    "--accumulate or --devices must be smaller"
                )
            for i in range(config.accumulate):
                shared = batch[i * part : (i + 1) * part]
                self._batches.append(shared if world == 1 else _shared_out(shared, images, world)[rank])
        self._start = start

    def __len__(self) -> int:
        return len(self._batches)  # of the whole epoch: Lightning counts on from where it stopped

    def __iter__(self) -> Iterator[list[SampleKey]]:
        return iter(self._batches[self._start :])


def _shared_out(batch: list[SampleKey], images: Sequence[int] | None, world: int) -> list[list[SampleKey]]:
    """A batch in equal parts, one a process; as far as possible each person goes to picture % world."""
    size = len(batch) // world
    parts: list[list[SampleKey]] = [[] for _ in range(world)]
    others: list[SampleKey] = []
    for key in batch[: size * world]:
        own = parts[(key[1] if images is None else images[key[1]]) % world]
        (own if len(own) < size else others).append(key)
    for part in parts:
        while len(part) < size:
            part.append(others.pop())
    return parts
