"""AP against latency: the same weights at several sizes, timed in turns, drawn with the shipped one marked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from models.build import build_model
from models.checkpoints import load_pose_model, save_pose_model
from tests.train.people_folder import write_people
from train.data.reading import read_people
from train.evaluate import main as evaluate
from train.maintenance.draw_tradeoff import is_shipped, pareto, table_of
from train.maintenance.measure_tradeoff import at_size, latencies, thinned
from train.tradeoff import main


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("people") / "p")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A random network for the made-up people, in float32, so that a loss of digits would show."""
    torch.manual_seed(0)
    people = read_people(data, "val")
    file = tmp_path_factory.mktemp("weights") / "small.safetensors"
    model = build_model("resnet18", num_keypoints=3, input_size_wh=(64, 64), deconv_channels=16).eval()
    save_pose_model(
        file,
        model,
        skeleton=people.skeleton.to_dict(),
        class_names=people.class_names,
        mean=(0.1, 0.2, 0.3),
        half=False,
    )
    return file


def point(label: str, ms: float, ap: float, **more: Any) -> dict[str, Any]:
    return {
        "label": label, "model": "resnet18", "sha256": "", "own_size": True, "input_size": "64x64", "flip_test": False,
        "backend": "openvino", "device": "CPU", "precision": "bf16", "people": 6, "AP_even": ap, "AP_odd": ap,
        "metrics": {"AP": ap}, "latency_ms": {"p50": ms, "p95": ms}, "shipped": False, **more,
    }  # fmt: skip


def test_sizes_and_flip_test_are_measured_reported_and_drawn(data: Path, weights: Path, tmp_path: Path) -> None:
    """AP at its own size is what train.evaluate says; a second call draws the first one's points along."""
    common = ["--data", str(data), "--backend", "torch", "--precision", "fp32", "--repeats", "3"]
    report, plot = tmp_path / "out" / "a.json", tmp_path / "out" / "a.png"
    chosen = ["--weights", f"mine={weights}", "--input-sizes", "64x64,96x64"]
    assert main([*common, *chosen, "--report", str(report), "--output", str(plot)]) == 0
    points = json.loads(report.read_text())["points"]
    assert [(p["label"], p["input_size"], p["flip_test"], p["own_size"]) for p in points] == [
        ("mine", "64x64", False, True),
        ("mine", "64x64", True, True),
        ("mine", "96x64", False, False),
        ("mine", "96x64", True, False),
    ]
    assert all(0 < p["latency_ms"]["p50"] <= p["latency_ms"]["p95"] and not p["shipped"] for p in points)
    expected = tmp_path / "expected.json"
    arguments = ["--weights", str(weights), "--data", str(data), "--flip-test", "--report", str(expected)]
    assert evaluate(arguments) == 0
    found = json.loads(expected.read_text())
    assert points[1]["metrics"] == found["metrics"]
    assert (points[1]["AP_even"], points[1]["AP_odd"]) == tuple(found["halves"][half]["AP"] for half in ("even", "odd"))
    drawn = cv2.imread(str(plot))
    assert drawn is not None and drawn.std() > 10
    assert main(["--add", str(report), str(report), "--report", str(expected), "--overwrite"]) == 0
    assert len(json.loads(expected.read_text())["points"]) == 8


def test_another_size_is_the_same_network(weights: Path, tmp_path: Path) -> None:
    with at_size(weights, (96, 128), tmp_path) as file:
        copy, own = load_pose_model(file), load_pose_model(weights)
    assert copy.config.input_size_wh == (96, 128) and copy.mean == own.mean and copy.class_names == own.class_names
    for name, value in own.model.state_dict().items():
        torch.testing.assert_close(copy.model.state_dict()[name], value, rtol=0, atol=0)


def test_turns_are_taken_and_the_median_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock of its own: one run takes 2 ms, the other 5, and both 100 in the turn that warms up."""
    now, order = 0.0, []

    def run(name: str, ms: float) -> None:
        nonlocal now
        order.append(name)
        now += (ms if len(order) > 4 else 100.0) / 1e3

    monkeypatch.setattr("train.maintenance.measure_tradeoff.time.perf_counter", lambda: now)
    taken = latencies([lambda: run("a", 2.0), lambda: run("b", 5.0)], repeats=20)
    assert [value["p50"] for value in taken] == [pytest.approx(2), pytest.approx(5)]
    assert [value["p95"] for value in taken] == [pytest.approx(2), pytest.approx(5)]
    assert order[:8] == ["a", "a", "b", "b"] * 2


def test_a_part_of_the_people_is_whole_pictures_and_their_labels(data: Path) -> None:
    people = read_people(data, "val")
    few = thinned(people, 3)
    assert len(few.people) == len(few.ground_truth["annotations"]) == len(few.ground_truth["images"]) == 3
    assert {p.image_id for p in few.people} == {image["id"] for image in few.ground_truth["images"]}
    assert thinned(people, 0) is people and thinned(people, 100) is people


def test_what_nothing_beats_is_the_front() -> None:
    points = [
        point("slow", 9, 30),
        point("fast", 1, 10),
        point("worse", 3, 9),
        point("good", 3, 20),
        point("tie", 9, 30),
    ]
    assert [p["label"] for p in pareto(points)] in (["fast", "good", "slow"], ["fast", "good", "tie"])
    rows = table_of(points).splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["fast", "worse", "good", "slow", "tie"]
    assert "**20.00**" in rows[2] and "**" not in rows[1]


def test_shipped_is_at_its_own_size_without_flip_test(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.maintenance.draw_tradeoff.resolve_pose_model", lambda: weights)
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert is_shipped(point("x", 1, 1, sha256=sha256))
    assert not is_shipped(point("x", 1, 1, sha256=sha256, flip_test=True))
    assert not is_shipped(point("x", 1, 1, sha256=sha256, own_size=False))
    assert is_shipped(point("x", 1, 1, sha256=sha256, precision="int8")), "the processor decides the precision"
    assert not is_shipped(point("x", 1, 1, sha256="0" * 64))


def test_what_does_not_serve_is_one_line(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.json").write_text('{"points": [{"label": "x"}]}')
    (tmp_path / "old.json").write_text(
        '{"points": [{"label": "x", "metrics": {"AP": 1}, "latency_ms": {"p50": 1}}]}'  # not all that is drawn
    )
    (tmp_path / "graph.onnx").write_bytes(b"no graph")
    common = ["--data", str(data), "--backend", "torch", "--precision", "fp32"]
    for options, message in (
        ([], "nothing to draw"),
        (["--weights", str(weights)], "--data is missing"),
        (["--weights", str(weights), *common, "--input-sizes", "65x64"], "two multiples of 32"),
        (["--weights", str(weights), *common, "--input-sizes", "big"], "height x width"),
        (["--weights", str(weights), *common, "--people", "-1"], "--people is -1"),
        (["--weights", str(weights), *common, "--repeats", "0"], "--repeats is 0"),
        (["--weights", str(tmp_path / "graph.onnx"), *common, "--input-sizes", "64x64"], "compiled graph of one size"),
        (["--weights", "kcam_resnet18", *common], "name different keypoints"),
        (["--add", str(tmp_path / "other.json")], "is not a report of train.tradeoff"),
        (["--add", str(tmp_path / "old.json")], "is not a report of train.tradeoff"),
        (["--add", str(tmp_path / "none.json")], "none.json cannot be read"),
        (["--add", str(tmp_path / "other.json"), "--output", "x.jpg"], "ends in .png"),
    ):
        assert main(options) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
