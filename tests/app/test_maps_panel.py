"""The maps panel: all keypoints of one person, chosen by a click, saved as they are shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from PyQt5.QtCore import Qt
from PyQt5.QtGui import QImage
from PyQt5.QtTest import QTest
from pytestqt.qtbot import QtBot

from app.live.chosen import Chosen
from app.live.compose import Look
from app.live.composer import Picture
from app.live.map_grid import GridRequest, MapGrid, map_grid
from app.live.shots import Shot, Shown
from app.main_window import MainWindow
from engine.overlay.contact_sheet import sheet_layout
from engine.skeleton import COCO17
from engine.types import AttentionMaps, Frame, FrameResult
from tests.app import fakes
from tests.app.conftest import pause, trigger
from tests.app.fakes import Backstage

QTEST: Any = QTest  # its stub declares static methods as methods
WRIST = COCO17.keypoint_index("left_wrist")
fake_result = fakes.fake_result


def with_own_maps(frame: Frame, **choices: Any) -> FrameResult:
    """The fake people; in the maps of the second, every keypoint has more attention than the one before."""
    result = fake_result(frame, **choices)
    if result.attention is not None and result.attention.attention is not None:
        rising = np.linspace(1, 17, 17, dtype=np.float32)
        result.attention.attention[1] = (rising / rising.sum())[:, None, None]
    return result


def shown(window: MainWindow) -> tuple[Picture, MapGrid]:
    picture = window.view.picture
    assert picture is not None and picture.grid is not None and window.maps_panel.tiles.grid is picture.grid
    return picture, picture.grid


def maps_of(picture: Picture) -> AttentionMaps:
    assert picture.shown.result is not None and picture.shown.result.attention is not None
    return picture.shown.result.attention


def wait_for_person(window: MainWindow, qtbot: QtBot, person: int) -> None:
    qtbot.waitUntil(lambda: (grid := window.maps_panel.tiles.grid) is not None and grid.person == person)


def opened(window: MainWindow, qtbot: QtBot) -> None:
    """Show the panel for a paused picture."""
    pause(window, qtbot)
    trigger(window, "tab_maps")
    wait_for_person(window, qtbot, 0)


def pixels(image: QImage) -> np.ndarray:
    """(H, W, 3) BGR of an image with 4 bytes a pixel."""
    pointer = image.constBits()
    assert pointer is not None
    pointer.setsize(image.sizeInBytes())
    return np.frombuffer(pointer.asstring(), np.uint8).reshape(image.height(), image.width(), 4)[..., :3].astype(int)


def tile_colors(grid: MapGrid) -> np.ndarray:
    """(K, 3) BGR of a place of each tile, where no keypoint is."""
    width, height = grid.tile_wh
    tiles = pixels(grid.tiles).reshape(-1, height, width, 3)
    return np.asarray(tiles[:, height // 3, width - width // 4])


def click_tile(window: MainWindow, keypoint: int) -> None:
    tiles = window.maps_panel.tiles
    QTEST.mouseClick(tiles, Qt.MouseButton.LeftButton, pos=tiles.tile_area(keypoint).center().toPoint())


def test_maps_are_computed_only_while_the_panel_is_shown(
    window: MainWindow, backstage: Backstage, qtbot: QtBot
) -> None:
    pipeline = backstage.pipelines[-1]
    qtbot.waitUntil(lambda: not pipeline.attention_wanted)
    assert window.view.picture is not None and window.view.picture.grid is None
    trigger(window, "tab_maps")
    qtbot.waitUntil(lambda: window.maps_panel.tiles.grid is not None)
    assert pipeline.attention_wanted
    ways: list[Callable[[], object]] = [
        lambda: window.show_tab(0), lambda: trigger(window, "sidebar"), window.full_screen.toggle
    ]  # fmt: skip
    for leave in ways:
        leave()
        qtbot.waitUntil(lambda: not pipeline.attention_wanted)
        qtbot.waitUntil(lambda: (picture := window.view.picture) is not None and picture.grid is None)
        window.full_screen.leave()
        trigger(window, "tab_maps")
        # The frames that came meanwhile are kept without maps, and computed again.
        qtbot.waitUntil(lambda: pipeline.attention_wanted)
    assert backstage.reported == []


def test_each_tile_has_the_map_of_its_keypoint_in_one_scale(window: MainWindow, qtbot: QtBot) -> None:
    opened(window, qtbot)
    _picture, grid = shown(window)
    assert grid.values is not None and grid.values.high == pytest.approx(40 / 56)
    assert grid.tiles.height() == 17 * grid.tile_wh[1]
    colors = tile_colors(grid)
    grey = np.delete(colors, WRIST, axis=0)
    assert np.ptp(grey, axis=1).max() <= 2, "nothing is tinted where a pixel prefers no keypoint"
    blue, green, red = colors[WRIST]
    assert red > blue + 60 and red > green + 60
    assert "#1" in window.maps_panel.title.text()


def test_a_click_shows_the_keypoint_in_the_video(window: MainWindow, qtbot: QtBot) -> None:
    opened(window, qtbot)
    assert window.overlay_panel.options.attention is None
    for name in ("right_knee", "nose"):
        keypoint = COCO17.keypoint_index(name)
        click_tile(window, keypoint)
        view = window.overlay_panel.options.attention
        assert view is not None and (view.kind, view.keypoint) == ("attention", keypoint)
        assert window.session.composer.look.overlay.attention == view and window.maps_panel.tiles.chosen == keypoint
    window.overlay_panel.set_kind("areas")
    qtbot.waitUntil(lambda: (grid := window.maps_panel.tiles.grid) is not None and grid.kind == "areas")
    click_tile(window, 5)
    view = window.overlay_panel.options.attention
    assert view is not None and (view.kind, view.keypoint) == ("areas", 5), "the kind stays"
    window.overlay_panel.set_kind(None)
    assert window.maps_panel.tiles.chosen is None


def test_the_grid_is_that_of_the_person_who_was_clicked(
    window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fakes, "fake_result", with_own_maps)
    qtbot.wait(200)
    opened(window, qtbot)
    picture, _grid = shown(window)
    assert picture.shown.result is not None
    box = picture.shown.result.poses.boxes_xyxy[1]
    window.view.clicked.emit(float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2)
    wait_for_person(window, qtbot, 1)
    _picture, grid = shown(window)
    assert "#2" in window.maps_panel.title.text()
    assert grid.values is not None and grid.values.high == pytest.approx(17 / 153)
    fakes.only(monkeypatch, slice(1))
    monkeypatch.setattr("app.live.kept_results.KeptResults.of", lambda *_arguments, **_choices: None)
    window.source_control.toggle_playing()
    qtbot.waitUntil(lambda: window.maps_panel.tiles.grid is None)
    assert "Person #2 is not in this picture" in window.maps_panel.hint.text()
    assert not window.maps_panel.sheet_button.isEnabled() and not window.maps_panel.maps_button.isEnabled()


def test_the_saved_sheet_shows_what_the_grid_shows(
    window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fakes, "fake_result", with_own_maps)
    qtbot.wait(200)
    opened(window, qtbot)
    picture, _grid = shown(window)
    assert picture.shown.result is not None
    window.choice.choose(picture.shown.result.poses, 1)
    wait_for_person(window, qtbot, 1)
    grid = shown(window)[1]
    window.maps_panel.sheet_button.click()
    qtbot.waitUntil(lambda: "Saved" in window.notices.text)
    (file,) = window.outputs.folder.glob("*.png")
    assert str(file) in window.notices.text
    sheet = cv2.imread(str(file))
    assert sheet is not None
    input_wh = maps_of(picture).input_size_wh
    columns, rows, (width, height) = sheet_layout(18, (2 * input_wh[0], 2 * input_wh[1]))
    assert sheet.shape == (rows * height, columns * width, 3)
    tiles = [sheet[k // columns * height :, k % columns * width :][:height, :width] for k in range(17)]
    # At the same place as in the grid.
    saved = np.array([tile[height // 3, width - width // 4] for tile in tiles]).astype(int)
    assert np.abs(saved - tile_colors(grid)).max() <= 6
    assert len(np.unique(saved // 16, axis=0)) > 5, "the tiles differ"


def test_the_saved_numbers_are_the_maps_of_the_shown_person(window: MainWindow, qtbot: QtBot) -> None:
    opened(window, qtbot)
    picture, _grid = shown(window)
    assert picture.shown.result is not None
    window.choice.choose(picture.shown.result.poses, 1)
    wait_for_person(window, qtbot, 1)
    picture, _grid = shown(window)
    window.maps_panel.maps_button.click()
    (file,) = window.outputs.folder.glob("*.npz")
    assert str(file) in window.notices.text
    maps, number = maps_of(picture), picture.shown.shot.number
    with np.load(file) as saved:
        assert saved["id"].tolist() == [2] and saved["frame"].tolist() == [number]
        assert saved["time_s"] == pytest.approx([picture.shown.shot.position_s])
        assert saved["keypoint_names"].tolist() == list(COCO17.keypoint_names)
        np.testing.assert_array_equal(saved[f"attention_{number:06d}"], maps.attention[1:])  # type: ignore[index]
        np.testing.assert_array_equal(saved[f"areas_{number:06d}"], maps.areas[1:])  # type: ignore[index]
        assert picture.shown.result is not None
        np.testing.assert_array_equal(saved["box_xyxy"], picture.shown.result.poses.boxes_xyxy[1:])


def test_a_mirrored_camera_has_mirrored_tiles() -> None:
    frame = Frame(image_bgr=np.zeros((180, 320, 3), np.uint8), index=0, timestamp_s=0.0)
    frame.image_bgr[:, :80] = 200
    shown = Shown(
        shot=Shot(frame=frame, captured_s=0.0, position_s=0.0, serial=1), result=with_own_maps(frame), skeleton=COCO17
    )
    request = GridRequest(chosen=Chosen(track_id=3), kind="attention", room_wh=(60, 120))
    tiles = []
    for mirror in (False, True):
        grid = map_grid(shown, request, Look(mirror=mirror))
        assert grid is not None
        tiles.append(pixels(grid.tiles))
    assert np.abs(tiles[0] - tiles[1][:, ::-1]).mean() < 2 < np.abs(tiles[0] - tiles[1]).mean()


def test_a_network_without_maps_says_so(make_window: Any, backstage: Backstage, qtbot: QtBot) -> None:
    backstage.has_attention = False
    window = make_window()
    qtbot.waitUntil(lambda: window.session.ready is not None)
    trigger(window, "tab_maps")
    assert "no attention maps" in window.maps_panel.hint.text()
    painted = window.statistics.frames_painted
    qtbot.waitUntil(lambda: window.statistics.frames_painted > painted + 5)
    assert not backstage.pipelines[-1].attention_wanted and not window.maps_panel.maps_button.isEnabled()
