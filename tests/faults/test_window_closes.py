"""Closing the window while it writes, and choices that fail: nothing is passed off as whole, nothing bad is kept."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PyQt5.QtCore import QTimer
from PyQt5.QtWidgets import QApplication, QDialog
from pytestqt.qtbot import QtBot

from app import qt_setup
from app.main_window import MainWindow
from app.settings import Settings
from app.widgets.source_menu import SourceMenu
from engine import doctor
from engine.artifacts.part_file import PartFile
from engine.errors import BackendError, ModelError, OptionError
from engine.pipeline.pose_pipeline import PipelineOptions
from engine.sources.opening import open_source
from engine.system import missing
from tests.app.conftest import backstage, begin_export, make_window, no_cameras, settings, trigger, window
from tests.app.fakes import Backstage
from tests.conftest import ROOT
from tests.engine.clips import left_in
from tests.faults.ledger import Fault

__all__ = ["backstage", "make_window", "no_cameras", "settings", "window"]

pytestmark = [pytest.mark.fault("closing the window"), pytest.mark.timeout(120)]

WAYS: dict[str, Callable[[MainWindow], object]] = {
    "title bar": lambda window: window.close(),
    "Ctrl+Q": lambda window: trigger(window, "quit"),
    "signal": lambda window: window.close_unasked(),
}


def frames_of(path: Path) -> int:
    with open_source(str(path)) as source:
        return sum(1 for _ in source)


def begin(window: MainWindow, work: str, qtbot: QtBot, folder: Path) -> Path:
    """Export, or record, until some frames are written."""
    output = folder / "outputs" / "clip_pose.mp4"
    output.parent.mkdir(exist_ok=True)
    if work == "export":
        begin_export(window, "clip", output)
        job = window.outputs.export_job
        assert job is not None
        qtbot.waitUntil(lambda: job._done >= 5, timeout=20_000)
    else:
        window.toggle_record()
        recording = window.outputs.video
        assert recording is not None
        qtbot.waitUntil(lambda: recording.frames >= 5, timeout=20_000)
    return output


@pytest.mark.parametrize("answer", [False, True])
@pytest.mark.parametrize("work", ["export", "recording"])
@pytest.mark.parametrize("way", WAYS)
def test_closing_while_it_writes(
    *, way: str, work: str, answer: bool, make_window: Callable[..., MainWindow], backstage: Backstage, qtbot: QtBot,
    tmp_path: Path, fault: Fault,
) -> None:  # fmt: skip
    """It asks; at a signal it does not. What was cut off says so in its name."""
    backstage.process_s = 0.1
    window = make_window()
    qtbot.waitUntil(lambda: window.statistics.frames_painted > 0, timeout=10_000)
    output = begin(window, work, qtbot, tmp_path)
    asked: list[str] = []

    def confirm(text: str) -> bool:
        asked.append(text)
        return answer

    window.confirm = confirm
    WAYS[way](window)
    assert len(asked) == (way != "signal")
    if asked and not answer:
        assert window.isVisible()
        job = window.outputs.export_job or window.outputs.video
        assert job is not None and not job.join(0), "it goes on"
        window.confirm = lambda _text: True
        window.close()
    assert not window.isVisible()
    window.outputs.wait()
    written = [path for path in output.parent.iterdir() if path.suffix == ".mp4"]
    fault.keeps(len(written) == 1 and frames_of(written[0]) >= 5, str(left_in(output.parent)))
    if work == "export":
        fault.keeps(written[0].name == "clip_pose.cut-off.mp4", f"it passes for whole: {written[0].name}")


@pytest.mark.parametrize("dialog", ["question", "export", "file", "folder", "keys"])
def test_a_signal_while_a_dialog_stands_open(
    *, dialog: str, make_window: Callable[..., MainWindow], backstage: Backstage, qtbot: QtBot, tmp_path: Path,
    fault: Fault,
) -> None:  # fmt: skip
    """It waits for an answer, which nobody gives."""
    backstage.process_s = 0.1
    window = make_window()
    qtbot.waitUntil(lambda: window.statistics.frames_painted > 0, timeout=10_000)
    window.confirm = window._ask_to_end
    menu = window.findChild(SourceMenu)
    assert menu is not None
    output = begin(window, "export", qtbot, tmp_path) if dialog == "question" else None
    seen: list[str] = []

    def signal() -> None:
        seen.extend(type(one).__name__ for one in QApplication.topLevelWidgets()
                    if isinstance(one, QDialog) and one.isVisible())  # fmt: skip
        window.close_unasked()

    QTimer.singleShot(500, signal)
    opens: dict[str, Callable[[], object]] = {
        "question": window.close, "export": lambda: trigger(window, "export"), "file": menu.ask_file,
        "folder": menu.ask_folder, "keys": lambda: trigger(window, "shortcuts"),
    }  # fmt: skip
    opens[dialog]()  # hangs here where the dialog goes on waiting
    qtbot.waitUntil(lambda: not window.isVisible(), timeout=10_000)
    assert len(seen) == 1
    window.outputs.wait()
    if output is not None:
        fault.keeps(frames_of(output.with_name("clip_pose.cut-off.mp4")) >= 5, str(left_in(output.parent)))


def test_an_export_that_was_whole_keeps_its_name(
    window: MainWindow, qtbot: QtBot, tmp_path: Path, fault: Fault
) -> None:
    output = tmp_path / "whole.mp4"
    begin_export(window, "clip", output)
    qtbot.waitUntil(lambda: window.outputs.export_job is None, timeout=30_000)
    window.close()
    fault.keeps(frames_of(output) == 100, "frames are missing")


def test_cut_off_names_do_not_replace_each_other(tmp_path: Path, fault: Fault) -> None:
    for number in range(5):
        part = PartFile(tmp_path / "o.mp4", overwrite=True)
        part.path.write_text(str(number))
        part.cut_off()
        part.commit()
    assert len(list(tmp_path.iterdir())) == 5, "each has a name of its own"
    fault.keeps(sorted(path.read_text() for path in tmp_path.iterdir()) == ["0", "1", "2", "3", "4"], "one is gone")
    fault.more(5)


FAILURES = (
    (PipelineOptions(backend="tensorrt"), BackendError("no NVIDIA GPU")),
    (PipelineOptions(pose_model="broken.safetensors"), ModelError("broken.safetensors is damaged")),
    (PipelineOptions(detector="gone.onnx"), ModelError("gone.onnx does not exist")),
    (PipelineOptions(precision="fp16"), BackendError("openvino cannot do fp16")),
    (PipelineOptions(classes="cow"), OptionError("unknown class 'cow'")),
)


@pytest.mark.parametrize(("chosen", "error"), FAILURES, ids=lambda value: str(value)[:30])
def test_a_choice_that_failed_is_not_remembered(
    *, chosen: PipelineOptions, error: Exception, window: MainWindow, backstage: Backstage, settings: Settings,
    qtbot: QtBot, fault: Fault,
) -> None:  # fmt: skip
    before = settings.pipeline
    backstage.open_error = error
    window.pose_panel.set_options(chosen)
    window.pipeline_control.open(chosen)
    qtbot.waitUntil(lambda: window.notices.has("error"), timeout=10_000)
    assert settings.pipeline == before
    assert window.session.options is not None, "the one before goes on"
    backstage.open_error = None
    wanted = PipelineOptions(max_people=3)
    window.pipeline_control.open(wanted)
    qtbot.waitUntil(lambda: window.session.options == wanted, timeout=10_000)
    assert settings.pipeline == wanted, "one that runs is"


@pytest.fixture
def no_xcb(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine with a screen but without the libraries."""

    def load(file: str) -> None:
        raise OSError("libxcb-icccm.so.4: cannot open shared object file: No such file or directory")

    monkeypatch.setattr("ctypes.CDLL", load)
    yield


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="xcb is Linux's")
@pytest.mark.usefixtures("no_xcb")
@pytest.mark.parametrize(("display", "platform", "refused"), [
    (":0", None, True), (":0", "xcb", True), (None, "xcb", True), (":0", "offscreen", False), (None, None, True),
])  # fmt: skip
def test_without_the_xcb_libraries(
    display: str | None, platform: str | None, refused: bool, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    for name, value in (("DISPLAY", display), ("QT_QPA_PLATFORM", platform), ("WAYLAND_DISPLAY", None)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    (line,) = doctor.window()
    assert "libxcb-icccm.so.4 is missing" in line.text and line.advice is not None
    assert "libxcb-icccm4" in line.advice
    if not refused:
        qt_setup.require_screen()
        return
    with pytest.raises(OptionError) as caught:
        qt_setup.require_screen()
    if display or platform:
        assert "libxcb-icccm.so.4 is missing" in str(caught.value) and "apt-get install" in str(caught.value)


def test_the_packages_are_those_that_the_documentation_names(fault: Fault) -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    assert missing.XCB_PACKAGES in page
