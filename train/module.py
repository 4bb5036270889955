"""The training run in Lightning's terms."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Self

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from engine.heatmap import decoder_for
from engine.types import Float32Array, UInt8Array
from models.checkpoints import IMAGENET_MEAN, IMAGENET_STD, save_pose_model
from models.pose_model import PoseModel, PoseOutput
from train.config import TrainConfig
from train.data.batches import EpochBatches, loader_processes
from train.data.boxes import category_id
from train.data.dataset import ImageStore, Sample, TrainDataset, without_unreadable
from train.data.people import PeopleSet
from train.evaluation.coco_eval import coco_results, keypoint_ap
from train.evaluation.prediction import normalize_crops, padded_areas, predict_people
from train.loss import context_statistics, total_loss


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
        self.images = ImageStore(people, config.cache_images)
        self.people = without_unreadable(people, self.images) if config.cache_images else people
        self.validation_images = ImageStore(validation, config.cache_images)
        self.validation = without_unreadable(validation, self.validation_images)
        by_source = dict(config.source_shares)
        self.shares = np.array([by_source.get(person.source, 1.0) for person in self.people.people])
        self.best_ap = -1.0
        self.kept_step = -1  # of the weights that were last written
        self.elapsed_s = 0.0
        self._last_tick: float | None = None
        self._batches_to_skip = 0
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def is_frozen(self, name: str) -> bool:
        """Whether a layer or parameter of the network, by name, stays as it is."""
        if self.config.freeze_backbone:
            return not name.startswith("kcam")
        stride = self.model.backbone_stride(name)
        return stride is not None and stride <= self.config.freeze_until

    def batch_norms(self) -> list[tuple[str, nn.BatchNorm2d]]:
        """The batch norms whose statistics follow the training, by name."""
        if self.config.freeze_batch_norm:
            return []
        norms = [(name, m) for name, m in self.model.named_modules() if isinstance(m, nn.BatchNorm2d)]
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
        """What is left of the current epoch, at the input size that the run has grown to."""
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
            ),
            num_workers=workers,
            pin_memory=self.device.type == "cuda",
            prefetch_factor=4 if workers else None,
        )

    def val_dataloader(self) -> DataLoader[Tensor]:
        """One empty batch: validation runs as a whole in `validation_step`, over people and not over batches."""
        return DataLoader(torch.zeros(1))  # type: ignore[arg-type]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, without weight decay unless asked: the paper's numbers need it so."""
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
            if isinstance(module, nn.BatchNorm2d) and name not in trained:
                module.eval()
        return self

    def on_train_start(self) -> None:
        """Freeze what is frozen: Lightning sets no mode, and leaves `on_train_epoch_start` out of a resumed epoch."""
        self.train()

    def on_train_batch_start(self, batch: Sample, batch_idx: int) -> None:
        """Set the learning rate for the share of the run that is done."""
        now = time.monotonic()
        if self._last_tick is not None:
            self.elapsed_s += now - self._last_tick
        self._last_tick = now
        if self.config.hours is not None and self.trainer.world_size > 1:
            # Clocks differ; with its own each process would have its own learning rate, input size and end.
            self.elapsed_s = self.trainer.strategy.broadcast(self.elapsed_s)
        factor = self.config.learning_rate_factor(self.progress, self.global_step)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.config.learning_rate * factor * group.get("factor", 1.0)

    def training_step(self, batch: Sample, batch_idx: int) -> Tensor:
        """Loss of equation 4 on one batch."""
        alpha = self.config.alpha if self.config.pose_model.coarse_supervision else 0.0
        losses = total_loss(self(batch["crop"]), batch["targets"], batch["weights"], alpha)
        self.log_dict({f"train/{name}": value.detach() for name, value in losses.items()}, prog_bar=False)
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"], prog_bar=False)
        self.log("loss_e3", losses["loss"].detach() * 1e3, prog_bar=True, logger=False)
        return losses["loss"]

    def on_train_batch_end(self, outputs: Any, batch: Sample, batch_idx: int) -> None:
        """Stop by the clock."""
        if self.config.hours is not None and self.progress >= 1.0:
            self.trainer.should_stop = True

    def on_validation_epoch_start(self) -> None:
        """Time spent on validation is not training time."""
        self._last_tick = None

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """AP on val with ground-truth boxes, without flip test, and what KCAM does there."""
        size = self.config.input_size_at(self.progress)
        metrics, medians = self.measure(size)
        self.log_dict({f"val/{name}": value for name, value in {**metrics, **medians}.items()})
        context = " ".join(f"{name} {value:.3f}" for name, value in medians.items())
        self.print(
            f"epoch {self.current_epoch} step {self.global_step} input {size[1]}x{size[0]} "
            f"progress {self.progress:.3f} AP {metrics['AP']:.2f} AP50 {metrics['AP50']:.2f} {context}".rstrip()
        )
        if not self.trainer.sanity_checking and self.trainer.is_global_zero:
            self.keep_weights(metrics, size)

    @torch.no_grad()
    def measure(self, size: tuple[int, int]) -> tuple[dict[str, float], dict[str, float]]:
        """AP and its kin in percent, and medians of `context_statistics`, on val at an input size (w, h)."""
        statistics: dict[str, list[Tensor]] = {}

        def predict(crops: UInt8Array) -> Float32Array:
            output = self(torch.from_numpy(crops).to(self.device))
            for name, value in context_statistics(output).items():
                statistics.setdefault(name, []).append(value.cpu())
            heatmaps: Float32Array = output.heatmaps.float().cpu().numpy()
            return heatmaps

        pose_model = self.config.pose_model
        decode = decoder_for(pose_model.decode, sigma=pose_model.sigma, udp=pose_model.udp)
        keypoints = predict_people(
            predict, self.validation, self.validation_images, size, decode=decode, udp=pose_model.udp
        )
        medians = {name: float(torch.cat(values).median()) for name, values in statistics.items()}
        return score_people(self.validation, keypoints), medians

    def keep_weights(self, metrics: dict[str, float], size: tuple[int, int]) -> None:
        """Write weights that can be used at once: the newest, and the best at the full input size (w, h)."""
        notes = {"AP": f"{metrics['AP']:.2f}", "step": str(self.global_step), "seed": str(self.config.seed)}
        names = ["last"]
        if size == self.config.pose_model.input_size_wh and metrics["AP"] > self.best_ap:
            self.best_ap = metrics["AP"]
            names.append("best")
        for name in names:
            self.write_weights(self.config.output / f"{name}.safetensors", notes)
        self.kept_step = self.global_step

    def write_weights(self, path: Path, notes: dict[str, str]) -> None:
        """Write the network as it is now."""
        skeleton = self.people.skeleton.to_dict()
        save_pose_model(path, self.model, skeleton=skeleton, class_names=self.people.class_names, notes=notes)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What the clock, the choice of the best weights and the loader need to go on."""
        checkpoint["elapsed_s"] = self.elapsed_s
        checkpoint["best_ap"] = self.best_ap
        checkpoint["batches_done"] = self._batches_done()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The inverse of `on_save_checkpoint`."""
        self.elapsed_s = float(checkpoint["elapsed_s"])
        self.best_ap = float(checkpoint["best_ap"])
        self._batches_to_skip = int(checkpoint["batches_done"])

    def _batches_done(self) -> int:
        """Batches of the current epoch that have moved the weights; 0 when the epoch is over.

        Lightning by itself would replay them after a resume, because its loaders start at the beginning.
        """
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        return 0 if progress.is_last_batch else int(progress.current.processed)  # type: ignore[attr-defined]


def score_people(people: PeopleSet, keypoints: Float32Array) -> dict[str, float]:
    """AP and its kin, in percent, for keypoints (N, K, 3) predicted in ground-truth boxes."""
    sigmas = people.skeleton.oks_sigmas
    results = coco_results(
        [person.image_id for person in people.people],
        keypoints,
        np.ones(len(keypoints), np.float32),
        padded_areas(people),
        sigmas,
    )
    for result in results:
        result["category_id"] = category_id(people)
    return keypoint_ap(people.ground_truth, results, sigmas)
