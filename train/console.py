"""What a run prints while it trains: one line that is written over in a terminal, else a line a minute."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from train.config import TrainConfig
from train.module import PoseTraining

_EVERY_S = {True: 0.5, False: 60.0}
"""Seconds between lines: in a terminal, and without one."""
_ERASE_LINE = "\r\x1b[K"


class ConsoleLines(Callback):
    """Loss, images a second, time left and best AP of a run, on stderr of the first process."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.in_terminal = sys.stderr.isatty()
        self._since = self._begun = 0.0
        self._begun_progress = 0.0
        self._people = 0
        self._losses: list[Tensor] = []
        self._printed = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._since = self._begun = time.monotonic()
        self._begun_progress = _progress(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print a line if it is time for one."""
        self._people += len(batch["crop"]) * trainer.world_size
        self._losses.append(outputs["loss"].detach())  # read only when printed: reading waits for the GPU
        elapsed_s = time.monotonic() - self._since
        if elapsed_s >= _EVERY_S[self.in_terminal]:
            self._print(trainer, pl_module, elapsed_s)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Erase the line; without a terminal, a run has printed at least one before its first validation."""
        if self._losses and not self.in_terminal and not self._printed:
            self._print(trainer, pl_module, time.monotonic() - self._since)
        self._erase(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The time of the validation does not count in images a second."""
        self._since = time.monotonic()
        self._people = 0

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Erase the line."""
        self._erase(trainer)

    def _print(self, trainer: L.Trainer, pl_module: L.LightningModule, elapsed_s: float) -> None:
        if trainer.is_global_zero and isinstance(pl_module, PoseTraining):
            # Lightning has divided each by the number of passes.
            loss = sum(float(value) for value in self._losses) / len(self._losses) * trainer.accumulate_grad_batches
            line = self.line(trainer, pl_module, loss, self._people / max(elapsed_s, 1e-9))
            text = f"{_ERASE_LINE}{line}" if self.in_terminal else f"{line}\n"
            print(text, end="", file=sys.stderr, flush=True)
        self._since, self._people, self._losses, self._printed = time.monotonic(), 0, [], True

    def line(self, trainer: L.Trainer, training: PoseTraining, loss: float, people_per_s: float) -> str:
        """One line on the state of a run."""
        config = self.config
        epoch = f"epoch {trainer.current_epoch + 1}" + (f"/{config.epochs}" if config.hours is None else "")
        left_s = self._time_left_s(trainer, training)
        parts = [
            f"{epoch}, step {trainer.global_step}: loss {loss:.3g}",
            f"{people_per_s:.0f} images/s",
            "" if left_s is None else f"{duration(left_s)} left",
            f"best AP {training.best_ap:.2f}" if training.best_ap >= 0 else "",
        ]
        return ", ".join(part for part in parts if part)

    def _time_left_s(self, trainer: L.Trainer, training: PoseTraining) -> float | None:
        """Seconds to the end: by the clock with --hours, else at the pace so far, validations included."""
        if self.config.hours is not None:
            return max(0.0, self.config.hours * 3600 - training.elapsed_s)
        done = _progress(trainer, training)
        if done <= self._begun_progress:
            return None
        return (time.monotonic() - self._begun) * (1 - done) / (done - self._begun_progress)

    def _erase(self, trainer: L.Trainer) -> None:
        if self.in_terminal and trainer.is_global_zero:
            print(_ERASE_LINE, end="", file=sys.stderr, flush=True)


def _progress(trainer: L.Trainer, pl_module: L.LightningModule) -> float:
    """Share of the run that is done, by epochs, by the clock or by --max-steps."""
    by_steps = trainer.global_step / trainer.max_steps if trainer.max_steps > 0 else 0.0
    return max(by_steps, pl_module.progress if isinstance(pl_module, PoseTraining) else 0.0)


def duration(seconds: float) -> str:
    """Such as 2 h 05 min, 12 min or 40 s."""
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min" if minutes >= 2 else f"{seconds:.0f} s"
