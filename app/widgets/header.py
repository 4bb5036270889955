"""The line above the video: source, frame rate, latency and running networks."""

from __future__ import annotations

from typing import Any

from PyQt5.QtCore import QSize, Qt
from PyQt5.QtGui import QResizeEvent
from PyQt5.QtWidgets import QLabel, QMenu, QSizePolicy, QToolButton, QWidget

from app.live.statistics import Snapshot
from app.widgets.elided import ElidedButton, ElidedLabel
from app.widgets.icons import icon
from app.widgets.parts import in_row
from engine.sources.frame_source import SourceInfo

_MARGINS_PX, _SPACING_PX = (10, 7, 14, 7), 16
_GAPS_PX = _MARGINS_PX[0] + _MARGINS_PX[2] + 3 * _SPACING_PX


class Header(QWidget):
    """Source on the left, numbers on the right."""

    def __init__(self, sources: QMenu, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("header")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.source = ElidedButton()
        self.source.setIcon(icon("film"))
        self.source.setIconSize(QSize(18, 18))
        self.source.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.source.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.source.setMenu(sources)
        self.source.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.source.setAccessibleName(self.tr("Choose a source"))
        self.running, self.numbers = ElidedLabel(), QLabel()
        self.running.setObjectName("faint")
        self.numbers.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Preferred)
        in_row(self.source, 1, self.running, self.numbers, of=self, margins=_MARGINS_PX, spacing=_SPACING_PX)
        self.set_source("")

    def set_source(self, name: str) -> None:
        """Show the name of the source; empty for none."""
        self.source.setText(f"{name or self.tr('Choose a source')}  ▾")
        self._share_room()

    def show_source(self, info: SourceInfo) -> None:
        """Show name and size of an open source."""
        size = info.size_wh
        self.set_source(info.name + (f"  {size[0]}×{size[1]}" if size is not None else ""))

    def show_photo(self, info: SourceInfo, name: str, size_wh: tuple[int, int]) -> None:
        """Show the name of a photo, after that of its folder if it is one of several."""
        text = name if info.name == name else f"{info.name} / {name}"
        self.set_source(f"{text}  {size_wh[0]}×{size_wh[1]}")

    def show_snapshot(
        self, snapshot: Snapshot, description: dict[str, Any], *, playing: bool, is_open: bool, opening_networks: bool
    ) -> None:
        """Show frame rate and latency (while it plays), people (of an open source), and the running networks.

        Until the first ones run, a video without skeletons stands below: the line says that they are being opened.
        """
        parts = [self.tr("{fps:.0f} fps").format(fps=snapshot.fps)] if playing and snapshot.fps else []
        if playing and snapshot.latency is not None:
            parts.append(self.tr("{ms:.0f} ms").format(ms=snapshot.latency.p50))
        if description and is_open and snapshot.frames_painted:
            parts.append(
                self.tr("1 person") if snapshot.people == 1 else self.tr("{n} people").format(n=snapshot.people)
            )
        self.numbers.setText("  ·  ".join(parts))
        running = [str(description[name]) for name in ("pose_model", "backend", "precision") if description.get(name)]
        opening = self.tr("Opening the networks…") if opening_networks and not running else ""
        self.running.setText(opening or " · ".join(running))
        self._share_room()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Share the new width."""
        super().resizeEvent(event)
        self._share_room()

    def _share_room(self) -> None:
        """Shorten the running networks before the name of the source."""
        taken = self.source.sizeHint().width() + self.numbers.sizeHint().width() + _GAPS_PX
        self.running.setMaximumWidth(max(0, self.width() - taken))
