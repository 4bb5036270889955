"""`--benchmark`: it measures what it reports, whatever the numbers are."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.benchmark import serial as benchmark_serial
from engine.benchmark.measure import (
    WARM_UP_FRAMES,
    Clip,
    cut_out_people,
    measure_live,
    measure_people,
    measure_steps,
    percentiles,
    read_clip,
    tile,
)
from engine.benchmark.report import _comparison_text, people_ratios, table
from engine.benchmark.ultralytics_peer import OtherPrograms, compare
from engine.errors import BackendError, OptionError, SourceError
from engine.pipeline.pose_pipeline import PosePipeline
from engine.types import Detections, UInt8Array
from tests.engine.clips import ClipSpec, make_clip, save_photo
from tests.engine.fakes import BrightestPixel, FixedDetector, boxes, plain_pipeline

RUNS = {
    "pose_model": "kcam_a", "backend": "openvino", "device": "cpu", "precision": "bf16", "skipped": [],
    "detector": "yolo_b", "detector_backend": "onnxruntime", "detector_device": "cpu", "detector_precision": "fp32",
    "detector_skipped": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", ClipSpec(frames=24, size_wh=(320, 240)))


@pytest.fixture(scope="module")
def clip(video: Path) -> Clip:
    return read_clip(str(video), 20)


class Watching(FixedDetector):
    """One person in the middle, and the brightness of each picture that it was shown."""

    def __init__(self, takes_s: float = 0.0) -> None:
        super().__init__(boxes((100, 40, 180, 220)), np.array([0.9], np.float32))
        self.shown: list[int] = []
        self._takes_s = takes_s

    def detect(self, image_bgr: UInt8Array) -> Detections:
        time.sleep(self._takes_s)
        self.shown.append(int(image_bgr[-1, -1, 0]))
        return super().detect(image_bgr)


def small_pipeline(detector: FixedDetector | None = None, **options: Any) -> PosePipeline:
    return plain_pipeline(detector or Watching(), BrightestPixel(), description=RUNS, **options)


def test_a_clip_is_read_up_to_its_limit(video: Path, clip: Clip) -> None:
    assert [frame.index for frame in clip.frames] == list(range(20))
    assert len(clip.decode_ms) == 20
    assert len(read_clip(str(video), 99).frames) == 24
    with pytest.raises(SourceError):
        read_clip("gone.mp4", 5)


def test_photos_are_not_a_video(tmp_path: Path) -> None:
    photo = save_photo(tmp_path / "a.png", np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(OptionError, match="is not a video"):
        read_clip(str(photo), 5)


def test_percentiles_of_known_numbers() -> None:
    assert percentiles([float(value) for value in range(101)]) == {"p50": 50.0, "p95": 95.0, "mean": 50.0}
    assert percentiles([]) == {"p50": 0.0, "p95": 0.0, "mean": 0.0}


def test_each_stage_is_measured_on_each_frame_and_frames_are_unchanged(clip: Clip) -> None:
    before = clip.frames[3].image_bgr.copy()
    detector = Watching()
    steps = measure_steps(small_pipeline(detector), clip)
    assert list(steps) == ["decode", "detect", "crop", "pose", "track", "draw", "encode"]
    assert all(step["p95"] >= step["p50"] >= 0 for step in steps.values())
    assert all(steps[name]["mean"] > 0 for name in ("decode", "crop", "pose", "draw", "encode"))
    assert len(detector.shown) == WARM_UP_FRAMES + 20
    assert np.array_equal(clip.frames[3].image_bgr, before), "drawing goes into copies"


def test_the_live_source_is_faster_and_skips_no_motion(clip: Clip) -> None:
    detector = Watching(takes_s=0.01)
    found = measure_live(small_pipeline(detector), clip, 50)
    assert found["frames"] == 50
    assert found["dropped_frames"] > 0, "the source was faster than the pipeline"
    shown = detector.shown[-50:]
    expected = [int(clip.frames[number % 20].image_bgr[-1, -1, 0]) for number in range(50)]
    # A frame that was captured before the last one was taken shows the same picture once more.
    followed = [value for number, value in enumerate(shown) if number == 0 or value != shown[number - 1]]
    positions = [expected.index(value) for value in followed[:19]]
    assert positions == sorted(positions)
    assert found["latency_ms"]["p95"] >= found["latency_ms"]["p50"] > 0


@pytest.mark.parametrize("count", [1, 2, 4, 7, 16, 40])
def test_people_stand_side_by_side_in_the_frame(count: int) -> None:
    person = np.full((200, 80, 3), 250, np.uint8)
    image, places = tile([person], count, (640, 480))
    assert image.shape == (480, 640, 3)
    assert places.shape == (count, 4)
    assert (places[:, :2] >= 0).all()
    assert (places[:, 2] <= 640).all()
    assert (places[:, 3] <= 480).all()
    covered = sum(int((x2 - x1) * (y2 - y1)) for x1, y1, x2, y2 in places)
    assert int((image[:, :, 0] > 200).sum()) == covered, "each has a place of their own"


def test_all_people_are_posed_and_numbers_of_people_alternate(clip: Clip) -> None:
    backend = BrightestPixel()
    pipeline = plain_pipeline(Watching(), backend, max_people=8)
    rows = measure_people(pipeline, pipeline.detect, clip, (1, 5))
    assert [row["people"] for row in rows] == [1, 5]
    assert all(row["fps"] > 0 and row["others_ms"] > 0 for row in rows)
    assert len(people_ratios(rows)) == 1
    assert "5 people against 1" in people_ratios(rows)[0]


def test_no_detections_give_no_people_measurement(clip: Clip) -> None:
    nobody = FixedDetector(boxes(), np.zeros(0, np.float32))
    pipeline = small_pipeline(nobody)
    assert cut_out_people(pipeline.detect, clip) == []
    assert measure_people(pipeline, pipeline.detect, clip, (1, 4)) == []


def test_tables_are_in_columns() -> None:
    lines = table([("a", 1.234), ("long name", 100.0)], ("what", "ms")).splitlines()
    assert lines == ["what           ms", "-" * 17, "a            1.23", "long name  100.00"]


def test_ratios_of_runners_with_known_times(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("engine.benchmark.ultralytics_peer.time.perf_counter", lambda: clock[0])
    order: list[str] = []

    def runner(name: str, seconds: float) -> Any:
        def run(_image: UInt8Array) -> None:
            order.append(name)
            clock[0] += seconds

        return run

    theirs = OtherPrograms(
        pytorch=runner("p", 0.06),
        openvino=runner("o", 0.03),
        note="none",
        accuracy="not known",
        openvino_precision=lambda: "bf16",
    )
    images = [np.zeros((4, 4, 3), np.uint8)] * 7
    found = compare({"auto": runner("a", 0.01), "every_frame": runner("e", 0.02)}, theirs, images)
    assert found["fps_ratio"] == pytest.approx(6.0)
    assert found["fps_ratio_detect_every_frame"] == pytest.approx(3.0)
    assert found["openvino_fps_ratio"] == pytest.approx(3.0)
    assert found["fps"]["pytorch"] == pytest.approx(1 / 0.06, rel=1e-2)
    measured = "".join(order[12:])  # after the warm-up
    assert measured.count("a") == measured.count("p") == measured.count("o") == measured.count("e")
    assert measured.startswith("a" * 20 + "e" * 20 + "p" * 20 + "o" * 20 + "a" * 20), "in turns"
    *_, auto, every_frame = _comparison_text("ultralytics", {**found, "precision": "fp32"}).splitlines()
    assert auto.startswith("ours, detection auto: 6.00 times the frames/s of its PyTorch, 3.00 times those of its")
    assert every_frame.startswith("ours, detection on every frame: 3.00 times the frames/s of its PyTorch, 1.50 times")


FAKE_MAIN = """
import os, sys
serial = "--threads" in sys.argv
cores = len(os.sched_getaffinity(0))
assert os.path.exists(sys.argv[sys.argv.index("--video") + 1])
if "--fail" in sys.argv:
    print("error: no such model", file=sys.stderr); sys.exit(2)
print(f"3 frames, 1 with people, 1.0 s, {100.0 / cores if serial else 200.0} frames/s")
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux holds a process to a core")
def test_the_serial_run_uses_one_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "main.py").write_text(FAKE_MAIN)
    monkeypatch.setattr(benchmark_serial, "ROOT", tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("x.mp4").touch()
    before = os.sched_getaffinity(0)
    found = benchmark_serial.compare_serial(["--video", "x.mp4"], pairs=2)
    assert found["fps_ratio"] == 2.0, "the serial run had one core: it reported 100 frames/s"
    assert len(found["pairs"]) == 2
    assert found["cpu_time_ratio"] > 0
    assert os.sched_getaffinity(0) == before
    with pytest.raises(BackendError, match="no such model"):
        benchmark_serial.compare_serial(["--video", "x.mp4", "--fail"], pairs=1)
