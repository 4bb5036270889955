"""The line above the video: source, frame rate, latency and running networks."""

from __future__ import annotations

from typing import Any

from PyQt5.QtCore import QSize, Qt
from PyQt5.QtWidgets import QHBoxLayout, QLabel, QMenu, QSizePolicy, QToolButton, QWidget

from app.live.statistics import Snapshot
from app.widgets.elided import ElidedLabel
from app.widgets.icons import icon
from engine.sources.frame_source import SourceInfo


class Header(QWidget):
    """Source on the left, numbers on the right."""

    def __init__(self, sources: QMenu, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("header")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.source = QToolButton()
        self.source.setIcon(icon("film"))
        self.source.setIconSize(QSize(18, 18))
        self.source.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.source.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.source.setMenu(sources)
        self.source.setMaximumWidth(300)
        self.source.setToolTip(self.tr("Choose a source"))
        self.running, self.numbers = ElidedLabel(), QLabel()
        self.running.setObjectName("faint")
        self.numbers.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Preferred)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(10, 7, 14, 7)
        layout.setSpacing(16)
        layout.addWidget(self.source)
        layout.addStretch(1)
        layout.addWidget(self.running)
        layout.addWidget(self.numbers)
        self.set_source("")

    def set_source(self, name: str) -> None:
        """Show the name of the source; empty for none."""
        text = name or self.tr("Choose a source")
        self.source.setText(self.fontMetrics().elidedText(text, Qt.TextElideMode.ElideMiddle, 230) + "  ▾")

    def show_source(self, info: SourceInfo) -> None:
        """Show name and size of an open source."""
        size = info.size_wh
        self.set_source(info.name + (f"  {size[0]}×{size[1]}" if size is not None else ""))

    def show_snapshot(self, snapshot: Snapshot, description: dict[str, Any], *, playing: bool) -> None:
        """Show frame rate and latency (while it plays), people, and the running networks."""
        parts = [self.tr("{fps:.0f} fps").format(fps=snapshot.fps)] if playing and snapshot.fps else []
        if playing and snapshot.latency is not None:
            parts.append(self.tr("{ms:.0f} ms").format(ms=snapshot.latency.p50))
        if description:
            parts.append(
                self.tr("1 person") if snapshot.people == 1 else self.tr("{n} people").format(n=snapshot.people)
            )
        self.numbers.setText("  ·  ".join(parts))
        running = [str(description[name]) for name in ("pose_model", "backend", "precision") if description.get(name)]
        self.running.setText(" · ".join(running))
