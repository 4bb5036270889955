"""The export dialog writes what was chosen, of several files one after another, and says how far it is."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PyQt5.QtCore import QUrl
from PyQt5.QtGui import QDesktopServices
from pytestqt.qtbot import QtBot

from app.main_window import MainWindow
from app.output.export_dialog import ExportDialog
from engine.output.run_video import NO_PICTURES
from engine.sources.opening import open_source
from engine.types import UInt8Array
from tests.app.conftest import pause, shows_people, trigger
from tests.app.fakes import RATE, SIZE_WH, Backstage
from tests.engine.clips import ClipSpec, make_clip

RAW, DATA_ONLY = 1, 2


@pytest.fixture
def dialog(window: MainWindow, tmp_path: Path) -> ExportDialog:
    """Of a window with a source of a hundred frames."""
    trigger(window, "export")
    (found,) = window.findChildren(ExportDialog)
    found.folder.set_path(tmp_path / "exports")
    return found


def states(dialog: ExportDialog) -> list[str]:
    rows = [dialog.files.topLevelItem(row) for row in range(dialog.files.topLevelItemCount())]
    return [row.text(2) for row in rows if row is not None]


def export_all(dialog: ExportDialog, qtbot: QtBot) -> list[str]:
    """Press the button and wait for the end of the queue; returns the states of all files."""
    assert dialog.export_button.isEnabled(), dialog.note.text()
    dialog.export_button.click()
    qtbot.waitUntil(lambda: dialog._queue.running is None and not dialog._queue.waiting)
    return states(dialog)


def frames_of(path: Path) -> list[UInt8Array]:
    with open_source(str(path)) as source:
        return [frame.image_bgr for frame in source]


def test_a_range_in_all_formats_is_that_of_the_source(dialog: ExportDialog, qtbot: QtBot) -> None:
    dialog.picture.setCurrentIndex(RAW)
    for box in dialog.formats.values():
        box.setChecked(True)
    dialog.controls["angles"].widget.setChecked(True)
    dialog.controls["start"].show(0.5)
    dialog.controls["duration"].show(0.4)
    (state,) = export_all(dialog, qtbot)
    assert state.startswith("done · ")
    folder = dialog.folder.path
    names = {"clip_pose.mp4", "clip_poses.jsonl", "clip_poses.csv", "clip_poses.json", "clip_attention.npz"}
    assert {path.name for path in folder.iterdir()} == names
    frames = frames_of(folder / "clip_pose.mp4")
    assert len(frames) == 20 and abs(float(frames[0].mean()) - (50 + 25)) < 2, "frame 25, and nothing drawn on it"
    assert float(frames[0].std()) < 2
    lines = [json.loads(line) for line in (folder / "clip_poses.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(25, 45))
    assert lines[0]["time_s"] == pytest.approx(0.5) and "left_elbow" in lines[0]["people"][0]["angles"]
    with (folder / "clip_poses.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["frame"]), float(row["nose_x"])) for row in rows] == [
        (line["frame"], person["keypoints"][0][0]) for line in lines for person in line["people"]
    ]
    maps = np.load(folder / "clip_attention.npz")
    assert sorted(set(maps["frame"].tolist())) == list(range(25, 45))
    total = sum(path.stat().st_size for path in folder.iterdir())
    assert float(state.split()[2]) == pytest.approx(total / {"kB": 1e3, "MB": 1e6}[state.split()[3]], rel=0.06)


def test_from_here_to_here_has_both_frames(dialog: ExportDialog, window: MainWindow, qtbot: QtBot) -> None:
    pause(window, qtbot)
    for position_s, button in ((0.58, dialog.here), (1.16, dialog.to_here)):
        window.source_control.seek(position_s)
        qtbot.waitUntil(lambda at=position_s: _position(window) == pytest.approx(at))  # type: ignore[misc]
        button.click()
    dialog.picture.setCurrentIndex(DATA_ONLY)
    dialog.formats[".jsonl"].setChecked(True)
    export_all(dialog, qtbot)
    lines = (dialog.folder.path / "clip_poses.jsonl").read_text().splitlines()
    assert [json.loads(line)["frame"] for line in lines] == list(range(29, 59))


def _position(window: MainWindow) -> float:
    assert window.view.picture is not None
    return window.view.picture.shown.shot.position_s


def test_several_files_follow_each_other_and_one_that_fails_stops_none(
    dialog: ExportDialog, window: MainWindow, backstage: Backstage, qtbot: QtBot
) -> None:
    dialog.add_files(["nothing.mp4", "clip2", "clip2"])
    assert len(states(dialog)) == 3, "a file twice is one"
    before, opened = len(backstage.opened_sources), len(backstage.opened_options)
    done, failed, last = export_all(dialog, qtbot)
    assert done.startswith("done") and last.startswith("done") and failed == "failed: nothing.mp4 does not exist"
    assert backstage.opened_sources[before:] == ["clip", "nothing.mp4", "clip2"]
    assert {path.name for path in dialog.folder.path.iterdir()} == {"clip_pose.mp4", "clip2_pose.mp4"}
    assert "nothing.mp4 does not exist" in window.notices.text
    assert not dialog.export_button.isEnabled(), "all of the list is written"
    assert len(backstage.opened_options) == opened + 1 and backstage.pipelines[-1].closed, "the networks, once"


def test_files_with_other_networks_open_them(
    dialog: ExportDialog, window: MainWindow, backstage: Backstage, qtbot: QtBot
) -> None:
    backstage.process_s = 0.005
    opened = len(backstage.opened_options)
    for number, (model, source) in enumerate((("a.onnx", "clip"), ("b.onnx", "clip2"), ("b.onnx", "clip3"))):
        window.pose_panel.set_options(replace(window.pose_panel.options, pose_model=model))
        dialog.add_files([source] if number else [])
        dialog.export_button.click()
    qtbot.waitUntil(lambda: dialog._queue.running is None and not dialog._queue.waiting)
    assert [state.split()[0] for state in states(dialog)] == ["done"] * 3
    assert [options.pose_model for options in backstage.opened_options[opened:]] == ["a.onnx", "b.onnx"]
    assert [pipeline.closed for pipeline in backstage.pipelines[-3:]] == [True, False, True], "of the same networks one"


def test_the_size_is_of_the_picture_and_not_of_the_poses(dialog: ExportDialog, qtbot: QtBot) -> None:
    dialog.formats[".jsonl"].setChecked(True)
    dialog.controls["size"].widget.addItem("90")
    dialog.controls["size"].widget.setCurrentText("90")
    export_all(dialog, qtbot)
    assert frames_of(dialog.folder.path / "clip_pose.mp4")[0].shape[:2] == (90, 160)
    first = json.loads((dialog.folder.path / "clip_poses.jsonl").read_text().splitlines()[0])
    assert max(person["box_xyxy"][2] for person in first["people"]) == 280, f"px of {SIZE_WH}"


def test_existing_files_are_kept_unless_they_are_to_be_replaced(dialog: ExportDialog, qtbot: QtBot) -> None:
    dialog.folder.path.mkdir()
    kept = dialog.folder.path / "clip_pose.mp4"
    kept.write_bytes(b"precious")
    (state,) = export_all(dialog, qtbot)
    assert "exists already" in state and "“Replace existing files”" in state and kept.read_bytes() == b"precious"
    row = dialog.files.topLevelItem(0)
    assert row is not None
    row.setSelected(True)
    dialog.again_button.click()
    dialog.controls["overwrite"].widget.setChecked(True)
    assert export_all(dialog, qtbot)[1].startswith("done") and len(frames_of(kept)) == 100


def test_the_attention_map_and_the_probe_are_included_where_they_were_shown(
    dialog: ExportDialog, window: MainWindow, qtbot: QtBot
) -> None:
    pause(window, qtbot)
    window.source_control.seek(1.0)
    qtbot.waitUntil(lambda: window.view.picture is not None and window.view.picture.shown.shot.number == RATE)
    window.look_control.place_probe(240.0, 100.0)
    qtbot.waitUntil(lambda: window.view.picture is not None and window.view.picture.reading is not None)
    dialog.open_for_source()
    assert dialog.probe.isEnabled() and "0:01.0" in dialog.probe.text() and not dialog.attention.isEnabled()
    written: dict[str, list[UInt8Array]] = {}
    for name in ("with", "without"):
        row = dialog.files.topLevelItem(dialog.files.topLevelItemCount() - 1)
        assert row is not None
        row.setText(1, name)
        dialog.probe.setChecked(name == "with")
        assert export_all(dialog, qtbot)[-1].startswith("done")
        written[name] = [frame[92:108, 232:248] for frame in frames_of(dialog.folder.path / f"{name}_pose.mp4")]
        dialog.open_for_source()
    differences = [
        float(cv2.absdiff(one, other).mean()) for one, other in zip(written["with"], written["without"], strict=True)
    ]
    assert 4 * max(differences[: RATE - 1]) < min(differences[RATE + 1 :]), "around the probed point, from there on"
    window.overlay_panel.set_kind("attention")
    dialog.open_for_source()
    assert dialog.attention.isEnabled()
    assert "left wrist" in dialog.attention.text() and window.overlay_panel.options.attention is not None
    request = dialog.requests()[0]
    assert request.overlay.attention == window.overlay_panel.options.attention
    dialog.attention.setChecked(False)
    assert dialog.requests()[0].overlay.attention is None


def test_what_cannot_be_exported_says_why(dialog: ExportDialog) -> None:
    dialog.picture.setCurrentIndex(DATA_ONLY)
    assert not dialog.export_button.isEnabled() and "Neither" in dialog.note.text()
    dialog.formats[".csv"].setChecked(True)
    assert dialog.export_button.isEnabled()
    (request,) = dialog.requests()
    assert str(request.options.output) == NO_PICTURES and request.options.poses[0].endswith("clip_poses.csv")
    dialog.add_files(["clip2"])
    row = dialog.files.topLevelItem(1)
    assert row is not None
    for name in ("clip", "CLIP", "a/b", " "):
        row.setText(1, name)
        assert not dialog.export_button.isEnabled() and "name of its own" in dialog.note.text()
        row.setText(1, "other")
        assert dialog.export_button.isEnabled()


def test_the_file_of_a_running_recording_waits_for_its_end(
    dialog: ExportDialog, window: MainWindow, qtbot: QtBot
) -> None:
    window.toggle_record()
    qtbot.waitUntil(lambda: window.outputs.video is not None and window.outputs.video.frames > 3)
    (part,) = window.outputs.folder.glob("*.part.mp4")
    dialog.add_files([str(part)])
    assert not dialog.export_button.isEnabled() and f"{part.name} is still being written" in dialog.note.text()
    window.toggle_record()
    qtbot.waitUntil(lambda: window.outputs.video is None)


def test_closing_with_a_queue_asks_and_keeps_what_is_done(
    dialog: ExportDialog, window: MainWindow, backstage: Backstage, qtbot: QtBot
) -> None:
    backstage.process_s = 0.05
    asked: list[str] = []

    def go_on(running: str) -> bool:
        asked.append(running)
        return False

    window.confirm = go_on
    dialog.add_files(["clip2", "clip3"])
    dialog.export_button.click()
    qtbot.waitUntil(lambda: (item := dialog._queue.running) is not None and item.done >= 10)
    assert "left" in states(dialog)[0] and states(dialog)[1:] == ["waiting"] * 2
    window.close()
    assert window.isVisible() and "clip_pose.mp4 is not finished" in asked[0] and "2 more" in asked[0]
    window.confirm = lambda _running: True
    window.close()
    qtbot.waitUntil(lambda: bool(list(dialog.folder.path.glob("*cut-off*"))))
    (kept,) = dialog.folder.path.iterdir()
    assert kept.name == "clip_pose.cut-off.mp4" and 5 <= len(frames_of(kept)) < 100


def test_one_file_of_the_queue_is_cancelled_and_the_others_go_on(
    dialog: ExportDialog, window: MainWindow, backstage: Backstage, qtbot: QtBot
) -> None:
    backstage.process_s = 0.02
    dialog.add_files(["clip2", "clip3"])
    dialog.export_button.click()
    waits = dialog.files.topLevelItem(1)
    assert waits is not None
    waits.setSelected(True)
    dialog.remove_button.click()
    backstage.process_s = 0.001
    qtbot.waitUntil(lambda: dialog._queue.running is None and not dialog._queue.waiting)
    assert [state.split()[0] for state in states(dialog)] == ["done", "cancelled", "done"]


def test_the_folder_of_what_was_written_is_shown(
    dialog: ExportDialog, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shown: list[QUrl] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", shown.append)
    export_all(dialog, qtbot)
    first = dialog.folder.path
    dialog.folder.set_path(tmp_path / "elsewhere")
    row = dialog.files.topLevelItem(0)
    assert row is not None
    row.setSelected(True)
    dialog.show_button.click()
    assert [url.toLocalFile() for url in shown] == [str(first)]


def test_formats_and_folder_are_remembered(
    dialog: ExportDialog, make_window: Callable[..., MainWindow], qtbot: QtBot
) -> None:
    dialog.formats[".csv"].setChecked(True)
    again = make_window()
    qtbot.waitUntil(lambda: shows_people(again))
    trigger(again, "export")
    (other,) = again.findChildren(ExportDialog)
    assert other.formats[".csv"].isChecked() and not other.formats[".jsonl"].isChecked()
    assert other.folder.path == dialog.folder.path


def test_the_dialog_fits_the_smallest_window(dialog: ExportDialog) -> None:
    assert dialog.width() <= 960 and dialog.height() <= 600
    assert dialog.minimumSizeHint().width() <= 960 and dialog.minimumSizeHint().height() <= 560


def test_photos_and_folders_of_photos_are_written_as_such(
    dialog: ExportDialog, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialog._queue, "_open_source", open_source)
    folder = tmp_path / "holiday"
    folder.mkdir()
    for path in (tmp_path / "one.png", folder / "a.png", folder / "b.jpg"):
        cv2.imwrite(str(path), np.full((180, 320, 3), 120, np.uint8))
    dialog.files.selectAll()
    dialog.remove()
    dialog.add_files([str(tmp_path / "one.png"), str(folder)])
    dialog.controls["start"].show(1.0)  # of videos only
    dialog.formats[".csv"].setChecked(True)
    assert [state[:4] for state in export_all(dialog, qtbot)] == ["done", "done"], states(dialog)
    written = {str(path.relative_to(dialog.folder.path)) for path in dialog.folder.path.rglob("*") if path.is_file()}
    pictures = {"one_pose.png", "holiday_pose/a_pose.png", "holiday_pose/b_pose.jpg"}
    assert written == {*pictures, "one_poses.csv", "holiday_poses.csv"}
    with (dialog.folder.path / "holiday_poses.csv").open(newline="") as file:
        assert {row["file_name"] for row in csv.DictReader(file)} == {"a.png", "b.jpg"}


def test_photos_that_could_not_be_read_are_named(
    dialog: ExportDialog, window: MainWindow, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialog._queue, "_open_source", open_source)
    folder = tmp_path / "holiday"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.full((180, 320, 3), 120, np.uint8))
    for number in range(5):
        (folder / f"bad{number}.png").write_bytes(b"no photo")
    dialog.files.selectAll()
    dialog.remove()
    dialog.add_files([str(folder)])
    export_all(dialog, qtbot)
    notice = window.notices.of(f"notes {folder}")
    assert notice is not None and notice.level == "warning"
    assert [f"bad{number}.png" in notice.label.text() for number in range(5)] == [True] * 3 + [False] * 2
    assert "and 2 more" in notice.label.text()


def test_no_file_of_the_queue_is_replaced_by_another(
    dialog: ExportDialog, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialog._queue, "_open_source", open_source)
    dialog.folder.path.mkdir()
    first, second = dialog.folder.path / "walk.mp4", dialog.folder.path / "walk_pose.mp4"
    for path in (first, second):
        make_clip(path, ClipSpec(frames=12, size_wh=SIZE_WH))
    before = second.read_bytes()
    dialog.files.selectAll()
    dialog.remove()
    dialog.add_files([str(first), str(second)])
    dialog.controls["overwrite"].widget.setChecked(True)
    refused, done = export_all(dialog, qtbot)
    assert "is the input itself" in refused and done.startswith("done")
    assert second.read_bytes() == before and len(frames_of(dialog.folder.path / "walk_pose_pose.mp4")) == 12
