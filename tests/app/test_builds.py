"""Building an engine from the window while the video plays, and switching to it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from app.main_window import MainWindow
from app.widgets.elided import ElidedCombo
from engine.build.offers import BuildOffer, build_offers
from tests.app.conftest import CLOSES_WITHIN_S, press
from tests.app.fakes import Backstage

OFFER = BuildOffer(key="openvino", title="A graph", arguments=("--x",), backend="openvino", precision="fp32")
Children = list["subprocess.Popen[str]"]


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Children:
    """Real child processes in place of builds: they print progress, and end when a file appears."""
    made: Children = []
    real = subprocess.Popen
    code = (
        "import json, pathlib, time\n"
        "print(json.dumps({'event': 'progress', 'message': 'compiling'}), flush=True)\n"
        f"while not pathlib.Path({str(tmp_path / 'end')!r}).exists(): time.sleep(0.02)\n"
        "print(json.dumps({'event': 'done', 'output': 'x.engine'}), flush=True)\n"
    )

    def popen(_command: list[str], **options: object) -> subprocess.Popen[str]:
        made.append(real([sys.executable, "-c", code], **options))  # type: ignore[call-overload]
        return made[-1]

    monkeypatch.setattr("engine.artifacts.compiler.subprocess.Popen", popen)
    return made


def _begin(window: MainWindow, qtbot: QtBot, offer: BuildOffer = OFFER) -> None:
    window.pose_panel.builds.set_offers((offer,))
    window.pose_panel.builds.button.click()
    qtbot.waitUntil(lambda: "compiling" in window.notices.text)


def test_the_video_plays_during_a_build_and_the_engine_is_used_afterwards(
    window: MainWindow, backstage: Backstage, qtbot: QtBot, children: Children, tmp_path: Path
) -> None:
    _begin(window, qtbot)
    assert not window.pose_panel.builds.button.isEnabled()
    painted = window.statistics.frames_painted_with_people
    qtbot.waitUntil(lambda: window.statistics.frames_painted_with_people > painted + 5)
    pipelines = len(backstage.pipelines)
    (tmp_path / "end").touch()
    qtbot.waitUntil(lambda: len(backstage.pipelines) == pipelines + 1)
    qtbot.waitUntil(lambda: window.session.options is not None and window.session.options.backend == "openvino")
    assert (window.pose_panel.options.backend, window.pose_panel.options.precision) == ("openvino", "fp32")
    assert window.pose_panel.builds.button.isEnabled()


def test_a_build_for_other_machines_does_not_change_the_pipeline(
    window: MainWindow, backstage: Backstage, qtbot: QtBot, children: Children, tmp_path: Path
) -> None:
    _begin(window, qtbot, BuildOffer(key="ahead", title="For others", arguments=("--x",)))
    (tmp_path / "end").touch()
    qtbot.waitUntil(lambda: "Built x.engine" in window.notices.text)
    assert len(backstage.pipelines) == 1


def test_an_engine_of_another_model_than_the_chosen_one_is_not_used(
    window: MainWindow, backstage: Backstage, qtbot: QtBot, children: Children, tmp_path: Path
) -> None:
    _begin(window, qtbot)
    window.pose_panel.set_options(replace(window.pose_panel.options, pose_model="another.safetensors"))
    (tmp_path / "end").touch()
    qtbot.waitUntil(lambda: "Built x.engine" in window.notices.text)
    assert len(backstage.pipelines) == 1 and window.pose_panel.options.backend == "auto"


def test_a_build_is_cancelled(window: MainWindow, qtbot: QtBot, children: Children) -> None:
    _begin(window, qtbot)
    press(window, "build")
    qtbot.waitUntil(lambda: children[0].poll() is not None)
    qtbot.waitUntil(lambda: window.notices.text == "The build was cancelled.")
    assert window.session.options is not None and window.session.options.backend == "auto"


def test_closing_during_a_build_ends_it_in_time(window: MainWindow, qtbot: QtBot, children: Children) -> None:
    _begin(window, qtbot)
    started = time.monotonic()
    window.close()
    assert time.monotonic() - started < CLOSES_WITHIN_S
    assert children[0].poll() is not None


def test_an_impossible_build_shows_the_reason(make_window: Callable[..., MainWindow], qtbot: QtBot) -> None:
    offers = {offer.key: offer for offer in build_offers("kcam_resnet18")}
    assert "people" in offers["int8"].why_not or "not installed" in offers["int8"].why_not
    with_people = {offer.key: offer for offer in build_offers("kcam_resnet18", "walk.mp4")}
    assert with_people["int8"].arguments[-2:] == ("--calibrate", "walk.mp4")
    assert offers["tensorrt-rtx-ahead"].arguments[-2:] == ("--target", "sm75,sm86,sm89,sm120")
    window = make_window(start=False)
    choice = window.pose_panel.builds
    refused = BuildOffer(key="tensorrt", title="TensorRT", arguments=(), why_not="there is no NVIDIA driver")
    choice.set_offers((OFFER, refused))
    assert choice.button.isEnabled() and choice.reason.isHidden()
    choice.offers.setCurrentIndex(1)
    assert not choice.button.isEnabled() and choice.reason.text() == "there is no NVIDIA driver"


def test_a_long_choice_is_elided_and_complete_in_the_list(qtbot: QtBot) -> None:
    box = ElidedCombo()
    qtbot.addWidget(box)
    long = "a_pose_network_with_a_name_that_is_longer_than_any_panel_is_wide.safetensors"
    box.addItems(["short", long])
    box.resize(200, 30)
    box.show()
    assert box.shown_text() == "short"
    box.setCurrentIndex(1)
    assert box.shown_text().startswith("a_pose") and box.shown_text().endswith("…")
    assert box.fontMetrics().horizontalAdvance(box.shown_text()) < 200 < box.fontMetrics().horizontalAdvance(long)
    box.showPopup()
    view = box.view()
    assert view is not None and view.width() >= min(560, view.fontMetrics().horizontalAdvance(long))
    box.hidePopup()
    assert box.currentText() == long  # only the painted text is shortened


def test_the_header_of_the_smallest_window_elides_the_networks_and_not_the_numbers(
    make_window: Callable[..., MainWindow], qtbot: QtBot
) -> None:
    window = make_window(start=False)  # one that runs writes its own networks there
    window.resize(960, 600)
    header = window.header
    long = "a_pose_network_with_quite_a_name_indeed · onnxruntime · fp32 · and where it runs"
    header.running.setText(long)
    header.numbers.setText("123 fps  ·  100 ms  ·  16 people")
    qtbot.wait(50)
    assert header.numbers.width() >= header.numbers.sizeHint().width()
    assert header.numbers.geometry().right() <= header.width()
    assert header.running.toolTip() == long
    header.source.setText("x" * 200)
    header.running.setText(2 * long)
    qtbot.wait(50)
    assert header.running.shown_text().endswith("…") and header.numbers.geometry().right() <= header.width()


def test_the_smallest_window_has_room_for_a_recording(window: MainWindow, qtbot: QtBot) -> None:
    window.resize(960, 600)
    window.transport.record.click()
    bar = window.transport
    qtbot.waitUntil(lambda: "free" in bar.recording.text())
    qtbot.wait(50)
    assert window.width() == 960
    assert bar.recording.width() >= bar.recording.sizeHint().width() and bar.slider.width() > 20
    bar.record.click()
