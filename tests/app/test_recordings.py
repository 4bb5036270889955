"""What the record button writes: the same frames in all files, under the chosen names, for the chosen time."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from app.main_window import MainWindow
from app.output.record_dialog import RecordDialog
from app.output.record_options import RecordOptions
from engine.errors import OptionError, OutputError
from engine.output.video_writer import VideoWriter
from engine.types import UInt8Array
from tests.app.conftest import shows_people, trigger


@pytest.fixture
def dialog(window: MainWindow, tmp_path: Path) -> RecordDialog:
    trigger(window, "record_options")
    (found,) = window.findChildren(RecordDialog)
    found.folder.set_path(tmp_path / "takes")
    for name in ("overlay", "raw", "poses"):
        found.controls[name].widget.setChecked(True)
    found.controls["pattern"].widget.setText("{source}-take")
    return found


def record(window: MainWindow, qtbot: QtBot, frames: int = 12) -> None:
    """Record some frames with the button."""
    window.transport.record.click()
    qtbot.waitUntil(lambda: window.outputs.video is not None and window.outputs.video.frames > frames)
    window.transport.record.click()
    qtbot.waitUntil(lambda: window.outputs.video is None)


def read(path: Path) -> tuple[list[Fraction], list[UInt8Array]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    times = [Fraction(frame.pts or 0) * Fraction(frame.time_base or 1) for frame in frames]
    return times, [np.asarray(frame.to_ndarray(format="bgr24"), np.uint8) for frame in frames]


def test_raw_overlay_and_poses_hold_the_same_frames(dialog: RecordDialog, window: MainWindow, qtbot: QtBot) -> None:
    record(window, qtbot)
    folder = dialog.folder.path
    assert {path.name for path in folder.iterdir()} == {"clip-take.mp4", "clip-take_raw.mp4", "clip-take.jsonl"}
    (times, drawn), (raw_times, raw) = read(folder / "clip-take.mp4"), read(folder / "clip-take_raw.mp4")
    lines = [json.loads(line) for line in (folder / "clip-take.jsonl").read_text().splitlines()]
    assert times == raw_times and len(times) > 12
    assert [line["frame"] for line in lines] == list(range(len(times)))
    assert [line["time_s"] for line in lines] == [pytest.approx(float(time_s), abs=1e-3) for time_s in times]
    for line, with_overlay, without in zip(lines, drawn, raw, strict=True):
        assert float(without.std()) < 2 < float(with_overlay.std()), "only one is drawn on"
        # The box moves with the number of the frame, which its grey tells: it is the pose of this very frame.
        index = round(float(without.mean())) - 50
        boxes = [person["box_xyxy"][0] for person in line["people"]]
        assert min(abs(boxes[0] - 40 - (index + near) % 20) for near in (-1, 0, 1)) < 0.01


def test_a_name_that_is_taken_gets_a_number_for_all_files(
    dialog: RecordDialog, window: MainWindow, qtbot: QtBot
) -> None:
    dialog.folder.path.mkdir()
    (dialog.folder.path / "clip-take.jsonl").write_text("precious")
    record(window, qtbot)
    names = {path.name for path in dialog.folder.path.iterdir()}
    assert names == {"clip-take.jsonl", "clip-take_2.mp4", "clip-take_2_raw.mp4", "clip-take_2.jsonl"}
    assert (dialog.folder.path / "clip-take.jsonl").read_text() == "precious"


def test_a_recording_stops_at_its_time(dialog: RecordDialog, window: MainWindow, qtbot: QtBot) -> None:
    dialog.controls["duration"].show(0.5)
    window.transport.record.click()
    qtbot.waitUntil(lambda: "0:00/0:00" in window.transport.recording.text())
    qtbot.waitUntil(lambda: "frames recorded in" in window.notices.text)
    qtbot.waitUntil(lambda: window.outputs.video is None and not window.outputs.is_recording)
    times, _frames = read(dialog.folder.path / "clip-take.mp4")
    assert times and "clip-take_raw.mp4, clip-take.jsonl" in window.notices.text


def test_a_recording_waits_for_its_time_and_is_let_go(dialog: RecordDialog, window: MainWindow, qtbot: QtBot) -> None:
    dialog.controls["delay"].show(30.0)
    window.transport.record.click()
    assert "in 30 s" in window.transport.recording.text() and window.outputs.video is None
    window.transport.record.click()
    assert not window.outputs.is_recording and not window.transport.recording.text()
    dialog.controls["delay"].show(0.2)
    window.transport.record.click()
    assert window.outputs.video is None
    qtbot.waitUntil(lambda: window.outputs.video is not None and window.outputs.video.frames > 3)


def test_closing_while_a_recording_waits_leaves_nothing(dialog: RecordDialog, window: MainWindow, qtbot: QtBot) -> None:
    dialog.controls["delay"].show(0.3)
    window.transport.record.click()
    window.close()
    qtbot.wait(500)
    assert window.outputs.video is None and not dialog.folder.path.exists()


def test_poses_alone_have_the_same_display(window: MainWindow, qtbot: QtBot) -> None:
    icon = window.transport.record.icon().pixmap(20).toImage()
    window.transport.poses.click()
    qtbot.waitUntil(lambda: "GB free" in window.transport.recording.text())
    assert window.transport.record.icon().pixmap(20).toImage() == icon, "R would begin a recording, not stop this one"
    window.transport.poses.click()
    qtbot.waitUntil(lambda: window.outputs.poses is None and not window.transport.recording.text())


def test_one_file_that_cannot_be_written_ends_all_and_keeps_what_there_is(
    dialog: RecordDialog, window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = VideoWriter.write

    def full(self: VideoWriter, image_bgr: UInt8Array, pts: int) -> None:
        if self.frames == 8 and "_raw" in self._part.path.name:
            raise OutputError("no space left")
        real(self, image_bgr, pts)

    monkeypatch.setattr(VideoWriter, "write", full)
    window.transport.record.click()
    qtbot.waitUntil(lambda: "no space left" in window.notices.text)
    left = {path.name for path in dialog.folder.path.iterdir()}
    assert left == {"clip-take.part.mp4", "clip-take_raw.part.mp4", "clip-take.part.jsonl"}
    assert all(name in window.notices.text for name in left)


def test_choices_that_make_no_recording_say_why(dialog: RecordDialog, window: MainWindow) -> None:
    before = window.outputs.record_options
    dialog.controls["pattern"].widget.setText("{soruce}")
    assert "Did you mean 'source'" in dialog.note.text() and not dialog.record.isEnabled()
    for pattern in ("a/b", "{", "{0}", "", ".hidden", "{source.__class__}"):
        with pytest.raises(OptionError, match="file name"):
            RecordOptions(pattern=pattern)
    dialog.controls["pattern"].widget.setText("take")
    for name in ("overlay", "raw", "poses"):
        dialog.controls[name].widget.setChecked(False)
    assert "nothing is chosen" in dialog.note.text() and not dialog.record.isEnabled()
    assert window.outputs.record_options.pattern == "take" and before.raw


def test_choices_are_remembered_and_reset(
    dialog: RecordDialog, window: MainWindow, make_window: Callable[..., MainWindow], qtbot: QtBot
) -> None:
    dialog.controls["duration"].show(12.5)
    again = make_window()
    qtbot.waitUntil(lambda: shows_people(again))
    assert again.outputs.record_options == RecordOptions(raw=True, poses=True, duration=12.5, pattern="{source}-take")
    assert again.outputs.record_folder == dialog.folder.path
    again.reset_settings()
    assert again.outputs.record_options == RecordOptions() and again.outputs.record_folder is None


def test_the_dialog_begins_the_recording(dialog: RecordDialog, window: MainWindow, qtbot: QtBot) -> None:
    dialog.record.click()
    qtbot.waitUntil(lambda: window.outputs.video is not None and window.outputs.video.frames > 3)
    trigger(window, "record_options")  # it can be looked at meanwhile, and the choices hold for the next
    last = window.findChildren(RecordDialog)[-1]
    assert last.isVisible() and not last.record.isVisible()
    assert window.outputs.video is not None and window.outputs.video.is_running
