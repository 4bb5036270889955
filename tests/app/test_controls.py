"""Every control of the window has its effect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PyQt5.QtCore import QEvent, QPoint, QPointF, QRectF, Qt
from PyQt5.QtGui import QMouseEvent
from PyQt5.QtTest import QTest
from PyQt5.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.actions import KeysDialog
from app.live.inference import Follow
from app.main_window import MainWindow
from app.settings import Settings
from app.widgets.pose_panel import PosePanel
from app.widgets.video_view import waiting_text
from engine.overlay.attention import AttentionView
from engine.overlay.drawing import OverlayOptions
from engine.skeleton import Skeleton
from tests.app.conftest import pause, press, shows_people, trigger
from tests.app.fakes import Backstage, only

HAND = Skeleton(
    keypoint_names=("wrist", "thumb", "little_finger"), edges=((0, 1), (0, 2)), flip_pairs=(), oks_sigmas=(0.1,) * 3
)


QTEST: Any = QTest  # its stub declares static methods as methods


def choose(box: Any, text: str) -> None:
    box.setCurrentText(text)
    box.activated.emit(box.currentIndex())


POSE_CONTROLS: dict[str, tuple[Callable[[PosePanel], None], str, object]] = {
    "backend": (lambda panel: choose(panel.controls["backend"].widget, "onnxruntime"), "backend", "onnxruntime"),
    "precision": (lambda panel: choose(panel.controls["precision"].widget, "fp32"), "precision", "fp32"),
    "box score": (lambda panel: panel.controls["score_threshold"].widget.setValue(55), "score_threshold", 0.55),
    "person score": (lambda panel: panel.controls["person_threshold"].widget.setValue(31), "person_threshold", 0.31),
    "most people": (lambda panel: panel.controls["max_people"].widget.setValue(3), "max_people", 3),
    "tracking": (lambda panel: panel.controls["tracking"].widget.setChecked(False), "tracking", False),
    "smoothing": (lambda panel: panel.controls["smoothing"].widget.setChecked(False), "smoothing", False),
    "detect every": (lambda panel: choose(panel.controls["detect_every"].widget, "5"), "detect_every", 5),
}


@pytest.mark.parametrize("name", list(POSE_CONTROLS))
def test_a_choice_of_the_pose_panel_reaches_the_pipeline(
    name: str, window: MainWindow, backstage: Backstage, qtbot: QtBot, settings: Settings
) -> None:
    change, field, value = POSE_CONTROLS[name]
    change(window.pose_panel)
    qtbot.waitUntil(lambda: len(backstage.pipelines) == 2)
    assert getattr(backstage.opened_options[-1], field) == value
    qtbot.waitUntil(lambda: window.session.options == backstage.opened_options[-1])
    qtbot.waitUntil(lambda: backstage.pipelines[0].closed)
    assert getattr(settings.pipeline, field) == value


def test_models_are_chosen_by_file(
    window: MainWindow, backstage: Backstage, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    for box, field, file in (
        (window.pose_panel.controls["pose_model"].widget, "pose_model", "/models/other.safetensors"),
        (window.pose_panel.controls["detector"].widget, "detector", "/models/other.onnx"),
    ):
        monkeypatch.setattr(
            "app.widgets.option_controls.QFileDialog.getOpenFileName", lambda *_a, file=file: (file, "")
        )
        box.setCurrentIndex(box.count() - 1)
        opened = len(backstage.pipelines)
        box.activated.emit(box.count() - 1)
        qtbot.waitUntil(lambda n=opened: len(backstage.pipelines) > n)  # type: ignore[misc]
        assert getattr(backstage.opened_options[-1], field) == file
        assert box.currentText() == Path(file).name


def test_a_model_that_cannot_be_opened_leaves_the_old_one_running(
    window: MainWindow, backstage: Backstage, qtbot: QtBot
) -> None:
    from engine.errors import BackendError

    backstage.open_error = BackendError("tensorrt cannot run here: no NVIDIA GPU")
    choose(window.pose_panel.controls["backend"].widget, "tensorrt")
    qtbot.waitUntil(lambda: "no NVIDIA GPU" in window.notices.text)
    assert window.pose_panel.controls["backend"].widget.currentText() == "auto"  # the panel shows what really runs
    assert "Runs on" in window.pose_panel.running.text() and "tensorrt" in window.pose_panel.running.toolTip()
    painted = window.statistics.frames_painted_with_people
    qtbot.waitUntil(lambda: window.statistics.frames_painted_with_people > painted + 3)
    backstage.open_error = None
    press(window, "pipeline")  # try again
    qtbot.waitUntil(lambda: window.session.options is not None and window.session.options.backend == "tensorrt")


def test_the_overlay_panel_reaches_the_drawing(window: MainWindow, settings: Settings) -> None:
    panel = window.overlay_panel

    def look() -> OverlayOptions:
        return window.session.composer.look.overlay

    for box, field in (
        (panel.skeleton, "skeleton"), (panel.boxes, "boxes"), (panel.ids, "ids"), (panel.scores, "scores"),
    ):  # fmt: skip
        before = getattr(look(), field)
        box.click()
        assert getattr(look(), field) is not before
    panel.controls["line_width"].widget.setValue(7)
    panel.controls["opacity"].widget.setValue(40)
    panel.controls["score_threshold"].widget.setValue(35)
    panel.paper_scale.click()
    assert (look().line_width, look().opacity, look().score_threshold, look().scale) == (3.5, 0.4, 0.35, "paper")
    panel.set_kind("areas")
    assert look().attention == AttentionView(kind="areas", keypoint=panel.keypoint)
    window.close()
    assert settings.overlay == look()


def test_a_click_on_the_figure_shows_the_attention_of_that_keypoint(window: MainWindow, qtbot: QtBot) -> None:
    figure = window.overlay_panel.figure
    window.tabs.setCurrentIndex(0)
    QTEST.mouseClick(figure, Qt.MouseButton.LeftButton, pos=figure.place_of(10).toPoint())
    assert window.session.composer.look.overlay.attention == AttentionView(kind="attention", keypoint=10)
    QTEST.keyClick(figure, Qt.Key.Key_Right)
    assert window.overlay_panel.keypoint == 11


def test_a_skeleton_without_a_figure_gets_a_list(
    make_window: Callable[..., MainWindow], backstage: Backstage, qtbot: QtBot
) -> None:
    backstage.skeleton = HAND
    window = make_window()
    qtbot.waitUntil(lambda: shows_people(window))
    panel = window.overlay_panel
    assert panel.figure.isHidden()
    assert [panel.keypoints.itemText(i) for i in range(panel.keypoints.count())] == ["wrist", "thumb", "little finger"]
    choose(panel.keypoints, "little finger")
    assert window.session.composer.look.overlay.attention == AttentionView(kind="attention", keypoint=2)


def test_a_network_without_maps_offers_none(
    make_window: Callable[..., MainWindow], backstage: Backstage, qtbot: QtBot
) -> None:
    backstage.has_attention = False
    window = make_window()
    qtbot.waitUntil(lambda: shows_people(window))
    assert not window.overlay_panel.figure.isEnabled()
    assert window.session.composer.look.overlay.attention is None
    click_on_frame(window, qtbot, 80, 100)
    assert "attention maps" in window.notices.text


def click_on_frame(window: MainWindow, qtbot: QtBot, x: float, y: float) -> QPoint:
    picture = window.view.picture
    assert picture is not None
    area = window.view.picture_area()
    affine = picture.frame_to_picture
    scale = area.width() / picture.image.width()
    place = QPointF(area.x() + (affine[0, 0] * x + affine[0, 2] + 0.5) * scale,
                    area.y() + (affine[1, 1] * y + affine[1, 2] + 0.5) * scale)  # fmt: skip
    clicked = QPoint(round(place.x()), round(place.y()))
    QTEST.mouseClick(window.view, Qt.MouseButton.LeftButton, pos=clicked)
    return clicked


def test_a_click_on_a_person_sets_the_probe_and_it_follows(window: MainWindow, qtbot: QtBot) -> None:
    click_on_frame(window, qtbot, 90, 100)

    def reading() -> Any:
        return None if window.view.picture is None else window.view.picture.reading

    qtbot.waitUntil(lambda: reading() is not None)
    assert reading().values.argmax() == 9
    assert reading().values.sum() == pytest.approx(1, abs=1e-4)
    places = set()

    def has_moved() -> bool:
        """The box moves, and the point with it."""
        picture = window.view.picture
        assert picture is not None and picture.shown.result is not None and picture.reading is not None
        box = picture.shown.result.poses.boxes_xyxy[0]
        share = (picture.reading.point_xy - box[:2]) / (box[2:] - box[:2])
        np.testing.assert_allclose(share[1], 0.5, atol=0.03)
        places.add(round(float(picture.reading.point_xy[0])))
        return len(places) > 4

    qtbot.waitUntil(has_moved)
    assert not window.overlay_panel.clear_probe.isHidden()
    QTEST.keyClick(window, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: reading() is None)


def test_the_transport_plays_steps_and_seeks(window: MainWindow, qtbot: QtBot, backstage: Backstage) -> None:
    def position() -> float:
        assert window.view.picture is not None
        return window.view.picture.shown.shot.position_s

    pause(window, qtbot)
    still = position()
    qtbot.wait(150)
    assert position() == still
    window.source_control.seek(1.0)
    qtbot.waitUntil(lambda: position() == pytest.approx(1.0))
    window.transport.step_on.click()
    qtbot.waitUntil(lambda: position() == pytest.approx(1.02))
    window.transport.step_back.click()
    window.transport.step_back.click()
    qtbot.waitUntil(lambda: position() == pytest.approx(1.0) or position() == pytest.approx(0.98))
    window.transport.slider.setValue(5000)
    window.transport.slider.sliderMoved.emit(5000)
    qtbot.waitUntil(lambda: position() == pytest.approx(1.0))
    assert backstage.opened_sources == ["clip"]  # nothing was opened again
    assert backstage.pipelines[0].restarts >= 1
    window.transport.loop.setChecked(False)
    window.transport.speed.setCurrentIndex(4)
    assert window.session.speed == 4.0
    window.transport.play.click()
    qtbot.waitUntil(lambda: position() == pytest.approx(1.98))
    qtbot.waitUntil(lambda: not window.session.playback.is_playing)  # type: ignore[union-attr]


def test_a_camera_is_mirrored_and_has_no_slider(make_window: Callable[..., MainWindow], qtbot: QtBot) -> None:
    window = make_window("0")
    qtbot.waitUntil(lambda: shows_people(window))
    assert window.transport.slider.isHidden() and not window.transport.mirror.isHidden()

    def left_is_dark() -> bool:
        assert window.view.picture is not None
        image = window.view.picture.image
        return image.pixelColor(3, 3).red() < image.pixelColor(image.width() - 4, 3).red()

    assert window.transport.mirror.isChecked() and not left_is_dark()
    QTEST.keyClick(window, Qt.Key.Key_M)
    qtbot.waitUntil(left_is_dark)


def test_every_command_has_a_slot_and_is_listed(window: MainWindow, qtbot: QtBot) -> None:
    keys = [key for commands in window.commands.values() for command in commands for key in command.keys.split()]
    assert len(keys) == len(set(keys))
    dialog = KeysDialog(window.commands, window)
    qtbot.addWidget(dialog)
    assert dialog.sizeHint().height() < 900
    for name in ("tab_pose", "tab_statistics", "tab_overlay", "sidebar", "sidebar", "faster", "slower", "attention",
                 "next_keypoint", "previous_keypoint", "probe_next", "boxes", "full_screen", "full_screen", "start",
                 "forward", "backward", "shortcuts", "about", "copy"):  # fmt: skip
        trigger(window, name)
        qtbot.wait(5)
    clipboard = QApplication.clipboard()
    assert clipboard is not None and clipboard.image().width() == 320


def test_attention_is_fetched_only_while_it_is_shown(window: MainWindow, backstage: Backstage, qtbot: QtBot) -> None:
    def has_maps() -> bool:
        picture = window.view.picture
        return picture is not None and picture.shown.result is not None and picture.shown.result.attention is not None

    qtbot.waitUntil(lambda: shows_people(window) and not has_maps())
    pause(window, qtbot)
    QTEST.keyClick(window, Qt.Key.Key_A)  # also for a paused frame
    qtbot.waitUntil(has_maps)
    while window.overlay_panel.options.attention is not None:
        QTEST.keyClick(window, Qt.Key.Key_A)
    QTEST.keyClick(window, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: not has_maps())


def test_a_double_click_follows_a_person_and_escape_lets_go(
    window: MainWindow, qtbot: QtBot, backstage: Backstage
) -> None:
    def shown_ids() -> list[int]:
        picture = window.view.picture
        result = None if picture is None else picture.shown.result
        return [] if result is None or result.poses.track_ids is None else result.poses.track_ids.tolist()

    def shown_at() -> float:
        picture = window.view.picture
        return -1.0 if picture is None else picture.shown.shot.position_s

    pause(window, qtbot)  # it works there, too
    qtbot.waitUntil(lambda: len(shown_ids()) == 2)
    _first, second = shown_ids()
    place = click_on_frame(window, qtbot, 240, 100)
    QTEST.mouseDClick(window.view, Qt.MouseButton.LeftButton, pos=place)
    qtbot.waitUntil(lambda: shown_ids() == [second])
    assert window.look_control.is_following and "Esc lets go" in window.notices.text
    assert not window.overlay_panel.has_probe, "the first of the two clicks sets none"
    for position_s in (1.9, 0.0, 1.2):  # further than the networks look ahead, and back
        window.source_control.seek(position_s)
        qtbot.waitUntil(lambda at=position_s: shown_at() == pytest.approx(at))  # type: ignore[misc]
        assert shown_ids() == [second]
    seen: set[tuple[int, ...]] = set()
    epochs: set[int] = set()

    def has_looped() -> bool:
        picture = window.view.picture
        assert picture is not None
        seen.add(tuple(shown_ids()))
        epochs.add(picture.shown.shot.epoch)
        return len(epochs) > 2

    window.transport.speed.setCurrentIndex(4)
    QTEST.keyClick(window, Qt.Key.Key_Space)
    qtbot.waitUntil(has_looped)
    assert seen == {(second,)}
    window.pose_panel.controls["max_people"].widget.setValue(5)  # other networks follow the same person
    qtbot.waitUntil(lambda: window.session.options is not None and window.session.options.max_people == 5)
    qtbot.waitUntil(lambda: backstage.pipelines[-1].followed is not None)
    assert window.look_control.is_following and shown_ids() == [second]
    QTEST.keyClick(window, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: len(shown_ids()) == 2)
    assert second in shown_ids()
    assert backstage.pipelines[-1].followed is None and "Esc lets go" not in window.notices.text
    assert "lost" not in window.notices.text


def test_a_double_click_on_another_person_moves_the_follow(
    window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown_ids() -> list[int]:
        result = None if window.view.picture is None else window.view.picture.shown.result
        return [] if result is None or result.poses.track_ids is None else list(result.poses.track_ids)

    pause(window, qtbot)
    qtbot.waitUntil(lambda: len(shown_ids()) == 2)
    first, second = shown_ids()
    QTEST.mouseDClick(window.view, Qt.MouseButton.LeftButton, pos=click_on_frame(window, qtbot, 240, 100))
    qtbot.waitUntil(lambda: shown_ids() == [second])
    left_of = window.view.picture.shown.result.frame.index % 20 + 80  # type: ignore[union-attr]
    QTEST.mouseDClick(window.view, Qt.MouseButton.LeftButton, pos=click_on_frame(window, qtbot, left_of, 100))
    qtbot.waitUntil(lambda: shown_ids() == [first])
    assert window.look_control.is_following and not window.overlay_panel.has_probe
    asked: list[Follow] = []
    follow = window.session.follow

    def noted(wanted: Follow) -> None:
        asked.append(wanted)
        follow(wanted)

    monkeypatch.setattr(window.session, "follow", noted)
    QTEST.mouseDClick(window.view, Qt.MouseButton.LeftButton, pos=click_on_frame(window, qtbot, 310, 10))
    qtbot.waitUntil(lambda: len(asked) == 2 and shown_ids() == [first])
    assert window.look_control.is_following, "nobody is there: the same person is followed"
    QTEST.keyClick(window, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: shown_ids() == [first, second])


def test_a_followed_person_who_is_lost_is_told_of(
    make_window: Callable[..., MainWindow], qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = make_window(start=False)
    window.transport.speed.setCurrentIndex(0)  # so that its end is not known yet
    window.start("clip")
    qtbot.waitUntil(lambda: shows_people(window))
    pause(window, qtbot)
    window.source_control.seek(0.0)
    qtbot.waitUntil(lambda: window.view.picture.shown.shot.position_s == 0 and shows_people(window))  # type: ignore[union-attr]
    place = click_on_frame(window, qtbot, 240, 100)
    QTEST.mouseDClick(window.view, Qt.MouseButton.LeftButton, pos=place)
    qtbot.waitUntil(lambda: window.look_control.is_following)
    monkeypatch.setattr("app.live.kept_results.is_cut", lambda _one, _other: True)  # the place is another scene
    window.source_control.seek(1.9)
    qtbot.waitUntil(lambda: "was lost" in window.notices.text)
    qtbot.waitUntil(lambda: not window.look_control.is_following and shows_people(window))


def test_the_keypoint_is_kept_while_attention_is_off(
    make_window: Callable[..., MainWindow], settings: Settings, qtbot: QtBot
) -> None:
    window = make_window()
    qtbot.waitUntil(lambda: shows_people(window))
    window.overlay_panel.choose_keypoint("right_knee")
    window.overlay_panel.set_kind(None)
    assert window.session.composer.look.overlay.attention is None
    window.overlay_panel.set_kind("attention")
    assert window.session.composer.look.overlay.attention == AttentionView(kind="attention", keypoint=14)
    window.overlay_panel.set_kind(None)
    window.close()
    again = make_window()
    qtbot.waitUntil(lambda: shows_people(again))
    assert again.overlay_panel.keypoint == 14 and again.session.composer.look.overlay.attention is None


def test_the_legends_keep_off_people_stand_beside_a_narrow_picture_and_can_be_dragged(
    window: MainWindow, qtbot: QtBot
) -> None:
    view = window.view
    pause(window, qtbot)
    click_on_frame(window, qtbot, 240, 100)
    qtbot.waitUntil(lambda: not view.legend_area().isEmpty())
    with_probe = view.legend_area().height()
    window.overlay_panel.set_kind("attention")
    qtbot.waitUntil(lambda: view.legend_area().height() > with_probe)  # both, none over the other

    picture, area, before = view.picture, view.picture_area(), view.legend_area()
    assert picture is not None
    factor = area.width() / picture.image.width()
    people = [
        QRectF(QPointF(*(box[:2] * factor)), QPointF(*(box[2:] * factor))).translated(area.topLeft())
        for box in picture.people_xyxy.astype(float)
    ]
    assert QRectF(view.rect()).contains(before) and len(people) == 2
    corners = [
        QRectF(left, top, before.width(), before.height())
        for left in (area.left(), area.right() - before.width())
        for top in (area.top(), area.bottom() - before.height())
    ]

    def covered(place: QRectF) -> float:
        parts = [place.intersected(person) for person in people]
        return sum(part.width() * part.height() for part in parts)

    assert covered(before) <= 0.05 * before.width() * before.height() + min(covered(corner) for corner in corners)

    middle = QPointF(view.rect().center())
    QTEST.mousePress(view, Qt.MouseButton.LeftButton, pos=before.center().toPoint())
    nothing, left = Qt.MouseButton.NoButton, Qt.MouseButton.LeftButton
    move = QMouseEvent(QEvent.Type.MouseMove, middle, nothing, left, Qt.KeyboardModifier.NoModifier)
    QApplication.sendEvent(view, move)
    QTEST.mouseRelease(view, Qt.MouseButton.LeftButton, pos=middle.toPoint())
    assert (view.legend_area().center() - middle).manhattanLength() < 3
    QTEST.mouseDClick(view, Qt.MouseButton.LeftButton, pos=middle.toPoint())
    assert (view.legend_area().topLeft() - before.topLeft()).manhattanLength() < 3
    assert window.overlay_panel.has_probe and not window.look_control.is_following, "no click on the video"

    window.tabs.hide()
    window.resize(1800, 640)  # wider than the picture
    qtbot.waitUntil(lambda: view.legend_area().left() >= view.picture_area().right())
    window.overlay_panel.controls["legend"].widget.setChecked(False)
    qtbot.waitUntil(lambda: view.legend_area().isEmpty())


def test_a_waiting_probe_and_the_legends_cover_nothing_of_each_other(
    window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = window.view
    click_on_frame(window, qtbot, 240, 100)
    qtbot.waitUntil(lambda: window.overlay_panel.has_probe)
    window.overlay_panel.set_kind("attention")
    only(monkeypatch, slice(0, 1))  # the probed person leaves
    qtbot.waitUntil(lambda: view.picture is not None and view.picture.probe_lost)
    pause(window, qtbot)
    qtbot.waitUntil(lambda: not view.legend_area().isEmpty())
    assert view.picture is not None
    text = waiting_text(view.picture)
    legend = view.legend_area()
    view._dragged_to = (0.5, 1.0)  # where the text would stand
    assert not view.badge_area(text, at_top=False).intersects(view.legend_area())
    assert view.legend_area().size() == legend.size() and QRectF(view.rect()).contains(
        view.badge_area(text, at_top=False)
    )
