"""Where one is in a source: time and frame, photos one by one, and graphs that stop at pauses."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PyQt5.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.main_window import MainWindow
from app.widgets.statistics_panel import StatisticsPanel
from app.widgets.transport_bar import clock
from engine.sources.opening import open_source
from engine.sources.photos import write_photo
from tests.app.conftest import pause, shows_people
from tests.app.fakes import Backstage
from tests.app.test_keys import press_key


def test_a_clock_has_tenths() -> None:
    assert [clock(seconds) for seconds in (0, 3.45, 59.99, 61.3, 3723.5)] == [
        "0:00.0", "0:03.4", "0:59.9", "1:01.3", "1:02:03.5"
    ]  # fmt: skip


def test_time_and_frame_are_shown_and_change_no_width(window: MainWindow, qtbot: QtBot) -> None:
    bar = window.transport
    pause(window, qtbot)
    widths = set()
    for position_s, text in ((0.0, "0:00.0 / 0:02.0\nframe 0"), (1.0, "0:01.0 / 0:02.0\nframe 50"),
                             (1.98, "0:01.9 / 0:02.0\nframe 99")):  # fmt: skip
        window.source_control.seek(position_s)
        qtbot.waitUntil(lambda text=text: bar.time.text() == text)  # type: ignore[misc]
        qtbot.wait(10)
        widths.add((bar.slider.width(), bar.time.width()))
    assert len(widths) == 1


@pytest.fixture
def photos(tmp_path: Path, backstage: Backstage, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of five photos, of which the third cannot be read."""
    folder = tmp_path / "holiday"
    folder.mkdir()
    for number in range(1, 6):
        image = np.full((180, 320, 3), 40 * number, np.uint8)
        write_photo(folder / f"img{number}.png", image, ".png")
    (folder / "img3.png").write_bytes(b"no photo")
    monkeypatch.setattr(backstage, "open_source", open_source)
    return folder


def photo_shown(window: MainWindow) -> str:
    """Name of the photo on the screen, which the header has, too."""
    picture = window.view.picture
    name = "" if picture is None else picture.shown.shot.name
    return name if name in window.header.source.toolTip() else ""


def test_photos_wait_to_be_turned_over(make_window: Callable[..., MainWindow], photos: Path, qtbot: QtBot) -> None:
    window = make_window(str(photos))
    qtbot.waitUntil(lambda: shows_people(window) and photo_shown(window) == "img1.png")
    qtbot.wait(1200)
    assert photo_shown(window) == "img1.png"  # no slide show
    assert window.transport.time.text() == "photo 1\nof 5"
    for key, name, place in (
        (Qt.Key.Key_Right, "img2.png", 2),
        (Qt.Key.Key_Right, "img4.png", 4),  # over the one that cannot be read
        (Qt.Key.Key_Left, "img2.png", 2),
        (Qt.Key.Key_End, "img5.png", 5),
        (Qt.Key.Key_Left, "img4.png", 4),
        (Qt.Key.Key_Home, "img1.png", 1),
        (Qt.Key.Key_Period, "img2.png", 2),
        (Qt.Key.Key_Comma, "img1.png", 1),
    ):
        press_key(window, key)
        qtbot.waitUntil(lambda name=name: photo_shown(window) == name)  # type: ignore[misc]
        assert window.transport.time.text() == f"photo {place}\nof 5"
    assert not window.session.playback.is_playing  # type: ignore[union-attr]
    press_key(window, Qt.Key.Key_Space)  # asked for: a photo a second
    qtbot.waitUntil(lambda: photo_shown(window) == "img2.png")


def test_without_a_loop_no_key_leads_over_the_last_photo(
    make_window: Callable[..., MainWindow], photos: Path, qtbot: QtBot
) -> None:
    window = make_window(str(photos))
    window.transport.loop.setChecked(False)
    qtbot.waitUntil(lambda: shows_people(window))
    press_key(window, Qt.Key.Key_End)
    qtbot.waitUntil(lambda: photo_shown(window) == "img5.png")
    for _ in range(3):
        press_key(window, Qt.Key.Key_Right)
    qtbot.wait(200)
    assert photo_shown(window) == "img5.png"
    press_key(window, Qt.Key.Key_Left)
    qtbot.waitUntil(lambda: photo_shown(window) == "img4.png")


def test_the_slider_reaches_every_photo(make_window: Callable[..., MainWindow], photos: Path, qtbot: QtBot) -> None:
    window = make_window(str(photos))
    qtbot.waitUntil(lambda: shows_people(window))
    for place, name in ((10_000, "img5.png"), (2500, "img2.png"), (0, "img1.png"), (7600, "img4.png")):
        window.transport.slider.sliderMoved.emit(place)
        qtbot.waitUntil(lambda name=name: photo_shown(window) == name)  # type: ignore[misc]


def test_graphs_break_at_a_pause_and_have_a_time_axis(window: MainWindow, qtbot: QtBot) -> None:
    panel: StatisticsPanel = window.statistics_panel
    panel.show_plots()
    window.show_tab(2)

    def line() -> tuple[list[float], list[float]]:
        x, y = panel._lines["fps fps"].getData()
        return ([], []) if x is None else (list(x), list(y))

    def heights() -> list[float]:
        window._show_statistics()
        return line()[1]

    qtbot.waitUntil(lambda: sum(not np.isnan(value) for value in heights()) > 2)
    pause(window, qtbot)
    assert np.isnan(heights()[-1])
    before = len(heights())
    resumed_s = time.monotonic()
    window.source_control.toggle_playing()
    qtbot.waitUntil(lambda: not np.isnan(heights()[-1]))
    values = heights()
    assert any(np.isnan(value) for value in values[: before + 1])
    # The pause does not count as slow frames: nothing from before it is averaged.
    assert min(sample.painted_s for sample in window.statistics._samples) >= resumed_s
    ticks = panel._lines["fps plot"].getAxis("bottom")._tickLevels
    assert (0, "now") in ticks[0] and (-30, "−30 s") in ticks[0]
