"""The messages of the window: the right text at the right time, and none replaces an unread error."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PyQt5.QtWidgets import QTableWidget
from pytestqt.qtbot import QtBot

from app.main_window import MainWindow
from app.widgets.about import AboutDialog
from tests.app.conftest import shows_people, trigger
from tests.app.fakes import Backstage, Clip

ROOT = Path(__file__).resolve().parents[2]


def test_a_recent_relative_file_opens_from_another_folder(
    make_window: Callable[..., MainWindow], backstage: Backstage, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backstage, "open_source", lambda _text: Clip(path=Path("walk.mp4")))
    window = make_window("walk.mp4")
    qtbot.waitUntil(lambda: window.settings.recent == [str(Path.cwd() / "walk.mp4")])

    def listed() -> list[str]:
        return [action.text() for action in window.sources.actions() if "walk.mp4" in action.text()]

    assert len(listed()) == 1
    window.reset_settings()
    assert listed() == []


def test_the_size_is_shown_after_another_source_failed(window: MainWindow, qtbot: QtBot) -> None:
    before = window.header.source.text()
    assert "320×180" in before
    window.source_control.open("nothing.mp4")
    qtbot.waitUntil(lambda: "nothing.mp4 does not exist" in window.notice.text)
    assert window.header.source.text() == before


def test_the_time_of_a_paused_frame_is_not_latency(window: MainWindow, qtbot: QtBot) -> None:
    window.source_control.toggle_playing()
    qtbot.wait(1200)
    window.statistics.clear_window()
    window.overlay_panel.set_kind("attention")  # the frame is processed again, for its maps
    qtbot.waitUntil(lambda: window.statistics.snapshot().latency is not None)
    latency = window.statistics.snapshot().latency
    assert latency is not None and latency.p95 < 1000


def test_an_export_does_not_hide_an_error_message(window: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    window.outputs.begin_export("clip", tmp_path / "whole.mp4", window.pose_panel.options)
    qtbot.waitUntil(lambda: " of 100 frames" in window.notice.text, timeout=20000)
    window.notice.report("error", "the disk of the recording is full")
    texts: list[str] = []
    window.outputs._event.connect(lambda _event: texts.append(window.notice.text))
    qtbot.waitUntil(lambda: window.outputs.export_job is None, timeout=20000)
    assert len(texts) > 1 and set(texts[:-1]) == {"the disk of the recording is full"}
    assert "100 frames written" in window.notice.text  # the end is still reported


def test_a_camera_cannot_be_exported_and_the_message_says_so(
    make_window: Callable[..., MainWindow], qtbot: QtBot
) -> None:
    window = make_window("0")
    qtbot.waitUntil(lambda: shows_people(window))
    trigger(window, "export")
    assert "record" in window.notice.text and window.outputs.export_job is None


def test_every_required_package_is_named_with_its_licence(qtbot: QtBot) -> None:
    dialog = AboutDialog("1.2.3", {"pose_model": "kcam_fake", "detector": "finder"})
    qtbot.addWidget(dialog)
    table = dialog.findChild(QTableWidget)
    assert table is not None
    cells = [[table.item(row, column) for column in range(3)] for row in range(table.rowCount())]
    licences = {row[0].text(): row[2].text() for row in cells if row[0] and row[2]}
    for file in ROOT.glob("requirements-*.txt"):
        if file.name == "requirements-dev.txt":
            continue
        named = re.findall(r"^[A-Za-z][\w.-]*", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert named and set(named) <= licences.keys()
    assert all(licences.values())
