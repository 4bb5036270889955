"""`python -m train.detector`: train a detector of people: a YOLO26n, or its head on the backbone of a NanoDet-g.

Without `--teacher` only pictures in which every person is meant to be listed are used (`source` "coco" where the data
set names its sources): a picture that lists one of its three people teaches a detector to overlook the other two.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from engine.artifacts.write_guard import check_new_folder, check_targets
from engine.build.detector_export import export_detector
from engine.errors import OptionError
from engine.option_table import (
    AT_LEAST_1,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    SHARE,
    Range,
    add_options,
    check_options,
    described,
    option,
)
from engine.system.json_file import read_json
from engine.system.one_line_parser import OneLineParser
from engine.system.ultralytics_env import disable_telemetry, prepare_ultralytics
from train.command import reports_errors
from train.config import named_numbers
from train.detector.nanodet import NanoDet
from train.detector.teaching import dense_teacher, open_teaching, teaching_trainer, tolerate
from train.detector.yolo_dataset import UNSURE_FILE, class_of, write_yolo_dataset

ARCHITECTURE = "yolo26n.yaml"
START = "start.pt"
"""What a training begins with, where it is made; in the output folder."""
_LEARNING_RATES = {"AdamW": 0.002, "MuSGD": 0.01}
"""What ultralytics takes for one class where it chooses."""
_FINISHED = -1
"""The epoch in a file of ultralytics whose training has come to its end: it cannot be resumed."""
_MOST_CUT_OUTS = 1000
"""About 150 MB of memory."""


@dataclass(frozen=True, kw_only=True)
class DetectorOptions:
    """A training of the detector."""

    data: Path = field(metadata=described("folder with train.json, val.json, train/, val/", Path, required=True))
    output: Path = field(metadata=described("folder for checkpoints, curves and the ONNX file", Path, required=True))
    input_size: int = option(
        320,
        "side of the square input in pixels, a multiple of 32 ({default})",
        int,
        within=Range(low=160, high=4096),  # as the export takes it, hours later
    )
    epochs: int = option(100, "passes over the pictures ({default})", int, within=AT_LEAST_1)
    hours: float | None = option(None, "stop by the clock; the schedule is fitted to it", float, within=POSITIVE)
    batch_size: int = option(16, "pictures a step ({default})", int, within=AT_LEAST_1)
    close_mosaic: int = option(10, "last epochs without mosaic ({default})", int, within=NOT_NEGATIVE)
    optimizer: str | None = option(
        None,
        "AdamW or MuSGD (ultralytics chooses by the number of steps)",
        metavar="{AdamW,MuSGD}",
        choices=tuple(_LEARNING_RATES),
    )
    learning_rate: float | None = option(
        None,
        "learning rate of --optimizer (AdamW 0.002, MuSGD 0.01)",
        float,
        within=Range(low=0, high=1, above=True, words="above 0 and up to 1"),
    )
    zoom: float = option(
        0.5,
        "a picture grows or shrinks by up to this share; grown ones show people cut off at close range (0.5)",
        float,
        within=Range(low=0, high=1, below=True, words="0 to less than 1"),
    )
    one_to_many: bool = option(
        False, "train that branch alone, for 'engine build --one-to-many'; otherwise its share of the loss fades out"
    )
    paste_people: float = option(
        0.0, "probability that people cut out of other pictures are pasted into a mosaic (0)", float, within=SHARE
    )
    teacher: tuple[str, ...] = option(
        (),
        "detectors that label people whom the data set leaves out: a NanoDet as .onnx, or as for main.py --detector",
        many=True,
    )
    teacher_threshold: float = option(
        0.4,
        "minimum score of a teacher's box to count as a person; down to half of it the loss leaves it out ({default})",
        float,
        within=SHARE,
    )
    cell_weight: float = option(
        0.0,
        "weight of a loss by which every cell learns the output of a NanoDet among the teachers on the same augmented "
        "picture; needs the NanoDet's input size ({default})",
        float,
        within=NOT_NEGATIVE,
    )
    source_shares: tuple[tuple[str, float], ...] = option(
        (), "with --teacher: share of a source's pictures that is taken, such as coco:1,lsp:0.4", named_numbers
    )
    init: Path | None = option(
        None,
        "start from a .pt file, an .onnx file that 'engine build' made, or a NanoDet-g as .onnx, instead of random",
        Path,
    )
    device: str = option("cpu", "as ultralytics takes it: cpu, 0 for the first GPU, mps ({default})")
    threads: int = option(os.cpu_count() or 1, "of PyTorch on the CPU ({default})", int, within=AT_LEAST_1)
    workers: int = option(1, "loader processes ({default})", int, within=NOT_NEGATIVE)
    seed: int = option(0, read=int, within=SEED)
    resume: bool = option(False, "go on from OUTPUT/run/weights/last.pt")

    def __post_init__(self) -> None:
        if self.learning_rate is not None and self.optimizer is None:
            raise OptionError("--learning-rate needs --optimizer: otherwise ultralytics chooses both")
        if self.cell_weight and not self.teacher:
            raise OptionError("--cell-weight needs a NanoDet as --teacher")
        if self.source_shares and not self.teacher:
            raise OptionError("--source-shares needs --teacher: without one, pictures of other sources are left out")
        check_options(self)
        if self.input_size % 32:
            raise OptionError(f"--input-size is {self.input_size}; expected a multiple of 32")


def _bfloat16_on_cpu(threads: int) -> Callable[[Any], None]:
    """A callback that runs the training forward pass in bfloat16, channels last: 2.2 times the images/s of float32.

    ultralytics offers mixed precision on CUDA only. The loss stays in float32, because bfloat16 cannot hold a box
    edge to better than an eighth of a stride. The patch sits on the live model, never on the saved average.
    """

    def patch(trainer: Any) -> None:
        import torch

        if trainer.device.type != "cpu":
            return
        torch.set_num_threads(threads)
        model = trainer.model.to(memory_format=torch.channels_last)
        plain_predict = model.predict

        def predict(x: Any, *args: Any, **kwargs: Any) -> Any:
            with torch.autocast("cpu", torch.bfloat16, enabled=model.training):
                outputs = plain_predict(x.contiguous(memory_format=torch.channels_last), *args, **kwargs)
            return _to_float32(outputs)

        model.predict = predict

    return patch


def _to_float32(value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: _to_float32(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_to_float32(item) for item in value)
    return value


def train(options: DetectorOptions) -> Path:
    """Train by ultralytics and return the detector as ONNX, made of the averaged weights of the last epoch (`last.pt`).

    Raises:
        EngineError: an option does not fit, a file is there already, or the start cannot be used.
    """
    prepare_ultralytics(verbose=True)
    import torch
    from ultralytics import YOLO  # type: ignore[attr-defined]

    disable_telemetry()
    torch.set_num_threads(options.threads)
    output = options.output
    exported = output / f"{output.resolve().name}.onnx"
    if not options.resume:
        for folder in ("dataset", "run"):
            check_new_folder(output / folder, flag="--resume")
    check_targets(
        (exported, output / START),
        inputs=[] if options.resume else [options.data, options.init, *options.teacher],
        overwrite=options.resume,
        flag="--resume",
    )
    dense = dense_teacher(options.teacher, options.input_size) if options.cell_weight else None
    data_yaml = _dataset(options)
    last = output / "run" / "weights" / "last.pt"
    resuming = options.resume and last.is_file()
    model = YOLO(str(last if resuming else _start(options)), task="detect")
    model.add_callback("on_pretrain_routine_end", _bfloat16_on_cpu(options.threads))
    if options.teacher:
        model.add_callback("on_pretrain_routine_end", partial(tolerate, cell_weight=options.cell_weight))
    settings = {"resume": True} if resuming else _settings(options, data_yaml)
    if resuming and (model.ckpt or {}).get("epoch") == _FINISHED:
        print(f"the training of {last} is finished; the detector is exported again")
    else:
        model.train(trainer=_trainer(options, dense), **settings)
    export_detector(last, exported, input_size=options.input_size, one_to_one=not options.one_to_many)
    return exported


def _dataset(options: DetectorOptions) -> Path:
    """Make the data set in ultralytics' form; one that teachers have labelled is made once, and serves --resume."""
    folder = options.output / "dataset"
    whole = folder / "data.yaml"  # is written last
    if options.resume and options.teacher and whole.is_file():
        return whole
    names = options.teacher
    teaching = open_teaching(names, options.teacher_threshold, class_of(options.data)) if names else None
    return write_yolo_dataset(
        options.data,
        folder,
        teach=teaching.boxes if teaching else None,
        shares=dict(options.source_shares),
        seed=options.seed,
    )


def _start(options: DetectorOptions) -> Path:
    from train.detector.start import starting_point

    return starting_point(
        options.init,
        architecture=ARCHITECTURE,
        start=options.output / START,
        pictures=options.output / "dataset" / "images" / "train",
        input_size=options.input_size,
        one_to_many=options.one_to_many,
    )


def _settings(options: DetectorOptions, data_yaml: Path) -> dict[str, Any]:
    """Settings of a new training for ultralytics."""
    return {
        "data": str(data_yaml),
        "imgsz": options.input_size,
        "epochs": options.epochs,
        "time": options.hours,
        "batch": options.batch_size,
        "seed": options.seed,
        "device": options.device,
        "workers": options.workers,
        "cache": "ram",
        "patience": 0,
        "pretrained": options.init is not None,  # False makes ultralytics throw the given weights away
        "close_mosaic": options.close_mosaic,
        "scale": options.zoom,
        "plots": False,
        "project": str(options.output.resolve()),
        "name": "run",
        "exist_ok": True,
        **_optimizer(options),
    }


def _optimizer(options: DetectorOptions) -> dict[str, Any]:
    """Optimizer settings for ultralytics; without any it chooses by the number of steps."""
    if options.optimizer is None:
        return {}
    return {
        "optimizer": options.optimizer,
        "lr0": options.learning_rate or _LEARNING_RATES[options.optimizer],
        "momentum": 0.9,  # this and the next as ultralytics sets them where it chooses; its defaults are for plain SGD
        "warmup_bias_lr": 0.0,
    }


def _trainer(options: DetectorOptions, dense: NanoDet | None) -> type:
    """The trainer of ultralytics, extended by what pastes people and by what leaves unsure boxes alone.

    ultralytics' own `copy_paste` is left at 0: it needs segments, which a folder of boxes does not have.
    """
    from ultralytics.models.yolo.detect import DetectionTrainer

    from train.data.dataset import ImageStore
    from train.data.reading import read_people
    from train.detector.paste import cut_outs, pasting_trainer

    trainer: type = DetectionTrainer
    if options.teacher:
        trainer = teaching_trainer(read_json(options.output / "dataset" / UNSURE_FILE), dense, trainer)
    if options.paste_people:
        people = read_people(options.data, "train")
        chosen = cut_outs(people, ImageStore(people, keep=False), _MOST_CUT_OUTS, options.seed)
        print(f"{len(chosen)} people cut out to be pasted")
        trainer = pasting_trainer(chosen, options.paste_people, trainer)
    return trainer


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m train.detector`."""
    parser = OneLineParser(prog="python -m train.detector", description="Train the person detector.")
    add_options(parser, DetectorOptions)
    return parser


@reports_errors("train.detector")
def main(argv: list[str] | None = None) -> int:
    """Train; exit code 2 and one line where the input cannot be used."""
    given = vars(build_parser().parse_args(argv))
    detector = train(DetectorOptions(**given))
    print(f"detector: {detector}")
    return 0
