"""A window without a screen, with fake sources, a fake pipeline and temporary settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partialmethod
from pathlib import Path

import pytest
from PyQt5.QtCore import QSettings
from PyQt5.QtWidgets import QAction, QApplication
from pytestqt.qtbot import QtBot

from app.live.camera_search import CameraSearch
from app.main_window import MainWindow
from app.output.export_job import ExportRequest
from app.qt_setup import drop_opencv_plugins
from app.settings import Settings
from engine.option_table import options_of
from engine.options import Options, PoseOptions
from engine.pipeline.pose_pipeline import PipelineOptions
from tests.app.fakes import Backstage

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
drop_opencv_plugins()


WAIT_S = 60
"""How long a test waits for what has to come: far longer than it takes, because other work may run on the machine."""
CLOSES_WITHIN_S = 20
"""Closing takes a second or two; more than this is a window that hangs."""


class PatientBot(QtBot):
    """Waits up to `WAIT_S`; each wait ends as soon as its condition holds."""

    waitUntil = partialmethod(QtBot.waitUntil, timeout=WAIT_S * 1000)


@pytest.fixture
def qtbot(qapp: QApplication, request: pytest.FixtureRequest) -> QtBot:
    """In place of the one of pytest-qt, whose waits are too short for a loaded machine."""
    return PatientBot(request)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(QSettings(str(tmp_path / "settings.ini"), QSettings.Format.IniFormat))


@pytest.fixture
def backstage() -> Backstage:
    return Backstage()


@pytest.fixture
def no_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CameraSearch, "ask", lambda self: None)


@pytest.fixture
def make_window(
    qtbot: QtBot, settings: Settings, backstage: Backstage, tmp_path: Path, no_cameras: None
) -> Iterator[Callable[..., MainWindow]]:
    """Creates windows that are closed at the end."""
    made: list[MainWindow] = []

    def make(
        source: str | None = "clip",
        *,
        start: bool = True,
        status_json: Path | None = None,
        options: PipelineOptions | None = None,
    ) -> MainWindow:
        window = MainWindow(
            settings=settings,
            options=options or PipelineOptions(),
            report=lambda error, where: backstage.reported.append((error, where)),
            note=backstage.noted.append,
            status_json=status_json,
            open_source=backstage.open_source,
            open_pipeline=backstage.open_pipeline,
        )
        window.outputs.folder = tmp_path / "outputs"
        window.confirm = lambda _running: True
        made.append(window)
        window.resize(1100, 700)
        window.show()
        if start:
            window.start(source)
        return window

    yield make
    for window in made:
        window.close()


@pytest.fixture
def window(make_window: Callable[..., MainWindow], qtbot: QtBot) -> MainWindow:
    """A window that shows people."""
    shown = make_window()
    qtbot.waitUntil(lambda: shows_people(shown))
    return shown


def shows_people(window: MainWindow) -> bool:
    picture = window.view.picture
    return picture is not None and picture.shown.result is not None and len(picture.shown.result.poses) > 0


def pause(window: MainWindow, qtbot: QtBot) -> None:
    """Pause, and wait for the picture that was on its way."""
    window.source_control.toggle_playing()
    qtbot.wait(200)

    def is_still() -> bool:
        picture, last = window.view.picture, window.session._last_shot
        return picture is not None and last is not None and picture.shown.shot.frame is last.frame

    qtbot.waitUntil(is_still)


def begin_export(window: MainWindow, text: str, output: Path) -> None:
    """Export a whole source as the window shows it; an existing file is replaced."""
    values = {item.name: getattr(window.pose_panel.options, item.name) for item in options_of(PoseOptions)}
    options = Options(**values, output=output, overwrite=True)
    overlay = window.session.composer.look.overlay
    window.outputs.exports.add(ExportRequest(text=text, options=options, overlay=overlay))


def press(window: MainWindow, subject: str) -> None:
    """Press the button of the message about a subject."""
    notice = window.notices.of(subject)
    assert notice is not None and not notice.button.isHidden()
    notice.button.click()


def trigger(window: MainWindow, command: str) -> None:
    action = window.findChild(QAction, command)
    assert action is not None
    action.trigger()
