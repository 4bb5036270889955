"""Ids and results of a frame do not depend on how it was reached; all that is kept has a bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from app.live.kept_results import KeptResults
from app.live.shots import Shot
from app.main_window import MainWindow
from engine.types import Float32Array, Frame, FrameResult, UInt8Array
from tests.app.conftest import pause, shows_people
from tests.app.fakes import Backstage, fake_result, only


def ids_shown(window: MainWindow) -> set[int]:
    picture = window.view.picture
    assert picture is not None and picture.shown.result is not None
    ids = picture.shown.result.poses.track_ids
    return set() if ids is None else set(ids.tolist())


def at(window: MainWindow, qtbot: QtBot, position_s: float) -> Float32Array:
    """The keypoints on the screen, once it shows this position."""

    def there() -> bool:
        picture = window.view.picture
        return (
            shows_people(window) and picture is not None and picture.shown.shot.position_s == pytest.approx(position_s)
        )

    qtbot.waitUntil(there)
    picture = window.view.picture
    assert picture is not None and picture.shown.result is not None
    return picture.shown.result.poses.keypoints_xy.copy()


def test_a_frame_has_the_same_people_played_sought_and_stepped_to(
    window: MainWindow, backstage: Backstage, qtbot: QtBot
) -> None:
    pause(window, qtbot)
    window.source_control.seek(1.0)
    first = at(window, qtbot, 1.0)
    assert ids_shown(window) == {1, 2}
    window.source_control.seek(0.2)
    at(window, qtbot, 0.2)
    window.source_control.seek(1.0)
    np.testing.assert_array_equal(at(window, qtbot, 1.0), first)
    window.source_control.step(1)
    at(window, qtbot, 1.02)
    window.source_control.step(-1)
    np.testing.assert_array_equal(at(window, qtbot, 1.0), first)
    processed = backstage.processed
    window.source_control.seek(0.9)
    at(window, qtbot, 0.9)
    seen: dict[float, Float32Array] = {}
    window.session.on_shown = lambda shown: (
        None if shown.result is None else seen.update({shown.shot.position_s: shown.result.poses.keypoints_xy})
    )
    window.transport.speed.setCurrentIndex(0)  # so that a loaded machine drops no frame
    window.source_control.toggle_playing()
    qtbot.waitUntil(lambda: 1.0 in seen)
    np.testing.assert_array_equal(seen[1.0], first)
    assert ids_shown(window) == {1, 2} and backstage.processed > processed


def test_looping_counts_no_ids_up_and_another_source_begins_at_one(
    window: MainWindow, backstage: Backstage, qtbot: QtBot
) -> None:
    found: set[int] = set()
    window.session.on_shown = lambda shown: (
        None
        if shown.result is None or shown.result.poses.track_ids is None
        else found.update(shown.result.poses.track_ids.tolist())
    )
    window.transport.speed.setCurrentIndex(4)
    epochs: set[int] = set()

    def looped() -> bool:
        if window.view.picture is not None:
            epochs.add(window.view.picture.shown.shot.epoch)
        return len(epochs) > 2

    qtbot.waitUntil(looped)
    assert found == {1, 2}
    serial = window.session.playback.serial if window.session.playback is not None else 0
    window.source_control.open("clip two")
    qtbot.waitUntil(lambda: window.session.playback is not None and window.session.playback.serial > serial)
    qtbot.waitUntil(lambda: window.view.picture is not None and window.view.picture.shown.shot.serial > serial)
    qtbot.waitUntil(lambda: shows_people(window))
    assert ids_shown(window) == {1, 2}


def test_other_options_drop_what_was_kept(window: MainWindow, backstage: Backstage, qtbot: QtBot) -> None:
    pause(window, qtbot)
    window.source_control.seek(1.0)
    first = at(window, qtbot, 1.0)
    window.pose_panel.controls["max_people"].widget.setValue(4)
    qtbot.waitUntil(lambda: window.session.options is not None and window.session.options.max_people == 4)
    qtbot.waitUntil(lambda: not np.array_equal(at(window, qtbot, 1.0), first))


def test_a_probe_and_its_person_outlast_seeking_and_looping(window: MainWindow, qtbot: QtBot) -> None:
    pause(window, qtbot)
    window.source_control.seek(1.0)
    at(window, qtbot, 1.0)
    window.look_control.place_probe(90, 100)
    for position_s in (1.0, 0.2, 1.96, 0.0, 1.0):
        window.source_control.seek(position_s)
        at(window, qtbot, position_s)
        qtbot.waitUntil(lambda: window.view.picture is not None and window.view.picture.reading is not None)
        picture = window.view.picture
        assert picture is not None and picture.reading is not None and picture.shown.result is not None
        box = picture.shown.result.poses.boxes_xyxy[0]
        assert box[0] <= picture.reading.point_xy[0] <= box[2]


# --- the rule by itself ---------------------------------------------------------------------------------------------

LEFT, MIDDLE, RIGHT = (40, 30, 120, 170), (100, 30, 180, 170), (200, 20, 280, 170)
Box = tuple[int, int, int, int]


def scene(seed: int) -> UInt8Array:
    """A picture of one of several scenes."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    return np.asarray(coarse.repeat(30, axis=0).repeat(40, axis=1), np.uint8)


class Rig:
    """A pipeline's part: frames with given boxes, and numbers of its own."""

    def __init__(self, results: KeptResults | None = None) -> None:
        self.results = results or KeptResults()
        self.restarts = 0

    def show(
        self, position_s: float, boxes: list[Box], own: list[int] | None, *, picture: int = 0, serial: int = 1,
        attention: bool = False, live: bool = False, epoch: int = 0, still: bool = False,
    ) -> FrameResult:  # fmt: skip
        """The result shown for a frame."""
        frame = Frame(image_bgr=scene(picture), index=0, timestamp_s=position_s, is_still=still)
        shot = Shot(
            frame=frame, captured_s=0, position_s=0 if live else position_s, serial=serial, epoch=epoch, is_live=live
        )  # fmt: skip
        kept = self.results.of(shot, with_maps=attention)
        if kept is not None:
            assert kept.frame is frame
            return kept
        self.restarts += not self.results.follows(shot)
        made = fake_result(frame, attention=True)
        rows = np.zeros(len(boxes), np.intp)
        assert made.attention is not None
        poses = replace(
            made.poses.take(rows),
            boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
            track_ids=None if own is None else np.array(own, np.int64),
        )
        maps = made.attention.take(rows) if attention else None
        return self.results.add(shot, replace(made, poses=poses, attention=maps))


def ids(result: FrameResult) -> list[int]:
    assert result.poses.track_ids is not None
    return [int(number) for number in result.poses.track_ids]


def test_after_a_jump_people_continue_the_ids_of_the_nearest_kept_frame() -> None:
    rig = Rig()
    assert ids(rig.show(1.0, [LEFT, RIGHT], [11, 12])) == [1, 2]
    assert ids(rig.show(1.1, [RIGHT, LEFT], [12, 11])) == [2, 1]  # the pipeline goes on
    assert ids(rig.show(9.0, [MIDDLE, RIGHT], [13, 14])) == [3, 2]  # elsewhere: new; overlapping: continued
    assert ids(rig.show(9.1, [MIDDLE], [13])) == [3]
    assert ids(rig.show(0.9, [LEFT], [15])) == [1]
    assert ids(rig.show(1.0, [], None)) == [1, 2]  # kept: nothing runs
    assert rig.restarts == 3


def test_nobody_takes_over_an_id_at_a_cut() -> None:
    rig = Rig()
    assert ids(rig.show(1.0, [LEFT], [1], picture=0)) == [1]
    assert ids(rig.show(1.1, [LEFT], [2], picture=5)) == [2]  # another person in the same place
    assert rig.restarts == 2
    assert ids(rig.show(0.8, [LEFT], [3], picture=0)) == [1]
    assert ids(rig.show(1.05, [LEFT], [4], picture=0)) == [1]  # between both, but of the first scene
    assert ids(rig.show(1.6, [LEFT], [5], picture=5)) == [2]


def test_two_people_never_have_one_id() -> None:
    rig = Rig()
    rig.show(1.0, [LEFT], [1])
    assert sorted(ids(rig.show(5.0, [LEFT, (44, 30, 124, 170)], [2, 3]))) == [1, 2]
    assert ids(rig.show(5.1, [LEFT, (44, 30, 124, 170)], [2, 3])) == ids(rig.show(5.0, [], None))


def test_each_source_begins_at_one_and_keeps_nothing_of_the_last() -> None:
    rig = Rig()
    rig.show(1.0, [LEFT, RIGHT], [1, 2])
    assert ids(rig.show(1.0, [RIGHT], [7], serial=2)) == [1]


def test_a_pipeline_that_takes_over_continues_the_ids_and_gives_none_again() -> None:
    first = Rig()
    first.show(1.0, [LEFT, RIGHT], [5, 6])
    first.show(1.1, [RIGHT], [6])
    for picture, serial, live, expected in ((0, 1, False, [3, 2]), (0, 1, True, [3, 2]), (5, 1, False, [3, 4]),
                                            (0, 2, False, [1, 2])):  # fmt: skip
        second = Rig()
        second.results.last_ids = first.results.last_ids
        assert ids(second.show(1.2, [LEFT, RIGHT], [1, 2], picture=picture, serial=serial, live=live)) == expected
        assert ids(second.show(1.3, [RIGHT], [2], picture=picture, serial=serial, live=live)) == expected[1:]


def test_ids_go_on_with_other_networks(window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    pause(window, qtbot)
    window.source_control.seek(1.0)
    at(window, qtbot, 1.0)
    window.show_tab(3)
    assert window.view.poses is not None
    window.choice.choose(window.view.poses, 1)
    only(monkeypatch, slice(1, 2))
    window.pose_panel.controls["max_people"].widget.setValue(4)
    qtbot.waitUntil(lambda: window.view.poses is not None and len(window.view.poses) == 1)
    assert ids_shown(window) == {2} and window.choice.chosen.track_id == 2


def test_a_camera_keeps_no_frames_and_its_ids_while_its_signal_lasts() -> None:
    rig = Rig()
    assert ids(rig.show(0.0, [LEFT], [4], live=True)) == [1]
    assert ids(rig.show(0.1, [LEFT, RIGHT], [4, 5], live=True)) == [1, 2]
    assert ids(rig.show(9.0, [LEFT], [6], live=True, epoch=1)) == [3]


def test_people_of_photos_have_no_ids() -> None:
    rig = Rig()
    for number in range(3):
        assert rig.show(number, [LEFT], [number], still=True).poses.track_ids is None
    assert rig.restarts == 3


def test_maps_that_were_not_kept_come_with_the_people_that_were() -> None:
    rig = Rig()
    first = rig.show(1.0, [LEFT, RIGHT], [1, 2])
    again = rig.show(1.0, [RIGHT, LEFT], [8, 9], attention=True)  # in another order
    np.testing.assert_array_equal(again.poses.boxes_xyxy, first.poses.boxes_xyxy)
    assert ids(again) == [1, 2] and again.attention is not None
    assert ids(rig.show(1.1, [MIDDLE, RIGHT], [9, 8])) == [1, 2]  # and the frames after it continue them
    assert rig.show(1.0, [], None, attention=True).attention is not None


@pytest.mark.parametrize("maps", [False, True])
def test_what_is_kept_has_a_bound(maps: bool) -> None:
    results = KeptResults(most_bytes=100_000, most_map_bytes=300_000)
    rig = Rig(results)
    for number in range(200):
        rig.show(number / 10, [LEFT, RIGHT], [1, 2], attention=maps)
    assert results._bytes <= 100_000 and results._map_bytes <= 300_000
    assert 5 < len(results._kept) < 60 and len(results._kept) == len(results._places)
    assert all(kept.result.frame.image_bgr.size < 10 for kept in results._kept.values())
    assert ids(rig.show(0.0, [LEFT, RIGHT], [50, 51])) == [1, 2]  # dropped, and found again by the nearest


def test_a_lost_probe_says_so(window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    window.look_control.place_probe(90, 100)
    qtbot.waitUntil(lambda: window.view.picture is not None and window.view.picture.reading is not None)
    only(monkeypatch, slice(1, 2))
    say: Callable[[], str] = window.overlay_panel._probe_text.text
    qtbot.waitUntil(lambda: say() == "Person #1 is not here; the probe waits for them.")
    assert window.overlay_panel.has_probe
    monkeypatch.undo()
    qtbot.waitUntil(lambda: window.view.picture is not None and window.view.picture.reading is not None)
    assert window.overlay_panel._probe_text.isHidden()
