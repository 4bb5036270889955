"""The table of commands and keys, from which the menus and the list under F1 are generated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PyQt5.QtCore import Qt
from PyQt5.QtGui import QKeySequence
from PyQt5.QtWidgets import (
    QAction,
    QApplication,
    QDialog,
    QFrame,
    QGridLayout,
    QLabel,
    QMainWindow,
    QMenu,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from app.widgets.theme import colors


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        name: of its action.
        text: label.
        keys: separated by spaces; the first is shown in the menu.
        slot: what it does.
        is_on: of a switch, whether it is on, which a check mark shows.
    """

    name: str
    text: str
    keys: str
    slot: Callable[[], object]
    is_on: Callable[[], bool] | None = None


Commands = Mapping[str, tuple[Command, ...]]
"""The table: the commands by the title of their menu."""

_ROLES = {"quit": QAction.MenuRole.QuitRole, "about": QAction.MenuRole.AboutRole}  # macOS has its own places for them


def add_actions(window: QMainWindow, table: Commands, sources: QMenu) -> dict[str, QAction]:
    """Add the menus of a table to a window, after `sources`, which shows its command itself; returns the actions."""
    bar = window.menuBar()
    assert bar is not None  # noqa: S101 - a main window has one
    bar.addMenu(sources)
    actions: dict[str, QAction] = {}
    for title, commands in table.items():
        for command in commands:
            action = actions[command.name] = QAction(command.text, window)
            action.setObjectName(command.name)
            action.setShortcuts([QKeySequence(key) for key in command.keys.split()])
            action.setCheckable(command.is_on is not None)
            action.setMenuRole(_ROLES.get(command.name, QAction.MenuRole.NoRole))
            action.setShortcutContext(Qt.ShortcutContext.WindowShortcut)
            action.triggered.connect(lambda _checked=False, slot=command.slot: slot())
            window.addAction(action)  # for full screen, where the menu bar is hidden
        if title == sources.title():  # filled anew when it opens
            continue
        menu = QMenu(title, window)
        menu.addActions([actions[command.name] for command in commands])
        menu.setToolTipsVisible(True)  # they say why a command is disabled
        menu.aboutToShow.connect(lambda commands=commands: _show_states(actions, commands))
        bar.addMenu(menu)
    return actions


def _show_states(actions: Mapping[str, QAction], commands: tuple[Command, ...]) -> None:
    """Set the check marks: switches change elsewhere, too."""
    for command in commands:
        if command.is_on is not None:
            actions[command.name].setChecked(command.is_on())


def allow(action: QAction, why_not: str) -> None:
    """Enable an action, or disable it with the reason as its tool tip."""
    action.setEnabled(not why_not)
    action.setToolTip(why_not or action.text())


_SHARE_OF_SCREEN = 0.9  # a long list scrolls rather than reach over the screen's edge


class KeysDialog(QDialog):
    """All keys, in columns by menu."""

    def __init__(self, table: Commands, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Keys"))
        groups: dict[str, list[tuple[str, str]]] = {
            self.tr("Source"): [
                ("Ctrl+O", self.tr("Open a video or photo")),
                ("Ctrl+Shift+O", self.tr("Open a folder of photos")),
                ("Ctrl+U", self.tr("Open an address")),
                ("Ctrl+D", self.tr("Built-in demo")),
            ]
        }
        for title, commands in table.items():
            lines = [(" / ".join(command.keys.split()), command.text) for command in commands if command.keys]
            groups.setdefault(title.replace("&", ""), []).extend(lines)
        groups[self.tr("Playback")].append(("0 … 9", self.tr("Go to 0 % … 90 % of the file")))
        columns = (QVBoxLayout(), QVBoxLayout())
        longest = max(groups, key=lambda title: len(groups[title]))
        for title, lines in groups.items():
            columns[1 if title == longest else 0].addLayout(self._group(title, lines))
        for column in columns:
            column.addStretch(1)
        page = QWidget()
        layout = QGridLayout(page)
        layout.setContentsMargins(24, 16, 24, 24)
        layout.setHorizontalSpacing(40)
        layout.addLayout(columns[0], 0, 0)
        layout.addLayout(columns[1], 0, 1)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(page)
        area.setFrameShape(QFrame.Shape.NoFrame)
        around = QVBoxLayout(self)
        around.setContentsMargins(0, 0, 0, 0)
        around.addWidget(area)
        screen = QApplication.primaryScreen() if parent is None else parent.screen()
        room = page.sizeHint() if screen is None else screen.availableSize() * _SHARE_OF_SCREEN
        bar = area.verticalScrollBar()
        wide = page.sizeHint().width() + (0 if bar is None else bar.sizeHint().width())
        self.resize(min(wide, room.width()), min(page.sizeHint().height(), room.height()))

    def _group(self, title: str, lines: list[tuple[str, str]]) -> QGridLayout:
        grid = QGridLayout()
        grid.setVerticalSpacing(4)
        grid.setHorizontalSpacing(14)
        # The same in every group, for aligned texts.
        grid.setColumnMinimumWidth(0, self.fontMetrics().horizontalAdvance("Ctrl+Shift+O") + 32)
        grid.setColumnStretch(1, 1)
        label = QLabel(title)
        label.setObjectName("heading")
        label.setContentsMargins(0, 10, 0, 2)
        grid.addWidget(label, 0, 0, 1, 2)
        for row, (keys, text) in enumerate(lines, start=1):
            key = QLabel(keys)
            look = f"background: {colors().raised}; border: 1px solid {colors().edge}"
            key.setStyleSheet(f"{look}; border-radius: 4px; padding: 1px 7px;")
            grid.addWidget(key, row, 0, Qt.AlignmentFlag.AlignLeft)
            grid.addWidget(QLabel(text), row, 1)
        return grid
