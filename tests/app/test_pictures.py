"""Positions in scaled pictures, readings of the probe, and playback of files."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.live.compose import Look, compose, fit, placement
from app.live.playback import Playback
from app.live.probe import Probe, person_at
from app.live.shots import PlaybackChanged, Shot, Shown, SourceOpened
from app.live.statistics import Statistics
from app.widgets.probe_painter import color_of
from engine.overlay.attention import AttentionView, attention_at
from engine.overlay.drawing import OverlayOptions
from engine.overlay.placed import transformed
from engine.skeleton import COCO17
from engine.types import Frame, StageTimings
from tests.app.conftest import WAIT_S
from tests.app.fakes import SIZE_WH, Clip, fake_result

FRAME = Frame(image_bgr=np.full((SIZE_WH[1], SIZE_WH[0], 3), 60, np.uint8), index=0, timestamp_s=0.0)
SHOT = Shot(frame=FRAME, captured_s=0.0, position_s=0.0, serial=1)
SHOWN = Shown(shot=SHOT, result=fake_result(FRAME), skeleton=COCO17)


@given(st.tuples(st.integers(1, 4000), st.integers(1, 4000)), st.tuples(st.integers(1, 4000), st.integers(1, 4000)))
def test_a_frame_fits_its_room(frame_wh: tuple[int, int], room_wh: tuple[int, int]) -> None:
    width, height = fit(frame_wh, room_wh)
    assert 1 <= width <= room_wh[0] and 1 <= height <= room_wh[1]
    assert width == room_wh[0] or height == room_wh[1]


@pytest.mark.parametrize("mirror", [False, True])
def test_corners_of_a_frame_are_corners_of_the_picture(mirror: bool) -> None:
    affine = placement((320, 180), (640, 360), mirror=mirror)
    edges = transformed(np.array([[-0.5, -0.5], [319.5, 179.5]], np.float32), affine)
    expected = [[639.5, -0.5], [-0.5, 359.5]] if mirror else [[-0.5, -0.5], [639.5, 359.5]]
    np.testing.assert_allclose(edges, expected, atol=1e-3)


def changed_places(look: Look, size_wh: tuple[int, int], density: float = 1.0) -> Any:
    bare = compose(replace(SHOWN, result=None), look, size_wh).image_bgr
    drawn = compose(SHOWN, look, size_wh, density=density).image_bgr
    return np.argwhere((bare != drawn).any(axis=2))


def test_drawings_follow_size_and_mirror() -> None:
    options = OverlayOptions(skeleton=False, boxes=True, ids=False, line_width=1)
    plain = changed_places(Look(overlay=options), (640, 360))
    mirrored = changed_places(Look(overlay=options, mirror=True), (640, 360))
    assert abs(plain[:, 1].min() - 80) < 6 and abs(plain[:, 1].max() - 560) < 6
    assert abs(mirrored[:, 1].min() - (639 - 560)) < 6 and abs(mirrored[:, 1].max() - (639 - 80)) < 6


@pytest.mark.parametrize(
    "options",
    [
        OverlayOptions(skeleton=False, ids=True),
        OverlayOptions(skeleton=False, ids=False, boxes=True, line_width=20),
        OverlayOptions(skeleton=False, ids=False, attention=AttentionView(kind="attention", keypoint=9)),
    ],
    ids=["labels", "lines", "legend"],
)
def test_drawings_scale_with_the_pixel_density(options: OverlayOptions) -> None:
    look = Look(overlay=options)
    sparse = changed_places(look, (640, 360))
    dense = changed_places(look, (1280, 720), density=2.0)
    assert len(dense) / 4 == pytest.approx(len(sparse), rel=0.15)


def test_attention_is_tinted_on_the_person_also_when_mirrored() -> None:
    view = AttentionView(kind="attention", keypoint=9)
    options = OverlayOptions(skeleton=False, ids=False, attention=view)
    for mirror, column in ((False, 160), (True, 479)):
        image = compose(SHOWN, Look(overlay=options, mirror=mirror), (640, 360)).image_bgr
        assert np.ptp(image[200, column].astype(int)) > 40  # coloured, not grey
    without = compose(replace(SHOWN, result=fake_result(FRAME, attention=False)), Look(overlay=options))
    np.testing.assert_array_equal(without.image_bgr, FRAME.image_bgr)  # a network without maps shows none


def test_composing_does_not_change_the_frame() -> None:
    before = FRAME.image_bgr.copy()
    compose(SHOWN, Look())
    np.testing.assert_array_equal(FRAME.image_bgr, before)


def test_the_probe_reads_the_map_where_the_point_is() -> None:
    result = fake_result(FRAME)
    assert result.attention is not None and result.attention.attention is not None
    values = np.random.default_rng(1).random((2, 17, 12, 8), dtype=np.float32)
    maps = replace(result.attention, attention=values)
    # Map px (i, j) is crop px (10 i, 12.5 j), and the crop begins at the box.
    point = result.poses.boxes_xyxy[1, :2] + np.array([30, 62.5], np.float32)
    np.testing.assert_allclose(attention_at(maps, 1, point), values[1, :, 5, 3], atol=1e-4)
    between = attention_at(maps, 1, point + np.array([5, 0], np.float32))
    np.testing.assert_allclose(between, (values[1, :, 5, 3] + values[1, :, 5, 4]) / 2, atol=1e-4)
    outside = attention_at(maps, 1, np.array([-1e4, 1e4], np.float32))
    np.testing.assert_allclose(outside, values[1, :, 11, 0], atol=1e-4)


LEFT, RIGHT = [40, 30, 120, 170], [200, 20, 280, 170]


def people(time_s: float, boxes: list[list[int]], ids: list[int] | None, serial: int = 1, pipeline: int = 1) -> Shown:
    """A frame with people in these boxes."""
    frame = replace(FRAME, timestamp_s=time_s)
    result = fake_result(frame)
    chosen = [0] * len(boxes)
    assert result.attention is not None
    poses = replace(
        result.poses.take(np.array(chosen, np.intp)),
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        track_ids=None if ids is None else np.array(ids, np.int64),
    )
    maps = result.attention.take(np.array(chosen, np.intp))
    shot = Shot(frame=frame, captured_s=time_s, position_s=time_s, serial=serial)
    return Shown(shot=shot, result=replace(result, poses=poses, attention=maps), skeleton=COCO17, pipeline=pipeline)


def placed(ids: list[int] | None) -> Probe:
    """A probe in the middle of the left person."""
    probe = Probe()
    assert not probe.place(people(0, [LEFT, RIGHT], ids), (5.0, 5.0)) and not probe.is_set
    assert probe.place(people(0, [LEFT, RIGHT], ids), (80.0, 100.0))
    return probe


@pytest.mark.parametrize("ids", [[7, 3], None])
def test_the_probe_tracks_its_person_by_id_and_by_box(ids: list[int] | None) -> None:
    probe = placed(None if ids is None else [3, 7])
    reading = probe.read(people(0.1, [RIGHT, [44, 34, 124, 174]], ids))
    assert reading is not None
    np.testing.assert_allclose(reading.point_xy, [84, 104], atol=1e-3)


def test_the_probe_waits_for_its_id_and_never_moves_to_another_person() -> None:
    probe = placed([3, 7])
    for time_s in (0.1, 1.0, 1.9):  # a cut: another person in the same box
        assert probe.read(people(time_s, [LEFT], [8])) is None and probe.is_set
        assert probe.is_lost and probe.person_id == 3
    back = probe.read(people(1.95, [LEFT, RIGHT], [8, 3]))
    assert back is not None and back.point_xy[0] == 240 and not probe.is_lost
    assert probe.read(people(40.0, [LEFT, RIGHT], [8, 9])) is None and probe.is_lost  # it waits for as long as it takes
    assert probe.read(people(40.1, [RIGHT], [3])) is not None and not probe.is_lost


def test_a_probe_that_waits_is_removed_with_the_ids_that_it_waits_for() -> None:
    probe = placed([3, 7])
    assert probe.read(people(0.1, [RIGHT], [7])) is None and probe.is_lost
    assert probe.read(people(0.2, [LEFT], [3], pipeline=2)) is None and not probe.is_set


def test_the_probe_of_a_photo_finds_nobody_in_another() -> None:
    def photo(position_s: float) -> Shown:
        shown = people(position_s, [LEFT, RIGHT], None)
        frame = replace(shown.shot.frame, is_still=True)
        return replace(shown, shot=replace(shown.shot, frame=frame))

    probe = Probe()
    assert probe.place(photo(0.0), (80.0, 100.0))
    assert probe.read(photo(5.0)) is None and probe.is_lost
    assert probe.read(photo(0.0)) is not None and not probe.is_lost


def test_without_ids_the_probe_is_removed_with_its_person() -> None:
    probe = placed(None)
    assert probe.read(people(0.1, [RIGHT], None)) is None and probe.is_set
    assert probe.read(people(0.2, [[90, 30, 170, 170]], None)) is None  # hardly the same place
    assert probe.read(people(0.3, [LEFT], None)) is not None  # missed by the detector
    assert probe.read(people(0.9, [], None)) is None and not probe.is_set
    assert probe.read(people(1.0, [LEFT], None)) is None


def test_ids_of_another_pipeline_are_ignored_and_another_source_removes_the_probe() -> None:
    probe = placed([3, 7])
    reading = probe.read(people(0.1, [RIGHT, LEFT], [3, 1], pipeline=2))
    assert reading is not None and reading.point_xy[0] == 80
    assert probe.read(people(0.2, [LEFT], [1], serial=2, pipeline=2)) is None and not probe.is_set


def test_the_probe_tracks_while_no_maps_are_fetched() -> None:
    probe = placed([3, 7])
    for time_s in (1.0, 2.0, 3.0):
        shown = people(time_s, [LEFT, RIGHT], [3, 7])
        assert shown.result is not None
        assert probe.read(replace(shown, result=replace(shown.result, attention=None))) is None and probe.is_set
    assert probe.read(people(3.1, [LEFT, RIGHT], [3, 7])) is not None


def test_where_people_overlap_the_nearest_keypoint_decides() -> None:
    poses = fake_result(FRAME).poses
    both = replace(poses, boxes_xyxy=np.array([[0, 0, 320, 180], [0, 0, 320, 180]], np.float32))
    assert person_at(both, poses.keypoints_xy[1, 4]) == 1
    assert person_at(both, poses.keypoints_xy[0, 4]) == 0


def test_zero_is_blue_and_one_is_red() -> None:
    low, high = color_of(0.0), color_of(1.0)
    assert low.blue() > low.red() and high.red() > 2 * high.blue()
    assert color_of(float("nan")) == low


def test_statistics_drop_old_samples() -> None:
    statistics = Statistics()
    for number in range(100):
        at = number * 0.1
        statistics.add(
            painted_s=at,
            captured_s=at - 0.04,
            timings=StageTimings(pose_ms=5),
            people=number % 2,
            draw_ms=2,
            paint_ms=1,
        )
    reported = statistics.snapshot(10.0)
    assert reported.fps == pytest.approx(10, abs=0.5) and reported.frames_painted_with_people == 50
    assert reported.latency is not None and reported.latency.p50 == pytest.approx(40, abs=1e-6)
    assert reported.stages["pose"].p95 == 5 and "crop" not in reported.stages
    assert statistics.snapshot(100.0).latency is None


def collect(
    done: Callable[[list[Shot], list[Any]], bool], *, loop: bool, speed: float = 1.0, frames: int = 25
) -> tuple[list[Shot], list[Any]]:
    """Shots and events of a clip, until a condition holds."""
    shots: list[Shot] = []
    events: list[Any] = []
    playback = Playback(
        "clip", serial=1, put=shots.append, emit=events.append, open_source=lambda _text: Clip(frames), loop=loop,
        speed=speed,
    )  # fmt: skip
    until_s = time.monotonic() + WAIT_S
    while not done(shots, events) and time.monotonic() < until_s:
        time.sleep(0.02)
    playback.stop()
    assert playback.join(2)
    return shots, events


def at_end(_shots: list[Shot], events: list[Any]) -> bool:
    return bool(events) and events[-1] == PlaybackChanged(serial=1, playing=False)


def test_a_file_plays_in_real_time_and_ends() -> None:
    shots, events = collect(at_end, loop=False)
    assert [shot.frame.index for shot in shots] == list(range(25))
    assert shots[-1].captured_s - shots[0].captured_s > 0.44  # 24 steps of 20 ms
    assert isinstance(events[0], SourceOpened) and events[0].duration_s == pytest.approx(0.5)
    assert at_end(shots, events)


def test_a_looped_file_has_increasing_times() -> None:
    shots, _events = collect(lambda shots, _events: len(shots) > 30, loop=True, speed=4.0)
    times = [shot.frame.timestamp_s for shot in shots]
    assert all(later > earlier for earlier, later in itertools.pairwise(times))
    assert [shot.frame.index for shot in shots] == list(range(len(shots)))
    assert {shot.epoch for shot in shots} >= {0, 1}


def test_one_photo_is_shown_only_once() -> None:
    shots, events = collect(at_end, loop=True, frames=1)
    assert len(shots) == 1 and at_end(shots, events)
