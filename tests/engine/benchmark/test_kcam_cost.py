"""`python -m engine cost`: three forms of one network, measured alternately."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch

from engine import __main__ as command_line
from engine.benchmark import kcam_cost
from engine.benchmark.kcam_cost import FORMS, interleaved, open_forms, write_forms
from engine.benchmark.selection import CostOptions
from models.checkpoints import load_pose_model
from tests.engine.small_pose_model import random_crops, write_small_model

pytestmark = pytest.mark.usefixtures("one_thread")

WIDTH = 32  # channels of the small model's features


@pytest.fixture(scope="module")
def forms(small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[CostOptions, Path]:
    options = CostOptions(pose_model=str(small_weights))
    folder = tmp_path_factory.mktemp("forms")
    write_forms(options, folder)
    return options, folder


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_the_forms_match_their_names(runtime: str, forms: tuple[CostOptions, Path], small_weights: Path) -> None:
    crops = random_crops(3, seed=11)
    checkpoint = load_pose_model(small_weights)
    images = torch.from_numpy(crops[..., ::-1].copy()).float() / 255
    images = ((images - torch.tensor(checkpoint.mean)) / torch.tensor(checkpoint.std)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = checkpoint.model(images)
    options, folder = forms
    with open_forms(runtime, "fp32", options, folder) as backends:
        found = {form: backends[form].infer({"crops": crops}, ("heatmaps",))["heatmaps"] for form in FORMS}
        assert "attention" not in backends["bare"].spec.output_names
    assert expected.coarse_heatmaps is not None
    np.testing.assert_allclose(found["bare"], expected.coarse_heatmaps.numpy(), atol=2e-4)
    for form in ("unfolded", "folded"):
        np.testing.assert_allclose(found[form], expected.heatmaps.numpy(), atol=2e-4)


def test_only_the_unfolded_graph_takes_features_and_aggregated_through_one_convolution(
    forms: tuple[CostOptions, Path],
) -> None:
    """Concatenation makes its convolution twice as wide; folded, the aggregated half works on K columns."""
    widest = {}
    for form in FORMS:
        weights = onnx.load(str(forms[1] / f"{form}.onnx")).graph.initializer
        pointwise = [tuple(w.dims) for w in weights if len(w.dims) == 4 and tuple(w.dims)[2:] == (1, 1)]
        widest[form] = max(dims[1] for dims in pointwise if dims[0] == WIDTH) if form != "bare" else 0
    assert widest == {"bare": 0, "unfolded": 2 * WIDTH, "folded": WIDTH}


def test_rounds_change_their_order_and_warm_up_rounds_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"wall": 0.0, "processor": 0.0}
    clocks = SimpleNamespace(perf_counter=lambda: clock["wall"], process_time=lambda: clock["processor"])
    monkeypatch.setattr(kcam_cost, "time", clocks)
    order: list[str] = []

    def taking(name: str, seconds: float) -> None:
        order.append(name)
        clock["wall"] += seconds * (100 if len(order) <= 36 else 1)  # the first runs compile
        clock["processor"] += seconds / 2

    cost = {"a": 1.0, "b": 2.0, "c": 4.0}
    wall, processor = interleaved({name: partial(taking, name, seconds) for name, seconds in cost.items()}, 6)
    assert wall == {name: [seconds] * 6 for name, seconds in cost.items()}
    assert processor == {name: [seconds / 2] * 6 for name, seconds in cost.items()}
    rounds = [tuple(order[at : at + 3]) for at in range(0, len(order), 3)]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert Counter(rounds[12:]) == Counter(itertools.permutations("abc"))


def test_the_command_prints_a_table_and_writes_the_numbers(
    small_weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "cost.json"
    requested = ["--runtime", "onnxruntime,torch", "--precision", "fp32,bf16", "--people", "1,3", "--rounds", "3"]
    arguments = ["cost", "--pose-model", str(small_weights), *requested]
    assert command_line.main([*arguments, "--report", str(report)]) == 0
    out = capfd.readouterr().out
    found = json.loads(report.read_text())
    assert found["model"]["name"] == "kcam_resnet18" and found["model"]["input_size"] == "96x64"
    measured = [row for row in found["rows"] if "error" not in row]
    assert [(row["runtime"], row["precision"], row["people"]) for row in measured] == [
        ("onnxruntime", "fp32", 1), ("onnxruntime", "fp32", 3), ("torch", "fp32", 1), ("torch", "fp32", 3),
        ("torch", "bf16", 1), ("torch", "bf16", 3),
    ]  # fmt: skip
    (refused,) = [row for row in found["rows"] if "error" in row]
    assert f"onnxruntime, bf16: {refused['error']}" in out
    for row in measured:
        assert set(row["wall"]["ms"]) == set(FORMS)
        for clock in ("wall", "processor"):
            ratios = row[clock]["ratios"]
            assert set(ratios) == {"unfolded/bare", "folded/bare", "folded/unfolded"}
            assert all(0 < one["p25"] <= one["median"] <= one["p75"] for one in ratios.values())
        assert f"{row['wall']['ratios']['folded/bare']['median']:.3f}" in out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--pose-model", "resnet18"], "resnet18 has no KCAM to measure; kcam_resnet18 does"),
        (["--pose-model", "kcam_resnt50"], "Did you mean 'kcam_resnet50'"),
        (["--pose-model", "kcam_resnet50", "--input-size", "250x190"], "multiples of 32"),
        (["--pose-model", "kcam_resnet50", "--input-size", "huge"], "write height x width"),
        (["--runtime", "onnx"], "Did you mean 'onnxruntime'"),
        (["--precision", "int8"], "calibration"),
        (["--rounds", "0"], "--rounds is 0"),
        (["--people", "0"], "--people 0"),
        (["--device", "gpu"], "--device gpu"),
        (["--threads", "0"], "number of threads is 0"),
    ],
)
def test_impossible_measurements_are_one_line(
    given: list[str], message: str, small_weights: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    chosen = [] if "--pose-model" in given else ["--pose-model", str(small_weights)]
    assert command_line.main(["cost", "--runtime", "torch", *chosen, *given]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("engine: ")]
    assert len(lines) == 1
    assert message in lines[0]


def test_weights_are_checked(small_weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bare = write_small_model(tmp_path / "bare.safetensors", "resnet18")
    for given, message in (
        (["--pose-model", str(small_weights), "--deconv-channels", "64"], "the weights define it"),
        (["--pose-model", str(bare)], "resnet18 has no KCAM"),
    ):
        assert command_line.main(["cost", "--runtime", "torch", *given]) == 2
        assert message in capfd.readouterr().err
