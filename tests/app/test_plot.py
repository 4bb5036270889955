"""The plot of a keypoint or an angle: its values are those of the results, pauses break it, it is saved as shown."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PyQt5.QtGui import QImage
from pytestqt.qtbot import QtBot

from app.curve import HISTORY_S, MOST_POINTS, Curve, Quantity
from app.live.chosen import Chosen
from app.live.compose import Look, compose
from app.live.composer import Picture
from app.live.shots import Shot, Shown
from app.main_window import MainWindow
from engine.overlay.drawing import DrawingMemory, OverlayOptions
from engine.skeleton import COCO17
from engine.types import Frame, FrameResult
from tests.app import fakes
from tests.app.conftest import pause, trigger
from tests.app.fakes import SIZE_WH, Backstage

WRIST, ELBOW, SHOULDER = (COCO17.keypoint_index(f"left_{name}") for name in ("wrist", "elbow", "shoulder"))
fake_result = fakes.fake_result


def waving(frame: Frame, **choices: Any) -> FrameResult:
    """The fake people with wrists that circle; every seventh frame does not see them."""
    result = fake_result(frame, **choices)
    turn = frame.index / 5
    result.poses.keypoints_xy[:, WRIST] += np.array([30 * math.cos(turn), 25 * math.sin(turn)], np.float32)
    if frame.index % 7 == 0:
        result.poses.scores[:, WRIST] = 0.1
    return result


@pytest.fixture
def shown(window: MainWindow, monkeypatch: pytest.MonkeyPatch, qtbot: QtBot) -> list[Shown]:
    """What the window has shown since its plot is open."""
    monkeypatch.setattr(fakes, "fake_result", waving)
    qtbot.wait(200)
    found: list[Shown] = []
    real = window.plot_panel.show_picture

    def show(picture: Picture) -> None:
        if not found or picture.shown is not found[-1]:
            found.append(picture.shown)
        real(picture)

    monkeypatch.setattr(window.plot_panel, "show_picture", show)
    trigger(window, "plot")
    return found


def play_on(window: MainWindow, qtbot: QtBot, shown: list[Shown], frames: int = 20) -> None:
    before = len(shown)
    qtbot.waitUntil(lambda: len(shown) > before + frames)
    pause(window, qtbot)
    qtbot.wait(250)  # of the plot's timer


def line(window: MainWindow) -> tuple[np.ndarray, np.ndarray]:
    """Times and values of the line on the screen."""
    times, values = window.plot_panel.line.getData()
    return np.asarray(times), np.asarray(values)


def expected_y(shown: Shown, person: int) -> float:
    assert shown.result is not None
    poses = shown.result.poses
    return math.nan if poses.scores[person, WRIST] < 0.2 else float(poses.keypoints_xy[person, WRIST, 1])


def expected_angle(shown: Shown, person: int) -> float:
    """By the law of cosines."""
    assert shown.result is not None
    poses = shown.result.poses
    if poses.scores[person, WRIST] < 0.2:
        return math.nan
    a, b, c = (poses.keypoints_xy[person, keypoint].astype(float) for keypoint in (SHOULDER, ELBOW, WRIST))
    sides = math.dist(a, b), math.dist(b, c), math.dist(a, c)
    cosine = (sides[0] ** 2 + sides[1] ** 2 - sides[2] ** 2) / (2 * sides[0] * sides[1])
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def with_breaks(frames: list[Shown], values: list[float], broken_before: list[int]) -> tuple[list[float], list[float]]:
    """Times before the last frame and values, with a NaN before the frames of these places in the list."""
    now_s = frames[-1].shot.frame.timestamp_s
    times, line_values = [], []
    for place, (frame, value) in enumerate(zip(frames, values, strict=True)):
        time_s = frame.shot.frame.timestamp_s - now_s
        if place in broken_before:
            times.append(time_s)
            line_values.append(math.nan)
        times.append(time_s)
        line_values.append(value)
    return times, line_values


def jumps(frames: list[Shown]) -> list[int]:
    return [place for place in range(1, len(frames)) if frames[place].shot.epoch != frames[place - 1].shot.epoch]


def test_the_values_are_those_of_the_results_also_of_what_is_chosen_later(
    window: MainWindow, shown: list[Shown], qtbot: QtBot
) -> None:
    panel = window.plot_panel
    panel.choose("left_wrist", "y")
    play_on(window, qtbot, shown)
    for person in (0, 1):
        assert shown[-1].result is not None
        window.choice.choose(shown[-1].result.poses, person)
        assert f"#{person + 1}" in panel.caption.text()
        for name, axis, expected, near in (
            ("left_wrist", "y", expected_y, 1e-3),
            ("left_elbow", None, expected_angle, 0.05),
        ):
            panel.choose(name, axis)
            times, values = with_breaks(shown, [expected(frame, person) for frame in shown], jumps(shown))
            np.testing.assert_allclose(line(window)[0], times, atol=1e-6)
            np.testing.assert_allclose(line(window)[1], values, atol=near)
            assert (np.isnan(line(window)[1]).any() and np.ptp(values[-5:]) > 0) or np.isnan(values[-5:]).any()
    assert panel.plot.getViewBox().yInverted() is False
    panel.choose("left_wrist", "y")
    assert panel.plot.getViewBox().yInverted() is True, "as in the picture, where y counts from the top"


def test_a_pause_and_a_jump_break_the_line(window: MainWindow, shown: list[Shown], qtbot: QtBot) -> None:
    window.plot_panel.choose("nose", "x")  # seen in each frame
    play_on(window, qtbot, shown, 10)
    shown_before = len(shown)
    assert np.isnan(line(window)[1]).sum() == len(jumps(shown)), "no break but where the clip began again"
    window.source_control.step(1)
    qtbot.waitUntil(lambda: len(shown) == shown_before + 1)
    qtbot.wait(250)
    assert np.isnan(line(window)[1]).sum() == len(jumps(shown)), "a step goes on"
    shown_before = len(shown)
    window.source_control.toggle_playing()
    play_on(window, qtbot, shown, 10)
    breaks = sorted({shown_before, *jumps(shown)})
    values = [float(frame.result.poses.keypoints_xy[0, 0, 0]) for frame in shown if frame.result is not None]
    times, expected = with_breaks(shown, values, breaks)
    np.testing.assert_allclose(line(window)[1], expected, atol=1e-3)
    np.testing.assert_allclose(line(window)[0], times, atol=1e-6)
    before = len(shown)
    window.source_control.seek(0.1 if shown[-1].shot.position_s > 0.5 else 1.5)
    qtbot.waitUntil(lambda: len(shown) > before)
    qtbot.wait(250)
    assert math.isnan(line(window)[1][-2]) and math.isfinite(line(window)[1][-1])


def test_somebody_who_is_not_there_leaves_a_gap(
    window: MainWindow, shown: list[Shown], qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_on(window, qtbot, shown, 5)
    assert shown[-1].result is not None
    window.choice.choose(shown[-1].result.poses, 1)
    monkeypatch.setattr("app.live.kept_results.KeptResults.of", lambda *_arguments, **_choices: None)
    fakes.only(monkeypatch, slice(1))
    before = len(shown)
    window.source_control.toggle_playing()
    play_on(window, qtbot, shown, 5)
    assert np.isnan(line(window)[1][-5:]).all() and len(shown) > before
    assert window.plot_panel.caption.text() == "#2 is not in this picture"


def test_what_is_saved_is_what_is_shown(window: MainWindow, shown: list[Shown], qtbot: QtBot) -> None:
    panel = window.plot_panel
    panel.choose("left_wrist", "y")
    play_on(window, qtbot, shown)
    window.source_control.toggle_playing()
    play_on(window, qtbot, shown, 5)
    panel.csv_button.click()
    (file,) = window.outputs.folder.glob("*.csv")
    assert str(file) in window.notices.text
    rows = list(csv.DictReader(file.open(encoding="utf-8")))
    assert [int(row["frame"]) for row in rows] == [frame.shot.number for frame in shown]
    assert [float(row["time_s"]) for row in rows] == pytest.approx([frame.shot.position_s for frame in shown])
    assert {row["id"] for row in rows} == {"1"}
    values = [float(row["left_wrist_y"] or "nan") for row in rows]
    np.testing.assert_allclose(values, [expected_y(frame, 0) for frame in shown], atol=0.006)
    on_screen = line(window)[1]
    np.testing.assert_allclose(on_screen[np.isfinite(on_screen)], np.array(values)[np.isfinite(values)], atol=0.006)
    assert int(rows[-1]["segment"]) == int(rows[0]["segment"]) + len(jumps(shown)) + 1, "one more after the pause"
    panel.picture_button.click()
    qtbot.waitUntil(lambda: ".png" in window.notices.text)
    plot = panel.plot.grab().toImage()
    (file,) = window.outputs.folder.glob("*.png")
    saved = QImage(str(file))
    assert saved.width() == plot.width()
    below = saved.copy(0, saved.height() - plot.height(), plot.width(), plot.height())
    assert below.convertToFormat(QImage.Format.Format_RGB32) == plot.convertToFormat(QImage.Format.Format_RGB32)


def test_a_plot_that_is_not_shown_works_nothing_out(
    window: MainWindow, backstage: Backstage, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise AssertionError("worked out for nobody")

    monkeypatch.setattr(Curve, "add", fail)
    painted = window.statistics.frames_painted
    qtbot.waitUntil(lambda: window.statistics.frames_painted > painted + 10)
    assert backstage.reported == [] and window.plot_panel.plot is None
    assert window.choice.chosen == Chosen()


def test_a_plot_that_is_opened_for_a_still_picture_shows_its_value(window: MainWindow, qtbot: QtBot) -> None:
    pause(window, qtbot)
    trigger(window, "plot")
    window.plot_panel.choose("nose", "x")
    picture = window.view.picture
    assert picture is not None and picture.shown.result is not None
    dots = window.plot_panel.dots.getData()[1]
    assert dots == pytest.approx([picture.shown.result.poses.keypoints_xy[0, 0, 0]])


def test_full_screen_hides_the_plot_and_brings_it_back(window: MainWindow, shown: list[Shown], qtbot: QtBot) -> None:
    window.plot_panel.choose("nose", "x")
    play_on(window, qtbot, shown, 5)
    points, breaks = len(window.plot_panel.curve), np.isnan(line(window)[1]).sum()
    window.full_screen.toggle()
    assert not window.plot_panel.isVisible()
    window.source_control.step(1)
    qtbot.wait(300)
    window.full_screen.leave()
    assert window.plot_panel.isVisible() and len(window.plot_panel.curve) == points + 1
    assert np.isnan(line(window)[1]).sum() == breaks + 1, "the line ends where the plot was hidden"


def frame_at(index: int, time_s: float, epoch: int = 0) -> Shown:
    image = np.full((SIZE_WH[1], SIZE_WH[0], 3), 60, np.uint8)
    frame = Frame(image_bgr=image, index=index, timestamp_s=time_s)
    shot = Shot(frame=frame, captured_s=0.0, position_s=time_s, serial=1, number=index, epoch=epoch)
    return Shown(shot=shot, result=fake_result(frame), skeleton=COCO17)


@pytest.mark.parametrize("rate", [1000, 25])
def test_the_number_of_points_is_bounded(rate: int) -> None:
    curve = Curve()
    curve.choose(Quantity(name="nose", axis="x"), Chosen(track_id=3), 0.2)
    for index in range(HISTORY_FRAMES := round(HISTORY_S * 25) + 500 if rate == 25 else MOST_POINTS + 500):
        curve.add(frame_at(index, index / rate))
    assert len(curve) == min(MOST_POINTS, round(HISTORY_S * rate) + 1) < HISTORY_FRAMES
    times, values = curve.points()
    assert times[-1] == 0 and times[0] >= -HISTORY_S and np.isfinite(values).all()


def test_a_frame_that_is_posed_again_has_one_point() -> None:
    curve = Curve()
    curve.choose(Quantity(name="nose", axis="x"), Chosen(track_id=3), 0.2)
    for _ in range(2):
        curve.add(frame_at(0, 0.0))
    again = frame_at(1, 0.02)
    curve.add(again)
    assert again.result is not None
    moved = replace(again.result.poses, keypoints_xy=again.result.poses.keypoints_xy + 5)
    curve.add(replace(again, result=replace(again.result, poses=moved)))
    assert len(curve) == 2 and curve.points()[1][-1] == pytest.approx(moved.keypoints_xy[0, 0, 0])


@pytest.mark.parametrize(("epoch", "leaves_a_trail"), [(0, True), (1, False)])
def test_trails_end_where_frames_do_not_follow_each_other(epoch: int, leaves_a_trail: bool) -> None:
    look = Look(overlay=OverlayOptions(skeleton=False, ids=False, trails=True))
    memory = DrawingMemory()
    compose(frame_at(0, 0.0), look, memory=memory)
    drawn = compose(frame_at(12, 0.1, epoch), look, memory=memory).image_bgr
    assert bool((drawn != 60).any()) is leaves_a_trail


def test_keys_switch_angles_and_trails_on_and_off(window: MainWindow) -> None:
    for name in ("angles", "trails"):
        for wanted in (True, False):
            trigger(window, name)
            assert getattr(window.session.composer.look.overlay, name) is wanted
            command = next(
                command for commands in window.commands.values() for command in commands if command.name == name
            )
            assert command.is_on is not None and command.is_on() is wanted
