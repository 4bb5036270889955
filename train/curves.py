"""`python -m train.curves`: loss, AP, PCK and statistics of KCAM over a run, as a picture."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.artifacts.write_guard import check_targets
from engine.errors import OptionError, SourceError
from engine.system.entry import run_command
from engine.system.one_line_parser import OneLineParser
from train.command import reports_errors

Curve = list[tuple[float, float]]

_PANELS: tuple[tuple[str, Mapping[str, str]], ...] = (
    (
        "loss",
        {
            "train/loss_output": "final heatmaps, train",
            "train/loss_inter": "coarse heatmaps, train",
            "val/loss": "total, val",
        },
    ),
    ("on val (%)", {"val/AP": "AP", "val/AP50": "AP50", "val/PCK": "PCK, labelled boxes"}),
    (
        "KCAM on val",
        {"val/attention_entropy": "entropy of S / log K", "val/representation_cosine": "cosine between the R_k"},
    ),
)


def read_curves(run: Path) -> dict[str, Curve]:
    """(step, value) by name, from all CSV logs of a run in the order they were written.

    A line that a killed run left cut short is passed over.

    Raises:
        SourceError: the folder holds no log.
    """
    logs = sorted(run.glob("log/**/metrics.csv"), key=lambda path: path.stat().st_mtime)
    if not logs:
        raise SourceError(f"{run} holds no log/*/metrics.csv; give the --output of a training")
    curves: dict[str, Curve] = {}
    for log in logs:
        with log.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                if None in row.values():
                    continue
                for name, value in row.items():
                    if name not in ("step", "epoch") and value:
                        curves.setdefault(name, []).append((float(row["step"]), float(value)))
    return curves


def smooth(curve: Curve, window: int) -> Curve:
    """Running mean over the last `window` values."""
    means: Curve = []
    for i, (step, _) in enumerate(curve):
        part = curve[max(0, i - window + 1) : i + 1]
        means.append((step, sum(value for _, value in part) / len(part)))
    return means


def draw(curves: Mapping[str, Curve], title: str, output: Path) -> None:
    """Three panels over the steps."""
    from matplotlib.figure import Figure

    from train.paper.drawing import save_figure

    figure = Figure(figsize=(13, 3.8), layout="constrained", dpi=110)
    for axis, (heading, names) in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
        for name, label in names.items():
            curve = curves.get(name, [])
            shown = smooth(curve, 25) if name.startswith("train/") else curve
            if shown:
                axis.plot([step for step, _ in shown], [value for _, value in shown], label=label, linewidth=1.6)
        axis.set_title(heading, fontsize=10)
        axis.set_xlabel("step")
        axis.grid(alpha=0.25)
        axis.set_ylim(bottom=0)
        if axis.lines:
            axis.legend(fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=11)
    save_figure(figure, output)


@reports_errors("train.curves")
def main(argv: Sequence[str] | None = None) -> int:
    """Draw; exit code 2 and one line where the input cannot be used."""
    parser = OneLineParser(prog="python -m train.curves", description="Curves of a training as a picture.")
    parser.add_argument("--run", type=Path, required=True, help="the --output of a training")
    parser.add_argument("--output", type=Path, required=True, help="PNG to write")
    parser.add_argument("--title", default=None)
    parser.add_overwrite()
    arguments = parser.parse_args(argv)
    check_targets([arguments.output], inputs=[arguments.run], overwrite=arguments.overwrite)
    if arguments.output.suffix.lower() != ".png":
        raise OptionError(f"--output is {arguments.output}; expected a name that ends in .png")
    draw(read_curves(arguments.run), arguments.title or arguments.run.name, arguments.output)
    print(arguments.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
