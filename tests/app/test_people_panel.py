"""The people panel shows, copies and saves the numbers of the picture."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PyQt5.QtCore import Qt
from PyQt5.QtTest import QTest
from PyQt5.QtWidgets import QApplication, QTableView
from pytestqt.qtbot import QtBot

from app.live.composer import Picture
from app.main_window import MainWindow
from engine.skeleton import COCO17
from engine.types import Frame, FrameResult
from tests.app import fakes
from tests.app.conftest import pause, shows_people
from tests.app.fakes import Backstage

QTEST: Any = QTest  # its stub declares static methods as methods


def cells(table: QTableView) -> list[dict[str, str]]:
    """The rows of a table as they are shown, by the titles of their columns."""
    model = table.model()
    assert model is not None
    titles = [model.headerData(column, Qt.Orientation.Horizontal) for column in range(model.columnCount())]
    return [
        {title: model.index(row, column).data() for column, title in enumerate(titles)}
        for row in range(model.rowCount())
    ]


def paused(window: MainWindow, qtbot: QtBot) -> FrameResult:
    """Show the panel for a paused picture; returns its result."""
    window.show_tab(3)
    pause(window, qtbot)
    qtbot.waitUntil(lambda: window.people_panel._written is window.view.picture)
    return shown_result(window)


def shown_result(window: MainWindow) -> FrameResult:
    picture = window.view.picture
    assert picture is not None and picture.shown.result is not None
    return picture.shown.result


def click_row(table: QTableView, row: int) -> None:
    model, viewport = table.model(), table.viewport()
    assert model is not None and viewport is not None
    QTEST.mouseClick(viewport, Qt.MouseButton.LeftButton, pos=table.visualRect(model.index(row, 0)).center())


def angle_deg(points: Any, first: str, vertex: str, last: str) -> float:
    """By the law of cosines."""
    a, b, c = (points[COCO17.keypoint_index(name)].astype(float) for name in (first, vertex, last))
    sides = math.dist(a, b), math.dist(b, c), math.dist(a, c)
    cosine = (sides[0] ** 2 + sides[1] ** 2 - sides[2] ** 2) / (2 * sides[0] * sides[1])
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def test_each_person_has_a_row_and_the_chosen_one_all_keypoints(
    window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fakes, "fake_result", bent)
    qtbot.wait(200)
    poses = paused(window, qtbot).poses
    panel = window.people_panel
    people = cells(panel.people)
    assert [row["id"] for row in people] == [str(number) for number in poses.track_ids]  # type: ignore[union-attr]
    for person, row in enumerate(people):
        assert row["score"] == "0.90" and row["seen"] == ("16/17" if person == 0 else "17/17")
        assert [row[name] for name in ("x1", "y1", "x2", "y2")] == [f"{v:.0f}" for v in poses.boxes_xyxy[person]]
        expected = angle_deg(poses.keypoints_xy[person], "left_shoulder", "left_elbow", "left_wrist")
        assert row["left elbow"] == f"{expected:.0f}"
    assert people[0]["right knee"] == "–", "its ankle is not seen"
    for person in (1, 0):
        click_row(panel.people, person)
        rows = cells(panel.keypoints)
        assert [row["keypoint"].replace(" ", "_") for row in rows] == list(COCO17.keypoint_names)
        points = poses.keypoints_xy[person]
        assert [(row["x"], row["y"]) for row in rows] == [(f"{x:.1f}", f"{y:.1f}") for x, y in points]
        assert {row["probe"] for row in rows} == {"–"}
        assert panel.title.text() == f"Keypoints of {people[person]['id']}".replace("of ", "of #")


def bent(frame: Any, **choices: Any) -> FrameResult:
    """The fake people with elbows, and a right ankle of the first person that is not seen."""
    result = fake_result(frame, **choices)
    result.poses.keypoints_xy[:, COCO17.keypoint_index("left_wrist")] += np.array([25, -9], np.float32)
    result.poses.scores[0, COCO17.keypoint_index("right_ankle")] = 0.05
    return result


fake_result = fakes.fake_result


def test_the_values_of_the_probe_stand_at_its_person(window: MainWindow, qtbot: QtBot) -> None:
    result = paused(window, qtbot)
    panel, box = window.people_panel, result.poses.boxes_xyxy[1]
    window.look_control.place_probe(float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2)
    wrist = COCO17.keypoint_index("left_wrist")
    qtbot.waitUntil(lambda: bool(cells(panel.keypoints)) and cells(panel.keypoints)[0]["probe"] != "–")
    shown = [float(row["probe"]) for row in cells(panel.keypoints)]
    assert shown[wrist] == pytest.approx(40 / 56, abs=0.001) and shown[0] == pytest.approx(1 / 56, abs=0.001)
    assert panel.title.text().endswith(f"#{result.poses.track_ids[1]}"), "the person who was clicked is chosen"  # type: ignore[index]
    click_row(panel.people, 0)
    assert {row["probe"] for row in cells(panel.keypoints)} == {"–"}


def test_the_chosen_person_stays_chosen_and_is_waited_for(
    window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = paused(window, qtbot).poses.track_ids[1]  # type: ignore[index]
    panel = window.people_panel
    click_row(panel.people, 1)
    fakes.only(monkeypatch, slice(1))
    monkeypatch.setattr("app.live.kept_results.KeptResults.of", lambda *_arguments, **_choices: None)
    window.source_control.toggle_playing()
    qtbot.waitUntil(lambda: panel.title.text() == f"Person #{number} is not in this picture")
    assert cells(panel.keypoints) == [] and len(cells(panel.people)) == 1
    click_row(panel.people, 0)
    assert len(cells(panel.keypoints)) == 17


def test_what_is_saved_and_copied_is_what_is_shown(window: MainWindow, qtbot: QtBot) -> None:
    poses = paused(window, qtbot).poses
    panel = window.people_panel
    panel.copy_button.click()
    clipboard = QApplication.clipboard()
    assert clipboard is not None
    lines = [line.split("\t") for line in clipboard.text().splitlines()]
    assert [dict(zip(lines[0], line, strict=True)) for line in lines[1:3]] == cells(panel.people)
    assert [line[:2] for line in lines[-17:]] == [[row["keypoint"], row["x"]] for row in cells(panel.keypoints)]
    panel.save_button.click()
    (file,) = window.outputs.folder.glob("*.csv")
    assert str(file) in window.notices.text
    saved = list(csv.DictReader(file.open(encoding="utf-8")))
    picture = window.view.picture
    assert picture is not None and len(saved) == 2
    for person, row in enumerate(saved):
        shown = cells(panel.people)[person]
        assert row["id"] == shown["id"] and int(row["frame"]) == picture.shown.shot.number
        assert float(row["nose_x"]) == pytest.approx(poses.keypoints_xy[person, 0, 0], abs=0.006)
        for angle in ("left_elbow", "trunk"):
            assert f"{float(row[f'{angle}_deg']):.0f}" == shown[angle.replace("_", " ")]


def test_a_panel_that_is_not_shown_works_nothing_out(
    window: MainWindow, backstage: Backstage, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> list[list[str]]:
        raise AssertionError("worked out for nobody")

    monkeypatch.setattr("app.widgets.people_panel.person_rows", fail)
    painted = window.statistics.frames_painted
    qtbot.waitUntil(lambda: window.statistics.frames_painted > painted + 10)
    assert backstage.reported == [] and shows_people(window)
    pictures: list[Picture | None] = [window.people_panel._written]
    assert pictures == [None]


def test_without_people_there_is_nothing_to_save(
    window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.only(monkeypatch, slice(0))
    monkeypatch.setattr("app.live.kept_results.KeptResults.of", lambda *_arguments, **_choices: None)
    window.show_tab(3)
    panel = window.people_panel
    qtbot.waitUntil(lambda: panel.nobody.isVisible() and not cells(panel.people))
    assert not panel.copy_button.isEnabled() and not panel.save_button.isEnabled()


def test_a_column_that_gets_wider_numbers_shows_them_whole(
    window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    window.show_tab(3)
    qtbot.waitUntil(lambda: bool(cells(window.people_panel.people)))
    real = fakes.fake_result

    def far_right(frame: Frame, **arguments: Any) -> FrameResult:
        result = real(frame, **arguments)
        return replace(result, poses=replace(result.poses, boxes_xyxy=result.poses.boxes_xyxy + np.float32(30_000)))

    monkeypatch.setattr(fakes, "fake_result", far_right)
    table = window.people_panel.people
    qtbot.waitUntil(lambda: len(cells(table)[0]["y1"]) == 5)
    column = list(cells(table)[0]).index("y1")
    assert table.columnWidth(column) >= table.sizeHintForColumn(column)
