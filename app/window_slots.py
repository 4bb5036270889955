"""What each command of `app.actions` does in the window."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from PyQt5.QtWidgets import QCheckBox

from app.actions import KeysDialog
from app.live.playback import SPEEDS
from app.qt_setup import PROGRAM_VERSION
from app.widgets.about import AboutDialog

if TYPE_CHECKING:
    from app.main_window import MainWindow


def slots_of(window: MainWindow) -> dict[str, Callable[[], object]]:
    """A slot for each command, by its name."""
    transport, overlay, tabs = window.transport, window.overlay_panel, window.tabs

    def flip(box: QCheckBox) -> Callable[[], object]:
        return lambda: box.setChecked(not box.isChecked())

    return {
        "play": window.toggle_playing,
        "step_on": lambda: window.step(1),
        "step_back": lambda: window.step(-1),
        "forward": lambda: jump(window, 5.0),
        "backward": lambda: jump(window, -5.0),
        "start": lambda: window.seek(0.0),
        "loop": transport.loop.toggle,
        "faster": lambda: change_speed(window, 1),
        "slower": lambda: change_speed(window, -1),
        "mirror": transport.mirror.toggle,
        "attention": overlay.next_kind,
        "next_keypoint": lambda: overlay.step_keypoint(1),
        "previous_keypoint": lambda: overlay.step_keypoint(-1),
        "probe_next": lambda: probe_next(window),
        "clear_probe": window.events.clear_probe,
        "skeleton": flip(overlay.skeleton),
        "boxes": flip(overlay.boxes),
        "ids": flip(overlay.ids),
        "scores": flip(overlay.scores),
        "tab_overlay": lambda: show_tab(window, 0),
        "tab_pose": lambda: show_tab(window, 1),
        "tab_statistics": lambda: show_tab(window, 2),
        "sidebar": lambda: tabs.setVisible(not tabs.isVisible()),
        "full_screen": lambda: toggle_full_screen(window),
        "snapshot": lambda: window.outputs.snapshot(window.view.picture),
        "copy": lambda: window.outputs.copy(window.view.picture),
        "record": window.toggle_record,
        "poses": window.outputs.toggle_poses,
        "export": lambda: window.outputs.ask_export(window.pose_panel.options),
        "shortcuts": lambda: KeysDialog(window).show(),
        "reset": window.reset_settings,
        "about": lambda: AboutDialog(PROGRAM_VERSION, window.description, window).show(),
        "quit": window.close,
    }


def jump(window: MainWindow, seconds: float) -> None:
    """So many seconds on in the file."""
    picture = window.view.picture
    if picture is not None:
        window.seek(max(0.0, picture.shown.shot.position_s + seconds))


def change_speed(window: MainWindow, step: int) -> None:
    """One step faster or slower."""
    box = window.transport.speed
    box.setCurrentIndex(min(len(SPEEDS) - 1, max(0, box.currentIndex() + step)))


def show_tab(window: MainWindow, number: int) -> None:
    """Show a panel."""
    window.tabs.show()
    window.tabs.setCurrentIndex(number)


def toggle_full_screen(window: MainWindow) -> None:
    """Only the video, or the window again."""
    full = not window.isFullScreen()
    bar = window.menuBar()
    for widget in (window.header, window.transport, window.tabs, *([bar] if bar is not None else [])):
        widget.setVisible(not full)
    if full:
        window.showFullScreen()
    else:
        window.showNormal()


def probe_next(window: MainWindow) -> None:
    """Fix the probe to the chosen keypoint of the next person: the probe by keyboard."""
    picture = window.view.picture
    if picture is None or picture.shown.result is None or len(picture.shown.result.poses) == 0:
        return
    poses = picture.shown.result.poses
    person = 0
    if picture.reading is not None:
        distances = np.abs(poses.keypoints_xy - picture.reading.keypoints_xy).sum(axis=(1, 2))
        person = (int(distances.argmin()) + 1) % len(poses)
    keypoint = min(window.overlay_panel.keypoint, poses.keypoints_xy.shape[1] - 1)
    box = poses.boxes_xyxy[person]
    x, y = np.clip(poses.keypoints_xy[person, keypoint], box[:2] + 1, box[2:] - 1)
    window.events.place_probe(float(x), float(y))
