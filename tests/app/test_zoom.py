"""Zoom, pan and the values under the mouse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from PyQt5.QtCore import QEvent, QPoint, QPointF, Qt
from PyQt5.QtGui import QMouseEvent, QWheelEvent
from PyQt5.QtTest import QTest
from PyQt5.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.live.compose import Look, Zoom, compose
from app.live.shots import Shot, Shown
from app.main_window import MainWindow
from engine.overlay.drawing import OverlayOptions
from engine.overlay.placed import transformed
from engine.skeleton import COCO17
from engine.types import Frame
from tests.app.conftest import pause, shows_people
from tests.app.fakes import SIZE_WH, fake_result

QTEST: Any = QTest  # its stub declares static methods as methods
NO_BUTTON, LEFT, NO_KEY = Qt.MouseButton.NoButton, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier


def wheel(window: MainWindow, place: QPointF, notches: int) -> None:
    event = QWheelEvent(
        place, QPointF(window.view.mapToGlobal(place.toPoint())), QPoint(), QPoint(0, 120 * notches), NO_BUTTON, NO_KEY,
        Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(window.view, event)


def widget_point(window: MainWindow, x: float, y: float) -> QPoint:
    """Where a point in frame px is in the view."""
    picture, area = window.view.picture, window.view.picture_area()
    assert picture is not None
    place = (transformed(np.array([x, y], np.float32), picture.frame_to_picture) + 0.5) * (
        area.width() / picture.image.width()
    )
    return QPointF(area.x() + float(place[0]), area.y() + float(place[1])).toPoint()


def move_mouse(window: MainWindow, place: QPoint, button: Any = NO_BUTTON) -> None:
    event = QMouseEvent(QEvent.Type.MouseMove, QPointF(place), NO_BUTTON, button, NO_KEY)
    QApplication.sendEvent(window.view, event)


def is_zoomed(window: MainWindow) -> bool:
    """Whether the picture that is shown is drawn with the view's zoom."""
    picture = window.view.picture
    assert picture is not None
    scale = picture.image.width() / SIZE_WH[0]
    return bool(abs(abs(picture.frame_to_picture[0, 0]) - scale * window.view.zoom.factor) < 1e-3)


@pytest.mark.parametrize("mirror", [False, True])
def test_the_zoomed_picture_is_the_part_of_the_frame(mirror: bool) -> None:
    small = np.random.default_rng(3).integers(0, 255, (10, 16, 3), np.uint8)
    image = np.asarray(cv2.resize(small, (160, 100)), np.uint8)
    shown = Shown(
        shot=Shot(frame=Frame(image_bgr=image, index=0, timestamp_s=0.0), captured_s=0, position_s=0, serial=1)
    )
    zoom = Zoom(factor=4.0, left_top=(0.5, 0.25))
    composed = compose(shown, Look(mirror=mirror), (320, 200), zoom=zoom)
    expected = cv2.resize(image[25:50, 80:120], (320, 200), interpolation=cv2.INTER_LINEAR)
    got = composed.image_bgr[:, ::-1] if mirror else composed.image_bgr
    inside = np.s_[10:-10, 10:-10]  # at the edge of the part, the one sees beyond it
    assert np.abs(got[inside].astype(int) - expected[inside].astype(int)).max() <= 4
    corner = transformed(np.array([79.5, 24.5], np.float32), composed.frame_to_picture)
    assert corner == pytest.approx([319.5 if mirror else -0.5, -0.5], abs=1e-3)


def test_nobody_outside_the_part_has_a_label() -> None:
    result = fake_result(Frame(image_bgr=np.full((180, 320, 3), 90, np.uint8), index=0, timestamp_s=0.0))
    shot = Shot(frame=result.frame, captured_s=0, position_s=0, serial=1)
    shown = Shown(shot=shot, result=result, skeleton=COCO17)
    look = Look(overlay=OverlayOptions(skeleton=False, ids=True))
    part = compose(shown, look, (320, 180), zoom=Zoom(factor=8.0))
    assert (part.image_bgr == 90).all()
    whole = compose(shown, look, (320, 180))
    assert (whole.image_bgr != 90).any()


@pytest.mark.parametrize("source", ["clip", "0"])
def test_the_wheel_zooms_about_the_mouse_and_back(
    source: str, make_window: Callable[..., MainWindow], qtbot: QtBot
) -> None:
    window = make_window(source)
    qtbot.waitUntil(lambda: shows_people(window))
    place = QPointF(widget_point(window, 250, 60))
    before = window.view.frame_point(place)
    wheel(window, place, 6)
    qtbot.waitUntil(lambda: is_zoomed(window) and window.view.zoom.factor > 3)
    assert window.view.frame_point(place) == pytest.approx(before, abs=0.6)
    assert window.view.note().startswith("3.81×")
    wheel(window, place, -20)
    qtbot.waitUntil(lambda: is_zoomed(window))
    assert window.view.zoom == Zoom() and window.view.frame_point(place) == pytest.approx(before, abs=0.6)


def test_a_zoomed_picture_is_dragged_and_clicked(window: MainWindow, qtbot: QtBot) -> None:
    pause(window, qtbot)
    view = window.view
    wheel(window, QPointF(widget_point(window, 240, 90)), 4)
    qtbot.waitUntil(lambda: is_zoomed(window))
    start = widget_point(window, 240, 90)
    held, target = view.frame_point(QPointF(start)), start + QPoint(60, 30)
    QTEST.mousePress(view, LEFT, pos=start)
    for step in (0.3, 0.6, 1.0):
        move_mouse(window, start + (target - start) * step, LEFT)
    QTEST.mouseRelease(view, LEFT, pos=target)
    qtbot.waitUntil(lambda: view.frame_point(QPointF(target)) == pytest.approx(held, abs=0.8))
    assert not window.overlay_panel.has_probe, "a drag is no click"
    QTEST.mouseClick(view, LEFT, pos=widget_point(window, 240, 100))
    qtbot.waitUntil(lambda: view.picture is not None and view.picture.reading is not None)
    assert view.picture is not None and view.picture.reading is not None
    assert view.picture.reading.point_xy == pytest.approx([240, 100], abs=1)


def test_what_is_saved_is_the_whole_frame(window: MainWindow, qtbot: QtBot) -> None:
    pause(window, qtbot)
    picture = window.view.picture
    assert picture is not None
    whole = window.outputs.frame_image(picture)
    window.view.zoom_by(4)
    qtbot.waitUntil(lambda: is_zoomed(window))
    assert window.view.picture is not None and window.outputs.frame_image(window.view.picture) == whole


def test_ways_back_to_the_whole_picture(window: MainWindow, qtbot: QtBot) -> None:
    pause(window, qtbot)
    QTEST.keyClick(window, Qt.Key.Key_Plus)
    assert window.view.zoom.factor == 1.25
    QTEST.keyClick(window, Qt.Key.Key_Minus)
    assert window.view.zoom == Zoom()
    window.view.zoom_by(3)
    QTEST.keyClick(window, Qt.Key.Key_0, Qt.KeyboardModifier.ControlModifier)
    assert window.view.zoom == Zoom()
    window.view.zoom_by(1.5, window.view.picture_area().topLeft())
    qtbot.waitUntil(lambda: is_zoomed(window))
    QTEST.mouseDClick(window.view, LEFT, pos=widget_point(window, 160, 5))
    assert window.view.zoom == Zoom(), "nobody is there"
    window.view.zoom_by(3)
    window.source_control.open("clip two")
    qtbot.waitUntil(lambda: window.view.zoom == Zoom())


def test_the_values_under_the_mouse_are_those_of_person_keypoint_and_map(window: MainWindow, qtbot: QtBot) -> None:
    pause(window, qtbot)
    window.overlay_panel.choose_keypoint("left_wrist")
    qtbot.waitUntil(
        lambda: (
            window.view.picture is not None
            and window.view.picture.shown.result is not None
            and window.view.picture.shown.result.attention is not None
        )
    )
    picture = window.view.picture
    assert picture is not None and picture.shown.result is not None
    poses = picture.shown.result.poses
    x, y = poses.keypoints_xy[1, COCO17.keypoint_index("nose")]
    move_mouse(window, widget_point(window, x, y))
    assert poses.track_ids is not None
    place, number, keypoint, value = window.view.note().split(" · ")
    assert [float(part) for part in place.split(",")] == pytest.approx([x, y], abs=1)
    assert number == f"#{poses.track_ids[1]}" and keypoint == "nose 0.90"
    assert value.startswith("S left wrist ") and float(value.split()[-1]) == pytest.approx(40 / 56, abs=0.001)
    window.overlay_panel.set_kind("areas")
    assert float(window.view.note().split()[-1]) == pytest.approx(1 / 96, rel=0.01)
    move_mouse(window, widget_point(window, 160, 5))
    assert "·" not in window.view.note(), "nobody is there"
    QApplication.sendEvent(window.view, QEvent(QEvent.Type.Leave))
    assert window.view.note() == ""
