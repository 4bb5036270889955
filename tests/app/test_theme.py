"""Colours that can be read, a focus that can be seen, and the sizes and marks of controls."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PyQt5.QtGui import QColor, QImage
from PyQt5.QtWidgets import (
    QAction,
    QApplication,
    QLabel,
    QMenu,
    QMessageBox,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from pytestqt.qtbot import QtBot

from app.main_window import MainWindow
from app.system_theme import system_theme
from app.widgets.theme import DARK, LIGHT, Colors, apply_theme
from tests.app.conftest import trigger
from tests.app.fakes import Backstage, Clip

THEMES = {"dark": DARK, "light": LIGHT}


@pytest.fixture(params=list(THEMES))
def themed(request: pytest.FixtureRequest, qtbot: QtBot) -> Iterator[Colors]:
    """An application in each theme."""
    application = QApplication.instance()
    assert isinstance(application, QApplication)
    apply_theme(application, THEMES[request.param])
    yield THEMES[request.param]
    apply_theme(application)


def luminance(color: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = np.array([QColor(color).redF(), QColor(color).greenF(), QColor(color).blueF()])
    linear = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    """Contrast ratio as WCAG 2 defines it."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_formula_gives_the_values_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("name", list(THEMES))
def test_every_text_has_a_contrast_of_four_and_a_half(name: str) -> None:
    theme = THEMES[name]
    texts = ("text", "faint", "disabled", "warning", "error", "good", "accent")
    grounds = ("ground", "panel", "raised")
    pairs = [*itertools.product(texts, grounds), ("on_accent", "accent_deep")]
    low = {
        pair: round(ratio, 2)
        for pair in pairs
        if (ratio := contrast(getattr(theme, pair[0]), getattr(theme, pair[1]))) < 4.5
    }
    assert low == {}
    assert (
        contrast(theme.text, theme.panel) > contrast(theme.faint, theme.panel) > contrast(theme.disabled, theme.panel)
    )


def pixels(widget: QWidget) -> Any:
    image = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)
    pointer = image.constBits()
    assert pointer is not None
    return np.frombuffer(pointer.asstring(image.sizeInBytes()), np.uint8).reshape(image.height(), -1, 4).copy()


@pytest.mark.parametrize("kind", [QPushButton, QToolButton])
def test_the_focus_is_seen_on_a_checked_button(kind: type, themed: Colors, qtbot: QtBot) -> None:
    holder = QWidget()
    qtbot.addWidget(holder)
    layout = QVBoxLayout(holder)
    buttons = [kind(), kind()]
    for button in buttons:
        button.setText("Boxes")
        button.setCheckable(True)
        button.setChecked(True)
        layout.addWidget(button)
    holder.show()
    holder.activateWindow()
    qtbot.waitUntil(holder.isActiveWindow)
    buttons[1].setFocus()
    without = pixels(buttons[0])
    buttons[0].setFocus()
    qtbot.wait(10)
    changed = (pixels(buttons[0]) != without).any(axis=2)
    assert changed.sum() > 2 * (changed.shape[0] + changed.shape[1]) * 0.8  # a line around it


def menu_action(window: MainWindow, name: str) -> QAction:
    found = window.findChild(QAction, name)
    assert found is not None
    return found


def test_switches_have_check_marks_that_follow(window: MainWindow, qtbot: QtBot) -> None:
    menus = {menu.title(): menu for menu in window.findChildren(QMenu)}
    view, output = menus["&View"], menus["&Output"]
    for name, box in (("boxes", window.overlay_panel.boxes), ("ids", window.overlay_panel.ids)):
        box.click()
        view.aboutToShow.emit()
        assert menu_action(window, name).isCheckable() and menu_action(window, name).isChecked() is box.isChecked()
        trigger(window, name)
        assert menu_action(window, name).isChecked() is box.isChecked()
    trigger(window, "sidebar")
    view.aboutToShow.emit()
    assert not menu_action(window, "sidebar").isChecked() and window.tabs.isHidden()
    trigger(window, "record")
    output.aboutToShow.emit()
    assert menu_action(window, "record").isChecked()
    trigger(window, "record")
    qtbot.waitUntil(lambda: window.outputs.video is None)
    output.aboutToShow.emit()
    assert not menu_action(window, "record").isChecked()
    assert not [action.text() for menu in menus.values() for action in menu.actions() if "on or off" in action.text()]


def test_quit_is_at_the_end_of_the_first_menu(window: MainWindow) -> None:
    bar = window.menuBar()
    assert bar is not None
    first = bar.actions()[0].menu()
    assert first is window.sources and first.actions()[-1].text() == "Quit"
    window.sources.refresh()  # after another source was opened
    assert first.actions()[-1].text() == "Quit"
    assert first.actions()[-1].menuRole() == QAction.MenuRole.QuitRole  # macOS puts it into its own menu
    trigger(window, "quit")
    assert not window.isVisible()


NAME = "a_walk_through_the_station_on_a_long_summer_evening_with_friends.mp4"


def test_a_file_name_is_shortened_only_where_there_is_no_room(
    make_window: Callable[..., MainWindow], backstage: Backstage, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = Clip()
    clip._info = replace(clip.info, name=NAME)
    monkeypatch.setattr(backstage, "open_source", lambda _text: clip)
    window = make_window("clip")
    window.resize(1600, 900)
    qtbot.waitUntil(lambda: NAME in window.header.source.text())
    qtbot.waitUntil(lambda: NAME in window.header.source.shown_text())
    window.resize(960, 600)
    qtbot.waitUntil(lambda: "…" in window.header.source.shown_text())
    assert window.header.numbers.geometry().right() <= window.header.width()
    assert NAME in window.header.source.toolTip()


def test_960_by_600_is_the_smallest_size_and_nothing_is_cut_off(
    window: MainWindow, qtbot: QtBot, themed: Colors
) -> None:
    window.resize(200, 200)
    qtbot.wait(30)
    assert (window.width(), window.height()) == (960, 600)
    window.toggle_record()
    qtbot.wait(600)
    bar = window.transport
    for number in range(window.tabs.count()):
        window.tabs.setCurrentIndex(number)
        qtbot.wait(20)
        central = window.centralWidget()
        assert central is not None and central.minimumSizeHint().width() <= 960
        assert central.minimumSizeHint().height() <= central.height()
        area: Any = window.tabs.widget(number)
        panel = area.widget()
        assert panel.minimumSizeHint().width() <= area.viewport().width()
        for label in (label for label in panel.findChildren(QLabel) if label.isVisible()):
            assert label.mapTo(panel, label.rect().topRight()).x() <= panel.width()
    shown = [child for child in bar.findChildren(QWidget) if child.isVisible() and child.parentWidget() is bar]
    for one, other in itertools.combinations(shown, 2):
        assert not one.geometry().intersects(other.geometry()), (one, other)
    assert all(bar.rect().contains(child.geometry()) for child in shown)
    assert bar.slider.width() >= 60
    window.toggle_record()


def test_dialogs_have_icons_of_the_theme(themed: Colors, qtbot: QtBot, qtlog: Any) -> None:
    box = QMessageBox(QMessageBox.Icon.Warning, "title", "text", QMessageBox.StandardButton.Close)
    qtbot.addWidget(box)
    box.show()
    button = box.button(QMessageBox.StandardButton.Close)
    assert button is not None and button.icon().isNull()
    pixmap = box.iconPixmap().toImage()
    middle = pixmap.pixelColor(round(pixmap.width() * 0.3), round(pixmap.height() * 0.8))
    assert middle == QColor("#f0b64a")
    assert "Unknown property" not in "".join(record.message for record in qtlog.records)


@pytest.mark.parametrize(("scheme", "expected"), [(2, LIGHT), (1, DARK), (0, DARK), (None, DARK)])
def test_the_theme_follows_the_desktop(
    scheme: int | None, expected: Colors, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.system_theme.sys.platform", "linux")
    monkeypatch.setattr("app.system_theme._portal_scheme", lambda: scheme)
    application = QApplication.instance()
    assert isinstance(application, QApplication)
    assert system_theme(application) is expected


def test_the_assets_of_the_style_exist(themed: Colors) -> None:
    application = QApplication.instance()
    assert isinstance(application, QApplication)
    used = [part.split(")")[0] for part in application.styleSheet().split("url(")[1:]]
    assert len(used) > 10 and all(Path(file).is_file() for file in used)
