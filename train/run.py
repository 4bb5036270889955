"""One training run: data, network, Lightning's trainer."""

from __future__ import annotations

import dataclasses
import datetime
import io
import json
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from engine.artifacts.write_guard import check_new_folder, check_targets
from engine.errors import ModelError, OptionError, OutputError
from models.build import build_from_config
from models.checkpoints import (
    CheckpointError,
    imagenet_file,
    initialize_from,
    load_tensors,
    read_foreign_tensors,
    write_atomically,
)
from models.pose_model import PoseModel
from train.averaging import recalibrate_batch_norm, unfold_batch_norm, warm_average
from train.config import TrainConfig
from train.console import ConsoleLines
from train.data.people import check_sources
from train.data.reading import read_people
from train.distillation import open_teacher
from train.module import Diverged, PoseTraining
from train.processes import connected, process_rank

_FREE_TO_CHANGE = frozenset(
    ("epochs", "hours", "max_steps", "output", "workers", "threads", "cache_images", "checkpoint_minutes",
     "checkpoint_steps", "compile", "init", "debug_pictures")
)  # fmt: skip
_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def build_training(config: TrainConfig, resume: bool = False) -> PoseTraining:
    """Data and network of a run.

    Raises:
        OptionError: this machine has no such arithmetic, or the data set no such source.
        SourceError: the data set cannot be used.
        CheckpointError, ModelError: the starting weights, or the teacher, cannot be used.
    """
    if config.precision == "fp16" and not torch.accelerator.is_available():
        raise OptionError("--precision fp16 needs a GPU, and PyTorch finds none here; bf16 and fp32 train on the CPU")
    if config.sync_batch_norm and not torch.accelerator.is_available():
        raise OptionError("--sync-batch-norm needs GPUs, and PyTorch finds none here")
    people = read_people(config.data, "train")
    check_sources(dict(config.source_shares), (person.source for person in people.people))
    pose_model = dataclasses.replace(config.pose_model, num_keypoints=people.skeleton.num_keypoints)
    config = dataclasses.replace(config, pose_model=pose_model)
    model = build_from_config(pose_model)
    if not resume:
        initialize(model, config.init)
    model = model.to(memory_format=torch.channels_last)
    training = PoseTraining(config, model, people, read_people(config.data, "val"))
    if config.teacher is not None:
        training.teacher = open_teacher(
            config.teacher, people.skeleton, udp=pose_model.udp, threshold=config.teacher_threshold
        )
    if config.compile:
        training.model.compile()
    return training


def initialize(model: PoseModel, init: str) -> None:
    """Give a network its starting weights; "random" leaves it as it is.

    Raises:
        CheckpointError: the weights cannot be read or fetched, or do not fit.
    """
    if init == "random":
        return
    file = imagenet_file(model.config.backbone_name) if init == "imagenet" else Path(init)
    fresh = initialize_from(model, file, notify=print)
    print(f"started from {file}; {len(fresh)} tensors keep their random initialisation")


def train(config: TrainConfig, resume: bool = False) -> Path:
    """Run a training and return the path of the weights to use.

    Raises:
        OptionError: nothing to resume, or the options do not fit this machine.
        SourceError: the data set cannot be used.
        CheckpointError: the starting weights, or the checkpoint to resume, cannot be used.
    """
    last = config.output / "checkpoints" / "last.ckpt"
    if resume and not last.is_file():
        raise OptionError(f"--resume: {last} does not exist")
    if not resume and last.is_file():
        raise OptionError(f"{config.output} contains a run; continue it with --resume, or choose another --output")
    written = (config.output / name for name in ("config.json", "best.safetensors", "last.safetensors"))
    if process_rank(config) == 0:  # the first process may have begun to write when another comes here
        check_targets(written, inputs=() if resume else config.inputs, overwrite=resume, flag="")
        for name in () if resume else ("checkpoints", "log", "tensorboard", "debug"):
            check_new_folder(config.output / name)
    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    L.seed_everything(config.seed, verbose=False)
    _quiet_lightning()
    training = build_training(config, resume)
    if resume:
        check_resumable(training, last)
        changed = changed_options(training.config)
        if changed:
            print(f"continues with other options than before: {', '.join(changed)}")
    else:
        unfolded = unfold_batch_norm(training)
        if unfolded:
            print(f"{unfolded} batch norms that were folded into the starting weights were restored")
    try:
        trainer = _trainer(training, last.parent)
    except MisconfigurationException as error:  # such as more devices than this machine has
        raise OptionError(" ".join(str(error).split())) from error
    if process_rank(config) == 0:
        training.config.save()
    trainer.fit(training, ckpt_path=last if resume else None, weights_only=True if resume else None)
    training.to(trainer.strategy.root_device)  # Lightning has just moved it to the CPU
    _finish(training)
    skipped = len(training.people.complaints) + len(training.validation.complaints)
    if not config.cache_images:  # then the others are found during the training
        skipped += training.images.broken_count
    if skipped:
        print(f"{skipped} broken pictures or labels were skipped")
    best = config.output / "best.safetensors"
    return best if best.is_file() else config.output / "last.safetensors"


def changed_options(config: TrainConfig) -> list[str]:
    """Options of a resumed run that differ from those in its output folder, as "name old -> new".

    Options that only change how long it runs, or that leave its results as they are, are not listed.
    """
    try:
        before = json.loads((config.output / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    now = json.loads(json.dumps(config.to_dict()))
    if not isinstance(before, dict) or not isinstance(before.get("pose_model"), dict):
        return []
    before, now = ({**values, **values.pop("pose_model")} for values in (before, now))
    return [
        f"{name} {before[name]} -> {now[name]}"
        for name in now
        if name in before and before[name] != now[name] and name not in _FREE_TO_CHANGE
    ]


def check_resumable(training: PoseTraining, last: Path) -> None:
    """Refuse a checkpoint that this run cannot continue, before any file of the run is replaced.

    Raises:
        CheckpointError: it is of another network, contains code, is damaged, or is not the state of such a training.
    """
    load_tensors(training.model, read_foreign_tensors(last), last)
    try:
        content = torch.load(last, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has several kinds for what it may not or cannot read
        raise CheckpointError(f"{last} contains weights, but was not written by this program's training") from error
    needed = ("elapsed_s", "best_ap", "batches_done", "loops", "optimizer_states", "lr_schedulers", "state_dict")
    missing = [name for name in needed if name not in content]
    if missing:
        raise CheckpointError(
            f"{last} contains weights, but no state of a training ('{missing[0]}' is missing); "
            "to start from them, give them to --init, with another --output"
        )
    before = sum(len(group["params"]) for state in content["optimizer_states"] for group in state["param_groups"])
    now = sum(value.requires_grad for value in training.model.parameters())
    if before != now:
        raise CheckpointError(
            f"{last} was training {before} tensors, this run would train {now}; are --freeze-backbone and "
            "--freeze-until as they were?"
        )


def _finish(training: PoseTraining) -> None:
    """Validate and keep the weights at the end of a run; then fit the batch norms to averaged weights.

    All processes compute, because they share the validation; the first one prints and writes.
    """
    config = training.config
    size = config.pose_model.input_size_wh
    first = connected()[0] == 0
    if training.kept_step != training.global_step:
        training.eval()
        metrics, _ = training.measure(size)
        print(f"weights at the end, step {training.global_step}: AP {metrics['AP']:.2f}")
        if first:
            training.keep_weights(metrics, size)
    if not config.ema_decay:
        return
    recalibrate_batch_norm(training)  # the network now contains the average
    metrics, _ = training.measure(size)
    print(
        f"averaged weights with recalibrated batch norms: AP {metrics['AP']:.2f} (best so far {training.best_ap:.2f})"
    )
    if first and metrics["AP"] >= training.best_ap:
        notes = {"AP": f"{metrics['AP']:.2f}", "seed": str(config.seed)}
        training.write_weights(config.output / "best.safetensors", notes)


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that get their name only when they are whole.

    Lightning fills a file of the system's temporary folder and moves it, which is a copy where that is another disk: a
    full one would then leave half a file in place of the last good checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Raises:
            Diverged: the weights are not numbers any more; what was there stays as it was.
            OutputError: it cannot be written; what was there stays as it was.
        """
        for name, value in checkpoint["state_dict"].items():
            if value.is_floating_point() and not value.isfinite().all():
                raise Diverged.at(
                    checkpoint["global_step"], f"'{name}' holds values that are not numbers", Path(path).parents[1]
                )
        content = io.BytesIO()
        torch.save(checkpoint, content)
        try:
            write_atomically(Path(path), content.getvalue())
        except OSError as error:
            message = f"no checkpoint can be written to {Path(path).parent} ({error.strerror})"
            if (Path(path).parent / "last.ckpt").is_file():
                message += "; last.ckpt is as it was: make room, and go on with --resume"
            raise OutputError(message) from error


class EpochCheckpoint(Checkpoint):
    """Writes `last.ckpt` after every epoch and when a run is stopped.

    Lightning's own class writes it after an epoch only where it has also written one of the best, of which none is
    kept here: the best weights have a file of their own.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The epoch and its validation are over."""
        trainer.save_checkpoint(self.file, weights_only=False)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Ctrl-C among others; a checkpoint that could not be written is not tried again."""
        if not isinstance(exception, OSError | OutputError | Diverged | ModelError):
            trainer.save_checkpoint(self.file, weights_only=False)


def _trainer(training: PoseTraining, checkpoints: Path) -> L.Trainer:
    config = training.config
    callbacks: list[Callback] = [
        EpochCheckpoint(checkpoints / "last.ckpt"),
        _checkpoint(checkpoints, train_time_interval=datetime.timedelta(minutes=config.checkpoint_minutes)),
        ConsoleLines(config),
    ]
    if config.checkpoint_steps:
        callbacks.append(_checkpoint(checkpoints, every_n_train_steps=config.checkpoint_steps))
    if config.ema_decay:
        callbacks.append(warm_average(config.ema_decay))
    logged_steps = _logged_steps(training)
    return L.Trainer(
        max_epochs=-1 if config.hours is not None else config.epochs,
        max_steps=config.max_steps,
        devices=config.devices,
        num_nodes=config.nodes,
        accumulate_grad_batches=config.accumulate,
        gradient_clip_val=config.gradient_clip or None,
        sync_batchnorm=config.sync_batch_norm,
        use_distributed_sampler=False,  # EpochBatches shares the batches out itself
        precision=_PRECISIONS[config.precision],  # type: ignore[arg-type]
        logger=[
            # A resumed run writes version_1, ...: a fixed name would delete the curve so far.
            CSVLogger(config.output, name="log", flush_logs_every_n_steps=logged_steps),
            TensorBoardLogger(config.output, name="tensorboard"),
        ],
        callbacks=callbacks,
        plugins=[WholeCheckpoints()],
        check_val_every_n_epoch=config.validate_every,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        log_every_n_steps=logged_steps,
        enable_model_summary=False,
        enable_progress_bar=False,
        default_root_dir=config.output,
    )


def _logged_steps(training: PoseTraining) -> int:
    """Steps between logged losses: 20, and fewer where an epoch or the run is short."""
    config = training.config
    steps = max(1, int(training.shares.sum()) // config.batch_size)
    if config.max_steps > 0:
        steps = min(steps, config.max_steps)
    return max(1, min(20, steps // 5))


def _checkpoint(folder: Path, **when: object) -> ModelCheckpoint:
    """Saves `last.ckpt` at other times than the end of an epoch."""
    return ModelCheckpoint(
        dirpath=folder, save_last=True, save_top_k=0, enable_version_counter=False, **when  # type: ignore[arg-type]
    )  # fmt: skip


def _quiet_lightning() -> None:
    """Suppress hints that do not help a user, or that a line of this program repeats."""
    for pattern in (r".*does not have many workers.*", r".*isinstance\(treespec, LeafSpec\).*", r".*litlogger.*",
                    r".*The number of training batches.*", r".*Checkpoint directory .* exists.*",
                    r".*Detected pickle protocol.*", r".*sync_dist=True.*"):  # fmt: skip
        warnings.filterwarnings("ignore", message=pattern)
    for name in ("lightning.pytorch", "lightning.fabric"):  # found devices, reasons for the end, advertisements
        logging.getLogger(name).setLevel(logging.WARNING)
