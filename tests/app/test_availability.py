"""What cannot work now is disabled, in the menus and as a button, and says why."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PyQt5.QtCore import Qt
from PyQt5.QtTest import QTest
from PyQt5.QtWidgets import QAction
from pytestqt.qtbot import QtBot

from app.main_window import MainWindow
from app.widgets.theme import colors
from tests.app.conftest import begin_export, shows_people
from tests.app.fakes import Backstage

QTEST: Any = QTest  # its stub declares static methods as methods
OUTPUTS = {"snapshot": "S", "record": "R", "poses": "P", "export": "Ctrl+E"}


def reason(window: MainWindow, command: str) -> str:
    """Why a command is disabled, the same in the menu and on its button; empty where it is enabled."""
    action = window.findChild(QAction, command)
    assert action is not None
    button = getattr(window.transport, command)
    assert action.isEnabled() is button.isEnabled()
    if action.isEnabled():
        return ""
    assert action.toolTip() and action.toolTip() in button.toolTip()
    return action.toolTip()


def test_without_a_source_nothing_is_written_and_keys_do_nothing(
    make_window: Callable[..., MainWindow], qtbot: QtBot
) -> None:
    window = make_window(None)
    qtbot.waitUntil(lambda: not window.welcome.demo.isHidden())
    assert {name: reason(window, name) for name in OUTPUTS} == {
        "snapshot": "There is no picture yet",
        "record": "Nothing is open",
        "poses": "Nothing is open",
        "export": "Nothing is open",
    }
    for key in (Qt.Key.Key_S, Qt.Key.Key_R, Qt.Key.Key_P, Qt.Key.Key_Space):
        QTEST.keyClick(window.focusWidget() or window, key)
    assert window.outputs.video is None and window.outputs.poses is None and not window.outputs.folder.exists()


def test_a_file_with_networks_allows_all(window: MainWindow) -> None:
    assert [reason(window, name) for name in (*OUTPUTS, "play", "step_on", "loop")] == [""] * 7
    assert reason(window, "mirror")


def test_a_camera_has_no_end_to_export_to(make_window: Callable[..., MainWindow], qtbot: QtBot) -> None:
    window = make_window("0")
    qtbot.waitUntil(lambda: shows_people(window))
    assert "record it instead" in reason(window, "export")
    assert reason(window, "step_on") and reason(window, "loop")
    assert not reason(window, "record") and not reason(window, "mirror")


def test_an_export_at_a_time(window: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    for name in ("one.mp4", "two.mp4"):
        begin_export(window, "clip", tmp_path / name)
    exports = window.outputs.exports
    assert [item.state for item in exports.items] == ["running", "waiting"] and "1 more" in window.notices.text
    qtbot.waitUntil(lambda: exports.job is None)
    assert [item.state for item in exports.items] == ["done", "done"] and not reason(window, "export")
    assert window.notices.text.count("100 frames written") == 2


def test_poses_wait_for_the_networks(
    make_window: Callable[..., MainWindow], backstage: Backstage, qtbot: QtBot
) -> None:
    window = make_window(start=False)
    window.source_control.open("clip")
    qtbot.waitUntil(lambda: window.view.picture is not None)
    assert reason(window, "poses") == "The networks do not run yet" and not reason(window, "record")
    window.session.set_options(window.pose_panel.options)
    qtbot.waitUntil(lambda: not reason(window, "poses"))


def test_a_source_that_fails_while_it_plays_disables_what_needs_it(
    window: MainWindow, backstage: Backstage, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_position_s: float) -> None:
        from engine.errors import SourceError

        raise SourceError("clip cannot be read from another position")

    playback = window.session.playback
    assert playback is not None and playback._source is not None
    monkeypatch.setattr(playback._source, "seek", fail)
    window.source_control.seek(1.0)
    qtbot.waitUntil(lambda: reason(window, "export") == "Nothing is open")
    assert reason(window, "record") and not reason(window, "snapshot")  # the last picture is still there


class Disk(NamedTuple):
    """As `shutil.disk_usage` gives it."""

    total: int
    used: int
    free: int


@pytest.mark.parametrize(("free", "is_warned"), [(400_000_000_000, False), (900_000_000, True)])
def test_starting_a_recording_moves_no_button_and_only_a_full_disk_warns(
    free: int, is_warned: bool, window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Disk(10**12, 10**12 - free, free))
    bar = window.transport
    watched = (bar.play, bar.slider, bar.speed, bar.snapshot, bar.record, bar.poses, bar.export)
    before = [widget.geometry() for widget in watched]
    bar.record.click()
    qtbot.waitUntil(lambda: "GB free" in bar.recording.text())
    qtbot.wait(20)
    assert [widget.geometry() for widget in watched] == before
    line = bar.recording.text().split("<br>")[1]
    assert (colors().warning in line) is is_warned and colors().error not in line
    bar.record.click()
    qtbot.waitUntil(lambda: window.outputs.video is None and not bar.recording.text())
    assert [widget.geometry() for widget in watched] == before
