"""`python -m train.combine`: one set of weights out of several; how heatmaps become keypoints; how sharp it attends.

The mean of weights that one run gave at several times, or of runs from one start, is often better than each of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch

from engine.artifacts.write_guard import check_targets
from engine.option_table import finite_number
from engine.system.entry import run_command
from engine.system.one_line_parser import OneLineParser
from models.build import build_from_config
from models.checkpoints import CheckpointError, PoseCheckpoint, load_pose_model, save_pose_model
from models.pose_model import Decode, PoseModel
from train.command import reports_errors


def mean_of(models: Sequence[PoseModel]) -> PoseModel:
    """A network whose floating-point tensors are the means of those of networks alike; in evaluation mode."""
    states = [model.state_dict() for model in models]
    mean = {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in states[0].items()
    }
    model = build_from_config(models[0].config)
    model.load_state_dict(mean)
    return model.eval()


def combine(files: Sequence[Path], output: Path, decode: Decode | None = None, sharpen: float = 1.0) -> None:
    """Write the mean of weights files; skeleton, classes, normalisation and notes are the first one's.

    Args:
        files: of one network.
        output: to write.
        decode: how heatmaps become keypoints; None leaves it as in the first file.
        sharpen: factor on the logits of the attention (equation 2). A head that was sharpened has to be trained on
            (`python -m train --init FILE --freeze-backbone`), because what follows the attention knew it flat; see
            docs/decisions/0015-flat-attention.md.

    Raises:
        CheckpointError: a file cannot be used, or is of another network than the first.
    """
    checkpoints = [load_pose_model(file) for file in files]
    first = checkpoints[0]
    for file, other in zip(files[1:], checkpoints[1:], strict=True):
        if _kind(other) != _kind(first):
            raise CheckpointError(
                f"{file} is of another network, skeleton or normalisation than {files[0]}; only like ones have a mean"
            )
    model = mean_of([checkpoint.model for checkpoint in checkpoints])
    if decode is not None:
        model.config = dataclasses.replace(model.config, decode=decode)
    if sharpen != 1.0:
        if model.kcam is None:
            raise CheckpointError(f"{files[0]} is a {model.config.name}, which has no attention to sharpen")
        model.kcam.key.weight.data.mul_(sharpen)
    # The AP in the notes is the first file's own, not that of what became of it.
    same = len(files) == 1 and sharpen == 1.0 and model.config == first.config
    notes = {key: value for key, value in first.notes.items() if same or key != "AP"}
    kept: dict[str, Any] = {name: getattr(first, name) for name in ("skeleton", "class_names", "mean", "std")}
    save_pose_model(output, model, **kept, notes=notes)


def _kind(checkpoint: PoseCheckpoint) -> tuple[Any, ...]:
    return checkpoint.config, checkpoint.skeleton, checkpoint.mean, checkpoint.std


@reports_errors("train.combine")
def main(argv: list[str] | None = None) -> int:
    """Write the file; exit code 2 and one line where the input cannot be used."""
    parser = OneLineParser(prog="python -m train.combine", description="Average weights of one network.")
    parser.add_argument("--weights", type=Path, nargs="+", required=True, help="one or more .safetensors files")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--decode", choices=get_args(Decode), help="how heatmaps become keypoints (as in the first)")
    parser.add_argument("--sharpen", type=finite_number, default=1.0, help="factor on the attention's logits (1)")
    parser.add_overwrite()
    arguments = parser.parse_args(argv)
    check_targets([arguments.output], inputs=arguments.weights, overwrite=arguments.overwrite)
    combine(arguments.weights, arguments.output, arguments.decode, arguments.sharpen)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
