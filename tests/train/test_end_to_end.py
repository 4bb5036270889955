"""AP of the whole program, on the development data; and the benchmark that runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.benchmark.command import measured_accuracy
from engine.benchmark.report import accuracy_text, report_text
from engine.errors import OptionError
from engine.pipeline.options import PipelineOptions
from train.end_to_end import main

DATA = Path("data/people17")


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """The first pictures of the validation split."""
    if not (DATA / "val.json").is_file():
        pytest.skip("the development data is not in data/people17 (CONTRIBUTING.md)")
    coco = json.loads((DATA / "val.json").read_text())
    coco["images"] = coco["images"][:6]
    kept = {image["id"] for image in coco["images"]}
    coco["annotations"] = [one for one in coco["annotations"] if one["image_id"] in kept]
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "val.json").write_text(json.dumps(coco))
    (folder / "val").symlink_to((DATA / "val").resolve())
    return folder


def test_ap_of_what_runs(few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    assert main(["--data", str(few), "--backend", "onnxruntime", "--report", str(report)]) == 0
    found = json.loads(report.read_text())
    assert found["pictures"] == 6 and found["runs"]["backend"] == "onnxruntime"
    assert 10 < found["metrics"]["AP"] <= 100 and f"{found['metrics']['AP']:.1f}"[:3] in capsys.readouterr().out
    # A filter that lets nobody pass finds nobody: the options count.
    assert main(["--data", str(few), "--person-threshold", "1", "--report", str(report), "--overwrite"]) == 0
    assert json.loads(report.read_text())["found"] == 0


def test_the_benchmark_says_what_cannot_be_measured(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="AP cannot be measured"):
        measured_accuracy(PipelineOptions(), tmp_path)


def test_speed_stands_beside_accuracy() -> None:
    runs = {
        "pose_model": "kcam_a", "backend": "openvino", "device": "cpu", "precision": "bf16", "detector": "b",
        "detector_backend": "openvino", "detector_device": "cpu", "detector_precision": "bf16",
    }  # fmt: skip
    live = {"fps": 30.0, "latency_ms": {"p50": 1, "p95": 2}, "latency_ms_parts_p50": [1, 1], "dropped_frames": 0}
    one: dict[str, Any] = {
        "runs": runs, "ap": "AP 50 (card)", "steps": {}, "export": {"fps": 20.0}, "live": {"1": live}, "people": [],
        "people_ratios": [], "peak_memory_mib": None,
    }  # fmt: skip
    measured = {**one, "accuracy": {"data": "DIR", "pictures": 5, "people": 9, "metrics": {"AP": 42.65}}}
    frame: dict[str, Any] = {"machine": dict.fromkeys(("processor", "usable_cores", "load_before", "python")),
             "video": {"name": "v", "frames": 1, "size_wh": (1, 1)}}  # fmt: skip
    text = report_text({**frame, "backends": [measured]})
    assert "20.0 frames/s at AP 42." in text and "30.0 frames/s at AP 42." in text and "on DIR (5 pictures" in text
    assert accuracy_text(one) == "AP 50 (card)" and " at AP" not in report_text({**frame, "backends": [one]})
