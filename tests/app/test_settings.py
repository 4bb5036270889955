"""Saved settings of the window, and their reset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from pytestqt.qtbot import QtBot

from app.main_window import MainWindow
from app.settings import Settings
from app.widgets.pose_panel import PosePanel
from engine.overlay.attention import AttentionView
from tests.app.conftest import shows_people
from tests.app.test_controls import POSE_CONTROLS


def test_settings_are_remembered_and_reset(
    make_window: Callable[..., MainWindow], qtbot: QtBot, settings: Settings
) -> None:
    first = make_window()
    qtbot.waitUntil(lambda: shows_people(first))
    first.overlay_panel.boxes.setChecked(True)
    first.overlay_panel.choose_keypoint("nose")
    first.transport.loop.setChecked(False)
    first.close()
    assert settings.recent == ["clip"]
    second = make_window()
    assert second.overlay_panel.boxes.isChecked() and not second.transport.loop.isChecked()
    assert second.overlay_panel.options.attention == AttentionView(kind="attention", keypoint=0)
    second.reset_settings()
    assert not second.overlay_panel.boxes.isChecked() and second.overlay_panel.options.attention is None
    assert settings.recent == []


def test_every_choice_of_the_pose_panel_is_reset(
    make_window: Callable[..., MainWindow], qtbot: QtBot, settings: Settings
) -> None:
    window = make_window()
    qtbot.waitUntil(lambda: shows_people(window))
    first = window.pose_panel.options
    for change, _field, _value in POSE_CONTROLS.values():
        change(window.pose_panel)
    qtbot.waitUntil(lambda: settings.pipeline.person_threshold == 0.31)
    window.reset_settings()
    assert window.pose_panel.options == first
    qtbot.waitUntil(lambda: settings.pipeline == first)  # remembered once it runs


def test_a_score_of_the_command_line_is_kept_until_its_slider_is_moved(qtbot: QtBot) -> None:
    panel = PosePanel()
    qtbot.addWidget(panel)
    given = replace(panel.options, score_threshold=0.005, person_threshold=0.145)
    panel.set_options(given)
    panel.controls["max_people"].widget.setValue(3)
    assert panel.options == replace(given, max_people=3)
    panel.controls["person_threshold"].widget.setValue(panel.controls["person_threshold"].widget.value() + 1)
    assert panel.options.person_threshold == pytest.approx(0.15) and panel.options.score_threshold == 0.005


def test_passwords_are_not_remembered(settings: Settings) -> None:
    settings.add_recent("rtsp://someone:secret@host/stream")
    settings.add_recent("rtsp://host/stream")
    assert settings.recent == ["rtsp://host/stream"]
