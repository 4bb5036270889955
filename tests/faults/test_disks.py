"""Disks that are full, not writable, or removed during the run: one line, and written data is kept and named."""

from __future__ import annotations

import gc
import importlib
import importlib.resources
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.artifacts.folders import WEIGHTS_DIR
from engine.artifacts.part_file import PartFile
from engine.errors import OutputError
from engine.output.maps_writer import MapsWriter
from engine.skeleton import COCO17
from engine.sources.opening import open_source
from tests.engine.clips import ClipSpec, left_in, make_clip, picture, save_photo
from tests.engine.overlay_pictures import attention_maps, empty_maps, grey, grid, result_of
from tests.faults.ledger import Fault
from tests.faults.light import Run, command

__all__ = ["command"]

pytestmark = pytest.mark.fault("disks")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(
        tmp_path_factory.mktemp("clip") / "clip.mp4", ClipSpec(frames=100, size_wh=(160, 120), audio="aac")
    )


class SmallDisk:
    """A separate file system in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def mount(self, *options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(self.folder)]
        done = subprocess.run(command, check=False, capture_output=True)
        if done.returncode:
            pytest.skip("no file system may be mounted here")

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", self.folder], capture_output=True, check=False)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("only root on Linux may mount a small disk")
    disk = SmallDisk(tmp_path / "disk")
    yield disk
    disk.unmount()


@pytest.fixture
def noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures that fill a disk."""
    monkeypatch.setenv("FAULTS_NOISE", "1")


def decoded_frames(path: Path) -> int:
    with open_source(str(path)) as source:
        return sum(1 for _ in source)


@pytest.mark.parametrize("size", ["4k", "40k", "100k", "400k", "900k", "1040k"])
@pytest.mark.usefixtures("noise")
def test_a_full_disk(size: str, small_disk: SmallDisk, clip: Path, command: Run, fault: Fault) -> None:
    """From a disk with no space to one that is full when the index is written."""
    small_disk.mount(f"size={size}")
    folder = small_disk.folder
    done = command("--video", clip, "--output", folder / "o.mp4", "--poses", folder / "o.jsonl", "--quiet")
    line = fault.refused(done.code, done.err)
    assert "No space left on device" in line
    kept = left_in(folder)
    fault.keeps(all(".part." in name for name in kept), f"left: {kept}")
    fault.keeps(all(str(folder / name) in line for name in kept), "what is kept is not named")
    reported = re.search(r"the first (\d+) of (\d+) frame|the (\d+) frame\(s\) written so far", line)
    if "o.part.mp4" in kept:
        assert reported is not None, line
        promised = int(reported[1] or reported[3])
        frames = decoded_frames(folder / "o.part.mp4")
        fault.keeps(frames >= promised - 1 and frames > 0, f"{frames} of {promised} frames play: {line}")
        if size in ("400k", "900k", "1040k"):
            of = int(reported[2] or reported[3])
            fault.keeps(frames >= of - 2 * 25, f"{of - frames} frames lost: more than 2 s")
    if "o.part.jsonl" in kept:
        text = (folder / "o.part.jsonl").read_text()
        assert text.endswith("}\n"), "no line is there in part"


@pytest.mark.parametrize(
    "words",
    [
        ["train.combine", "--weights", "kcam_resnet18.safetensors", "--output", "c.safetensors"],
        ["engine.__main__", "build", "--pose-model", "kcam_resnet18", "--output", "c.onnx"],
        ["train.pseudo_label", "--images", "photos", "--weights", "kcam_mobilenet_v2", "--output", "c"],
    ],
    ids=lambda words: words[0],
)
def test_what_does_not_fit_on_a_full_disk_is_named(
    words: list[str], small_disk: SmallDisk, tmp_path: Path, capfd: pytest.CaptureFixture[str], fault: Fault
) -> None:
    small_disk.mount("size=40k")
    (tmp_path / "photos").mkdir()
    shutil.copy(importlib.resources.files("ultralytics") / "assets" / "bus.jpg", tmp_path / "photos")  # type: ignore[call-overload]
    places = {"photos": tmp_path / "photos", "kcam_resnet18.safetensors": WEIGHTS_DIR / "kcam_resnet18.safetensors"}
    places[words[-1]] = small_disk.folder / words[-1]
    module = importlib.import_module(words[0])
    code = module.main([str(places.get(word, word)) for word in words[1:]])
    err = capfd.readouterr().err
    fault.quiet(err)
    line = err.strip().splitlines()[-1]
    assert code == 2 and "No space left on device" in line and str(small_disk.folder / "c") in line


@pytest.mark.parametrize("size", [4, 400, 1000, 2000, 2040, 2080, 2120, 2160, 2200, 4000])
def test_attention_maps_on_a_full_disk(size: int, small_disk: SmallDisk, fault: Fault) -> None:
    """The frames that are said to be kept can be read, in whichever array the disk was full."""
    small_disk.mount(f"size={size}k")
    part = PartFile(small_disk.folder / "maps.npz")
    random, written, error = np.random.default_rng(0), 0, None
    try:
        writer = MapsWriter(part, COCO17)
        for number in range(60):
            maps = random.random(empty_maps(1).shape, np.float32)
            box = [(10.0, 5.0, 30.0, 40.0)]
            result = result_of(grey(64, 48), [grid(5, 5, 5)], boxes=box, ids=[1], attention=attention_maps(maps, box))
            writer.write(replace(result, frame=replace(result.frame, index=number)), number / 10)
            written += 1
        writer.finish()
    except OutputError as caught:
        error = str(caught)
    assert error is not None and "No space left on device" in error
    kept = writer.abort()
    gc.collect()
    if kept is None:
        fault.keeps(written <= 1 and left_in(small_disk.folder) == [], f"{written} frames are gone")
        return
    with np.load(kept, allow_pickle=False) as file:
        fault.keeps(len(file["frame"]) == writer.frames >= written - 2, f"{writer.frames} of {written} kept")
        for number in range(writer.frames):
            assert file[f"attention_{number:06d}"].shape == empty_maps(1).shape
        assert file["keypoint_names"].tolist() == list(COCO17.keypoint_names)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_file_size_limit(tmp_path: Path, clip: Path, fault: Fault) -> None:
    """As with a quota, or on a file system with a limit of 4 GB per file."""
    done = fault.run(
        "-m", "tests.faults.light", "--video", clip, "--output", tmp_path / "o.mp4", "--poses", tmp_path / "o.jsonl",
        env={"FAULTS_NOISE": "1", "FAULTS_MOST_BYTES": "500000"},
    )  # fmt: skip
    line = fault.refused(done.code, done.err)
    assert "File too large" in line
    assert left_in(tmp_path) == ["o.part.jsonl", "o.part.mp4"]
    reported = re.search(r"the first (\d+) of (\d+) frame", line)
    assert reported is not None, line
    frames, kept, of = decoded_frames(tmp_path / "o.part.mp4"), int(reported[1]), int(reported[2])
    fault.keeps(frames >= kept - 1 and frames >= of - 2 * 25, f"{frames} of {of} frames play: {line}")


def test_a_full_disk_under_photos(small_disk: SmallDisk, tmp_path: Path, command: Run, fault: Fault) -> None:
    """Each photo is a complete file or none."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(6):
        save_photo(photos / f"{number}.bmp", picture(160, 120, number))  # 58 kB each
    small_disk.mount("size=200k")
    done = command("--video", photos, "--output", small_disk.folder)
    fault.refused(done.code, done.err)
    written = left_in(small_disk.folder)
    fault.keeps(written == ["0_pose.bmp", "1_pose.bmp", "2_pose.bmp"], f"left: {written}")
    assert all(decoded_frames(small_disk.folder / name) == 1 for name in written)


def test_an_unwritable_target(small_disk: SmallDisk, clip: Path, command: Run, fault: Fault) -> None:
    small_disk.mount("ro")
    for options in (
        ("--output", small_disk.folder / "o.mp4"),
        ("--output", small_disk.folder / "deeper" / "o.mp4"),
        ("--output", clip.parent / "o.mp4", "--poses", small_disk.folder / "o.csv"),
    ):
        done = command("--video", clip, *options)
        line = fault.refused(done.code, done.err)
        assert "Read-only file system" in line
        assert str(small_disk.folder) in line
        assert left_in(clip.parent, clip) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a folder that is in use")
def test_the_folder_is_removed_in_mid_run(tmp_path: Path, clip: Path, fault: Fault) -> None:
    folder = tmp_path / "results"
    process = fault.start(
        "-m", "tests.faults.light", "--video", clip, "--output", folder / "o.mp4",
        env={"FAULTS_FRAME_S": "0.02", "FAULTS_PRINT_AT": "20"},
    )  # fmt: skip
    while not (folder / "o.part.mp4").exists():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.3)
    (folder / "o.part.mp4").unlink()
    folder.rmdir()
    done = fault.end(process)
    line = fault.refused(done.code, done.err)
    assert "was removed meanwhile" in line


def test_the_target_is_created_in_mid_run(tmp_path: Path, clip: Path, fault: Fault) -> None:
    """The other file is not replaced, and ours is kept."""
    process = fault.start(
        "-m", "tests.faults.light", "--video", clip, "--output", tmp_path / "o.mp4", env={"FAULTS_FRAME_S": "0.02"}
    )
    while not (tmp_path / "o.part.mp4").exists():
        assert process.poll() is None
        time.sleep(0.02)
    (tmp_path / "o.mp4").write_text("precious")
    done = fault.end(process)
    line = fault.refused(done.code, done.err)
    fault.keeps((tmp_path / "o.mp4").read_text() == "precious", "it was replaced")
    assert "o.part.mp4" in line
    fault.keeps(decoded_frames(tmp_path / "o.part.mp4") == 100, "frames are missing")


def test_a_slow_disk_does_not_stall_the_run(
    tmp_path: Path, clip: Path, command: Run, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames are processed while the disk is slow; no thread is left when the run ends."""
    slow = threading.Event()
    sync = os.fsync

    def fsync(handle: int) -> None:
        slow.wait(0.5)
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr("engine.artifacts.part_file._SYNC_EVERY_S", 0.0)
    before = threading.active_count()
    assert command("--video", clip, "--output", tmp_path / "o.mp4").code == 0
    assert threading.active_count() == before
    fault.keeps(decoded_frames(tmp_path / "o.mp4") == 100, "frames are missing")
