"""`python -m train` as a person runs it, on a made-up data set."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import pytest
import torch

from engine.skeleton import Skeleton
from models.checkpoints import load_pose_model
from tests.train.people_folder import NAMES, write_people
from train.__main__ import main
from train.curves import main as draw_curves
from train.curves import read_curves, smooth
from train.detector_recall import match
from train.evaluate import main as evaluate
from train.evaluation.coco_eval import METRIC_NAMES
from train.options import config_from, parse_options
from train.run import build_training

TINY = ["--model", "kcam_resnet18", "--deconv-channels", "16", "--input-size", "64x64", "--batch-size", "3"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Data folder and output folder of a finished run of two epochs."""
    folder = tmp_path_factory.mktemp("training")
    data, output = write_people(folder / "people"), folder / "run"
    options = ["--data", str(data), "--output", str(output), "--workers", "0", "--ema-decay", "0.5"]
    assert main([*TINY, *options, "--epochs", "2", "--precision", "bf16"]) == 0
    return data, output


def test_a_run_leaves_weights_checkpoint_configuration_and_curves(run: tuple[Path, Path]) -> None:
    _, output = run
    checkpoint = load_pose_model(output / "best.safetensors")
    assert Skeleton.from_dict(checkpoint.skeleton).keypoint_names == NAMES
    assert checkpoint.class_names == ("stick",)
    assert json.loads((output / "config.json").read_text())["pose_model"]["num_keypoints"] == 3
    assert (output / "checkpoints" / "last.ckpt").is_file()
    assert "val/AP" in (output / "log" / "version_0" / "metrics.csv").read_text()
    assert list(output.glob("tensorboard/**/events*"))


def test_a_run_that_ends_before_a_validation_leaves_its_weights(run: tuple[Path, Path], tmp_path: Path) -> None:
    options = ["--data", str(run[0]), "--output", str(tmp_path), "--workers", "0", "--validate-every", "9"]
    assert main([*TINY, *options, "--epochs", "9", "--max-steps", "1"]) == 0
    for name in ("last", "best"):
        assert load_pose_model(tmp_path / f"{name}.safetensors").notes["step"] == "1"


def test_a_run_teaches_the_attention_on_request(
    run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = [*TINY, "--data", str(run[0]), "--workers", "0", "--max-steps", "2"]
    entries, states = {}, {}
    for name, weight in (("taught", "0.1"), ("paper", "0")):
        assert main([*common, "--attention-weight", weight, "--output", str(tmp_path / name)]) == 0
        entries[name] = (tmp_path / name / "log" / "version_0" / "metrics.csv").read_text()
        states[name] = load_pose_model(tmp_path / name / "last.safetensors").model.state_dict()
    assert "train/loss_attention" in entries["taught"] and "train/loss_attention" not in entries["paper"]
    assert not torch.equal(*(state["kcam.key.weight"] for state in states.values()))
    capsys.readouterr()
    bare = [*common, "--model", "resnet18", "--attention-weight", "0.1", "--output", str(tmp_path / "bare")]
    assert main(bare) == 2
    assert "resnet18 has no attention" in capsys.readouterr().err


def test_a_run_learns_from_a_teacher_as_well(run: tuple[Path, Path], tmp_path: Path) -> None:
    """The teacher is in the loss and in no file of the run."""
    data, finished = run
    common = [*TINY, "--data", str(data), "--workers", "0", "--ema-decay", "0.5", "--max-steps", "2"]
    taught = ["--teacher", str(finished / "best.safetensors"), "--teacher-threshold", "0.0"]
    assert main([*common, *taught, "--output", str(tmp_path / "taught")]) == 0
    assert "train/loss_teacher" in (tmp_path / "taught" / "log" / "version_0" / "metrics.csv").read_text()
    assert main([*common, "--output", str(tmp_path / "alone")]) == 0
    states = [
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("taught", "alone")
    ]
    assert states[0].keys() == states[1].keys()
    assert any(not torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_curves_become_a_picture(run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "docs" / "curves.png"
    assert draw_curves(["--run", str(run[1]), "--output", str(picture)]) == 0
    image = cv2.imread(str(picture))
    assert image is not None and image.shape[1] > 1000
    assert draw_curves(["--run", str(tmp_path / "none"), "--output", str(tmp_path / "other.png")]) == 2
    assert "metrics.csv" in capsys.readouterr().err
    # matplotlib would write pdf.png for the first, without asking, and knows no such kind as the second.
    for name in ("pdf", "curves.xyz"):
        assert draw_curves(["--run", str(run[1]), "--output", str(tmp_path / name)]) == 2
        assert "expected a name that ends in .png" in capsys.readouterr().err
    log = tmp_path / "killed" / "log" / "version_0" / "metrics.csv"
    log.parent.mkdir(parents=True)
    log.write_text("epoch,step,val/AP\n0,5,40.5\n1,1")
    assert read_curves(tmp_path / "killed") == {"val/AP": [(5.0, 40.5)]}
    assert [value for _, value in smooth([(0, 2.0), (1, 4.0), (2, 6.0)], 2)] == [2, 3, 5]


def test_resume_goes_on_where_the_run_stopped(run: tuple[Path, Path], capfd: pytest.CaptureFixture[str]) -> None:
    data, output = run
    options = ["--data", str(data), "--output", str(output), "--workers", "0", "--ema-decay", "0.5"]
    assert main([*TINY, *options, "--epochs", "3", "--precision", "bf16", "--resume"]) == 0
    printed, logged = capfd.readouterr()
    assert "litlogger" not in logged
    assert "epoch 3, " in printed and "epoch 1, " not in printed and "other options" not in printed
    assert len(list(output.glob("log/*/metrics.csv"))) == 2  # the first curve is still there


def test_resume_lists_options_that_changed(
    run: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    shutil.copytree(run[1], output)
    changed = ["--ema-decay", "0", "--optimizer", "adamw", "--seed", "3", "--epochs", "4"]
    assert main([*TINY, "--data", str(run[0]), "--output", str(output), "--workers", "0", *changed, "--resume"]) == 0
    changes = "continues with other options than before: optimizer adam -> adamw, ema_decay 0.5 -> 0.0, "
    printed = capfd.readouterr().out
    assert changes in printed and "seed 0 -> 3" in printed and "epochs" not in printed.split("than before:")[1][:120]


def test_a_broken_picture_that_a_loader_process_meets_is_counted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = write_people(tmp_path / "people")
    (data / "train" / "2.png").write_bytes(b"no picture")
    options = ["--data", str(data), "--output", str(tmp_path / "run"), "--workers", "2", "--no-cache-images"]
    assert main([*TINY, *options, "--epochs", "2"]) == 0
    printed = capfd.readouterr().out
    assert "skipped: " in printed and "2.png is not a picture" in printed
    assert "1 broken pictures or labels were skipped" in printed


class _RunsWhenUnpickled:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("kind", ["garbage", "code", "weights alone", "other network", "other parameters"])
def test_a_checkpoint_that_does_not_serve_is_refused_before_anything_is_written(
    run: tuple[Path, Path],
    tmp_path: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    good = (run[1] / "checkpoints" / "last.ckpt").read_bytes()
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.write_bytes({"garbage": b"garbage", "code": pickle.dumps(_RunsWhenUnpickled())}.get(kind, good))
    if kind == "weights alone":
        torch.save(torch.load(last, weights_only=True)["state_dict"], last)
    content = last.read_bytes()
    (tmp_path / "run" / "config.json").write_text("as it was")
    other = {"other network": ["--deconv-channels", "32"], "other parameters": ["--freeze-backbone"]}.get(kind, [])
    options = [*TINY, "--data", str(run[0]), "--output", str(tmp_path / "run"), "--workers", "0", *other, "--resume"]
    assert main(options) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"train: {last}")
    assert (tmp_path / "run" / "config.json").read_text() == "as it was"
    assert last.read_bytes() == content
    assert not (tmp_path / "executed").exists()


def test_processes_that_share_a_run_go_by_the_clock_of_the_first(run: tuple[Path, Path], tmp_path: Path) -> None:
    options = [*TINY, "--data", str(run[0]), "--output", str(tmp_path), "--hours", "1", "--schedule", "cosine"]
    training = build_training(config_from(parse_options(options)))
    group: dict[str, float] = {"lr": 0.0}
    clock = iter([1800.0, 3600.0])  # what that of the first process says
    strategy = SimpleNamespace(broadcast=lambda value: next(clock))
    optimizers = [SimpleNamespace(param_groups=[group])]
    trainer: Any = SimpleNamespace(
        world_size=2, strategy=strategy, global_step=0, optimizers=optimizers, should_stop=False
    )
    training._trainer = trainer
    training.on_train_batch_start({}, 0)  # type: ignore[typeddict-item]
    assert training.progress == 0.5
    assert group["lr"] == pytest.approx(training.config.learning_rate / 2)
    training.on_train_batch_end(None, {}, 0)  # type: ignore[typeddict-item]
    assert trainer.should_stop  # together: one that went on alone would wait for the others


def test_every_process_knows_that_the_last_weights_were_validated(
    run: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one writes them; another that validated again at the end would wait for it in vain."""
    training = build_training(config_from(parse_options([*TINY, "--data", str(run[0]), "--output", str(tmp_path)])))
    trainer: Any = SimpleNamespace(is_global_zero=False, global_step=7, current_epoch=0)
    training._trainer = trainer
    for name in ("log_dict", "print"):
        monkeypatch.setattr(training, name, lambda *_given: None)
    monkeypatch.setattr(training, "measure", lambda _size: ({"AP": 1.0, "AP50": 1.0, "PCK": 1.0, "loss": 1.0}, {}))
    training.validation_step(torch.zeros(1), 0)
    assert training.kept_step == 7 and not list(tmp_path.iterdir())


def test_evaluate_reports_which_boxes_and_flip_test(run: tuple[Path, Path], tmp_path: Path) -> None:
    data, output = run
    report = tmp_path / "report.json"
    weights = str(output / "best.safetensors")
    arguments = ["--weights", weights, "--data", str(data), "--flip-test", "--report", str(report)]
    assert evaluate(arguments) == 0
    written = json.loads(report.read_text())
    assert written["boxes"] == "gt" and written["flip_test"] is True
    assert set(written["metrics"]) == set(METRIC_NAMES)
    assert 0 <= written["context"]["attention_entropy_mean"] <= 1.001
    assert written["backend"] == "torch" and written["precision"] == "fp32"
    assert (written["skipped"], written["passed_over"]) == (0, [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "kcam_resnet19"], "did you mean 'kcam_resnet18'"),
        (["--model", "kcam_resnet18", "--input-size", "100"], "256x192"),
        (["--model", "kcam_resnet18", "--init", "nothing.pth"], "nothing.pth does not exist"),
        (["--model", "kcam_resnet18", "--resume"], "last.ckpt does not exist"),
        (["--model", "kcam_resnet18", "--grow", "a:b"], "could not convert"),
        ([*TINY, "--max-steps", "-5"], "--max-steps is -5; expected at least -1"),
        ([*TINY, "--source-shares", "coco:2"], "no source of the data set. Its pictures name no source."),
        pytest.param(
            [*TINY, "--precision", "fp16"],
            "bf16 and fp32 train on the CPU",
            marks=pytest.mark.skipif(torch.accelerator.is_available(), reason="a GPU trains in fp16"),
        ),
    ],
)
def test_bad_input_is_one_line(
    run: tuple[Path, Path], tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*options, "--data", str(run[0]), "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.lower() in error.lower() and error.startswith("train: ")
    assert not (tmp_path / "out").exists()


def test_data_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--data", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert "train.json is missing" in capsys.readouterr().err


def test_each_label_is_found_once() -> None:
    import numpy as np

    truth = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
    found = np.array([[1, 0, 11, 10], [0, 0, 10, 10], [100, 100, 110, 110]], np.float32)
    assert match(truth, found).tolist() == [True, False]
    assert match(truth, np.zeros((0, 4), np.float32)).tolist() == [False, False]


def test_with_a_frozen_backbone_only_the_head_moves(run: tuple[Path, Path], tmp_path: Path) -> None:
    data, trained = run
    start, output = trained / "last.safetensors", tmp_path / "head"
    options = ["--data", str(data), "--output", str(output), "--workers", "0", "--init", str(start)]
    assert main([*TINY, *options, "--epochs", "1", "--freeze-backbone", "--learning-rate", "0.01"]) == 0
    before = load_pose_model(start).model.state_dict()
    after = load_pose_model(output / "last.safetensors").model.state_dict()
    moved = {name for name, value in after.items() if not value.equal(before[name])}
    assert moved and all(name.startswith("kcam") for name in moved)
    assert any(name.startswith("kcam.key") for name in moved)
