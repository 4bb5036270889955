"""`python -m train.ablate`: one budget, one switch a row, nothing trained twice."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.errors import OptionError
from models.checkpoints import load_pose_model
from models.pose_model import PoseModelConfig
from tests.train.people_folder import write_people
from train import ablate as ablation
from train.ablate import base_config, format_table, main, plan, row_config, summarize
from train.config import TrainConfig
from train.data.reading import read_people
from train.evaluate import EvaluateOptions
from train.evaluation.foreign_checkpoint import usable_weights
from train.options import config_from, parse_options

TINY = ["--model", "kcam_resnet18", "--deconv-channels", "16", "--input-size", "64x64", "--batch-size", "3"]


def test_rows_differ_in_their_switch_alone(tmp_path: Path) -> None:
    base = base_config(["--data", "d", *TINY, "--epochs", "4", "--seed", "5"])
    assert base.validate_every == 4 and base.seed == 5
    for table, switch, values in ((1, "coarse_supervision", [False, True]), (2, "fusion", ["none", "add", "concat"])):
        configs = [row_config(base, row, 5, tmp_path) for row in plan(table, bare=False)]
        assert [getattr(config.pose_model, switch) for config in configs] == values
        assert len({config.output for config in configs}) == len(configs)
        same = {
            json.dumps(dataclasses.replace(c, output=tmp_path, pose_model=base.pose_model).to_dict()) for c in configs
        }
        assert len(same) == 1
    bare = row_config(base, plan(2, bare=True)[0], 5, tmp_path)
    assert bare.pose_model == dataclasses.replace(base.pose_model, name="resnet18")


def test_unasked_it_is_the_papers_network() -> None:
    config = base_config(["--data", "d"])
    assert (config.pose_model.name, config.init, config.epochs) == ("kcam_resnet50", "imagenet", 210)
    assert config.pose_model.input_size_wh == (192, 256)


def test_the_configuration_of_a_run_is_a_budget(tmp_path: Path) -> None:
    run = config_from(parse_options(["--data", "d", *TINY, "--epochs", "4", "--output", str(tmp_path)]))
    run.save()
    assert base_config(["--config", str(tmp_path / "config.json")]) == run


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "resnet18"], "no KCAM head to switch"),
        (["--model", "kcam_resnet18", "--resume"], "resumes by itself"),
        (["--model", "kcam_resnet18", "--nodes", "2"], "one machine"),
        (["--model", "kcam_resnet18", "--epoch-count", "5"], "unknown option '--epoch-count'"),
    ],
)
def test_a_plan_that_cannot_be_is_named(options: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        base_config(["--data", "d", *options])


def test_rows_are_measured_as_in_the_paper_and_trained_on_several_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With flip test and the detector's boxes; a row for several devices gets a process of its own."""
    boxes = tmp_path / "boxes.json"
    options = ["--data", "d", *TINY, "--batch-size", "4", "--devices", "2", "--boxes", str(boxes)]
    base = base_config([*options, "--scale-range", "0.7,1.3"])
    row = row_config(base, plan(1, bare=False)[0], 0, tmp_path)
    started: list[TrainConfig] = []
    measured: list[EvaluateOptions] = []

    def start(command: list[str], check: bool) -> SimpleNamespace:
        assert command[1:4] == ["-m", "train", "--config"] and not check
        started.append(config_from(parse_options(command[3:])))
        return SimpleNamespace(returncode=0)

    def measure(asked: EvaluateOptions) -> tuple[dict[str, Any], list[Any]]:
        measured.append(asked)
        return dict.fromkeys(("metrics", "breakdown", "context", "boxes", "flip_test", "decode")), []

    monkeypatch.setattr(subprocess, "run", start)
    monkeypatch.setattr(ablation, "evaluate", measure)
    ablation.run_row(row)
    assert started == [row] and row.devices == 2
    assert (measured[0].boxes, measured[0].flip_test) == (str(boxes), True)
    assert "boxes of boxes.json, flip test" in ablation.describe_budget(base)


def results(*values: float) -> list[dict[str, Any]]:
    return [{"metrics": {**dict.fromkeys(("AP50", "AP75", "APM", "APL", "AR"), 1.0), "AP": v}} for v in values]


def test_mean_and_spread_stand_below_the_papers_line() -> None:
    assert summarize(results(10, 12, 14))["AP"] == {"mean": 12, "spread": 2}
    assert summarize(results(10))["AP"] == {"mean": 10, "spread": 0}
    lines = format_table(1, plan(1, bare=True), {"with": results(10, 14), "bare backbone": results(9)}).splitlines()
    assert lines[2].split()[:3] == ["bare", "backbone,", "ours"] and "9.00 ± 0.00" in lines[2]
    assert lines[3].split() == ["without,", "paper", "70.19", "89.59", "78.10", "66.27", "76.99", "-"]
    assert lines[4].startswith("with, paper") and "71.87" in lines[4]
    assert lines[5].startswith("with, ours") and "12.00 ± 2.83" in lines[5] and "2 seeds" in lines[5]
    assert len(lines) == 6


class FakeTraining:
    """Stands for hours of training: leaves what a run leaves, or stops in the middle once."""

    def __init__(self, stop_at: int) -> None:
        self.calls: list[tuple[str, bool]] = []
        self.stop_at = stop_at

    def train(self, config: TrainConfig, resume: bool = False) -> Path:
        self.calls.append((config.output.name, resume))
        config.save()
        (config.output / "checkpoints").mkdir(exist_ok=True)
        (config.output / "checkpoints" / "last.ckpt").touch()
        if len(self.calls) == self.stop_at:
            raise KeyboardInterrupt
        return config.output / "best.safetensors"

    @staticmethod
    def evaluate(arguments: Any) -> tuple[dict[str, Any], list[Any]]:
        assert arguments.weights.endswith("last.safetensors")  # never the best on val
        ap = 20.0 if "with_seed" in arguments.weights else 10.0
        rest = dict.fromkeys(("breakdown", "context", "boxes", "flip_test", "decode"))
        return {"metrics": results(ap)[0]["metrics"], **rest}, []


def test_what_is_finished_is_kept_and_what_was_stopped_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeTraining(stop_at=2)
    monkeypatch.setattr(ablation, "train", fake.train)
    monkeypatch.setattr(ablation, "evaluate", fake.evaluate)
    command = ["--table", "1", "--seeds", "2", "--output", str(tmp_path / "a"), "--data", "d", *TINY, "--epochs", "2"]
    with pytest.raises(KeyboardInterrupt):
        main(command)
    for saved in (tmp_path / "a").rglob("config.json"):  # as older versions wrote it
        values = json.loads(saved.read_text())
        for name in ("udp", "sigma", "decode"):
            values["pose_model"].pop(name)
        saved.write_text(json.dumps({**values, "sigma": 0.0, "decode": "quarter"}))
    assert main([*command, "--threads", "1"]) == 0
    first, second = [("without_seed0", False), ("with_seed0", False)], [("with_seed0", True), ("without_seed1", False)]
    assert fake.calls == [*first, *second, ("with_seed1", False)]
    assert main(command) == 0 and len(fake.calls) == 5
    table = json.loads((tmp_path / "a" / "table1.json").read_text())
    assert table["rows"]["with"]["summary"]["AP"] == {"mean": 20, "spread": 0}
    assert [run["seed"] for run in table["rows"]["without"]["runs"]] == [0, 1]
    assert "20.00 ± 0.00" in capsys.readouterr().out
    assert main([*command, "--epochs", "3"]) == 2
    error = capsys.readouterr().err
    assert "was trained with epochs 2, now it is 3" in error and error.count("\n") == 1
    assert len(fake.calls) == 5


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Data and output of a real ablation of one epoch."""
    folder = tmp_path_factory.mktemp("ablation")
    data = write_people(folder / "p", pictures=3)
    command = ["--table", "1", "--seeds", "1", "--output", str(folder / "a"), "--data", str(data), *TINY]
    assert main([*command, "--epochs", "1", "--workers", "0", "--threads", "1", "--ema-decay", "0.5"]) == 0
    return data, folder / "a"


def test_rows_are_really_trained_and_scored(finished: tuple[Path, Path]) -> None:
    _, output = finished
    table = json.loads((output / "table1.json").read_text())
    assert set(table["rows"]) == {"without", "with"}
    for row in table["rows"].values():
        assert 0 <= row["summary"]["AP"]["mean"] <= 100
        assert 0 <= row["runs"][0]["context"]["attention_entropy_mean"] <= 1.001
    saved = json.loads((output / "without_seed0" / "config.json").read_text())
    assert PoseModelConfig.from_dict(saved["pose_model"]).coarse_supervision is False
    assert "kcam_resnet18 64x64" in table["budget"] and "1 epochs, batch 3" in table["budget"]


def test_lightnings_checkpoint_of_a_run_gives_its_averaged_weights(finished: tuple[Path, Path]) -> None:
    """The network is read from the run's folder, and nothing but tensors from the checkpoint."""
    data, output = finished
    run = output / "with_seed0"
    people = read_people(data, "val")
    with usable_weights(str(run / "checkpoints" / "last.ckpt"), None, None, people) as file:
        from_checkpoint = load_pose_model(file)
    saved = load_pose_model(run / "last.safetensors")
    assert from_checkpoint.config == saved.config and from_checkpoint.skeleton == saved.skeleton
    other = saved.model.state_dict()
    for name, value in from_checkpoint.model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.allclose(value, other[name], rtol=1e-3, atol=1e-4), name  # one of them is kept in 16 bits
