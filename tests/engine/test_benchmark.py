"""`--benchmark`: what it measures is what it says, whatever the numbers are."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import main
from engine import benchmark, benchmark_serial
from engine.benchmark_measure import (
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
from engine.benchmark_report import people_ratios, summary, table
from engine.benchmark_ultralytics import OtherPrograms, compare
from engine.errors import BackendError, OptionError, SourceError
from engine.pipeline import PosePipeline
from engine.pipeline_options import PipelineOptions
from engine.types import Detections, UInt8Array
from tests.engine.clips import ClipSpec, make_clip, save_photo
from tests.engine.fakes import BrightestPixel, FixedDetector, boxes

RUNS = {
    "pose_model": "kcam_a", "backend": "openvino", "device": "cpu", "precision": "bf16", "passed_over": [],
    "detector": "yolo_b", "detector_backend": "onnxruntime", "detector_device": "cpu", "detector_precision": "fp32",
    "detector_passed_over": [],
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
    return PosePipeline(detector or Watching(), BrightestPixel(), description=RUNS, **options)


def test_a_clip_is_read_as_far_as_asked(video: Path, clip: Clip) -> None:
    assert [frame.index for frame in clip.frames] == list(range(20))
    assert len(clip.decode_ms) == 20
    assert len(read_clip(str(video), 99).frames) == 24
    with pytest.raises(SourceError):
        read_clip("gone.mp4", 5)


def test_photos_are_no_video(tmp_path: Path) -> None:
    photo = save_photo(tmp_path / "a.png", np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(OptionError, match="no video"):
        read_clip(str(photo), 5)


def test_percentiles_against_numbers_that_are_known() -> None:
    assert percentiles([float(value) for value in range(101)]) == {"p50": 50.0, "p95": 95.0, "mean": 50.0}
    assert percentiles([]) == {"p50": 0.0, "p95": 0.0, "mean": 0.0}


def test_each_step_is_measured_on_each_frame_and_pictures_stay_as_they_were(clip: Clip) -> None:
    before = clip.frames[3].image_bgr.copy()
    detector = Watching()
    steps = measure_steps(small_pipeline(detector), clip)
    assert list(steps) == ["decode", "detect", "crop", "pose", "track", "draw", "encode"]
    assert all(step["p95"] >= step["p50"] >= 0 for step in steps.values())
    assert all(steps[name]["mean"] > 0 for name in ("decode", "crop", "pose", "draw", "encode"))
    assert len(detector.shown) == WARM_UP_FRAMES + 20
    assert np.array_equal(clip.frames[3].image_bgr, before), "drawing goes into copies"


def test_live_the_source_is_faster_and_no_movement_is_missed(clip: Clip) -> None:
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


def test_crowds_are_posed_whole_and_measured_in_turns(clip: Clip) -> None:
    backend = BrightestPixel()
    pipeline = PosePipeline(Watching(), backend, max_people=8)
    rows = measure_people(pipeline, pipeline.detect, clip, (1, 5))
    assert [row["people"] for row in rows] == [1, 5]
    assert all(row["fps"] > 0 and row["others_ms"] > 0 for row in rows)
    assert len(people_ratios(rows)) == 1
    assert "5 people against 1" in people_ratios(rows)[0]


def test_where_nobody_is_there_is_no_crowd(clip: Clip) -> None:
    nobody = FixedDetector(boxes(), np.zeros(0, np.float32))
    assert cut_out_people(nobody.detect, clip) == []
    assert measure_people(small_pipeline(nobody), nobody.detect, clip, (1, 4)) == []


@pytest.mark.parametrize(("text", "counts"), [("1,4,8,16", (1, 4, 8, 16)), ("8, 2,8", (2, 8))])
def test_numbers_of_people(text: str, counts: tuple[int, ...]) -> None:
    assert benchmark.people_of(text) == counts


@pytest.mark.parametrize("text", ["", "0", "1,x", "65", "1,,2"])
def test_numbers_of_people_that_do_not_fit(text: str) -> None:
    with pytest.raises(OptionError, match="--people"):
        benchmark.people_of(text)


def test_what_to_compare_with() -> None:
    assert benchmark.comparisons_of("ultralytics, serial") == ("ultralytics", "serial")
    assert benchmark.comparisons_of(None) == ()
    with pytest.raises(OptionError, match="ultralytics"):
        benchmark.comparisons_of("ultralitics")


@pytest.mark.parametrize(
    ("text", "found"), [("auto", ("auto",)), ("fp32, int8,fp32", ("fp32", "int8")), ("bf16,all", ("all",))]
)
def test_precisions_to_measure(text: str, found: tuple[str, ...]) -> None:
    assert benchmark.precisions_of(text) == found


def test_each_runtime_is_measured_in_what_it_can_do() -> None:
    assert benchmark.rows_of("onnxruntime", ("all",)) == ("fp32", "int8")
    assert benchmark.rows_of("tensorrt", ("all",)) == ("auto",)
    assert benchmark.rows_of("onnxruntime", ("bf16",)) == ("bf16",)
    with pytest.raises(OptionError, match="Did you mean 'bf16'"):
        benchmark.precisions_of("bf61")


def test_a_row_for_each_runtime_and_precision(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot run says why; the plot has the name that was asked for."""
    people = [{"people": n, "fps": 40.0 / n, "others_ms": 1.0, "steps": {"pose": {"p50": 3.0}}} for n in (1, 8)]

    def child(name: str, precision: str, *_rest: object) -> dict[str, Any]:
        if precision == "int8":
            return {"asked": name, "precision": precision, "error": "kcam_a has not been made into an INT8 graph"}
        runs = {**RUNS, "backend": name, "precision": precision}
        one: dict[str, Any] = {"asked": name, "runs": runs, "ap": None, "steps": {}, "people_ratios": [], "live": {}}
        return {**one, "export": {"fps": 21.0, "frames": 3}, "people": people, "peak_memory_mib": 512.0}

    monkeypatch.setattr(benchmark, "_in_child", child)
    plot = tmp_path / "plot.png"
    arguments = ["--benchmark", "--video", str(video), "--frames", "3", "--backend", "openvino", "--precision", "all"]
    assert main.main([*arguments, "--plot", str(plot)]) == 0
    told = capsys.readouterr().out
    assert "openvino, int8: kcam_a has not been made into an INT8 graph" in told
    rows = [line.split() for line in told.splitlines() if line.startswith("openvino (cpu) ")]
    assert rows == [
        ["openvino", "(cpu)", precision, "-", "21.0", "-", "40.0", "5.0", "512"] for precision in ("fp32", "bf16")
    ]
    assert cv2.imread(str(plot)) is not None
    assert main.main([*arguments, "--plot", str(tmp_path / "plot.txt")]) == 2
    assert "plot.txt" in capsys.readouterr().err
    assert summary([{"asked": "a", "error": "b"}]) == "nothing could be measured"


def test_tables_are_in_columns() -> None:
    lines = table([("a", 1.234), ("long name", 100.0)], ("what", "ms")).splitlines()
    assert lines == ["what           ms", "-" * 17, "a            1.23", "long name  100.00"]


def test_ratios_are_those_of_runners_whose_time_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("engine.benchmark_ultralytics.time.perf_counter", lambda: clock[0])
    order: list[str] = []

    def runner(name: str, seconds: float) -> Any:
        def run(_image: UInt8Array) -> None:
            order.append(name)
            clock[0] += seconds

        return run

    theirs = OtherPrograms(
        pytorch=runner("p", 0.06), openvino=runner("o", 0.03), note="none", openvino_precision=lambda: "bf16"
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


FAKE_MAIN = """
import os, sys
serial = "--threads" in sys.argv
cores = len(os.sched_getaffinity(0))
if "--fail" in sys.argv:
    print("error: no such model", file=sys.stderr); sys.exit(2)
print(f"3 frames, 1 with people, 1.0 s, {100.0 / cores if serial else 200.0} frames/s")
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux holds a process to a core")
def test_the_serial_run_is_held_to_one_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "main.py"
    fake.write_text(FAKE_MAIN)
    monkeypatch.setattr(benchmark_serial, "_MAIN", fake)
    before = os.sched_getaffinity(0)
    found = benchmark_serial.compare_serial(["--video", "x.mp4"], pairs=2)
    assert found["fps_ratio"] == 2.0, "the serial run had one core: it told 100 frames/s"
    assert len(found["pairs"]) == 2
    assert found["cpu_time_ratio"] > 0
    assert os.sched_getaffinity(0) == before
    with pytest.raises(BackendError, match="no such model"):
        benchmark_serial.compare_serial(["--fail"], pairs=1)


def opening(monkeypatch: pytest.MonkeyPatch) -> list[PipelineOptions]:
    asked: list[PipelineOptions] = []

    def open_one(options: PipelineOptions, **_say: object) -> PosePipeline:
        asked.append(options)
        return small_pipeline(detect_every=options.detect_every, max_people=options.max_people)

    monkeypatch.setattr(benchmark, "open_pipeline", open_one)
    return asked


def test_a_whole_report(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = opening(monkeypatch)
    weights = tmp_path / "kcam_a.safetensors"
    weights.write_bytes(b"never read")
    weights.with_suffix(".md").write_text("# Card\n\n| AP on val | 0.612 |\n")
    report = tmp_path / "report.json"
    arguments = ["--benchmark", "--video", video, "--frames", "12", "--people", "1,3", "--report", report]
    assert main.main([*map(str, arguments), "--pose-model", str(weights)]) == 0
    told = capsys.readouterr().out
    for part in ("kcam_a", "AP on val 0.612", "detect", "encode", "file export:", "live, detection auto", "3 people"):
        assert part in told
    kept = json.loads(report.read_text())
    one = kept["backends"][0]
    assert one["runs"] == RUNS
    assert [row["people"] for row in one["people"]] == [1, 3]
    assert set(one["live"]) == {"auto", "1"}
    assert one["export"]["frames"] == 12
    assert kept["video"]["size_wh"] == [320, 240]
    assert kept["machine"]["packages"]["numpy"] == np.__version__
    assert [(options.detect_every, options.overlapping) for options in asked] == [
        (1, False), (1, False), ("auto", False), (1, True),
    ]  # fmt: skip
    assert [options.person_threshold == 0 for options in asked] == [False, True, False, False]


def test_a_backend_that_cannot_run_does_not_end_the_others(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good: dict[str, Any] = {
        "asked": "onnxruntime",
        "runs": RUNS,
        "ap": None,
        "steps": {},
        "export": {"fps": 1.0, "frames": 1},
    }
    good |= {"live": {}, "people": [], "people_ratios": [], "peak_memory_mib": None}
    bad = {"asked": "openvino", "error": "openvino cannot run here"}
    monkeypatch.setattr(benchmark, "usable_backends", lambda: ["openvino", "onnxruntime"])
    monkeypatch.setattr(benchmark, "_in_child", lambda name, _precision, *_rest: good if name == "onnxruntime" else bad)
    arguments = ["--benchmark", "--video", str(video), "--frames", "3", "--backend", "all"]
    assert main.main([*arguments, "--report", str(tmp_path / "r.json")]) == 0
    out = capsys.readouterr().out
    assert "openvino: openvino cannot run here" in out
    assert "file export: 1.0 frames/s" in out
    assert "no plot" in out
    monkeypatch.setattr(benchmark, "usable_backends", lambda: ["openvino"])
    assert main.main(arguments) == 1


def test_the_children_s_errors_are_one_line(video: Path, tmp_path: Path) -> None:
    arguments = main.build_parser().parse_args(
        ["--benchmark", "--video", str(video), "--frames", "2", "--pose-model", str(tmp_path / "gone.safetensors")]
    )
    found = benchmark._in_child("openvino", "fp32", arguments, (1,))
    assert (found["asked"], found["precision"]) == ("openvino", "fp32")
    assert "gone.safetensors does not exist" in found["error"]
    assert not found["error"].startswith("error:")
