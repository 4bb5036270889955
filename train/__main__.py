"""`python -m train`: train a pose network."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from engine.errors import EngineError, OptionError
from models.checkpoints import CheckpointError, imagenet_file, initialize_from
from models.pose_model import PoseModel, PoseModelConfig, build_from_config, parse_size
from train.config import TrainConfig
from train.people import read_people


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m train`."""
    parser = argparse.ArgumentParser(prog="python -m train", description="Train a pose network.")
    model = parser.add_argument_group("network")
    model.add_argument("--model", required=True, help="kcam_resnet18, kcam_hrnet_w32, ...; without kcam_: bare")
    model.add_argument("--input-size", default="256x192", help="height x width in px, multiples of 32 (256x192)")
    model.add_argument("--deconv-channels", type=int, default=256, help="width of a ResNet's deconvolutions (256)")
    model.add_argument("--fusion", default="concat", help="concat, add or none (table 2 of the paper)")
    model.add_argument("--area-normalization", default="sum", help="sum or softmax")
    model.add_argument("--no-coarse-supervision", action="store_true", help="table 1 of the paper")
    model.add_argument("--init", default="random", help="random, imagenet or a weights file")
    data = parser.add_argument_group("data")
    data.add_argument("--data", type=Path, required=True, help="folder with train.json, val.json, train/ and val/")
    data.add_argument("--output", type=Path, default=None, help="folder of the run (runs/MODEL)")
    data.add_argument("--workers", type=int, default=1, help="loader processes")
    data.add_argument("--rotation", type=float, default=40.0, help="crops turn by up to so many degrees (40)")
    data.add_argument("--scale-range", default="0.5,1.5", help="size of a crop as a factor of its box (0.5,1.5)")
    data.add_argument("--half-body", type=float, default=0.3, help="share of crops of one half of the body (0.3)")
    data.add_argument("--color-jitter", type=float, default=0.0)
    data.add_argument(
        "--source-shares",
        default="",
        help="how often the people of a source come in an epoch, such as coco:2,lsp:0.5; others come once",
    )
    run = parser.add_argument_group("run")
    run.add_argument("--epochs", type=int, default=210)
    run.add_argument("--hours", type=float, default=None, help="stop by the clock; schedules are fitted to it")
    run.add_argument("--batch-size", type=int, default=128)
    run.add_argument("--learning-rate", type=float, default=5e-4)
    run.add_argument("--schedule", default="step", help="step (the paper's) or cosine")
    run.add_argument("--warmup-steps", type=int, default=0)
    run.add_argument("--alpha", type=float, default=0.2, help="weight of the coarse loss (equation 4)")
    run.add_argument(
        "--grow",
        default="",
        help="growing input sizes: SHARE:FACTOR,... - until that share of the run, that factor on the input size; "
        "0.4:0.5,0.75:0.75 trains 40 %% of the run at half size and up to 75 %% at three quarters",
    )
    run.add_argument("--ema-decay", type=float, default=0.0, help="running average of the weights, such as 0.999")
    run.add_argument("--precision", default="fp32", help="fp32 or bf16 (mixed)")
    run.add_argument(
        "--threads",
        type=int,
        default=os.cpu_count() or 1,
        help="of PyTorch on the CPU; one less than the cores when other work runs beside it, because the threads of a "
        "convolution's backward pass spin while they wait for each other",
    )
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--resume", action="store_true", help="go on from OUTPUT/checkpoints/last.ckpt")
    return parser


def config_from(arguments: argparse.Namespace) -> TrainConfig:
    """The checked configuration.

    Raises:
        OptionError: a value does not fit.
    """
    try:
        pose_model = PoseModelConfig(
            name=arguments.model,
            input_size_wh=parse_size(arguments.input_size),
            deconv_channels=arguments.deconv_channels,
            fusion=arguments.fusion,
            coarse_supervision=not arguments.no_coarse_supervision,
            area_normalization=arguments.area_normalization,
        )
        grow = tuple((float(end), factor) for end, factor in _pairs(arguments.grow))
        low, high = (float(number) for number in arguments.scale_range.split(","))
        source_shares = _pairs(arguments.source_shares)
    except ValueError as error:
        raise OptionError(str(error)) from error
    return TrainConfig(
        pose_model=pose_model,
        data=arguments.data,
        output=arguments.output or Path("runs") / arguments.model,
        init=arguments.init,
        epochs=arguments.epochs,
        hours=arguments.hours,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        schedule=arguments.schedule,
        warmup_steps=arguments.warmup_steps,
        alpha=arguments.alpha,
        rotation_deg=arguments.rotation,
        scale_range=(low, high),
        half_body_probability=arguments.half_body,
        source_shares=source_shares,
        color_jitter=arguments.color_jitter,
        grow=grow,
        ema_decay=arguments.ema_decay,
        precision=arguments.precision,
        workers=arguments.workers,
        seed=arguments.seed,
    )


def _pairs(text: str) -> tuple[tuple[str, float], ...]:
    """("a", 1.0), ("b", 2.0) from "a:1,b:2"."""
    pairs = [pair.split(":") for pair in text.split(",") if pair]
    return tuple((name, float(number)) for name, number in pairs)


def initialize(model: PoseModel, init: str) -> None:
    """Give a network its starting weights: "random" keeps what it has.

    Raises:
        CheckpointError: the weights cannot be had or do not fit.
    """
    if init == "random":
        return
    file = imagenet_file(model.config.backbone_name) if init == "imagenet" else Path(init)
    fresh = initialize_from(model, file)
    print(f"started from {file}; {len(fresh)} tensors keep their random start")


def train(config: TrainConfig, resume: bool, threads: int) -> Path:
    """Run a training and return the path of the weights to use."""
    import dataclasses

    import lightning as L
    import torch
    from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

    from train.module import PoseTraining

    torch.set_num_threads(threads)
    L.seed_everything(config.seed)
    people = read_people(config.data, "train")
    pose_model = dataclasses.replace(config.pose_model, num_keypoints=people.skeleton.num_keypoints)
    config = dataclasses.replace(config, pose_model=pose_model)
    model: PoseModel = build_from_config(pose_model)
    last = config.output / "checkpoints" / "last.ckpt"
    if resume and not last.is_file():
        raise OptionError(f"--resume: {last} does not exist")
    if not resume:
        initialize(model, config.init)
    config.save()
    training = PoseTraining(
        config, model.to(memory_format=torch.channels_last), people, read_people(config.data, "val")
    )
    callbacks: list[Callback] = [
        ModelCheckpoint(dirpath=last.parent, save_last=True, save_top_k=0, every_n_epochs=1, save_on_exception=True)
    ]
    if config.ema_decay:
        callbacks.append(EMAWeightAveraging(decay=config.ema_decay))
    trainer = L.Trainer(
        max_epochs=-1 if config.hours is not None else config.epochs,
        precision="bf16-mixed" if config.precision == "bf16" else "32-true",
        logger=[
            # A resumed run writes version_1, ...: a fixed name would delete the curve so far.
            CSVLogger(config.output, name="log", flush_logs_every_n_steps=20),
            TensorBoardLogger(config.output, name="tensorboard"),
        ],
        callbacks=callbacks,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        log_every_n_steps=20,
        enable_progress_bar=sys.stderr.isatty(),
        default_root_dir=config.output,
    )
    trainer.fit(training, ckpt_path=last if resume else None, weights_only=True if resume else None)
    best = config.output / "best.safetensors"
    return best if best.is_file() else config.output / "last.safetensors"


def main(argv: list[str] | None = None) -> int:
    """Train; exit code 2 and one line where the input does not serve."""
    arguments = build_parser().parse_args(argv)
    try:
        weights = train(config_from(arguments), arguments.resume, arguments.threads)
    except (EngineError, CheckpointError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    print(f"weights: {weights}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
