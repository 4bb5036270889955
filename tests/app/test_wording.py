"""What cannot run is greyed with its reason, and messages speak of what the window has."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PyQt5.QtCore import Qt
from PyQt5.QtGui import QStandardItemModel
from pytestqt.qtbot import QtBot

from app.live.backend_search import BackendSearch
from app.main_window import MainWindow
from app.widgets.build_choice import BuildChoice
from app.wording import in_window_words
from engine.backends import probe_backends
from engine.build.offers import BuildOffer
from engine.errors import BackendError
from tests.app.conftest import shows_people
from tests.app.fakes import Backstage


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("camera 3 does not exist (python main.py --doctor lists the cameras)", "camera 3 does not exist"),
        ("openvino computes in fp32 here, not in fp16; use --precision auto",
         "openvino computes in fp32 here, not in fp16; use “Precision” auto"),
        ("the package trackers is not installed, or --no-tracking",
         "the package trackers is not installed, or “Track people (ids)” off"),
        ("torch 2.4 finds no CUDA device; --device cpu runs on the processor", "torch 2.4 finds no CUDA device"),
        ("use --detector none for the whole picture, or --boxes FILE", "use “Detector” none for the whole picture"),
        ("--max-frame is 3; expected 64", "max frame is 3; expected 64"),
        ("my--clip.mp4 does not exist", "my--clip.mp4 does not exist"),
        ("cannot write /a--b/--c", "cannot write /a--b/--c"),
    ],
)  # fmt: skip
def test_messages_name_what_the_window_has(said: str, shown: str) -> None:
    assert in_window_words(said) == shown


def test_an_error_of_the_networks_names_the_panel(window: MainWindow, backstage: Backstage, qtbot: QtBot) -> None:
    backstage.open_error = BackendError("fp16 needs a CUDA device; use --precision auto; --device cuda chooses it")
    window.pose_panel.controls["max_people"].widget.setValue(5)
    qtbot.waitUntil(lambda: window.notices.has("error"))
    assert window.notices.text == "fp16 needs a CUDA device; use “Precision” auto"


def test_an_unknown_error_is_no_text_of_a_program(window: MainWindow, backstage: Backstage, qtbot: QtBot) -> None:
    backstage.process_error = KeyError("--backend")
    qtbot.waitUntil(lambda: window.notices.has("error"))
    assert "--" not in window.notices.text and "internal error" in window.notices.text


def test_backends_that_cannot_run_are_greyed_with_the_reason(
    make_window: Callable[..., MainWindow], qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [("tensorrt", False, "no NVIDIA GPU"), ("torch (cuda)", False, "no NVIDIA GPU"), ("torch (cpu)", True, "2"),
             ("openvino", True, "1"), ("onnxruntime (cpu)", False, "not installed"),
             ("onnxruntime (cuda)", False, "another package")]  # fmt: skip
    monkeypatch.setattr("app.live.backend_search.probe_backends", lambda: found)
    window = make_window()
    qtbot.waitUntil(lambda: shows_people(window))
    window.show_tab(1)
    box = window.pose_panel.controls["backend"].widget
    model = box.model()
    assert isinstance(model, QStandardItemModel)

    def greyed() -> dict[str, str]:
        items = [model.item(place) for place in range(box.count())]
        return {item.text(): item.toolTip() for item in items if item is not None and not item.isEnabled()}

    qtbot.waitUntil(lambda: greyed() == {"tensorrt": "no NVIDIA GPU", "onnxruntime": "not installed"})
    height = window.pose_panel.sizeHint().height()
    window.pose_panel.show_unusable({}, {})
    assert not greyed() and window.pose_panel.sizeHint().height() == height  # no text that moves the panel


def greyed_precisions(window: MainWindow) -> dict[str, str]:
    box = window.pose_panel.controls["precision"].widget
    model = box.model()
    assert isinstance(model, QStandardItemModel)
    items = [model.item(place) for place in range(box.count())]
    return {item.text(): item.toolTip() for item in items if item is not None and not item.isEnabled()}


def test_precisions_that_the_chosen_backend_lacks_are_greyed_with_the_reason(
    make_window: Callable[..., MainWindow], qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str | None] = []

    def lacking(model: str | None) -> dict[str, dict[str, str]]:
        asked.append(model)
        no_bf16 = {"bf16": "not in bf16; use --precision auto"}
        return {"auto": {"int8": "no INT8 graph"} if "mine" in str(model) else {}, "torch": no_bf16}

    monkeypatch.setattr("app.live.backend_search.probe_precisions", lacking)
    window = make_window()
    qtbot.waitUntil(lambda: shows_people(window))
    window.show_tab(1)
    qtbot.waitUntil(lambda: bool(asked))
    backend = window.pose_panel.controls["backend"].widget
    assert not greyed_precisions(window)
    backend.setCurrentText("torch")
    backend.activated.emit(backend.currentIndex())
    qtbot.waitUntil(lambda: greyed_precisions(window) == {"bf16": "not in bf16; use “Precision” auto"})
    window.pose_panel.controls["backend"].show("auto")
    window.pose_panel.controls["pose_model"].show(str(tmp_path / "mine.safetensors"))
    window.pipeline_control.open(window.pose_panel.options)
    qtbot.waitUntil(lambda: greyed_precisions(window) == {"int8": "no INT8 graph"})


def test_every_backend_is_asked(qtbot: QtBot) -> None:
    search = BackendSearch()
    search.ask()
    usable = {re.split(r"[ (]", label)[0] for label, can_run, _detail in probe_backends() if can_run}
    assert usable and not usable & search.unusable.keys() and all(search.unusable.values())


def test_builds_that_are_not_possible_are_greyed(qtbot: QtBot) -> None:
    choice = BuildChoice()
    qtbot.addWidget(choice)
    choice.set_offers(
        (BuildOffer(key="a", title="A", arguments=()), BuildOffer(key="b", title="B", arguments=(), why_not="no GPU"))
    )
    assert choice.offers.itemData(1, Qt.ItemDataRole.ToolTipRole) == "no GPU"
    model = choice.offers.model()
    assert isinstance(model, QStandardItemModel)
    item = model.item(1)
    assert item is not None and not item.isEnabled()
