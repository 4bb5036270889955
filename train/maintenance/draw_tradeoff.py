"""AP against latency as a table and as a picture."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from engine.artifacts.model_files import resolve_pose_model
from engine.errors import ModelError
from train.paper.drawing import save_figure

Point = Mapping[str, Any]
"""An entry of "points" in the report of `train.tradeoff`."""


def is_shipped(point: Point) -> bool:
    """Whether a point is what the program uses by itself: those weights, at their size, without flip test.

    In INT8, too: the processor decides which precision `auto` takes.
    """
    try:
        ships = resolve_pose_model()
    except ModelError:
        return False
    same = point["sha256"] == hashlib.sha256(ships.read_bytes()).hexdigest()
    return bool(same and point["own_size"] and not point["flip_test"])


def pareto(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats in both AP and latency, fastest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (_ms(point), -_ap(point))):
        if not best or _ap(point) > _ap(best[-1]):
            best.append(point)
    return best


def table_of(points: Sequence[Point]) -> str:
    """A Markdown table, fastest first; what is not beaten in both stands bold."""
    front = pareto(points)
    lines = [
        "| weights | input | flip test | runtime | one person, ms p50 (p95) | AP | even ids | odd ids | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for point in sorted(points, key=_ms):
        ap = f"**{_ap(point):.2f}**" if any(point is one for one in front) else f"{_ap(point):.2f}"
        halves = [f"{point[name]:.2f}" if name in point else "" for name in ("AP_even", "AP_odd")]  # not of every peer
        lines.append(
            f"| {point['label']} | {point['input_size']} | {'yes' if point['flip_test'] else 'no'} "
            f"| {point['backend']} {point['precision']} | {_ms(point):.2f} ({point['latency_ms']['p95']:.2f}) | {ap} "
            f"| {halves[0]} | {halves[1]} | {'ships' if point['shipped'] else ''} |"
        )
    return "\n".join(lines)


def draw_tradeoff(points: Sequence[Point], output: Path) -> None:
    """A line for each network over its sizes, what nothing beats joined, the shipped one a star."""
    figure = Figure(figsize=(11.5, 5.5), layout="constrained", dpi=110)
    axis = figure.subplots()
    lines: dict[str, list[Point]] = {}
    for point in points:
        lines.setdefault(f"{point['label']}, {point['backend']} {point['precision']}", []).append(point)
    _line(axis, pareto(points), "best for its time", color="0.8", linewidth=5, zorder=1)
    for number, (name, its) in enumerate(lines.items()):
        plain, flipped = ([p for p in its if p["flip_test"] == flip] for flip in (False, True))
        _line(axis, plain, name, marker="o", color=f"C{number}")
        _line(axis, flipped, f"{name}, flip test", marker="o", color=f"C{number}", ls="--", markerfacecolor="white")
    for point in points:
        at = (_ms(point), _ap(point))
        axis.annotate(point["input_size"], at, xytext=(6, -11), textcoords="offset points", fontsize=8)
    star = {"marker": "*", "markersize": 20, "color": "gold", "markeredgecolor": "black", "zorder": 3, "ls": ""}
    _line(axis, [point for point in points if point["shipped"]], "ships", **star)
    devices = ", ".join(sorted({str(point["device"]) for point in points}))
    axis.set_xlabel(f"pose of one person, median ms ({devices})")
    axis.set_ylabel(f"AP on val, ground-truth boxes ({points[0]['people']} people, %)")
    axis.set_xlim(0, 1.12 * max(_ms(point) for point in points))  # room for the last label
    axis.grid(alpha=0.25)
    figure.legend(fontsize=8, frameon=False, loc="outside right upper")  # beside the points, which may lie anywhere
    save_figure(figure, output)


def _line(axis: Axes, points: Sequence[Point], label: str, **style: Any) -> None:
    if points:
        along = sorted(points, key=_ms)
        axis.plot([_ms(point) for point in along], [_ap(point) for point in along], label=label, **style)


def _ms(point: Point) -> float:
    return float(point["latency_ms"]["p50"])


def _ap(point: Point) -> float:
    return float(point["metrics"]["AP"])
