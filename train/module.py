"""The training run as a LightningModule."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any, Self

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from engine.errors import EngineError
from models.checkpoints import IMAGENET_MEAN, IMAGENET_STD, save_pose_model
from models.pose_model import PoseModel, PoseOutput
from train.config import TrainConfig
from train.data.batches import EpochBatches, loader_processes
from train.data.dataset import ImageStore, Sample, TrainDataset, without_unreadable
from train.data.people import PeopleSet
from train.debug_pictures import write_debug_pictures
from train.distillation import Teacher
from train.evaluation.prediction import normalize_crops
from train.loss import attention_loss, total_loss
from train.processes import process_count, process_rank
from train.validation import Validation


class Diverged(EngineError):
    """A training has run into numbers that are not finite; nothing of it is written any more."""

    @classmethod
    def at(cls, step: int, what: str, output: Path) -> Diverged:
        """The error for a step of the run in this folder."""
        files = ("best.safetensors", "last.safetensors", "checkpoints/last.ckpt")
        kept = [name for name in files if (output / name).is_file()]
        if files[-1] in kept:
            advice = f"{', '.join(kept)} are as before: go on from there with --resume and a lower --learning-rate"
        else:
            advice = "there is no checkpoint yet: begin again with a lower --learning-rate and another --output"
        return cls(f"the training diverges at step {step}: {what}; {advice}")


class PoseTraining(L.LightningModule):
    """Steps, schedules and validation of one pose network."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: TrainConfig, model: PoseModel, people: PeopleSet, validation: PeopleSet) -> None:
        super().__init__()
        self.config = config
        self.model = model
        for name, value in model.named_parameters():
            value.requires_grad_(not self.is_frozen(name))
        share = {"rank": process_rank(config), "world": process_count(config)}
        self.images = ImageStore(people, config.cache_images, **share)
        self.validation_images = ImageStore(validation, config.cache_images, **share)
        self._use(people, validation)
        if process_count(config) == 1:
            self.leave_out_unreadable()
        self.teacher: Teacher | None = None
        """What teaches beside the labels; opened by `train.run.build_training`."""
        self.best_ap = -1.0
        self.kept_step = -1  # of the last validation, whose weights the first process wrote
        self.elapsed_s = 0.0
        self._last_tick: float | None = None
        self._batches_to_skip = 0
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def _use(self, people: PeopleSet, validation: PeopleSet) -> None:
        self.people, self.validation = people, validation
        by_source = dict(self.config.source_shares)
        self.shares = np.array([by_source.get(person.source, 1.0) for person in people.people])
        self.on_val = Validation(self.config, validation, self.validation_images)

    def leave_out_unreadable(self) -> None:
        """Decode the pictures, and train and validate without those that cannot be decoded."""
        people = without_unreadable(self.people, self.images) if self.config.cache_images else self.people
        self._use(people, without_unreadable(self.validation, self.validation_images))

    def setup(self, stage: str) -> None:
        """With several processes, which are connected by now, each decodes its part of the pictures."""
        if process_count(self.config) > 1:
            self.leave_out_unreadable()

    def is_frozen(self, name: str) -> bool:
        """Whether a layer or parameter of the network, by name, stays as it is."""
        if self.config.freeze_backbone:
            return not name.startswith("kcam")
        stride = self.model.backbone_stride(name)
        return stride is not None and stride <= self.config.freeze_until

    def batch_norms(self) -> list[tuple[str, _BatchNorm]]:
        """The batch norms whose statistics follow the training, by name."""
        if self.config.freeze_batch_norm:
            return []
        norms = [(name, m) for name, m in self.model.named_modules() if isinstance(m, _BatchNorm)]
        return [(name, norm) for name, norm in norms if not self.is_frozen(name)]

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0 to 1: by the clock where hours are given, else by epochs."""
        if self.config.hours is not None:
            return min(1.0, self.elapsed_s / (self.config.hours * 3600))
        steps = self.config.epochs * max(1, int(self.shares.sum()) // self.config.batch_size)
        return min(1.0, self.global_step / steps)

    def forward(self, crops: Tensor) -> PoseOutput:
        """Heatmaps of uint8 crops (B, H, W, 3) BGR."""
        return self.model(normalize_crops(crops, self.mean, self.std))  # type: ignore[no-any-return]

    def train_dataloader(self) -> DataLoader[Sample]:
        """The rest of the current epoch, at the current input size of `grow`."""
        size = self.config.input_size_at(self.progress)
        skip, self._batches_to_skip = self._batches_to_skip, 0
        workers = loader_processes(self.config)
        return DataLoader(
            TrainDataset(self.people, self.images, self.config, size),
            batch_sampler=EpochBatches(
                self.shares,
                self.config,
                self.current_epoch,
                start=skip,
                rank=self.trainer.global_rank,
                world=self.trainer.world_size,
                images=[person.image for person in self.people.people],
            ),
            num_workers=workers,
            pin_memory=self.device.type == "cuda",
            prefetch_factor=4 if workers else None,
        )

    def val_dataloader(self) -> DataLoader[Tensor]:
        """One empty batch: validation runs as a whole in `validation_step`, over people and not over batches."""
        return DataLoader(torch.zeros(1))  # type: ignore[arg-type]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, by default without weight decay, which the paper's numbers need."""
        config = self.config
        kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
        rest: list[nn.Parameter] = []
        backbone: list[nn.Parameter] = []
        for name, value in self.model.named_parameters():
            if value.requires_grad:
                slower = config.backbone_learning_rate_factor != 1 and self.model.backbone_stride(name) is not None
                (backbone if slower else rest).append(value)
        groups = [{"params": rest, "factor": 1.0}]
        if backbone:
            groups.append({"params": backbone, "factor": config.backbone_learning_rate_factor})
        return kind(groups, lr=config.learning_rate, eps=config.adam_epsilon, weight_decay=config.weight_decay)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all layers; batch norms that are frozen stay in evaluation mode."""
        super().train(mode)
        trained = {name for name, _ in self.batch_norms()}
        for name, module in self.model.named_modules():
            if isinstance(module, _BatchNorm) and name not in trained:
                module.eval()
        return self

    def on_train_start(self) -> None:
        """Freeze what is frozen: Lightning sets no mode, and leaves `on_train_epoch_start` out of a resumed epoch."""
        self.train()
        if self.teacher is not None:
            self.teacher.to(self.device)

    def on_train_batch_start(self, batch: Sample, batch_idx: int) -> None:
        """Set the learning rate for the share of the run that is done."""
        self._tick()
        factor = self.config.learning_rate_factor(self.progress, self.global_step)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.config.learning_rate * factor * group.get("factor", 1.0)

    def _tick(self) -> None:
        """Add the time since the last call to the training time."""
        now = time.monotonic()
        if self._last_tick is not None:
            self.elapsed_s += now - self._last_tick
        self._last_tick = now
        if self.config.hours is not None and self.trainer.world_size > 1:
            # Clocks differ; with its own each process would have its own learning rate, input size and end.
            self.elapsed_s = self.trainer.strategy.broadcast(self.elapsed_s)

    def training_step(self, batch: Sample, batch_idx: int) -> Tensor:
        """Loss of equation 4 on one batch, against the labels and against what the teacher finds."""
        alpha = self.config.alpha if self.config.pose_model.coarse_supervision else 0.0
        output = self(batch["crop"])
        losses = total_loss(output, batch["targets"], batch["weights"], alpha, self.config.ohkm)
        if self.teacher is not None:
            lesson = self.teacher.lesson(
                batch["crop"],
                batch["weights"],
                (output.heatmaps.shape[3], output.heatmaps.shape[2]),
                self.config.teacher_weight,
            )
            taught = total_loss(output, *lesson, alpha)["loss"]
            losses |= {"loss_teacher": taught, "loss": losses["loss"] + taught}
        if self.config.attention_weight > 0 and output.attention is not None:
            attended = attention_loss(output.attention, batch["targets"], batch["weights"])
            losses |= {"loss_attention": attended, "loss": losses["loss"] + self.config.attention_weight * attended}
        if not losses["loss"].isfinite():
            raise Diverged.at(self.global_step, f"the loss is {losses['loss'].item()}", self.config.output)
        self.log_dict({f"train/{name}": value.detach() for name, value in losses.items()}, prog_bar=False)
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"], prog_bar=False)
        return losses["loss"]

    def on_train_batch_end(self, outputs: Any, batch: Sample, batch_idx: int) -> None:
        """Stop by the clock, the last batch of an epoch included: no epoch begins after the time is over."""
        self._tick()
        if self.config.hours is not None and self.progress >= 1.0:
            self.trainer.should_stop = True

    def on_validation_epoch_start(self) -> None:
        """Time spent on validation is not training time."""
        self._last_tick = None

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Metrics on val as configured, and statistics of KCAM there."""
        size = self.config.input_size_at(self.progress)
        metrics, medians = self.measure(size)
        self.log_dict({f"val/{name}": value for name, value in {**metrics, **medians}.items()})
        context = "".join(f", {name.replace('_', ' ')} {value:.3f}" for name, value in medians.items())
        best = metrics["AP"] > self.best_ap and size == self.config.pose_model.input_size_wh
        self.print(
            f"epoch {self.current_epoch + 1}, step {self.global_step}, input {size[1]}x{size[0]}: "
            f"AP {metrics['AP']:.2f}{' (best)' if best else ''}, AP50 {metrics['AP50']:.2f}, PCK {metrics['PCK']:.2f}, "
            f"loss {metrics['loss']:.3g}{context}"
        )
        self.kept_step = self.global_step  # in every process: all of them ask at the end whether to validate again
        if self.trainer.is_global_zero:
            self.keep_weights(metrics, size)
            if self.config.debug_pictures:
                self.write_debug_pictures(size)

    @torch.no_grad()
    def measure(self, size: tuple[int, int]) -> tuple[dict[str, float], dict[str, float]]:
        """`Validation.measure` at an input size (w, h); with several processes all of them have to call it."""
        return self.on_val.measure(self._forward_on_device, size)

    def _forward_on_device(self, crops: Tensor) -> PoseOutput:
        return self(crops.to(self.mean.device))  # type: ignore[no-any-return]

    def write_debug_pictures(self, size: tuple[int, int]) -> None:
        """Crops of train and val with targets and predictions, into the folder of the run."""
        still = dataclasses.replace(
            self.config, rotation_deg=0.0, scale_range=(1.0, 1.0), flip_probability=0.0, half_body_probability=0.0,
            truncation_probability=0.0, cut_out_probability=0.0, blur_probability=0.0, low_resolution_probability=0.0,
            color_jitter=0.0,
        )  # fmt: skip
        for split, people, images, config in (
            ("train", self.people, self.images, self.config),
            ("val", self.validation, self.validation_images, still),
        ):
            dataset = TrainDataset(people, images, config, size)
            count = min(self.config.debug_pictures, len(dataset))
            write_debug_pictures(
                self.config.output / "debug" / f"epoch_{self.current_epoch + 1:04d}_{split}.png",
                [dataset[(self.current_epoch, index, 0)] for index in range(count)],
                self._forward_on_device,
                self.config.pose_model,
                people.skeleton,
            )

    def keep_weights(self, metrics: dict[str, float], size: tuple[int, int]) -> None:
        """Write last.safetensors, and best.safetensors if AP at the full input size (w, h) is the highest so far."""
        notes = {"AP": f"{metrics['AP']:.2f}", "step": str(self.global_step), "seed": str(self.config.seed)}
        names = ["last"]
        if size == self.config.pose_model.input_size_wh and metrics["AP"] > self.best_ap:
            self.best_ap = metrics["AP"]
            names.append("best")
        for name in names:
            self.write_weights(self.config.output / f"{name}.safetensors", notes)

    def write_weights(self, path: Path, notes: dict[str, str]) -> None:
        """Write the network as it is now."""
        skeleton = self.people.skeleton.to_dict()
        save_pose_model(path, self.model, skeleton=skeleton, class_names=self.people.class_names, notes=notes)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the state of the clock, of the choice of the best weights and of the loader.

        A checkpoint between two passes of one step does not contain the gradient summed so far, so a resumed run
        repeats these passes.
        """
        current = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        for name, batches in current.items():
            current[name] = min(batches, self._batches_stepped())
        checkpoint["elapsed_s"] = self.elapsed_s
        checkpoint["best_ap"] = self.best_ap
        checkpoint["batches_done"] = self._batches_done()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The inverse of `on_save_checkpoint`."""
        self.elapsed_s = float(checkpoint["elapsed_s"])
        self.best_ap = float(checkpoint["best_ap"])
        self._batches_to_skip = int(checkpoint["batches_done"])

    def _batches_stepped(self) -> int:
        """Batches of the current epoch whose gradient has changed the weights."""
        processed = int(self.trainer.fit_loop.epoch_loop.batch_progress.current.processed)  # type: ignore[attr-defined]
        return processed - processed % self.config.accumulate

    def _batches_done(self) -> int:
        """`_batches_stepped`; 0 when the epoch is over.

        Lightning by itself would replay them after a resume, because its loaders start at the beginning.
        """
        return 0 if self.trainer.fit_loop.epoch_loop.batch_progress.is_last_batch else self._batches_stepped()
