"""The paper's tables, and how they are printed beside our numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from train.evaluation.coco_eval import PAPER_METRICS


@dataclass(frozen=True, kw_only=True)
class PaperRow:
    """One line of a table.

    Attributes:
        name: as the paper calls it.
        metrics: percent by name, see PAPER_METRICS.
        conditions: backbone and input size.
        fields: the switch that the row is about, as PoseModelConfig calls it.
    """

    name: str
    metrics: Mapping[str, float]
    conditions: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


def _metrics(*values: float) -> dict[str, float]:
    return dict(zip(PAPER_METRICS, values, strict=True))


TABLES: Mapping[int, tuple[str, tuple[PaperRow, ...]]] = {
    1: (
        "Table 1, coarse supervision (ResNet-50, 256x192, COCO val)",
        (
            PaperRow(
                name="without",
                metrics=_metrics(70.19, 89.59, 78.10, 66.27, 76.99),
                fields={"coarse_supervision": False},
            ),
            PaperRow(
                name="with", metrics=_metrics(71.87, 89.77, 79.89, 68.26, 78.45), fields={"coarse_supervision": True}
            ),
        ),
    ),
    2: (
        "Table 2, fusion of features and context (ResNet-50, 256x192, COCO val)",
        (
            PaperRow(name="none (E alone)", metrics=_metrics(70.94, 89.92, 79.37, 67.22, 77.61),
                     fields={"fusion": "none"}),
            PaperRow(name="addition", metrics=_metrics(71.77, 89.82, 79.41, 68.11, 78.50), fields={"fusion": "add"}),
            # The same network as "with" of table 1.
            PaperRow(name="concatenation", metrics=_metrics(71.87, 89.77, 79.89, 68.26, 78.45),
                     fields={"fusion": "concat"}),
        ),
    ),
    3: (
        "Table 3 (COCO test-dev; top-down with the boxes of a detector with person AP 60.9, and flip test)",
        (
            PaperRow(name="CMU-Pose", metrics=_metrics(61.8, 84.9, 67.5, 57.1, 68.2)),
            PaperRow(name="Mask-RCNN", metrics=_metrics(63.1, 87.3, 68.7, 57.8, 71.4), conditions="ResNet-50-FPN"),
            PaperRow(name="G-RMI", metrics=_metrics(64.9, 85.5, 71.3, 62.3, 70.0), conditions="ResNet-101, 353x257"),
            PaperRow(name="AE", metrics=_metrics(65.5, 86.8, 72.3, 60.6, 72.6)),
            PaperRow(name="PersonLab", metrics=_metrics(68.7, 89.0, 75.4, 64.1, 75.5)),
            PaperRow(name="HigherHRNet", metrics=_metrics(70.5, 89.3, 77.2, 66.6, 75.8),
                     conditions="HRNet-W48, 640x640"),
            PaperRow(name="CPN", metrics=_metrics(72.1, 91.4, 80.0, 68.7, 77.2),
                     conditions="ResNet-Inception, 384x288"),
            PaperRow(name="CPN+", metrics=_metrics(73.0, 91.7, 80.9, 69.5, 78.1)),
            PaperRow(name="SimpleBaseline", metrics=_metrics(73.7, 91.9, 81.1, 70.3, 80.0),
                     conditions="ResNet-152, 384x288"),
            PaperRow(name="HRNet-W48", metrics=_metrics(75.5, 92.5, 83.3, 71.9, 81.5), conditions="384x288"),
            PaperRow(name="KCAM", metrics=_metrics(75.8, 92.7, 83.6, 72.3, 81.8), conditions="HRNet-W48, 384x288"),
        ),
    ),
}  # fmt: skip

TABLE_3_NOTE = "Numbers compare only where data, boxes and test are the same."


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text with aligned columns: the first to the left, the others to the right, the last one as it is."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = []
    for row in (header, *rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True)]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return "\n".join(lines)


def number(value: float | None, digits: int = 2) -> str:
    """Percent; a dash for a missing value."""
    return "-" if value is None or value < 0 else f"{value:.{digits}f}"


def compare_with_table_3(name: str, metrics: Mapping[str, float], conditions: str) -> str:
    """The paper's table 3 with our result below it."""
    title, rows = TABLES[3]
    lines = [[row.name, *(number(row.metrics[key], 1) for key in PAPER_METRICS), row.conditions] for row in rows]
    lines.append([f"this: {name}", *(number(metrics.get(key), 1) for key in PAPER_METRICS), conditions])
    return f"{title}\n{table(['', *PAPER_METRICS, ''], lines)}\n{TABLE_3_NOTE}"
