"""Keys have the effects that players give them, wherever the last click was."""

from __future__ import annotations

from typing import Any

import pytest
from PyQt5.QtCore import QEvent, QPoint, QPointF, QSize, Qt
from PyQt5.QtGui import QMouseEvent, QWheelEvent
from PyQt5.QtTest import QTest
from PyQt5.QtWidgets import QApplication, QScrollArea
from pytestqt.qtbot import QtBot

from app.actions import KeysDialog
from app.main_window import MainWindow
from tests.app.conftest import WAIT_S, pause
from tests.app.fakes import Backstage

QTEST: Any = QTest  # its stub declares static methods as methods
Key = Qt.Key


def press_key(window: MainWindow, key: int, modifier: Any = Qt.KeyboardModifier.NoModifier) -> None:
    """Press a key where the keyboard is."""
    QTEST.keyClick(window.focusWidget() or window, key, modifier)


def move_mouse(window: MainWindow) -> None:
    """Move the mouse over the video; told to the widget, because the offscreen platform loses some moves."""
    nothing = Qt.MouseButton.NoButton
    event = QMouseEvent(QEvent.Type.MouseMove, QPointF(50, 50), nothing, nothing, Qt.KeyboardModifier.NoModifier)
    QApplication.sendEvent(window.view, event)


def position(window: MainWindow) -> float:
    assert window.view.picture is not None
    return window.view.picture.shown.shot.position_s


def test_after_a_source_is_chosen_the_keys_play_it(window: MainWindow, backstage: Backstage, qtbot: QtBot) -> None:
    window.header.source.setFocus()
    window.source_control.open("clip two")
    qtbot.waitUntil(lambda: backstage.opened_sources[-1] == "clip two" and not window.session.is_opening_source)
    assert window.focusWidget() is window.view
    playback = window.session.playback
    assert playback is not None
    press_key(window, Key.Key_Space)
    assert not playback.is_playing and not window.sources.isVisible()
    press_key(window, Key.Key_B)  # no mnemonic of a menu
    assert window.overlay_panel.boxes.isChecked() and not window.sources.isVisible()
    press_key(window, Key.Key_Space)
    assert playback.is_playing


@pytest.mark.parametrize(
    ("key", "place_s"),
    [(Key.Key_Home, 0.0), (Key.Key_End, 1.98), (Key.Key_0, 0.0), (Key.Key_3, 0.6), (Key.Key_9, 1.8)],
)
def test_home_end_and_digits_go_to_places_in_the_file(
    key: int, place_s: float, window: MainWindow, qtbot: QtBot
) -> None:
    pause(window, qtbot)
    window.source_control.seek(1.0)
    qtbot.waitUntil(lambda: position(window) == pytest.approx(1.0))
    press_key(window, key)
    qtbot.waitUntil(lambda: position(window) == pytest.approx(place_s))


def test_end_stays_at_the_last_frame_although_the_file_loops(window: MainWindow, qtbot: QtBot) -> None:
    assert window.transport.loop.isChecked()
    press_key(window, Key.Key_End)
    qtbot.waitUntil(lambda: position(window) == pytest.approx(1.98))
    qtbot.wait(120)
    assert position(window) == pytest.approx(1.98)


def test_panels_are_chosen_with_control_and_a_digit(window: MainWindow) -> None:
    for number, key in enumerate((Key.Key_1, Key.Key_2, Key.Key_3)):
        press_key(window, key, Qt.KeyboardModifier.ControlModifier)
        assert window.tabs.currentIndex() == number


def test_escape_leaves_full_screen_first_and_then_removes_the_probe(window: MainWindow, qtbot: QtBot) -> None:
    window.look_control.place_probe(90, 100)
    qtbot.waitUntil(lambda: window.overlay_panel.has_probe)
    press_key(window, Key.Key_F)
    assert window.isFullScreen() and window.header.isHidden() and window.tabs.isHidden()
    press_key(window, Key.Key_Escape)
    assert not window.isFullScreen() and not window.header.isHidden() and not window.tabs.isHidden()
    qtbot.wait(60)
    assert window.overlay_panel.has_probe
    press_key(window, Key.Key_Escape)
    qtbot.waitUntil(lambda: not window.overlay_panel.has_probe)


def test_full_screen_shows_its_controls_while_the_mouse_moves(window: MainWindow, qtbot: QtBot) -> None:
    window.full_screen.controls_shown_ms = 1
    press_key(window, Key.Key_F)
    qtbot.waitUntil(lambda: not window.transport.isVisible())
    room = window.view.size()
    window.full_screen.controls_shown_ms = WAIT_S * 1000
    move_mouse(window)
    assert window.transport.isVisible()
    assert window.view.size() == room  # the controls lie over the video
    assert window.transport.geometry().bottom() == window.pages.rect().bottom()
    window.transport.play.click()
    assert window.session.playback is not None and not window.session.playback.is_playing
    window.full_screen.controls_shown_ms = 1
    move_mouse(window)
    qtbot.waitUntil(lambda: not window.transport.isVisible())
    press_key(window, Key.Key_F)
    assert window.transport.isVisible() and not window.transport.geometry().intersects(window.view.geometry())


def test_panels_that_were_closed_stay_closed_after_full_screen(window: MainWindow) -> None:
    press_key(window, Key.Key_F9)
    press_key(window, Key.Key_F)
    press_key(window, Key.Key_F)
    assert window.tabs.isHidden() and not window.header.isHidden()


@pytest.mark.parametrize("name", ["precision", "score_threshold", "max_people"])
def test_the_wheel_scrolls_a_panel_and_changes_no_control(name: str, window: MainWindow) -> None:
    window.show_tab(1)
    control, before = window.pose_panel.controls[name].widget, window.pose_panel.options
    place = QPointF(control.rect().center())
    event = QWheelEvent(
        place, QPointF(control.mapToGlobal(place.toPoint())), QPoint(), QPoint(0, -120), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(control, event)
    assert window.pose_panel.options == before
    assert not event.isAccepted(), "left to the panel around it"


def test_the_list_of_keys_stays_on_a_low_screen(
    window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PyQt5.QtGui.QScreen.availableSize", lambda _screen: QSize(1280, 600))
    keys = KeysDialog(window.commands)
    qtbot.addWidget(keys)
    keys.show()
    assert keys.height() <= 600
    area = keys.findChild(QScrollArea)
    assert area is not None and (bar := area.verticalScrollBar()) is not None and bar.maximum() > 0
    sideways = area.horizontalScrollBar()
    assert sideways is not None and sideways.maximum() == 0
