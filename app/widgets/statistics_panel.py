"""Statistics of the last seconds, and plots of the last minute."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Any

from PyQt5.QtCore import Qt
from PyQt5.QtWidgets import QFormLayout, QGridLayout, QLabel, QWidget

from app.live.statistics import STAGES, Snapshot
from app.widgets.parts import faint, heading, in_column
from app.widgets.theme import colors
from app.widgets.time_plot import time_plot

_HISTORY_S = 60.0
_TICKS_S = (45, 30, 15, 0)
_GAP = float("nan")  # breaks a line


def running_lines(description: dict[str, Any]) -> list[str]:
    """The running networks with backend, device and precision: pose network, then detector."""
    lines = []
    for what, prefix in (("pose_model", ""), ("detector", "detector_")):
        name = description.get(what)
        if name:
            backend, device, precision = (
                description.get(f"{prefix}{key}") for key in ("backend", "device", "precision")
            )
            lines.append(f"{name}\n{backend} · {device} · {precision}")
    return lines


class StatisticsPanel(QWidget):
    """Shows snapshots of the statistics; `show_plots` adds the plots later, because pyqtgraph is slow to import."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._history: deque[tuple[float, float, float, float]] = deque()  # time, fps, latency p50 and p95
        self._lines: dict[str, Any] = {}
        self.fps, self.latency, self.people = QLabel("–"), QLabel("–"), QLabel("–")
        grid = QGridLayout()
        for column, (value, text) in enumerate(
            ((self.fps, self.tr("frames/s")), (self.latency, self.tr("ms to screen")), (self.people, self.tr("people")))
        ):
            value.setObjectName("big")
            grid.addWidget(value, 0, column)
            grid.addWidget(faint(text), 1, column)
        self._stages = self._make_stages()
        self.dropped = QLabel("0")
        self.pose, self.detector = QLabel("–"), QLabel("–")
        for label in (self.pose, self.detector):
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        running = QFormLayout()
        running.setVerticalSpacing(8)
        running.setLabelAlignment(Qt.Alignment(Qt.AlignmentFlag.AlignLeft) | Qt.AlignmentFlag.AlignTop)
        running.addRow(faint(self.tr("Poses")), self.pose)
        running.addRow(faint(self.tr("People")), self.detector)
        running.addRow(faint(self.tr("Dropped")), self.dropped)
        stages, what_runs = heading(self.tr("Time of each stage, ms")), heading(self.tr("What runs"))
        self._plots = in_column()
        parts = (grid, self._plots, stages, self._stage_grid, what_runs, running, 1)
        in_column(*parts, of=self, margins=(16, 12, 6, 16), spacing=6)

    def _make_stages(self) -> dict[str, tuple[QLabel, QLabel]]:
        names = {
            "detect": self.tr("Detect people"),
            "crop": self.tr("Crop"),
            "pose": self.tr("Pose network"),
            "track": self.tr("Track"),
            "draw": self.tr("Draw"),
            "paint": self.tr("Paint"),
            "latency": self.tr("Capture to screen"),
        }
        self._stage_grid = QGridLayout()
        self._stage_grid.setVerticalSpacing(3)
        self._stage_grid.setColumnStretch(0, 1)
        for column, text in ((1, "p50"), (2, "p95")):
            label = faint(text)
            label.setAlignment(Qt.AlignmentFlag.AlignRight)
            self._stage_grid.addWidget(label, 0, column)
        rows = {}
        for row, stage in enumerate((*STAGES, "latency"), start=1):
            self._stage_grid.addWidget(QLabel(names[stage]), row, 0)
            values = (QLabel("–"), QLabel("–"))
            for column, value in enumerate(values, start=1):
                value.setAlignment(Qt.AlignmentFlag.AlignRight)
                value.setMinimumWidth(54)
                self._stage_grid.addWidget(value, row, column)
            rows[stage] = values
        return rows

    def show_plots(self) -> None:
        """Import pyqtgraph and add the plots."""
        if self._lines:
            return
        for name, title, unit, curves in (
            ("fps", self.tr("Frames per second"), "", (("fps", colors().accent),)),
            ("latency", self.tr("Capture to screen"), "ms", (("p50", colors().accent), ("p95", colors().warning))),
        ):
            plot = time_plot(self.tr, history_s=_HISTORY_S, margin_s=6.0, ticks_s=_TICKS_S, axis_px=38)
            plot.setFixedHeight(132)
            for curve, color in curves:
                self._lines[f"{name} {curve}"] = plot.plot(pen={"color": color, "width": 2}, connect="finite")
            caption = title if len(curves) == 1 else self._legend(title, unit, curves)
            label = heading(caption)
            label.setTextFormat(Qt.TextFormat.RichText)
            self._plots.addWidget(label)
            self._plots.addWidget(plot)
            self._lines[f"{name} plot"] = plot

    @staticmethod
    def _legend(title: str, unit: str, curves: tuple[tuple[str, str], ...]) -> str:
        marks = " ".join(f"<span style='color:{color}'>● {curve}</span>" for curve, color in curves)
        return f"{title}, {unit} &nbsp; {marks}"

    def show_snapshot(
        self, snapshot: Snapshot, *, playing: bool, dropped_frames: int, description: dict[str, Any]
    ) -> None:
        """Show the numbers, and add them to the plots while it plays."""
        self.fps.setText(f"{snapshot.fps:.1f}")
        latency = snapshot.latency
        self.latency.setText("–" if latency is None else f"{latency.p50:.0f}")
        self.people.setText(str(snapshot.people) if description else "–")  # without networks, nobody has looked
        spreads = {**snapshot.stages, **({} if latency is None else {"latency": latency})}
        for stage, labels in self._stages.items():
            found = spreads.get(stage)
            for label, value in zip(labels, (None, None) if found is None else (found.p50, found.p95), strict=True):
                label.setText("–" if value is None else f"{value:.1f}")
        self.dropped.setText(self.tr("{count} frames").format(count=dropped_frames))
        lines = running_lines(description)
        self.pose.setText(lines[0] if lines else "–")
        self.detector.setText(lines[1] if len(lines) > 1 else "–")
        self._add_to_history(snapshot if playing else None)

    def _add_to_history(self, snapshot: Snapshot | None) -> None:
        now_s = time.monotonic()
        if snapshot is not None and snapshot.latency is not None and snapshot.fps > 0:
            self._history.append((now_s, snapshot.fps, snapshot.latency.p50, snapshot.latency.p95))
        else:  # paused: no line leads over it
            self._history.append((now_s, _GAP, _GAP, _GAP))
        while self._history and now_s - self._history[0][0] > _HISTORY_S:
            self._history.popleft()
        if not self._lines:
            return
        seconds = [sample[0] - now_s for sample in self._history]
        for number, curve in enumerate(("fps fps", "latency p50", "latency p95"), start=1):
            self._lines[curve].setData(seconds, [sample[number] for sample in self._history])
        for plot, highest in (("fps plot", 1), ("latency plot", 3)):
            top = max((sample[highest] for sample in self._history if not math.isnan(sample[highest])), default=1.0)
            self._lines[plot].setYRange(0, top * 1.15, padding=0)
