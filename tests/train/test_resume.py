"""A training that is killed and resumed equals one that was not; two processes equal one."""

from __future__ import annotations

import contextlib
import errno
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from models.checkpoints import write_atomically
from tests.conftest import ROOT
from tests.train.people_folder import write_people
from train import profile as profile_module
from train import run as run_module
from train.__main__ import main
from train.module import PoseTraining

OPTIONS = [
    "--model", "kcam_resnet18", "--deconv-channels", "16", "--input-size", "64x64", "--batch-size", "4",
    "--workers", "0", "--threads", "1", "--color-jitter", "0.2", "--learning-rate", "1e-3",
]  # fmt: skip
LIMIT_S = 600  # a process takes half a minute alone, and many times that on a busy machine


def run(log: Path, die_at: int, *options: str) -> int:
    command = [sys.executable, "-m", "tests.train.run_and_die", str(log), str(die_at), *OPTIONS, *options]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert finished.returncode in (0, 9), finished.stderr[-3000:]
    return finished.returncode


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("resume") / "people", pictures=16)


def weights(output: Path) -> dict[str, torch.Tensor]:
    """The network in float32, as the checkpoint holds it."""
    content = torch.load(output / "checkpoints" / "last.ckpt", weights_only=True)
    return {name: value for name, value in content["state_dict"].items() if value.is_floating_point()}


def losses(log: Path) -> list[float]:
    """Of each step, the mean over the processes that shared it."""
    by_step: dict[int, list[float]] = {}
    for line in log.read_text().splitlines():
        step, _, loss = line.split()
        by_step.setdefault(int(step), []).append(float(loss))
    assert len({len(shared) for shared in by_step.values()}) == 1
    return [statistics.fmean(by_step[step]) for step in sorted(by_step)]


@pytest.mark.timeout(4 * LIMIT_S)
def test_a_run_killed_in_mid_epoch_goes_on_exactly(data: Path, tmp_path: Path) -> None:
    """Four steps an epoch, two epochs; killed when the third step begins, and again in the second epoch.

    Frozen batch norms stay as they are although Lightning does not begin the epoch anew.
    """
    common = ["--data", str(data), "--epochs", "2", "--checkpoint-steps", "1", "--ema-decay", "0.9"]
    common += ["--freeze-until", "4"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run(tmp_path / "whole.log", 0, *common, "--output", str(whole)) == 0
    assert run(tmp_path / "broken.log", 3, *common, "--output", str(broken)) == 9
    assert run(tmp_path / "broken.log", 4, *common, "--output", str(broken), "--resume") == 9
    assert run(tmp_path / "broken.log", 0, *common, "--output", str(broken), "--resume") == 0
    seen = (tmp_path / "whole.log").read_text().splitlines()
    assert len(seen) == 8
    assert (tmp_path / "broken.log").read_text().splitlines() == seen
    expected, found = weights(whole), weights(broken)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_a_finished_run_is_not_overwritten(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"precious")
    assert main([*OPTIONS, "--data", str(data), "--output", str(tmp_path)]) == 2
    assert "--resume" in capsys.readouterr().err
    assert (tmp_path / "checkpoints" / "last.ckpt").read_bytes() == b"precious"


def test_a_full_disk_leaves_the_last_good_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The disk is full from the second checkpoint on, and has room again later."""
    written: list[Path] = []
    whole = write_atomically

    def until_full(path: Path, content: bytes) -> None:
        if len(written) >= 1:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(path)
        whole(path, content)

    output = tmp_path / "run"
    common = [*OPTIONS, "--data", str(data), "--output", str(output), "--epochs", "2", "--checkpoint-steps", "2"]
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "write_atomically", until_full)
        assert main(common) == 2
    last = output / "checkpoints" / "last.ckpt"
    error = capfd.readouterr().err
    assert f"train: no checkpoint can be written to {last.parent} (No space left on device); last.ckpt is as" in error
    assert "Traceback" not in error
    assert torch.load(last, weights_only=True)["global_step"] == 2
    assert [path.name for path in last.parent.iterdir()] == ["last.ckpt"]
    assert main([*common, "--resume"]) == 0
    assert torch.load(last, weights_only=True)["global_step"] == 8


def test_every_epoch_leaves_a_checkpoint_and_so_does_a_stop(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a run of minutes, too, which no clock would have saved."""
    steps: list[int] = []
    plain = PoseTraining.on_train_epoch_start
    output = tmp_path / "run"
    last = output / "checkpoints" / "last.ckpt"

    def look(training: PoseTraining) -> None:
        steps.append(torch.load(last, weights_only=True)["global_step"] if last.is_file() else 0)
        if len(steps) == 3:
            raise KeyboardInterrupt
        plain(training)

    monkeypatch.setattr(PoseTraining, "on_train_epoch_start", look)
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        main([*OPTIONS, "--data", str(data), "--output", str(output), "--epochs", "4"])
    assert steps == [0, 4, 8]
    assert [path.name for path in last.parent.iterdir()] == ["last.ckpt"]
    assert torch.load(last, weights_only=True)["global_step"] == 8


def test_a_step_in_four_passes_equals_one_of_the_whole_batch(data: Path, tmp_path: Path) -> None:
    """20 steps of 32 people, with frozen batch norm, which would otherwise see only 8 of them at a time."""
    people = write_people(tmp_path / "people", pictures=64)
    # By default Adam makes a whole step of a gradient that is zero but for rounding; a large epsilon stops that.
    common = ["--data", str(people), "--epochs", "10", "--freeze-batch-norm", "--adam-epsilon", "1e-3",
              "--batch-size", "32", "--validate-every", "10"]  # fmt: skip
    one, four = tmp_path / "one", tmp_path / "four"
    assert main([*OPTIONS, *common, "--output", str(one)]) == 0
    assert main([*OPTIONS, *common, "--output", str(four), "--accumulate", "4"]) == 0
    expected, found = weights(one), weights(four)
    assert [torch.load(run / "checkpoints" / "last.ckpt")["global_step"] for run in (one, four)] == [20, 20]
    assert max(float(value.abs().max()) for name, value in expected.items() if name.endswith("final_layer.bias")) > 1e-3
    assert max(float((value - found[name]).abs().max()) for name, value in expected.items()) < 1e-5


def test_a_run_stopped_between_two_passes_repeats_the_step(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = [*OPTIONS, "--data", str(data), "--epochs", "2", "--accumulate", "2", "--output"]
    assert main([*common, str(tmp_path / "whole")]) == 0
    calls: list[int] = []
    plain = PoseTraining.training_step

    def stopping(self: PoseTraining, batch: Any, batch_idx: int) -> torch.Tensor:
        calls.append(batch_idx)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return plain(self, batch, batch_idx)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt, SystemExit):
        patch.setattr(PoseTraining, "training_step", stopping)
        main([*common, str(tmp_path / "broken")])
    assert torch.load(tmp_path / "broken" / "checkpoints" / "last.ckpt")["global_step"] == 1
    assert main([*common, str(tmp_path / "broken"), "--resume"]) == 0
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    # The statistics of batch norm have seen the repeated pass twice.
    learnt = [name for name in expected if "running_" not in name]
    assert learnt and all(torch.equal(expected[name], found[name]) for name in learnt)


def test_profile_tells_images_a_second(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(profile_module, "_WARM_UP", 1)
    monkeypatch.setattr(profile_module, "_STEPS", 2)
    assert main([*OPTIONS, "--data", str(data), "--profile"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rates = {line.split(":")[0].strip(): float(line.split()[1]) for line in lines if line.endswith("images/s")}
    assert set(rates) == {"loader", "model", "both"} and min(rates.values()) > 0
    share = float(lines[-1].rsplit(" ", 1)[1])
    assert share == pytest.approx(rates["both"] / min(rates["loader"], rates["model"]), abs=0.02)


@pytest.mark.timeout(4 * LIMIT_S)
def test_two_processes_equal_one(data: Path, tmp_path: Path) -> None:
    """With frozen batch norm, gradients averaged over two halves of a batch are those of the whole."""
    # By default Adam makes a whole step of a gradient that is zero but for rounding; a large epsilon stops that.
    common = ["--data", str(data), "--epochs", "5", "--freeze-batch-norm", "--adam-epsilon", "1e-3"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert run(tmp_path / "one.log", 0, *common, "--output", str(one)) == 0
    assert run(tmp_path / "two.log", 0, *common, "--output", str(two), "--devices", "2") == 0
    expected, found = weights(one), weights(two)
    moved = max(float(value.abs().max()) for name, value in expected.items() if name.endswith("final_layer.bias"))
    assert moved > 1e-3  # it starts at zero: both runs really learnt
    assert max(float((value - found[name]).abs().max()) for name, value in expected.items()) < 1e-5
    alone = losses(tmp_path / "one.log")
    assert len(alone) == 20 and losses(tmp_path / "two.log") == pytest.approx(alone, rel=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(4 * LIMIT_S)
def test_two_processes_learn_as_one_does_with_live_batch_norm(data: Path, tmp_path: Path) -> None:
    """Each then normalises by its own half of a batch: not the same numbers, but the same fall."""
    common = ["--data", str(data), "--epochs", "5"]
    curves = []
    for name, devices in (("one", "1"), ("two", "2")):
        log = tmp_path / f"{name}.log"
        assert run(log, 0, *common, "--output", str(tmp_path / name), "--devices", devices) == 0
        curves.append(losses(log))
        assert statistics.fmean(curves[-1][-4:]) < 0.9 * statistics.fmean(curves[-1][:4])
    assert len(curves[0]) == 20 and curves[1] == pytest.approx(curves[0], rel=0.1)
