"""`main.py --benchmark`: its options, the report, and impossible measurements."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import main
from engine.benchmark import command as benchmark
from engine.benchmark.report import summary
from engine.benchmark.selection import people_of, precisions_of, rows_of
from engine.errors import OptionError
from engine.pipeline.options import PipelineOptions
from engine.pipeline.pose_pipeline import PosePipeline
from tests.engine.benchmark.test_benchmark import RUNS, small_pipeline
from tests.engine.clips import ClipSpec, make_clip


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", ClipSpec(frames=24, size_wh=(320, 240)))


@pytest.mark.parametrize(("text", "counts"), [("1,4,8,16", (1, 4, 8, 16)), ("8, 2,8", (2, 8))])
def test_numbers_of_people(text: str, counts: tuple[int, ...]) -> None:
    assert people_of(text) == counts


@pytest.mark.parametrize("text", ["", "0", "1,x", "65", "1,,2"])
def test_invalid_numbers_of_people(text: str) -> None:
    with pytest.raises(OptionError, match="--people"):
        people_of(text)


def test_names_of_comparisons() -> None:
    assert benchmark.comparisons_of("ultralytics, serial") == ("ultralytics", "serial")
    assert benchmark.comparisons_of(None) == ()
    with pytest.raises(OptionError, match="ultralytics"):
        benchmark.comparisons_of("ultralitics")


@pytest.mark.parametrize(
    ("text", "found"), [("auto", ("auto",)), ("fp32, int8,fp32", ("fp32", "int8")), ("bf16,all", ("all",))]
)
def test_precisions_to_measure(text: str, found: tuple[str, ...]) -> None:
    assert precisions_of(text) == found


def test_each_runtime_is_measured_in_its_precisions() -> None:
    assert rows_of("onnxruntime", ("all",)) == ("fp32", "int8")
    assert rows_of("tensorrt", ("all",)) == ("auto",)
    assert rows_of("onnxruntime", ("bf16",)) == ("bf16",)
    with pytest.raises(OptionError, match="Did you mean 'bf16'"):
        precisions_of("bf61")


def test_a_row_for_each_runtime_and_precision(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A backend that cannot run reports why; the plot has the requested name."""
    people = [{"people": n, "fps": 40.0 / n, "others_ms": 1.0, "steps": {"pose": {"p50": 3.0}}} for n in (1, 8)]

    def child(name: str, precision: str, *_rest: object) -> dict[str, Any]:
        if precision == "int8":
            return {"requested": name, "precision": precision, "error": "kcam_a has not been made into an INT8 graph"}
        runs = {**RUNS, "backend": name, "precision": precision}
        one: dict[str, Any] = {
            "requested": name,
            "runs": runs,
            "ap": None,
            "steps": {},
            "people_ratios": [],
            "live": {},
        }
        return {**one, "export": {"fps": 21.0, "frames": 3}, "people": people, "peak_memory_mib": 512.0}

    monkeypatch.setattr(benchmark, "_in_child", child)
    plot = tmp_path / "plot.png"
    arguments = ["--benchmark", "--video", str(video), "--frames", "3", "--backend", "openvino", "--precision", "all"]
    assert main.main([*arguments, "--plot", str(plot)]) == 0
    reported = capsys.readouterr().out
    assert "openvino, int8: kcam_a has not been made into an INT8 graph" in reported
    rows = [line.split() for line in reported.splitlines() if line.startswith("openvino (cpu) ")]
    assert rows == [
        ["openvino", "(cpu)", precision, "-", "-", "21.0", "-", "40.0", "5.0", "512"] for precision in ("fp32", "bf16")
    ]
    assert cv2.imread(str(plot)) is not None
    assert main.main([*arguments, "--plot", str(tmp_path / "plot.txt")]) == 2
    assert "plot.txt" in capsys.readouterr().err
    assert summary([{"requested": "a", "error": "b"}]) == "nothing could be measured"


def opening(monkeypatch: pytest.MonkeyPatch) -> list[PipelineOptions]:
    requested: list[PipelineOptions] = []

    def open_one(options: PipelineOptions, **_notify: object) -> PosePipeline:
        requested.append(options)
        return small_pipeline(detect_every=options.detect_every, max_people=options.max_people)

    monkeypatch.setattr(benchmark, "open_pipeline", open_one)
    return requested


def test_the_complete_report(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    requested = opening(monkeypatch)
    weights = tmp_path / "kcam_a.safetensors"
    weights.write_bytes(b"never read")
    weights.with_suffix(".md").write_text("# Card\n\n| AP on val | 0.612 |\n")
    report = tmp_path / "report.json"
    arguments = ["--benchmark", "--video", video, "--frames", "12", "--people", "1,3", "--report", report]
    assert main.main([*map(str, arguments), "--pose-model", str(weights)]) == 0
    reported = capsys.readouterr().out
    for part in ("kcam_a", "AP on val 0.612", "detect", "encode", "file export:", "live, detection auto", "3 people"):
        assert part in reported
    kept = json.loads(report.read_text())
    one = kept["backends"][0]
    assert one["runs"] == RUNS
    assert [row["people"] for row in one["people"]] == [1, 3]
    assert set(one["live"]) == {"auto", "1"}
    assert one["export"]["frames"] == 12
    assert kept["video"]["size_wh"] == [320, 240]
    assert kept["machine"]["packages"]["numpy"] == np.__version__
    assert [(options.detect_every, options.overlapping) for options in requested] == [
        (1, False), (1, False), ("auto", False), (1, True),
    ]  # fmt: skip
    assert [options.person_threshold == 0 for options in requested] == [False, True, False, False]


def test_a_backend_that_cannot_run_does_not_end_the_others(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good: dict[str, Any] = {
        "requested": "onnxruntime",
        "runs": RUNS,
        "ap": None,
        "steps": {},
        "export": {"fps": 1.0, "frames": 1},
    }
    good |= {"live": {}, "people": [], "people_ratios": [], "peak_memory_mib": None}
    bad = {"requested": "openvino", "error": "openvino cannot run here"}
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


def test_a_model_is_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.safetensors").touch()
    given: list[str] = []

    def child(words: list[str], cwd: Path) -> dict[str, Any]:
        given.extend(words)
        return {}

    monkeypatch.setattr(benchmark, "_child_report", child)
    benchmark.measured_accuracy(PipelineOptions(pose_model="own.safetensors", detector="yolo_person"), Path("data"))
    paths = [given[given.index(flag) + 1] for flag in ("--data", "--pose-model", "--detector")]
    assert paths == [str(tmp_path / "data"), str(tmp_path / "own.safetensors"), "yolo_person"]


def test_the_children_s_errors_are_one_line(video: Path, tmp_path: Path) -> None:
    arguments = main.read_options(
        ["--benchmark", "--video", str(video), "--frames", "2", "--pose-model", str(tmp_path / "gone.safetensors")]
    )
    found = benchmark._in_child("openvino", "fp32", arguments, (1,))
    assert (found["requested"], found["precision"]) == ("openvino", "fp32")
    assert "gone.safetensors does not exist" in found["error"]
    assert not found["error"].startswith("error:")
