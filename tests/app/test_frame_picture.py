"""Snapshots and recordings show the probe as the window does."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from app.live.compose import Look, compose
from app.live.probe import Probe, ProbeReading
from app.live.shots import Shot, Shown
from app.main_window import MainWindow
from app.output.frame_picture import frame_picture
from engine.output.video_writer import VideoWriter
from engine.overlay.drawing import OverlayOptions
from engine.skeleton import COCO17
from engine.sources.opening import open_source
from engine.types import Frame, UInt8Array
from tests.app.conftest import pause
from tests.app.fakes import SIZE_WH, fake_result
from tests.app.test_controls import click_on_frame

CLEAN = OverlayOptions(skeleton=False, ids=False)
SHARE = 0.6
"""The probed place in the first person's box, in each direction; keypoints 9 and 10 are next to it."""


def is_star(pixel_bgr: UInt8Array) -> bool:
    blue, green, red = (int(value) for value in pixel_bgr)
    return red > 200 and green > 190 and blue < 150


def shown_and_read(size_wh: tuple[int, int]) -> tuple[Shown, ProbeReading]:
    """The fake people in a grey frame, and a probe at (90, 150)."""
    frame = Frame(image_bgr=np.full((size_wh[1], size_wh[0], 3), 60, np.uint8), index=0, timestamp_s=0.0)
    shot = Shot(frame=frame, captured_s=0.0, position_s=0.0, serial=1)
    shown = Shown(shot=shot, result=fake_result(frame), skeleton=COCO17)
    probe = Probe()
    assert probe.place(shown, (90.0, 150.0))
    reading = probe.read(shown)
    assert reading is not None
    return shown, reading


@pytest.mark.parametrize("mirror", [False, True])
def test_star_circles_and_legend_are_drawn(mirror: bool, qtbot: QtBot) -> None:
    shown, reading = shown_and_read((960, 540))
    look = Look(overlay=CLEAN, mirror=mirror)
    image = frame_picture(shown, look, reading)

    def at(x: float, y: float) -> UInt8Array:
        column = 959 - round(x) if mirror else round(x)
        return np.asarray(image[round(y), column])

    assert is_star(at(90, 150))
    assert shown.result is not None
    points = shown.result.poses.keypoints_xy[0]
    wrist, nose, other = at(*points[9]), at(*(points[0] - 3)), at(*shown.result.poses.keypoints_xy[1, 9])
    assert wrist[2] > 120 > wrist[0]  # red: everything attends to the left wrist
    assert nose[0] > 120 > nose[2]  # blue
    np.testing.assert_array_equal(other, [60, 60, 60])  # the other person has no circles
    bare = compose(shown, look).image_bgr
    without = frame_picture(shown, replace(look, overlay=replace(CLEAN, legend=False)), reading)
    rows, _columns = np.nonzero((image != without).any(axis=2))
    assert len(rows) > 1000  # the legend
    assert rows.min() > 180  # in a lower corner, where nobody is
    assert (image != bare).any(axis=2).mean() < 0.2  # and the frame is visible


def test_without_a_probe_the_picture_is_the_composed_one() -> None:
    shown, _reading = shown_and_read(SIZE_WH)
    np.testing.assert_array_equal(frame_picture(shown, Look(), None), compose(shown, Look()).image_bgr)
    unseen = replace(shown, result=None)
    np.testing.assert_array_equal(frame_picture(unseen, Look(), None), unseen.shot.frame.image_bgr)


def stars_of(video: Path) -> list[bool | None]:
    """For each frame: whether the star is at its place. The grey encodes the frame number."""
    found: list[bool | None] = []
    with open_source(str(video)) as source:
        for frame in source:
            shift = (round(float(frame.image_bgr[4, 4].mean())) - 50) % 20
            if shift in (0, 1, 18, 19):  # the grey may be one off, and then the box is unknown
                found.append(None)
                continue
            column, row = round(40 + shift + SHARE * 80), round(30 + SHARE * 140)
            found.append(is_star(frame.image_bgr[row, column]))
    return found


def test_a_recording_shows_the_probe_from_the_click_on_and_a_snapshot_does(window: MainWindow, qtbot: QtBot) -> None:
    window.overlay_panel.set_options(replace(CLEAN, legend=False))  # it might lie beside the grey that is read
    window.look_control.apply()
    window.transport.record.click()
    qtbot.waitUntil(lambda: window.outputs.video is not None and window.outputs.video.frames > 8)
    pause(window, qtbot)  # so that the person does not move under the click
    picture = window.view.picture
    assert picture is not None and picture.shown.result is not None
    left, top, right, bottom = (float(side) for side in picture.shown.result.poses.boxes_xyxy[0])
    click_on_frame(window, qtbot, left + SHARE * (right - left), top + SHARE * (bottom - top))
    qtbot.waitUntil(lambda: window.view.picture is not None and window.view.picture.reading is not None)
    window.transport.snapshot.click()
    qtbot.waitUntil(lambda: ".png" in window.notices.text)
    (snapshot,) = window.outputs.folder.glob("*.png")
    saved = cv2.imread(str(snapshot))
    assert saved is not None
    assert is_star(saved[round(top + SHARE * (bottom - top)), round(left + SHARE * (right - left))])
    window.source_control.toggle_playing()
    recording = window.outputs.video
    assert recording is not None
    before = recording.frames
    qtbot.waitUntil(lambda: recording.frames > before + 20)
    window.transport.record.click()
    qtbot.waitUntil(lambda: "frames recorded in" in window.notices.text)
    (video,) = window.outputs.folder.glob("*.mp4")
    stars = stars_of(video)
    known = [star for star in stars[-15:] if star is not None]
    assert len(known) > 5 and all(known)
    assert True not in stars[:8]


def test_the_program_waits_for_a_slow_recording_with_a_probe(
    window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = VideoWriter.write

    def slow(self: VideoWriter, image_bgr: UInt8Array, pts: int) -> None:
        time.sleep(0.2)  # for sixteen queued frames: longer than closing a window may take
        write(self, image_bgr, pts)

    monkeypatch.setattr(VideoWriter, "write", slow)
    click_on_frame(window, qtbot, 90, 100)
    window.transport.record.click()
    recording = window.outputs.video
    assert recording is not None
    qtbot.waitUntil(lambda: recording.dropped > 0)
    window.close()
    assert not recording.join(0)  # the window is gone, and Qt still paints the probe
    window.outputs.wait()
    assert recording.join(0)
    (video,) = window.outputs.folder.glob("*.mp4")
    with open_source(str(video)) as source:
        assert len(list(source)) == recording.frames > 10
