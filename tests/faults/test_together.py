"""Two at once: exports to other files and to the same file, readers of one source, builders of one cache entry."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

import pytest

from engine.artifacts.compiler import why_unusable
from engine.artifacts.folders import is_entry
from engine.artifacts.model_spec import digest_of, read_spec
from engine.artifacts.unfinished import unfinished_in
from engine.errors import EngineError
from engine.output.export import ExportSummary
from engine.sources.opening import open_source
from tests.engine.clips import ClipSpec, ConstantPipeline, left_in, make_clip, read_back, run_export
from tests.faults.ledger import Fault
from tests.faults.light import Run, command

__all__ = ["command"]

pytestmark = pytest.mark.fault("two at once")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", ClipSpec(frames=100, size_wh=(96, 64), audio="aac"))


def begin(fault: Fault, clip: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    return fault.start(
        "-m", "tests.faults.light", "--video", clip, "--output", output, *options, env={"FAULTS_FRAME_S": "0.02"}
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.02)


def test_two_exports_of_one_source(tmp_path: Path, clip: Path, fault: Fault) -> None:
    processes = [begin(fault, clip, tmp_path / f"{number}.mp4") for number in range(2)]
    for number, process in enumerate(processes):
        done = fault.end(process)
        assert done.code == 0, done.err
        after = read_back(tmp_path / f"{number}.mp4")
        fault.keeps(len(after.times) == 100, "frames are missing")
        assert after.audio_packets == read_back(clip).audio_packets
    assert left_in(tmp_path) == ["0.mp4", "1.mp4"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_two_exports_to_one_file(overwrite: bool, tmp_path: Path, clip: Path, fault: Fault, command: Run) -> None:
    """The first one continues; the second is refused at once."""
    options = ("--overwrite",) if overwrite else ()
    if overwrite:
        (tmp_path / "o.mp4").write_text("old")
    process = begin(fault, clip, tmp_path / "o.mp4", *options)
    wait_for(tmp_path / "o.part.mp4", process)
    second = command("--video", clip, "--output", tmp_path / "o.mp4", *options)
    line = fault.refused(second.code, second.err)
    assert "another run is writing" in line
    assert unfinished_in(tmp_path) == [], "the window does not offer what is being written"
    first = fault.end(process)
    assert first.code == 0, first.err
    fault.keeps(len(read_back(tmp_path / "o.mp4").times) == 100, "frames are missing")
    assert left_in(tmp_path) == ["o.mp4"]


def test_many_exports_start_at_once(tmp_path: Path, clip: Path, fault: Fault) -> None:
    """The first one writes; none treats another's file as a leftover."""
    made: list[ExportSummary] = []
    refused: list[str] = []
    start = threading.Barrier(8)

    def run() -> None:
        start.wait()
        try:
            made.append(run_export(clip, tmp_path / "o.mp4", ConstantPipeline(), max_frames=30))
        except EngineError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(made) == 1, refused
    assert len(refused) == 7
    assert all("another run is writing" in text or "exists already" in text for text in refused), refused
    fault.keeps(len(read_back(tmp_path / "o.mp4").times) == 30, "frames are missing")
    assert left_in(tmp_path) == ["o.mp4"]


def test_an_export_while_another_reads_the_source(tmp_path: Path, clip: Path, fault: Fault, command: Run) -> None:
    """As the window does while it plays: seeking, and closing it in the middle."""
    process = begin(fault, clip, tmp_path / "o.mp4")
    wait_for(tmp_path / "o.part.mp4", process)
    while process.poll() is None:
        with open_source(str(clip)) as source:
            frames = iter(source)
            for _ in range(5):
                next(frames)
    done = fault.end(process)
    assert done.code == 0, done.err
    fault.keeps(len(read_back(tmp_path / "o.mp4").times) == 100, "frames are missing")


def test_the_source_grows_while_it_is_read(tmp_path: Path, clip: Path, fault: Fault, command: Run) -> None:
    """The part file of a running export is read like any video, as far as it is written."""
    process = begin(fault, clip, tmp_path / "o.mp4")
    wait_for(tmp_path / "o.part.mp4", process)
    frames = 0
    while process.poll() is None and frames == 0:
        done = command("--video", tmp_path / "o.part.mp4", "--output", tmp_path / "copy.mp4", "--overwrite")
        if done.code == 2:
            fault.refused(done.code, done.err)
            continue
        frames = len(read_back(tmp_path / "copy.mp4").times)
    assert fault.end(process).code == 0
    fault.keeps(len(read_back(tmp_path / "o.mp4").times) == 100, "frames are missing")


def test_three_processes_build_one_cache_entry(tmp_path: Path, fault: Fault) -> None:
    """One is killed in the middle; the others get the same complete file, never a partial one."""
    weights = tmp_path / "small.safetensors"
    weights.write_bytes(b"what it is made of")
    env = {"KCAM_CACHE_DIR": str(tmp_path / "cache")}
    killed = fault.start("-m", "tests.faults.light_build", weights, "60", env=env)
    others = [fault.start("-m", "tests.faults.light_build", weights, "0.5", env=env) for _ in range(2)]
    while not list((tmp_path / "cache").glob("onnx/*.part/*.onnx")):
        assert killed.poll() is None
        time.sleep(0.02)
    ended = [fault.end(process) for process in others]
    killed.kill()
    fault.end(killed)
    assert [done.code for done in ended] == [0, 0], ended
    (file,) = {Path(done.out.strip()) for done in ended}
    fault.keeps(read_spec(file).kind == "pose", "the entry cannot be used")
    assert why_unusable(file, digest_of(weights)) is None
    assert list(filter(is_entry, file.parent.parent.iterdir())) == [file.parent]
