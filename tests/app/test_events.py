"""Errors, interruptions, and cleanup."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PyQt5.QtCore import QMimeData, QPointF, Qt, QTimer, QUrl
from PyQt5.QtGui import QDropEvent, QImage
from PyQt5.QtTest import QTest
from PyQt5.QtWidgets import QApplication, QMessageBox
from pytestqt.qtbot import QtBot

from app.error_report import ErrorReport
from app.live.status_file import memory_mb
from app.main_window import MainWindow
from app.qt_setup import TITLE
from app.settings import Settings
from app.widgets.source_menu import SourceMenu
from engine.artifacts.compiler import run_build
from engine.artifacts.part_file import PartFile
from engine.errors import BackendError, SourceError
from engine.sources.opening import CameraInfo, open_source
from engine.types import Frame
from tests.app.conftest import CLOSES_WITHIN_S, WAIT_S, begin_export, press, shows_people
from tests.app.fakes import Backstage, Clip

QTEST: Any = QTest  # its stub declares static methods as methods


def test_an_expected_error_while_running_is_shown_in_the_bar(
    window: MainWindow, backstage: Backstage, qtbot: QtBot
) -> None:
    backstage.process_error = BackendError("openvino failed: out of memory")
    qtbot.waitUntil(lambda: "out of memory" in window.notices.text)
    painted = window.statistics.frames_painted
    qtbot.waitUntil(lambda: window.statistics.frames_painted > painted + 3)  # the video keeps playing
    assert backstage.reported == []
    backstage.process_error = None
    press(window, "pipeline")
    qtbot.waitUntil(lambda: shows_people(window) and not window.notices.text)


def test_an_unexpected_error_is_reported_and_the_window_keeps_running(
    window: MainWindow, backstage: Backstage, qtbot: QtBot
) -> None:
    backstage.process_error = ZeroDivisionError("nobody expected this")
    qtbot.waitUntil(lambda: len(backstage.reported) == 1)
    assert isinstance(backstage.reported[0][0], ZeroDivisionError)
    qtbot.waitUntil(lambda: "ZeroDivisionError" in window.notices.text)
    painted = window.statistics.frames_painted
    qtbot.waitUntil(lambda: window.statistics.frames_painted > painted + 3)


def test_no_frame_is_dropped_while_a_network_compiles_for_the_source(
    make_window: Callable[..., MainWindow], backstage: Backstage, qtbot: QtBot
) -> None:
    open_now, is_compiled = threading.Event(), threading.Event()
    backstage.while_opening = lambda _notify: open_now.wait(WAIT_S)  # so that the source is there first
    backstage.while_warming_up = lambda: is_compiled.wait(WAIT_S)
    window = make_window("clip")
    qtbot.waitUntil(lambda: window.statistics.frames_painted > 0)
    open_now.set()
    painted = window.statistics.frames_painted
    qtbot.waitUntil(lambda: window.statistics.frames_painted > painted + 20)
    assert window.session.is_opening and window.session.dropped_frames == 0
    is_compiled.set()
    qtbot.waitUntil(lambda: shows_people(window))
    assert len(backstage.warmed_up) == 1


def test_many_errors_show_one_dialog_and_are_all_logged(qtbot: QtBot, tmp_path: Path) -> None:
    errors = ErrorReport(tmp_path / "log.txt")
    shown: list[str] = []
    errors.show_dialog = shown.append
    errors.install()
    try:
        thread = threading.Thread(target=lambda: 1 // 0)
        thread.start()
        thread.join()
        qtbot.waitUntil(lambda: len(shown) == 1)
        sys.excepthook(ValueError, ValueError("in a slot"), None)
        qtbot.wait(20)
    finally:
        errors.remove()
    assert shown == ["ZeroDivisionError: integer division or modulo by zero"]
    log = (tmp_path / "log.txt").read_text()
    assert "ZeroDivisionError" in log and "ValueError: in a slot" in log


def test_a_source_that_fails_leaves_the_last_one_running(
    window: MainWindow, backstage: Backstage, qtbot: QtBot
) -> None:
    window.source_control.open("nothing.mp4")
    qtbot.waitUntil(lambda: "nothing.mp4 does not exist" in window.notices.text)
    assert "clip" in window.header.source.text()
    painted = window.statistics.frames_painted
    qtbot.waitUntil(lambda: window.statistics.frames_painted > painted + 3)


def test_numbers_of_people_are_those_of_a_source_and_a_network(
    window: MainWindow, backstage: Backstage, qtbot: QtBot
) -> None:
    qtbot.waitUntil(lambda: "2 people" in window.header.numbers.text())
    backstage.process_error = BackendError("the runtime failed")
    qtbot.waitUntil(lambda: "the runtime failed" in window.notices.text)
    qtbot.waitUntil(lambda: window.statistics_panel.people.text() == "–")
    qtbot.waitUntil(lambda: "people" not in window.header.numbers.text())


def test_a_video_without_skeletons_says_that_the_networks_open(
    make_window: Callable[..., MainWindow], backstage: Backstage, qtbot: QtBot
) -> None:
    open_now = threading.Event()

    def wait(_notify: Callable[[str], None]) -> None:
        open_now.wait(WAIT_S)

    backstage.while_opening = wait
    window = make_window()
    qtbot.waitUntil(lambda: window.statistics.frames_painted > 3)
    qtbot.waitUntil(lambda: window.header.running.text() == "Opening the networks…")
    open_now.set()
    qtbot.waitUntil(lambda: shows_people(window))
    qtbot.waitUntil(lambda: window.header.running.text() not in ("", "Opening the networks…"))


def test_a_source_that_fails_while_it_plays_leaves_no_number_of_people(
    window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_clip: Clip) -> Iterator[Frame]:
        raise SourceError("the file cannot be read any more")

    qtbot.waitUntil(lambda: "2 people" in window.header.numbers.text())
    monkeypatch.setattr(Clip, "__iter__", fail)
    window.source_control.seek(0.0)
    qtbot.waitUntil(lambda: "cannot be read any more" in window.notices.text)
    assert shows_people(window), "the last frame stays"
    assert window.windowTitle() == TITLE
    qtbot.waitUntil(lambda: not window.header.numbers.text())


@pytest.mark.parametrize("key", [Qt.Key.Key_Return, Qt.Key.Key_Escape])
def test_a_key_pressed_unread_does_not_end_what_is_being_written(key: Qt.Key, window: MainWindow, qtbot: QtBot) -> None:
    window.transport.record.click()
    qtbot.waitUntil(lambda: window.outputs.video is not None and window.outputs.video.frames > 3)
    window.confirm = window._ask_to_end

    def answer() -> None:
        question = QApplication.activeModalWidget()
        assert isinstance(question, QMessageBox)
        QTEST.keyClick(question, key)

    QTimer.singleShot(300, answer)
    window.close()
    assert window.isVisible() and window.outputs.video is not None
    window.confirm = lambda _running: True


def test_without_a_camera_the_window_offers_a_file_and_the_demo(
    make_window: Callable[..., MainWindow], backstage: Backstage, qtbot: QtBot
) -> None:
    window = make_window(None)
    qtbot.waitUntil(lambda: not window.welcome.demo.isHidden())
    assert not window.welcome.open_file.isHidden()
    window.welcome.demo.click()
    qtbot.waitUntil(lambda: backstage.opened_sources == ["demo"])


def test_cameras_are_listed_by_name(settings: Settings, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [CameraInfo(index=0, name="Desk"), CameraInfo(index=2, name="Door")]
    monkeypatch.setattr("app.live.camera_search.list_cameras", lambda: found)
    menu = SourceMenu(settings)
    qtbot.addWidget(menu)
    menu.search_cameras()
    names = ["Camera 0: Desk", "Camera 2: Door"]
    qtbot.waitUntil(lambda: [action.text() for action in menu.actions()[:2]] == names)
    qtbot.waitUntil(lambda: not menu.search.is_running)


def test_a_lost_camera_is_reconnected(
    make_window: Callable[..., MainWindow], backstage: Backstage, qtbot: QtBot
) -> None:
    window = make_window("0")
    qtbot.waitUntil(lambda: shows_people(window))
    backstage.plugged_in = False
    qtbot.waitUntil(lambda: "unplugged" in window.notices.text)
    assert shows_people(window)  # the last frame stays
    assert window.view.badge == "Signal lost, retrying"
    assert "Signal lost" in window.notices.text, "in a low window the message lies over the badge"
    assert "LIVE" not in window.transport.live.text()
    backstage.plugged_in = True
    qtbot.waitUntil(lambda: window.view.badge == "" and not window.notices.text)
    assert "LIVE" in window.transport.live.text()
    painted = window.statistics.frames_painted
    qtbot.waitUntil(lambda: window.statistics.frames_painted > painted + 3)


def test_files_are_opened_by_dropping_them(window: MainWindow, backstage: Backstage, qtbot: QtBot) -> None:
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile("/somewhere/clip two.mp4")])
    window.dropEvent(
        QDropEvent(QPointF(5, 5), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton,
                   Qt.KeyboardModifier.NoModifier)
    )  # fmt: skip
    qtbot.waitUntil(lambda: backstage.opened_sources[-1] == "/somewhere/clip two.mp4")


def test_fifty_changes_leak_no_thread_and_no_memory(window: MainWindow, backstage: Backstage, qtbot: QtBot) -> None:
    def change(times: int) -> None:
        for number in range(times):
            window.source_control.open(f"clip{number}")
            window.pose_panel.controls["max_people"].widget.setValue(2 + number % 8)
            window.pipeline_control.open(window.pose_panel.options)
            qtbot.wait(25)
        last = window.pose_panel.options
        qtbot.waitUntil(lambda: window.session.options == last and not window.session.is_opening_source)
        qtbot.waitUntil(lambda: threading.active_count() <= threads)

    threads = threading.active_count()
    change(10)
    gc.collect()
    before = memory_mb()
    change(50)
    gc.collect()
    after = memory_mb()
    assert all(pipeline.closed for pipeline in backstage.pipelines[:-1])
    if before is not None and after is not None:
        assert after - before < 50


def close_in_time(window: MainWindow) -> None:
    names = {thread.name for thread in threading.enumerate()}
    started = time.monotonic()
    window.close()
    assert time.monotonic() - started < CLOSES_WITHIN_S
    left = {thread.name for thread in threading.enumerate()} & names
    assert not [name for name in left if name.startswith(("capture", "inference", "drawing", "recording", "export"))]


def test_closing_during_inference(window: MainWindow, backstage: Backstage) -> None:
    backstage.process_s = 0.8
    time.sleep(0.1)
    close_in_time(window)
    assert backstage.pipelines[-1].closed


def test_closing_and_cancelling_while_an_engine_is_built(
    window: MainWindow, backstage: Backstage, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build is a real child process: it must be gone afterwards, and the video must keep playing."""
    children: list[subprocess.Popen[str]] = []
    real = subprocess.Popen

    def popen(command: list[str], **options: object) -> subprocess.Popen[str]:
        code = 'import time; print(\'{"event": "progress", "message": "building"}\', flush=True); time.sleep(60)'
        children.append(real([sys.executable, "-c", code], **options))  # type: ignore[call-overload]
        return children[-1]

    monkeypatch.setattr("engine.artifacts.compiler.subprocess.Popen", popen)

    def build(notify: Callable[[str], None]) -> None:
        run_build(["--anything"], notify)

    backstage.while_opening = build
    window.pose_panel.controls["max_people"].widget.setValue(5)
    qtbot.waitUntil(lambda: window.notices.text == "building")
    painted = window.statistics.frames_painted_with_people
    qtbot.waitUntil(lambda: window.statistics.frames_painted_with_people > painted + 3)
    press(window, "pipeline")  # cancel
    qtbot.waitUntil(lambda: children[0].poll() is not None)
    assert window.pose_panel.controls["max_people"].widget.value() == 16 and not window.notices.text
    window.pose_panel.controls["max_people"].widget.setValue(6)
    qtbot.waitUntil(lambda: len(children) == 2 and window.notices.text == "building")
    close_in_time(window)
    assert children[1].poll() is not None


def test_closing_while_recording_leaves_a_video_that_plays(window: MainWindow, qtbot: QtBot) -> None:
    window.transport.record.click()
    window.transport.poses.click()
    qtbot.waitUntil(lambda: window.outputs.video is not None and window.outputs.video.frames > 10)
    qtbot.waitUntil(lambda: "free" in window.transport.recording.text())
    close_in_time(window)
    (video,) = window.outputs.folder.glob("*.mp4")
    (poses,) = window.outputs.folder.glob("*.jsonl")
    with open_source(str(video)) as source:
        assert len(list(source)) > 10
    assert '"id": 1' in poses.read_text().splitlines()[0]


def test_recording_and_snapshot_report_their_paths(window: MainWindow, qtbot: QtBot) -> None:
    window.transport.record.click()
    qtbot.waitUntil(lambda: window.outputs.video is not None and window.outputs.video.frames > 3)
    window.transport.record.click()
    qtbot.waitUntil(lambda: "frames recorded in" in window.notices.text)
    assert window.outputs.video is None
    window.transport.snapshot.click()
    qtbot.waitUntil(lambda: ".png" in window.notices.text)
    assert len(list(window.outputs.folder.glob("*.png"))) == 1


def test_snapshots_within_a_second_are_all_kept_also_where_the_window_closes(
    window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_save = QImage.save

    def slow_part(path: Path) -> PartFile:
        time.sleep(0.1)
        return PartFile(path)

    def slow_save(image: QImage, *arguments: Any) -> bool:
        time.sleep(0.3)
        return real_save(image, *arguments)

    monkeypatch.setattr("app.output.record_options.time.strftime", lambda *_: "now")
    monkeypatch.setattr("app.output.outputs.PartFile", slow_part)
    monkeypatch.setattr(QImage, "save", slow_save)
    for _ in range(3):
        window.transport.snapshot.click()
    window.close()
    window.outputs.wait()
    assert not window.notices.has("error"), window.notices.text
    names = {path.name for path in window.outputs.folder.iterdir()}
    assert names == {"clip_now_now.png", "clip_now_now_2.png", "clip_now_now_3.png"}


def test_recorded_poses_offer_nothing_to_open(window: MainWindow, qtbot: QtBot) -> None:
    window.transport.poses.click()
    qtbot.waitUntil(lambda: window.outputs.poses is not None and window.outputs.poses.frames > 3)
    window.transport.poses.click()
    qtbot.waitUntil(lambda: "frames recorded in" in window.notices.text)
    notice = window.notices.of(".jsonl")
    assert notice is not None and notice.button.isHidden(), "they are no source"


def test_a_whole_file_is_exported_and_the_result_opens(
    window: MainWindow, backstage: Backstage, qtbot: QtBot, tmp_path: Path
) -> None:
    output = tmp_path / "whole.mp4"
    begin_export(window, "clip", output)
    assert "Exporting whole.mp4" in window.notices.text
    qtbot.waitUntil(lambda: "100 frames written" in window.notices.text)
    with open_source(str(output)) as source:
        assert len(list(source)) == 100
    press(window, "export")
    qtbot.waitUntil(lambda: backstage.opened_sources[-1] == str(output))


def test_a_cancelled_export_leaves_a_complete_shorter_file(window: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    output = tmp_path / "part.mp4"
    begin_export(window, "clip", output)
    qtbot.waitUntil(lambda: " of 100 frames" in window.notices.text)
    press(window, "export")
    qtbot.waitUntil(lambda: "ancelled" in window.notices.text)
    for written in tmp_path.glob("part*.mp4"):
        with open_source(str(written)) as source:
            count = len(list(source))
        assert 0 < count <= 100 and (written == output) == (count == 100)
