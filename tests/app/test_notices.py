"""The messages of the window: the right text at the right time, and none replaces an unread error."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PyQt5.QtWidgets import QTableWidget
from pytestqt.qtbot import QtBot

from app.error_report import ErrorReport
from app.main_window import MainWindow
from app.widgets.about import AboutDialog
from app.widgets.notices import Notice
from tests.app.conftest import begin_export, pause, shows_people
from tests.app.fakes import Backstage, Clip

ROOT = Path(__file__).resolve().parents[2]


def test_a_recent_relative_file_opens_from_another_folder(
    make_window: Callable[..., MainWindow], backstage: Backstage, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backstage, "open_source", lambda _text: Clip(path=Path("M&M.mp4")))
    window = make_window("M&M.mp4")
    qtbot.waitUntil(lambda: window.settings.recent == [str(Path.cwd() / "M&M.mp4")])

    def listed() -> list[str]:
        return [action.text() for action in window.sources.actions() if "M&&M.mp4" in action.text()]

    assert len(listed()) == 1
    window.reset_settings()
    assert listed() == []


def test_the_size_is_shown_after_another_source_failed(window: MainWindow, qtbot: QtBot) -> None:
    before = window.header.source.text()
    assert "320×180" in before
    window.source_control.open("nothing.mp4")
    qtbot.waitUntil(lambda: "nothing.mp4 does not exist" in window.notices.text)
    assert window.header.source.text() == before


def test_the_time_of_a_paused_frame_is_not_latency(window: MainWindow, qtbot: QtBot) -> None:
    pause(window, qtbot)
    qtbot.wait(300)
    window.statistics.clear_window()
    asked_s = time.monotonic()
    window.overlay_panel.set_kind("attention")  # the frame is processed again, for its maps
    qtbot.waitUntil(lambda: window.statistics.snapshot().latency is not None)
    latency = window.statistics.snapshot().latency
    assert latency is not None and latency.p95 <= (time.monotonic() - asked_s) * 1000


def test_an_export_keeps_its_bar_beside_two_messages(window: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    begin_export(window, "clip", tmp_path / "whole.mp4")
    qtbot.waitUntil(lambda: " of 100 frames" in window.notices.text)
    for subject in ("one", "two", "three"):
        window.notices.report("error", f"error {subject}", subject=subject)
    seen: set[tuple[str, ...]] = set()
    window.outputs.exports.changed.connect(lambda: seen.add(tuple(shown_messages(window))))
    qtbot.waitUntil(lambda: window.outputs.export_job is None)
    during = [texts for texts in seen if texts[0].startswith("Exporting")]
    assert len(during) > 1 and {texts[1:] for texts in during} == {("error three", "error two")}
    assert "100 frames written" in window.notices.text  # the end is still reported


def shown_messages(window: MainWindow) -> list[str]:
    """The messages that can be seen, from the top."""
    found = [notice for notice in window.notices.findChildren(Notice) if notice.isVisibleTo(window)]
    return [
        notice.label.text()
        for notice in sorted(found, key=lambda notice: notice.mapTo(window.notices, notice.rect().topLeft()).y())
    ]


def test_messages_stack_and_none_moves_the_video(window: MainWindow, qtbot: QtBot) -> None:
    before = window.view.geometry(), window.view.picture_area()
    for number in range(5):
        window.notices.report("warning", f"message {number} " + "with many words " * 12, subject=str(number))
    qtbot.wait(50)
    assert [text[:9] for text in shown_messages(window)] == ["message 4", "message 3"]
    assert "3" in window.notices.more.text()
    window.notices.more.click()
    qtbot.wait(20)
    assert [text[:9] for text in shown_messages(window)] == [f"message {number}" for number in (4, 3, 2, 1, 0)]
    assert (window.view.geometry(), window.view.picture_area()) == before
    assert window.pages.rect().contains(window.notices.geometry())
    for number in (4, 1, 3, 0, 2):  # each can be closed, also in the list
        notice = window.notices.of(str(number))
        assert notice is not None
        notice.close_button.click()
    assert shown_messages(window) == [] and window.notices.isHidden()


def test_a_message_replaces_the_one_about_the_same_thing(window: MainWindow) -> None:
    window.notices.report("busy", "exporting, 1 of 9", subject="build", percent=10)
    window.notices.report("error", "the disk is full", subject="disk")
    window.notices.report("busy", "exporting, 2 of 9", subject="build", percent=20)
    assert shown_messages(window) == ["the disk is full", "exporting, 2 of 9"]


def test_a_first_source_that_fails_stays_on_the_page_and_in_the_log(
    make_window: Callable[..., MainWindow], backstage: Backstage, qtbot: QtBot
) -> None:
    window = make_window("nothing.mp4")
    qtbot.waitUntil(lambda: window.session.ready is not None)  # the networks open after it
    qtbot.wait(50)
    assert "nothing.mp4 cannot be opened" in window.welcome.text and "does not exist" in window.welcome.text
    window._show_statistics()
    assert window.session.description and not window.header.numbers.text(), "no people are counted in nothing"
    assert window.pages.currentWidget() is window.welcome
    assert backstage.noted == ["nothing.mp4 does not exist"]
    window.welcome.again.click()
    qtbot.waitUntil(lambda: backstage.opened_sources == ["nothing.mp4"] * 2 and not window.session.is_opening_source)
    window.source_control.open("clip")
    qtbot.waitUntil(lambda: shows_people(window))


def test_a_camera_that_is_not_there_is_named_once(
    make_window: Callable[..., MainWindow], backstage: Backstage, qtbot: QtBot
) -> None:
    backstage.plugged_in = False
    window = make_window("0")
    qtbot.waitUntil(lambda: "no such camera" in window.welcome.text.lower())
    assert window.welcome.text.lower().count("camera 0") == 1
    assert backstage.noted == ["camera 0 cannot be opened: no such camera"], "the log has the whole line"


def test_errors_stand_in_the_log_and_in_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    errors = ErrorReport(tmp_path / "log.txt")
    errors.note("nothing.mp4 does not exist")
    errors.remove()
    assert capsys.readouterr().err == "error: nothing.mp4 does not exist\n"
    assert "nothing.mp4 does not exist" in (tmp_path / "log.txt").read_text()


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
