"""The report on a machine, also with missing parts."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from engine import doctor
from engine.doctor import Finding, format_findings
from engine.sources.opening import CameraInfo

ROOT = Path(__file__).resolve().parents[2]


def test_versions_are_those_that_are_installed() -> None:
    found = {finding.name: finding for finding in doctor.packages()}
    assert found["numpy"].text == metadata.version("numpy")
    assert found["numpy"].advice is None
    named = {name for name, _ in doctor.required_packages("run")}
    assert {"opencv-python", "PyQt5", "openvino", "av"} <= named == set(found)
    assert {"torch", "ultralytics"} <= {name for name, _ in doctor.required_packages("train")}


def test_missing_and_old_packages_have_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "requirements-run.txt").write_text("# a comment\nno-such-package>=1.0\nnumpy>=999.1\n")
    (tmp_path / "requirements-train.txt").write_text("numpy>=1.0\nno-such-package>=1.0\n")
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    missing, old = doctor.packages()
    assert (missing.name, missing.text) == ("no-such-package", "not installed")
    assert missing.advice == "python -m pip install -r requirements-run.txt"
    assert "older than 999.1" in old.text
    assert old.advice is not None
    there, absent, *_, command = doctor.optional_packages()
    assert (there.name, there.advice) == ("numpy", None)
    assert absent.text.startswith("no-such-package; fine for videos") and absent.advice is None
    assert command.text == "python -m pip install -r requirements.txt"


def test_an_installed_program_knows_its_packages_from_its_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = ["numpy>=1.26", "av >=14.0", 'torch>=2.11; extra == "train"', "tensorrt>=10.12; extra == 'tensorrt'"]
    monkeypatch.setattr(doctor, "is_checkout", lambda: False)
    monkeypatch.setattr("importlib.metadata.requires", lambda _name: listed)
    assert doctor.required_packages("run") == [("numpy", "1.26"), ("av", "14.0")]
    assert doctor.required_packages("train") == [("torch", "2.11")]


@pytest.mark.parametrize(
    ("older", "newer"), [("1.9", "1.10"), ("0.4.72", "0.5"), ("2.11.0", "2.11.0.1"), ("2.9.1+cpu", "2.10")]
)
def test_versions_are_compared_by_number(older: str, newer: str) -> None:
    assert doctor.version_key(older) < doctor.version_key(newer)


def test_a_package_that_does_not_load_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_name: str) -> None:
        raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory", name="cv2")

    monkeypatch.setattr("importlib.import_module", fail)
    found = {finding.name: finding for finding in doctor.packages()}
    assert "does not load" in found["opencv-python"].text
    assert "libgl1" in str(found["opencv-python"].advice)


def test_weights_are_listed_with_what_their_card_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "WEIGHTS_DIR", tmp_path)
    (tmp_path / "kcam_a.safetensors").write_bytes(bytes(3 * 2**20))
    (tmp_path / "kcam_a.md").write_text("# kcam_a\n\nWhat AP means: see below.\n\n| AP (flip) | **12.5** |\n")
    (tmp_path / "default.json").write_text(json.dumps({"pose_model": "kcam_a", "detector": "yolo_gone"}))
    pose, detector = doctor.weights()
    assert pose.text == "pose model, 3.0 MiB, the default, AP (flip) 12.5"
    assert detector.name == "yolo_gone"
    assert detector.advice is not None


def test_missing_weights_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "WEIGHTS_DIR", tmp_path)
    assert [finding.name for finding in doctor.weights()] == ["pose model", "detector"]


def test_an_exported_form_is_no_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "WEIGHTS_DIR", tmp_path)
    for name in ("kcam_a.safetensors", "kcam_a.onnx", "kcam_a.int8.onnx", "people.onnx"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "default.json").write_text(json.dumps({"pose_model": "kcam_a", "detector": "people"}))
    pose, detector = doctor.weights()
    assert (pose.name, detector.name) == ("kcam_a", "people")
    assert "also in exported form" in pose.text and "exported" not in detector.text


def test_a_gpu_is_reported_by_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(doctor, "output_of", lambda command: "0, Some GPU, 580.1, 8192 MiB, 8.9")
    (found,) = doctor.gpus()
    assert (found.name, found.text) == ("0", "Some GPU, 580.1, 8192 MiB, 8.9")
    monkeypatch.setattr(doctor, "output_of", lambda command: "")
    (found,) = doctor.gpus()
    assert found.advice is not None


def test_cameras_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [CameraInfo(index=0, name="Desk"), CameraInfo(index=2, name="Door")]
    monkeypatch.setattr("engine.sources.opening.list_cameras", lambda: found)
    assert [(finding.name, finding.text) for finding in doctor.cameras()] == [("0", "Desk"), ("2", "Door")]


def test_the_cache_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KCAM_CACHE_DIR", str(tmp_path / "cache"))
    assert "made at first use" in next(doctor.cache()).text
    (tmp_path / "cache" / "onnx").mkdir(parents=True)
    (tmp_path / "cache" / "onnx" / "a.onnx").write_bytes(bytes(2**20))
    assert "1 files, 1.0 MiB" in next(doctor.cache()).text


def test_a_failed_check_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[Finding]:
        raise RuntimeError("odd driver")

    for name in ("packages", "backends", "cameras", "encoders", "weights", "cache"):
        monkeypatch.setattr(doctor, name, list)
    monkeypatch.setattr(doctor, "gpus", broken)
    found = doctor.examine()
    assert "RuntimeError: odd driver" in found["NVIDIA GPU"][0].text
    assert found["System"]


def test_the_report_puts_advice_under_its_line() -> None:
    report = format_findings(
        {
            "A": [Finding("first", "fine"), Finding("second one", "gone " * 40, "install it")],
            "B": [Finding("third", "fine")],
            "C": [],
        }
    )
    lines = report.splitlines()
    assert lines[0] == "A"
    assert lines[1] == "  first       fine"
    assert lines[lines.index("B") - 2] == "              -> install it"
    assert "1 of 3 lines come with advice" in lines[-1]


def test_it_works_with_the_standard_library_alone() -> None:
    # -S: no site-packages, as on a machine on which nothing was installed.
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(ROOT / "main.py"), "--doctor"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "not installed" in done.stdout
    assert "python -m pip install -r requirements-run.txt" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
