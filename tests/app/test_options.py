"""The table of options: one declaration reaches all places, and given options reach the window."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

import engine.backends
import engine.options
import main
from app.launch import chosen_options
from app.main_window import MainWindow
from app.settings import Settings
from app.widgets.overlay_panel import OverlayPanel
from app.widgets.pose_panel import PosePanel
from engine.errors import OptionError
from engine.option_table import SHARE, Control, Place, described, options_of, values_of, words_of
from engine.options import NETWORKS, Options, PoseOptions, fraction
from engine.overlay.drawing import OverlayOptions
from engine.pipeline.options import PipelineOptions
from tests.app.conftest import shows_people
from tests.app.fakes import Backstage

MARGIN = described(
    "room around people, 0 to 1 ({default})",
    fraction,
    group=NETWORKS,
    metavar="X",
    within=SHARE,
    places=Place.COMMAND_LINE | Place.PANEL | Place.SETTINGS | Place.BENCHMARK | Place.STATUS,
    control=Control(label="Margin", section="People"),
)


@dataclass(frozen=True, kw_only=True)
class WiderOptions(Options):
    """The command line with one more option."""

    margin: float = field(default=0.25, metadata=MARGIN)


@dataclass(frozen=True, kw_only=True)
class WiderPipelineOptions(PipelineOptions):
    """The same option, of a pipeline."""

    margin: float = field(default=0.25, metadata=MARGIN)


def test_an_added_option_appears_in_all_places(
    make_window: Callable[..., MainWindow],
    settings: Settings,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine.options, "Options", WiderOptions)
    assert "room around people, 0 to 1 (0.25)" in main.build_parser().format_help()
    requested = main.read_options(["--margin", "0.5"])
    chosen = chosen_options(requested, WiderPipelineOptions())
    assert chosen == WiderPipelineOptions.of(requested) == WiderPipelineOptions(margin=0.5)
    with pytest.raises(OptionError, match="--margin is 2; expected 0 to 1"):
        WiderPipelineOptions(margin=2)

    panel = PosePanel(options=chosen)
    qtbot.addWidget(panel)
    assert panel.controls["margin"].widget.accessibleName() == "Margin"
    panel.controls["margin"].widget.setValue(70)
    assert panel.options == replace(
        chosen, margin=0.7, pose_model=panel.options.pose_model, detector=panel.options.detector
    )

    settings.write_options("pipeline", panel.options)
    settings.store.sync()
    assert settings.read_options("pipeline", WiderPipelineOptions)["margin"] == 0.7
    settings.store.setValue("pipeline/margin", "wide")
    assert "margin" not in settings.read_options("pipeline", WiderPipelineOptions)

    assert words_of(requested, Place.BENCHMARK) == ["--margin", "0.5"]  # for the child processes
    assert values_of(requested, Place.BENCHMARK)["margin"] == 0.5  # in the report
    status = tmp_path / "status.json"
    window = make_window(options=replace(chosen, max_people=3), status_json=status)
    qtbot.waitUntil(lambda: window.session.options is not None)
    window._write_status()
    assert json.loads(status.read_text())["options"]["margin"] == 0.5


@dataclass(frozen=True, kw_only=True)
class WiderOverlayOptions(OverlayOptions):
    """The overlay with one more option."""

    trail_s: float = field(
        default=0.5,
        metadata=described(
            read=float,
            places=Place.PANEL | Place.SETTINGS,
            control=Control(label="Trail", high=3, step=0.25, form="{value:g} s"),
        ),
    )


def test_an_added_overlay_option_appears_in_the_panel_and_the_settings(settings: Settings, qtbot: QtBot) -> None:
    panel = OverlayPanel(options=WiderOverlayOptions())
    qtbot.addWidget(panel)
    assert panel.options == WiderOverlayOptions()
    panel.controls["trail_s"].widget.setValue(3)
    assert panel.options == WiderOverlayOptions(trail_s=0.75)
    settings.write_options("overlay", panel.options)
    settings.store.sync()
    assert settings.read_options("overlay", WiderOverlayOptions)["trail_s"] == 0.75


def test_every_slider_position_is_kept(qtbot: QtBot) -> None:
    panel = OverlayPanel()
    qtbot.addWidget(panel)
    for line_width, opacity in ((None, 0.05), (0.5, 0.57), (10.0, 0.29)):
        options = OverlayOptions(line_width=line_width, opacity=opacity, boxes=True, scores=True, ids=False)
        panel.set_options(options)
        assert panel.options == options


def test_the_window_uses_the_command_line_options(
    make_window: Callable[..., MainWindow], backstage: Backstage, settings: Settings, qtbot: QtBot
) -> None:
    settings.pipeline = PipelineOptions(backend="onnxruntime", max_people=3, person_threshold=0.4)
    words = ["--backend", "auto", "--max-people", "100", "--detect-every", "7", "--no-tracking", "--no-smoothing"]
    options = chosen_options(main.read_options([*words, "--threads", "2"]), settings.pipeline)
    window = make_window(options=options)
    qtbot.waitUntil(lambda: shows_people(window))
    found = backstage.opened_options[-1]
    assert (found.backend, found.max_people, found.detect_every, found.threads) == ("auto", 100, 7, 2)
    assert (found.tracking, found.smoothing) == (False, False)
    assert found.person_threshold == 0.4, "what was not given is as it was remembered"
    window.pose_panel.controls["precision"].widget.setCurrentText("fp32")
    assert (window.pose_panel.options.threads, window.pose_panel.options.max_people) == (2, 100)


def test_only_given_options_override_remembered_ones() -> None:
    remembered = PipelineOptions(backend="onnxruntime", max_people=3, tracking=False)
    assert chosen_options(main.read_options([]), remembered) == remembered
    assert chosen_options(main.read_options(["--max-people", "16"]), remembered).max_people == 16


@pytest.mark.parametrize(
    ("live", "still", "threads", "expected"),
    [
        (False, False, None, (1, True, True)),
        (False, False, 1, (1, True, False)),
        (True, False, None, ("auto", True, False)),
        (False, True, None, (1, False, True)),
    ],
)
def test_unset_options_follow_from_the_source(
    live: bool, still: bool, threads: int | None, expected: tuple[object, ...]
) -> None:
    found = PipelineOptions.of(PoseOptions(threads=threads), live=live, still=still)
    assert (found.detect_every, found.tracking, found.overlapping) == expected
    assert found.score_threshold == PipelineOptions().score_threshold


def test_the_table_s_literals_are_the_backends() -> None:
    assert tuple(engine.backends.BACKENDS) == engine.options.BACKENDS


def test_every_remembered_option_is_read_back(settings: Settings) -> None:
    other = PipelineOptions(
        pose_model="a", detector="b", backend="torch", precision="bf16", score_threshold=0.11, person_threshold=0.12,
        max_people=5, detect_every=3, tracking=False, tracker="sort", smoothing=False,
    )  # fmt: skip
    settings.pipeline = other
    settings.store.sync()
    assert settings.pipeline == other
    names = {item.name for item in options_of(PipelineOptions, Place.SETTINGS)}
    assert {name for name in names if getattr(other, name) == getattr(PipelineOptions(), name)} == set()
