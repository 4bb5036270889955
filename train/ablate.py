"""`python -m train.ablate`: the rows of the paper's table 1 or 2, trained at one budget and several seeds.

Every row sees the same data in the same order for the same number of steps, and is measured with the weights at the end
of its budget, which were not chosen by their AP on val: with flip test, and with a detector's boxes if --boxes gives
them. Finished rows are not trained again; a stopped one is resumed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.artifacts.write_guard import check_targets
from engine.errors import OptionError
from engine.option_table import AT_LEAST_1, Range, add_options, check_options, described, option
from engine.system.entry import run_command
from engine.system.one_line_parser import OneLineParser
from models.checkpoints import write_atomically
from models.pose_model import PoseModelConfig
from train.command import reports_errors
from train.config import TrainConfig
from train.evaluate import EvaluateOptions, evaluate
from train.evaluation.coco_eval import MAIN_METRICS
from train.options import config_from, parse_options
from train.paper.tables import TABLES, PaperRow, number, table
from train.run import train

# These do not change what a row is.
_FREE_FIELDS = (
    "output", "workers", "threads", "checkpoint_minutes", "checkpoint_steps", "cache_images", "seed", "debug_pictures",
)  # fmt: skip
_BARE = PaperRow(name="bare backbone", metrics={})


@dataclass(frozen=True, kw_only=True)
class AblateOptions:
    """Which rows are trained; all options of `python -m train` may stand beside these."""

    table: int = field(
        metadata=described("1: coarse supervision; 2: fusion", int, required=True, within=Range(low=1, high=2))
    )
    seeds: int = option(3, "runs of each row ({default})", int, within=AT_LEAST_1)
    bare: bool = option(False, "also train the backbone without the paper's head")
    output: Path | None = option(None, "folder of all runs (runs/ablation_tableN)", Path)

    def __post_init__(self) -> None:
        check_options(self)


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m train.ablate` alone."""
    parser = OneLineParser(
        prog="python -m train.ablate",
        description="Train the rows of table 1 or 2 of the paper and print them beside the paper's.",
        epilog="Options of `python -m train`, such as --data, --epochs, --model or --batch-size, are taken, too, and "
        "hold for every row. Without --model, --preset or --config it is the paper's: --preset paper_resnet50.",
        allow_abbrev=False,
    )
    add_options(parser, AblateOptions)
    return parser


def plan(table_number: int, bare: bool) -> tuple[PaperRow, ...]:
    """The rows that are trained."""
    rows = TABLES[table_number][1]
    return (_BARE, *rows) if bare else rows


def row_config(base: TrainConfig, row: PaperRow, seed: int, output: Path) -> TrainConfig:
    """One run: the budget of all, the switch of the row, a seed."""
    name = base.pose_model.backbone_name if row is _BARE else base.pose_model.name
    pose_model = dataclasses.replace(base.pose_model, name=name, **dict(row.fields))
    folder = re.sub(r"\W+", "_", row.name).strip("_")
    return dataclasses.replace(base, pose_model=pose_model, seed=seed, output=output / f"{folder}_seed{seed}")


def base_config(argv: Sequence[str]) -> TrainConfig:
    """The budget, from options of `python -m train`.

    Raises:
        OptionError: an option is unknown or does not fit.
    """
    options = parse_options(argv)
    if not {"model", "preset", "config"} & {word.removeprefix("--").partition("=")[0] for word in argv}:
        options = parse_options(["--preset", "paper_resnet50", *argv])
    if options.get("resume") or options.get("profile"):
        raise OptionError("--resume and --profile do not go with an ablation; it resumes by itself")
    by_epochs = options.get("hours") is None and "max_steps" not in options
    if by_epochs and "validate_every" not in options:
        options["validate_every"] = options.get("epochs", TrainConfig.epochs)  # only at the end
    config = config_from(options)
    if not config.pose_model.has_kcam:
        raise OptionError(f"--model {config.pose_model.name} has no KCAM head to switch; kcam_... has")
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise OptionError("an ablation starts the processes of --devices itself; start it without torchrun")
    if config.nodes > 1:
        raise OptionError("an ablation runs on one machine; train its rows with python -m train to use more")
    return config


def run_row(config: TrainConfig) -> dict[str, Any]:
    """Train and evaluate one run, or read its result if it is finished.

    Raises:
        EngineError, CheckpointError: data, weights or options cannot be used.
    """
    _check_same_run(config)
    result = config.output / "result.json"
    if result.is_file():
        return dict(json.loads(result.read_text(encoding="utf-8")))
    _train(config, resume=(config.output / "checkpoints" / "last.ckpt").is_file())
    report, _ = evaluate(
        EvaluateOptions(
            weights=str(config.output / "last.safetensors"),
            data=config.data,
            boxes="gt" if config.boxes is None else str(config.boxes),
            flip_test=True,
            decode=config.pose_model.decode,
        )
    )
    content = {key: report[key] for key in ("metrics", "breakdown", "context", "boxes", "flip_test", "decode")}
    write_atomically(result, (json.dumps(content, indent=1) + "\n").encode())
    return content


def _train(config: TrainConfig, resume: bool) -> None:
    """Train a row here, or on several devices in a process of its own.

    Lightning starts the processes of the other devices with the command line of this one, which is the whole ablation.

    Raises:
        EngineError, CheckpointError: data, weights or options cannot be used.
    """
    if config.devices == 1:
        train(config, resume=resume)
        return
    file = config.output / "row.json"
    write_atomically(file, (json.dumps(config.to_dict(), indent=1) + "\n").encode())
    command = [sys.executable, "-m", "train", "--config", str(file), *(["--resume"] if resume else [])]
    status = subprocess.run(command, check=False).returncode
    if status != 0:
        raise OptionError(f"the training of {config.output} ended with exit code {status}; its messages are above")


def _check_same_run(config: TrainConfig) -> None:
    """Refuse to resume, or to report, a run of other options under the same name."""
    saved = config.output / "config.json"
    if not saved.is_file():
        return
    before, now = json.loads(saved.read_text(encoding="utf-8")), json.loads(json.dumps(config.to_dict()))
    # Fields that came later have their defaults in older files, and two of them stood with the run's own.
    older = {name: before[name] for name in ("sigma", "decode") if name in before}
    before["pose_model"] = PoseModelConfig.from_dict({**older, **before["pose_model"]}).to_dict()
    for values in (before, now):
        values["pose_model"].pop("num_keypoints")  # follows from the data set
    for key in sorted(set(before) & set(now) - set(_FREE_FIELDS)):
        if before[key] != now[key]:
            raise OptionError(
                f"{config.output} was trained with {key} {before[key]}, now it is {now[key]}; "
                "name another --output, or remove that folder"
            )


def summarize(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and sample standard deviation (0 for one run) over the seeds, by metric."""
    summary = {}
    for name in MAIN_METRICS:
        values = [float(result["metrics"][name]) for result in results]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        summary[name] = {"mean": statistics.fmean(values), "spread": spread}
    return summary


def format_table(
    table_number: int, rows: Sequence[PaperRow], results: Mapping[str, Sequence[Mapping[str, Any]]]
) -> str:
    """The paper's rows, each with ours below it if it is finished."""
    lines = []
    for row in rows:
        if row.metrics:
            lines.append([f"{row.name}, paper", *(number(row.metrics.get(key)) for key in MAIN_METRICS), ""])
        if results.get(row.name):
            summary = summarize(results[row.name])
            cells = [f"{number(cell['mean'])} ± {cell['spread']:.2f}" for cell in summary.values()]
            lines.append([f"{row.name}, ours", *cells, _seeds(len(results[row.name]))])
    return f"{TABLES[table_number][0]}\n{table(['', *MAIN_METRICS, ''], lines)}"


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def describe_budget(config: TrainConfig) -> str:
    """The common conditions of all rows, in one line."""
    width, height = config.pose_model.input_size_wh
    length = f"{config.hours} hours" if config.hours is not None else f"{config.epochs} epochs"
    steps = f", at most {config.max_steps} steps" if config.max_steps > 0 else ""
    return (
        f"ours: {config.pose_model.name} {height}x{width} on {config.data}, {length}{steps}, "
        f"batch {config.batch_size}, learning rate {config.learning_rate:g}, start {config.init}; val with "
        f"{'labelled boxes' if config.boxes is None else f'boxes of {config.boxes.name}'}, flip test, "
        f"{config.pose_model.decode} decoding, weights at the end; mean ± sample standard deviation"
    )


def ablate(base: TrainConfig, options: AblateOptions) -> dict[str, Any]:
    """Train all runs, seed by seed, and keep `tableN.json` up to date after each.

    Args:
        base: the common configuration of all runs.
        options: which runs.

    Raises:
        EngineError, CheckpointError: data, weights or options cannot be used.
    """
    table = options.table
    output = options.output or Path("runs") / f"ablation_table{table}"
    rows = plan(table, options.bare)
    runs = [(row, row_config(base, row, base.seed + i, output)) for i in range(options.seeds) for row in rows]
    results: dict[str, list[dict[str, Any]]] = {row.name: [] for row in rows}
    content: dict[str, Any] = {}
    for _, config in runs:  # before hours are spent on the first
        _check_same_run(config)
    check_targets([output / f"table{table}.json"], inputs=base.inputs, is_own=_is_table)
    for count, (row, config) in enumerate(runs, 1):
        print(f"[{count}/{len(runs)}] {row.name}, seed {config.seed}: {config.output}", flush=True)
        results[row.name].append({"seed": config.seed, **run_row(config)})
        content = {
            "table": table,
            "budget": describe_budget(base),
            "config": base.to_dict(),
            "rows": {name: {"summary": summarize(done), "runs": done} for name, done in results.items() if done},
        }
        write_atomically(output / f"table{table}.json", (json.dumps(content, indent=1) + "\n").encode())
    print("\n" + format_table(table, rows, results))
    print(describe_budget(base))
    print("The paper trained 210 epochs on COCO with batch 128 and a detector's boxes: compare rows, not tables.")
    return content


def _is_table(file: Path) -> bool:
    """Whether a file is the table of an earlier call, which goes on."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"table", "budget", "config", "rows"} <= set(content)


@reports_errors("train.ablate")
def main(argv: list[str] | None = None) -> int:
    """Train and print; exit code 2 and one line where the input cannot be used."""
    arguments, rest = build_parser().parse_known_args(argv)
    ablate(base_config(rest), AblateOptions(**vars(arguments)))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
