"""The running average of weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.build import build_from_config
from models.pose_model import PoseModelConfig
from tests.train.people_folder import write_people
from train.averaging import recalibrate_batch_norm, warm_average
from train.config import TrainConfig
from train.data.reading import read_people
from train.module import PoseTraining


def test_the_average_forgets_its_start_and_then_follows_slowly() -> None:
    average = warm_average(0.999)._kwargs["avg_fn"]
    value = torch.tensor(100.0)
    for count in range(200):
        value = average(value, torch.tensor(1.0), torch.tensor(count))
    assert value.item() == pytest.approx(1.0, abs=0.01)  # 0.999^200 of the start would leave 82
    late = average(torch.tensor(0.0), torch.tensor(1.0), torch.tensor(10**6))
    assert late.item() == pytest.approx(0.001, rel=1e-3)


def test_recalibrated_batch_norms_fit_the_weights(tmp_path: Path) -> None:
    pose_model = PoseModelConfig(name="kcam_resnet18", num_keypoints=3, input_size_wh=(64, 64), deconv_channels=16)
    data = write_people(tmp_path / "people")
    config = TrainConfig(pose_model=pose_model, data=data, output=tmp_path, batch_size=3)
    people = read_people(data, "train")
    training = PoseTraining(config, build_from_config(pose_model), people, read_people(data, "val"))
    norm = training.model.bn1  # type: ignore[union-attr]
    norm.running_var.fill_(1e4)  # type: ignore[union-attr, operator]
    recalibrate_batch_norm(training, batches=2)
    assert not training.training
    seen: list[torch.Tensor] = []
    norm.register_forward_hook(lambda _module, _inputs, output: seen.append(output))  # type: ignore[union-attr, operator]
    with torch.no_grad():
        training(torch.zeros(1, 64, 64, 3, dtype=torch.uint8) + torch.randint(0, 60, (4, 64, 64, 3), dtype=torch.uint8))
    assert 0.2 < seen[0].std() < 5
