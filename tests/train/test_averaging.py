"""The running average of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from models.build import build_from_config
from models.pose_model import PoseModelConfig
from tests.train.people_folder import write_people
from train.averaging import recalibrate_batch_norm, unfold_batch_norm, warm_average
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


def training_of(folder: Path, name: str = "kcam_resnet18", **options: Any) -> PoseTraining:
    """A run on a small data set, before its first step."""
    pose_model = PoseModelConfig(name=name, num_keypoints=3, input_size_wh=(64, 64), deconv_channels=16)
    data = write_people(folder / "people")
    config = TrainConfig(pose_model=pose_model, data=data, output=folder, batch_size=3, **options)
    people = read_people(data, "train")
    return PoseTraining(config, build_from_config(pose_model), people, read_people(data, "val"))


def noise_crops(count: int) -> torch.Tensor:
    return torch.randint(0, 60, (count, 64, 64, 3), dtype=torch.uint8)


def test_recalibrated_batch_norms_fit_the_weights(tmp_path: Path) -> None:
    training = training_of(tmp_path)
    norm = training.model.bn1  # type: ignore[union-attr]
    norm.running_var.fill_(1e4)  # type: ignore[union-attr, operator]
    recalibrate_batch_norm(training, batches=2)
    assert not training.training
    seen: list[torch.Tensor] = []
    norm.register_forward_hook(lambda _module, _inputs, output: seen.append(output))  # type: ignore[union-attr, operator]
    with torch.no_grad():
        training(noise_crops(4))
    assert 0.2 < seen[0].std() < 5


@pytest.mark.parametrize("options", [{"freeze_until": 8}, {"freeze_batch_norm": True}, {"freeze_backbone": True}])
def test_frozen_batch_norms_are_not_recalibrated(tmp_path: Path, options: dict[str, Any]) -> None:
    training = training_of(tmp_path, "kcam_mobilenet_v2", **options)
    before = {name: value.clone() for name, value in training.model.state_dict().items() if "running" in name}
    recalibrate_batch_norm(training, batches=2)
    after = training.model.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert not [name for name in changed if name.startswith(("stem", "blocks.0", "blocks.5."))]
    assert ("blocks.6.expand.1.running_mean" in changed) == ("freeze_until" in options)
    assert ("kcam.query.1.running_mean" in changed) == ("freeze_batch_norm" not in options)


@torch.no_grad()
def test_unfolded_batch_norms_leave_the_network_as_it_was(tmp_path: Path) -> None:
    training = training_of(tmp_path, "kcam_mobilenet_v2", freeze_until=4)
    generator = torch.Generator().manual_seed(0)
    for name, module in training.model.named_modules():
        if isinstance(module, nn.BatchNorm2d) and training.model.backbone_stride(name):
            module.bias.copy_(torch.rand(module.num_features, generator=generator) - 0.5)
            module.eps = 0.0  # as if folded exactly
    training.eval()
    crops = noise_crops(4)
    before = training(crops).heatmaps
    assert unfold_batch_norm(training, batches=2) == 14 * 3  # 17 blocks of three, three of them at strides 2 and 4
    assert not training.model.blocks[2].project[1].running_mean.any()  # type: ignore[union-attr, index]
    assert training.model.blocks[3].project[1].running_mean.any()  # type: ignore[union-attr, index]
    torch.testing.assert_close(training(crops).heatmaps, before, atol=1e-4, rtol=1e-3)
    assert unfold_batch_norm(training, batches=2) == 0


@pytest.mark.parametrize("name", ["resnet18", "kcam_hrnet_w18", "kcam_mobilenet_v2"])
def test_what_is_frozen_stays_and_the_backbone_learns_slower(tmp_path: Path, name: str) -> None:
    training = training_of(tmp_path, name, freeze_until=4, backbone_learning_rate_factor=0.25, learning_rate=1e-3)
    optimizer = training.configure_optimizers()
    by_value = {id(value): group["factor"] for group in optimizer.param_groups for value in group["params"]}
    strides = {key: training.model.backbone_stride(key) for key, _ in training.model.named_parameters()}
    for key, value in training.model.named_parameters():
        stride = strides[key]
        frozen = stride is not None and stride <= 4
        assert value.requires_grad == (not frozen)
        assert by_value.get(id(value)) == (None if frozen else 1.0 if stride is None else 0.25), key
    assert {None, 2, 4, 8, 16, 32} == set(strides.values())
