"""The table of commands and keys, from which the menus and the list under F1 are generated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PyQt5.QtCore import QCoreApplication, Qt
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


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command.

    Attributes:
        name: name of its slot.
        menu: menu that lists it.
        text: label.
        keys: the first is shown in the menu.
        is_switch: it is on or off, which a check mark shows.
    """

    name: str
    menu: str
    text: str
    keys: tuple[str, ...]
    is_switch: bool = False


def tr(text: str) -> str:
    """The text in the user's language."""
    return QCoreApplication.translate("actions", text)


def commands() -> tuple[Command, ...]:
    """The table, in the user's language."""
    playback, view, out, window = tr("&Playback"), tr("&View"), tr("&Output"), tr("&Help")
    return (
        Command(name="play", menu=playback, text=tr("Play or pause"), keys=("Space",)),
        Command(name="step_on", menu=playback, text=tr("Next frame"), keys=(".",)),
        Command(name="step_back", menu=playback, text=tr("Previous frame"), keys=(",",)),
        Command(name="forward", menu=playback, text=tr("5 seconds forward, or the next photo"), keys=("Right",)),
        Command(name="backward", menu=playback, text=tr("5 seconds back, or the photo before"), keys=("Left",)),
        Command(name="start", menu=playback, text=tr("Go to the start"), keys=("Home",)),
        Command(name="end", menu=playback, text=tr("Go to the end"), keys=("End",)),
        Command(name="loop", menu=playback, text=tr("Loop"), keys=("L",), is_switch=True),
        Command(name="faster", menu=playback, text=tr("Faster"), keys=("]",)),
        Command(name="slower", menu=playback, text=tr("Slower"), keys=("[",)),
        Command(name="mirror", menu=playback, text=tr("Mirror a camera"), keys=("M",), is_switch=True),
        Command(name="attention", menu=view, text=tr("Next attention map: off, area G, attention S"), keys=("A",)),
        Command(name="next_keypoint", menu=view, text=tr("Next keypoint"), keys=("N",)),
        Command(name="previous_keypoint", menu=view, text=tr("Previous keypoint"), keys=("Shift+N",)),
        Command(name="probe_next", menu=view, text=tr("Probe the next person"), keys=("X",)),
        Command(name="pin", menu=view, text=tr("Pin the probe, up to four"), keys=("Shift+X",)),
        Command(name="escape", menu=view, text=tr("Leave full screen, let go, or remove the probe"), keys=("Esc",)),
        Command(name="zoom_in", menu=view, text=tr("Zoom in"), keys=("+", "=")),
        Command(name="zoom_out", menu=view, text=tr("Zoom out"), keys=("-",)),
        Command(name="zoom_back", menu=view, text=tr("Whole picture"), keys=("Ctrl+0",)),
        Command(name="skeleton", menu=view, text=tr("Skeletons"), keys=("K",), is_switch=True),
        Command(name="boxes", menu=view, text=tr("Boxes"), keys=("B",), is_switch=True),
        Command(name="ids", menu=view, text=tr("Ids"), keys=("I",), is_switch=True),
        Command(name="scores", menu=view, text=tr("Scores"), keys=("C",), is_switch=True),
        Command(name="angles", menu=view, text=tr("Angles"), keys=("J",), is_switch=True),
        Command(name="trails", menu=view, text=tr("Trails"), keys=("T",), is_switch=True),
        Command(name="tab_overlay", menu=view, text=tr("Panel: overlay"), keys=("Ctrl+1",)),
        Command(name="tab_pose", menu=view, text=tr("Panel: pose"), keys=("Ctrl+2",)),
        Command(name="tab_statistics", menu=view, text=tr("Panel: statistics"), keys=("Ctrl+3",)),
        Command(name="tab_people", menu=view, text=tr("Panel: people"), keys=("Ctrl+4",)),
        Command(name="tab_maps", menu=view, text=tr("Panel: maps of all keypoints"), keys=("Ctrl+5",)),
        Command(name="plot", menu=view, text=tr("Plot of a keypoint or an angle"), keys=("G",), is_switch=True),
        Command(name="sidebar", menu=view, text=tr("Panels"), keys=("F9",), is_switch=True),
        Command(name="full_screen", menu=view, text=tr("Full screen"), keys=("F", "F11"), is_switch=True),
        Command(name="snapshot", menu=out, text=tr("Save a snapshot"), keys=("S",)),
        Command(name="copy", menu=out, text=tr("Copy the frame"), keys=("Ctrl+C",)),
        Command(name="record", menu=out, text=tr("Record"), keys=("R",), is_switch=True),
        Command(name="record_options", menu=out, text=tr("What is recorded, and where to…"), keys=("Shift+R",)),
        Command(name="poses", menu=out, text=tr("Record poses as JSON lines"), keys=("P",), is_switch=True),
        Command(name="export", menu=out, text=tr("Export files…"), keys=("Ctrl+E",)),
        Command(name="shortcuts", menu=window, text=tr("Keys"), keys=("F1",)),
        Command(name="reset", menu=window, text=tr("Reset all settings"), keys=()),
        Command(name="about", menu=window, text=tr("About"), keys=()),
        Command(name="quit", menu=tr("&Source"), text=tr("Quit"), keys=("Ctrl+Q",)),
    )


_ROLES = {"quit": QAction.MenuRole.QuitRole, "about": QAction.MenuRole.AboutRole}  # macOS has its own places for them


def add_actions(
    window: QMainWindow,
    slots: Mapping[str, Callable[[], object]],
    states: Mapping[str, Callable[[], bool]],
    sources: QMenu,
) -> dict[str, QAction]:
    """Add the menus to a window and give their actions.

    Args:
        window: gets the menus.
        slots: a callable for each command, by name.
        states: whether each switch is on, by name.
        sources: the first menu; the commands of that title belong into it, at its end.
    """
    bar = window.menuBar()
    assert bar is not None  # noqa: S101 - a main window has one
    menus: dict[str, QMenu] = {sources.title(): sources}
    bar.addMenu(sources)
    actions: dict[str, QAction] = {}
    for command in commands():
        if command.menu not in menus:
            menus[command.menu] = QMenu(command.menu, window)
            menus[command.menu].setToolTipsVisible(True)  # they say why a command is disabled
            bar.addMenu(menus[command.menu])
            menus[command.menu].aboutToShow.connect(lambda: _show_states(actions, states))
        action = actions[command.name] = QAction(command.text, window)
        action.setObjectName(command.name)
        action.setShortcuts([QKeySequence(key) for key in command.keys])
        action.setCheckable(command.is_switch)
        action.setMenuRole(_ROLES.get(command.name, QAction.MenuRole.NoRole))
        action.setShortcutContext(Qt.ShortcutContext.WindowShortcut)
        slot = slots[command.name]
        action.triggered.connect(lambda _checked=False, slot=slot: slot())
        if menus[command.menu] is not sources:  # that one is filled anew when it opens
            menus[command.menu].addAction(action)
        window.addAction(action)  # for full screen, where the menu bar is hidden
    return actions


def _show_states(actions: Mapping[str, QAction], states: Mapping[str, Callable[[], bool]]) -> None:
    """Set the check marks: switches change elsewhere, too."""
    for name, is_on in states.items():
        actions[name].setChecked(is_on())


def allow(action: QAction, why_not: str) -> None:
    """Enable an action, or disable it with the reason as its tool tip."""
    action.setEnabled(not why_not)
    action.setToolTip(why_not or action.text())


_SHARE_OF_SCREEN = 0.9  # a long list scrolls rather than reach over the screen's edge


class KeysDialog(QDialog):
    """All keys, in columns by menu."""

    def __init__(self, parent: QWidget | None = None) -> None:
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
        for command in commands():
            if command.keys:
                groups.setdefault(command.menu.replace("&", ""), []).append((" / ".join(command.keys), command.text))
        groups[commands()[0].menu.replace("&", "")].append(("0 … 9", self.tr("Go to 0 % … 90 % of the file")))
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
