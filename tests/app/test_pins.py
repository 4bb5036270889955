"""Pinned probes: up to four, numbered, each with its person."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PyQt5.QtCore import Qt
from PyQt5.QtTest import QTest
from pytestqt.qtbot import QtBot

from app.live.composer import Picture
from app.live.probe import Pins
from app.main_window import MainWindow
from engine.sources.opening import open_source
from engine.types import Float32Array
from tests.app.conftest import pause
from tests.app.fakes import Backstage

QTEST: Any = QTest  # its stub declares static methods as methods
SHIFT = Qt.KeyboardModifier.ShiftModifier


def picture_of(window: MainWindow) -> Picture:
    picture = window.view.picture
    assert picture is not None
    return picture


def pins_of(window: MainWindow) -> Pins:
    return picture_of(window).pins


def set_probe(window: MainWindow, qtbot: QtBot, x: float, y: float) -> None:
    window.look_control.place_probe(x, y)
    qtbot.waitUntil(lambda: picture_of(window).reading is not None)


def pin(window: MainWindow, qtbot: QtBot, x: float, y: float) -> None:
    count = len(pins_of(window))
    set_probe(window, qtbot, x, y)
    QTEST.keyClick(window, Qt.Key.Key_X, SHIFT)
    qtbot.waitUntil(lambda: len(pins_of(window)) == count + 1)


def is_star_yellow(image_bgr: Any, point_xy: Float32Array) -> bool:
    """Whether a pin lies at a point: much of its disc is yellow."""
    x, y = (round(float(value)) for value in point_xy)
    part = np.asarray(image_bgr)[y - 8 : y + 9, x - 8 : x + 9].astype(int)
    return bool(((part[..., 2] > 180) & (part[..., 1] > 170) & (part[..., 0] < 150)).mean() > 0.25)


def test_pins_are_numbered_and_go_with_their_people(window: MainWindow, qtbot: QtBot) -> None:
    pin(window, qtbot, 90, 100)
    alone = window.view.legend_area().height()
    pin(window, qtbot, 240, 60)
    set_probe(window, qtbot, 240, 120)
    assert [number for number, _reading in pins_of(window)] == [1, 2]
    assert window.view.legend_area().height() > alone
    for _number, reading in pins_of(window):
        assert reading.values[9] == pytest.approx(40 / 56, abs=1e-3)
    offsets = set()

    def has_moved() -> bool:
        picture = picture_of(window)
        assert picture.shown.result is not None
        first, second = (reading.point_xy[0] for _number, reading in picture.pins)
        offsets.add(round(float(first - picture.shown.result.poses.boxes_xyxy[0, 0])))
        return second == pytest.approx(240, abs=0.5) and len({*offsets}) == 1 and picture.shown.shot.number > 10

    before = float(pins_of(window)[0][1].point_xy[0])
    qtbot.waitUntil(lambda: has_moved() and abs(float(pins_of(window)[0][1].point_xy[0]) - before) > 3)


def test_four_are_kept_and_the_number_that_is_free_is_given(window: MainWindow, qtbot: QtBot) -> None:
    pause(window, qtbot)
    for y in (50, 80, 110, 140):
        pin(window, qtbot, 240, y)
    set_probe(window, qtbot, 240, 155)
    assert window.overlay_panel.pin_probe.isHidden()
    QTEST.keyClick(window, Qt.Key.Key_X, SHIFT)
    qtbot.wait(100)
    picture = picture_of(window)
    assert [number for number, _reading in picture.pins] == [1, 2, 3, 4] and picture.reading is not None


def test_escape_removes_the_probe_first_and_the_pins_then(
    window: MainWindow, backstage: Backstage, qtbot: QtBot
) -> None:
    pause(window, qtbot)
    window.look_control.place_probe(90, 100)
    qtbot.waitUntil(lambda: not window.overlay_panel.pin_probe.isHidden())
    window.overlay_panel.pin_probe.click()
    qtbot.waitUntil(lambda: len(pins_of(window)) == 1 and picture_of(window).reading is None)
    set_probe(window, qtbot, 240, 100)
    QTEST.keyClick(window, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: picture_of(window).reading is None)
    assert len(pins_of(window)) == 1 and window.overlay_panel.has_probe
    window.source_control.step(1)
    qtbot.waitUntil(lambda: len(pins_of(window)) == 1 and backstage.pipelines[-1].attention_wanted)
    QTEST.keyClick(window, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: not pins_of(window) and not window.overlay_panel.has_probe)
    window.source_control.toggle_playing()
    qtbot.waitUntil(lambda: not backstage.pipelines[-1].attention_wanted)


def test_snapshots_and_recordings_show_the_pins(window: MainWindow, qtbot: QtBot) -> None:
    pin(window, qtbot, 240, 60)
    place = pins_of(window)[0][1].point_xy
    image = window.outputs.frame_image(picture_of(window)).rgbSwapped()
    pointer = image.constBits()
    assert pointer is not None
    pointer.setsize(image.sizeInBytes())
    rgba = np.frombuffer(pointer.asstring(), np.uint8).reshape(image.height(), -1, 4)
    assert is_star_yellow(rgba[..., 2::-1], place)
    window.toggle_record()
    qtbot.waitUntil(lambda: window.outputs.video is not None and window.outputs.video.frames > 8)
    window.toggle_record()
    qtbot.waitUntil(lambda: "frames recorded in" in window.notices.text)
    (file,) = window.outputs.folder.glob("*.mp4")
    with open_source(str(file)) as source:
        frames = [frame.image_bgr for frame in source]
    assert all(is_star_yellow(frame, place) for frame in frames)
