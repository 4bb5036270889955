"""Interrupted recordings of the window, and the offer at the next start."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from app.live.compose import Look
from app.live.probe import Probes
from app.live.shots import Shot, Shown
from app.main_window import MainWindow
from app.output import recorder
from app.output.recorder import RecordedFiles, Recording, RecordingEnded
from engine.artifacts.part_file import PartFile
from engine.sources.frame_source import SourceInfo
from engine.sources.opening import open_source
from tests.app.conftest import backstage, make_window, no_cameras, press, settings, window
from tests.app.fakes import Clip, fake_result
from tests.engine.clips import left_in
from tests.faults.ledger import Fault, Hung
from tests.signals import arriving

__all__ = ["backstage", "make_window", "no_cameras", "settings", "window"]

pytestmark = [pytest.mark.fault("recordings of the window"), pytest.mark.timeout(60)]


def begin(fault: Fault, folder: Path, frames: int) -> tuple[subprocess.Popen[str], int]:
    """A window that records, and the frames it has recorded so far."""
    process = fault.start("-m", "tests.faults.light_window", folder)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("recorded") and int(line.split()[1]) >= frames:
            return process, int(line.split()[1])
    raise Hung(f"ended before {frames} frames: {fault.end(process).err}")


def times_of(path: Path) -> list[float]:
    with open_source(str(path)) as source:
        return [frame.timestamp_s for frame in source]


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals to a child")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_stop_signal(name: str, tmp_path: Path, fault: Fault) -> None:
    number = arriving(name)
    process, frames = begin(fault, tmp_path, 25)
    process.send_signal(number)
    assert fault.end(process).code == 0
    video, poses = list(tmp_path.glob("*.mp4")), list(tmp_path.glob("*.jsonl"))
    fault.keeps(len(video) == len(poses) == 1 and "part" not in video[0].name + poses[0].name, str(left_in(tmp_path)))
    fault.keeps(len(times_of(video[0])) >= frames, "frames are missing")
    assert poses[0].read_text().endswith("}\n")


@pytest.mark.skipif(sys.platform == "win32", reason="kills a child")
def test_killed_and_offered_at_the_next_start(
    tmp_path: Path, fault: Fault, make_window: Callable[..., MainWindow], qtbot: QtBot
) -> None:
    folder = tmp_path / "outputs"
    folder.mkdir()
    process, frames = begin(fault, folder, 175)
    process.kill()
    fault.end(process)
    (video,) = folder.glob("*.part.mp4")
    (poses,) = folder.glob("*.part.jsonl")
    assert [path for path in folder.glob("*.mp4") if path != video] == [], "nothing under a final name"
    times = times_of(video)
    fault.keeps(
        frames / 50 - times[-1] < 2.5, f"{times[-1]} s of {frames / 50} s"
    )  # and the frames before it was killed
    kept = {video.read_bytes(), poses.read_bytes()}
    window = make_window()
    qtbot.waitUntil(lambda: "aborted" in window.notices.text, timeout=10_000)
    assert video.name in window.notices.text
    assert video.exists(), "it waits for the answer"
    press(window, "unfinished")
    assert "unfinished" in window.notices.text
    after = [path for path in folder.iterdir() if "unfinished" in path.name]
    fault.keeps({path.read_bytes() for path in after} == kept, str(left_in(folder)))
    assert not video.exists()


def test_an_unanswered_offer_changes_nothing(
    tmp_path: Path, fault: Fault, make_window: Callable[..., MainWindow], qtbot: QtBot
) -> None:
    part = tmp_path / "outputs" / "clip_20260101_120000.part.mp4"
    part.parent.mkdir()
    part.write_bytes(b"an hour of work")
    for _ in range(2):
        window = make_window()
        qtbot.waitUntil(lambda shown=window: "aborted" in shown.notices.text, timeout=10_000)  # type: ignore[misc]
        window.close()
    fault.keeps(part.read_bytes() == b"an hour of work", "it is gone")


def test_files_being_written_are_not_offered(
    tmp_path: Path, fault: Fault, make_window: Callable[..., MainWindow], qtbot: QtBot
) -> None:
    part = PartFile(tmp_path / "outputs" / "o.mp4")
    part.path.write_bytes(b"by another window")
    window = make_window()
    qtbot.wait(1500)
    assert "cut off" not in window.notices.text
    fault.keeps(part.commit().read_bytes() == b"by another window", "it is gone")


class Recorded:
    """A recording outside a window, and its events."""

    def __init__(self, path: Path) -> None:
        self.reported: list[object] = []
        self.info = SourceInfo(name="camera 0", kind="camera", is_live=True)
        self.recording = Recording(
            RecordedFiles(overlay=path), info=self.info, look=Look, probes=Probes, emit=self.reported.append
        )

    def offer(self, frames: Iterator[Shown]) -> None:
        for shown in frames:
            while self.recording._queue.full() and not self.reported:
                time.sleep(0.002)
            self.recording.offer(shown)

    def end(self) -> RecordingEnded:
        self.recording.stop()
        assert self.recording.join(20)
        (ended,) = self.reported
        assert isinstance(ended, RecordingEnded)
        return ended


def shown_frames(count: int) -> Iterator[Shown]:
    for frame in Clip(count, size_wh=(96, 64)):
        result = fake_result(frame)
        shot = Shot(frame=frame, serial=1, position_s=frame.timestamp_s, captured_s=time.monotonic())
        yield Shown(shot=shot, result=result, skeleton=None)


def test_a_nearly_full_disk_ends_a_recording_completely(
    tmp_path: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = Recorded(tmp_path / "r.mp4")
    recorded.offer(shown_frames(40))
    monkeypatch.setattr(recorder, "_LEAST_DISK_BYTES", 1 << 62)
    recorded.offer(shown_frames(40))
    ended = recorded.end()
    assert ended.paths == (tmp_path / "r.mp4",)
    assert ended.error is not None
    assert "almost full" in ended.error
    fault.keeps(len(times_of(tmp_path / "r.mp4")) == ended.frames >= 30, "frames are missing")
    assert left_in(tmp_path) == ["r.mp4"]


def test_the_folder_of_a_recording_is_removed(tmp_path: Path, fault: Fault) -> None:
    folder = tmp_path / "outputs"
    recorded = Recorded(folder / "r.mp4")
    recorded.offer(shown_frames(10))
    while recorded.recording.frames < 10:
        time.sleep(0.01)
    (folder / "r.part.mp4").unlink()
    folder.rmdir()
    assert recorded.recording.disk_left_bytes() == 0, "the window asks once a second"
    ended = recorded.end()
    assert ended.paths == ()
    assert ended.error is not None
    assert "removed" in ended.error
