"""What a run measures on val, prints and writes while it trains."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from engine.heatmap import encode_heatmaps
from models.pose_model import PoseModelConfig, PoseOutput
from tests.train.people_folder import write_people
from train.__main__ import main
from train.config import TrainConfig
from train.console import ConsoleLines, duration
from train.data.dataset import ImageStore
from train.data.reading import read_people
from train.module import PoseTraining
from train.validation import Validation, correct_keypoints

SIZE = (96, 128)
OPTIONS = [
    "--model", "kcam_resnet18", "--deconv-channels", "16", "--input-size", "64x64", "--batch-size", "3",
    "--workers", "0", "--threads", "1",
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("people") / "p")


def detections(data: Path, file: Path, *, shift_px: float = 0.0, score: float = 0.9) -> Path:
    labels = json.loads((data / "val.json").read_text())["annotations"]
    file.write_text(
        json.dumps(
            [
                {"image_id": a["image_id"], "category_id": 1, "score": score,
                 "bbox": [a["bbox"][0] + shift_px, *a["bbox"][1:]]}
                for a in labels
            ]
        )
    )  # fmt: skip
    return file


def dot_finder(crops: Tensor) -> PoseOutput:
    """A "network" that knows the made-up people: white, red and blue dot; only the right way round."""
    small = crops.numpy().astype(np.float32)[:, 2::4, 2::4] / 255
    blue, green, red = small[..., 0], small[..., 1], small[..., 2]
    maps = np.stack([np.minimum(blue, green), red - green, blue - green], axis=1)
    # Blurred, so that the highest pixel is in the middle of a dot.
    return PoseOutput(torch.from_numpy(np.stack([[cv2.GaussianBlur(m, (0, 0), 2) for m in person] for person in maps])))


def validation(data: Path, **fields: Any) -> Validation:
    pose_model = PoseModelConfig(name="resnet18", num_keypoints=3, input_size_wh=SIZE)
    people = read_people(data, "val")
    config = TrainConfig(pose_model=pose_model, data=data, output=data, **fields)
    return Validation(config, people, ImageStore(people, keep=True))


def test_ap_is_that_of_the_configured_boxes_and_loss_that_of_the_labelled_ones(data: Path, tmp_path: Path) -> None:
    labelled, _ = validation(data).measure(dot_finder, SIZE)
    assert labelled["AP50"] > 20 and labelled["PCK"] > 30 and 0 < labelled["loss"] < 0.1
    found, _ = validation(data, boxes=detections(data, tmp_path / "a.json")).measure(dot_finder, SIZE)
    assert found["AP50"] > 20
    away, _ = validation(data, boxes=detections(data, tmp_path / "b.json", shift_px=80)).measure(dot_finder, SIZE)
    assert away["AP50"] < 5 and away["loss"] == labelled["loss"] and away["PCK"] == labelled["PCK"]


def test_the_flip_test_sees_mirrored_crops(data: Path) -> None:
    seen: list[Tensor] = []

    def forward(crops: Tensor) -> PoseOutput:
        seen.append(crops)
        return dot_finder(crops)

    validation(data, flip_test=True).measure(forward, SIZE)
    assert torch.equal(seen[-1], seen[-2].flip(2))


def measure_in_a_group(rank: int, data: Path, folder: Path, world: int) -> None:
    """One process of several: what `measure` gives there, and how many crops it looked at."""
    dist.init_process_group("gloo", init_method=f"file://{folder / f'group{world}'}", rank=rank, world_size=world)
    crops = 0

    def forward(batch: Tensor) -> PoseOutput:
        nonlocal crops
        crops += len(batch)
        return dot_finder(batch)

    results = {}
    for flip_test in (False, True):
        results[f"flip test {flip_test}"] = validation(data, flip_test=flip_test).measure(forward, SIZE)[0]
    content = {"results": results, "crops": crops, "people": len(validation(data).labelled)}
    (folder / f"{rank}of{world}.json").write_text(json.dumps(content))
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="this PyTorch has no torch.distributed")
def test_two_processes_measure_together_what_one_measures(data: Path, tmp_path: Path) -> None:
    """AP, PCK and loss are those of all of val; no process looks at all of it."""
    measure_in_a_group(0, data, tmp_path, 1)
    mp.spawn(measure_in_a_group, (data, tmp_path, 2), nprocs=2)  # type: ignore[attr-defined,no-untyped-call]
    one, first, second = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("0of1", "0of2", "1of2"))
    assert one["results"]["flip test False"]["AP50"] > 20 and one["crops"] == 4 * one["people"]
    assert 0 < first["crops"] < one["crops"] and first["crops"] + second["crops"] == one["crops"]
    for name, metrics in one["results"].items():
        assert first["results"][name] == pytest.approx(metrics, rel=1e-6)
        shared = {key: second["results"][name][key] for key in ("loss", "PCK")}
        assert shared == pytest.approx({key: metrics[key] for key in shared}, rel=1e-6)


def test_pck_counts_peaks_near_the_targets() -> None:
    def maps(*points: tuple[float, float]) -> np.ndarray:
        xy = np.array(points, np.float32) * 4
        return encode_heatmaps(xy, np.ones(len(points), np.float32), (192, 256), (48, 64), 2.0)[0][None]

    targets = maps((20, 20), (20, 20), (20, 20))
    # 5 % of 48 x 64 px are 2.4 px across and 3.2 px down.
    near, counted = correct_keypoints(maps((22, 20), (23, 20), (20, 23)), targets, np.array([[1, 1, 1]], np.float32))
    assert near.tolist() == [1, 0, 1] and counted.tolist() == [1, 1, 1]
    near, counted = correct_keypoints(targets, targets, np.array([[1, 0, 1]], np.float32))
    assert near.tolist() == counted.tolist() == [1, 0, 1]


def test_a_run_writes_debug_pictures_and_curves_of_val(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two steps, and their losses are logged all the same."""
    boxes = detections(data, tmp_path / "boxes.json")
    given = ["--data", str(data), "--output", str(tmp_path / "run"), "--boxes", str(boxes), "--flip-test"]
    assert (
        main([*OPTIONS, *given, "--epochs", "1", "--debug-pictures", "2", "--ohkm", "2", "--gradient-clip", "1"]) == 0
    )
    for split in ("train", "val"):
        picture = cv2.imread(str(tmp_path / "run" / "debug" / f"epoch_0001_{split}.png"))
        assert picture is not None and picture.shape == (2 * 256, 4 * 256, 3)
    log = (tmp_path / "run" / "log" / "version_0" / "metrics.csv").read_text()
    for name in ("train/loss", "val/loss", "val/PCK", "val/AP"):
        assert name in log.splitlines()[0]
    printed, progress = capfd.readouterr()
    assert "epoch 1, step 2, input 64x64: AP " in printed and "PCK " in printed
    assert "epoch 1/1, step " in progress and "images/s" in progress and "GPU available" not in progress


def test_no_epoch_begins_after_the_time_is_over(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs of one step, the last of which takes longer than is left."""
    started: list[int] = []
    plain = PoseTraining.training_step

    def slow(self: PoseTraining, batch: Any, batch_idx: int) -> Tensor:
        started.append(self.current_epoch)
        time.sleep(0.3)
        return plain(self, batch, batch_idx)

    monkeypatch.setattr(PoseTraining, "training_step", slow)
    options = [*OPTIONS, "--batch-size", "6", "--data", str(data), "--output", str(tmp_path / "run")]
    assert main([*options, "--hours", str(0.2 / 3600), "--validate-every", "50"]) == 0
    assert started == [0]


def test_the_console_line_names_loss_pace_time_left_and_best() -> None:
    config = TrainConfig(pose_model=PoseModelConfig(name="resnet18"), data=Path(), output=Path(), epochs=40)
    lines = ConsoleLines(config)
    trainer: Any = SimpleNamespace(current_epoch=2, global_step=1200, max_steps=-1)
    training: Any = SimpleNamespace(best_ap=45.126, elapsed_s=1800.0, progress=0.0)
    assert lines.line(trainer, training, 0.000412, 812.3) == (
        "epoch 3/40, step 1200: loss 0.000412, 812 images/s, best AP 45.13"
    )
    timed = ConsoleLines(TrainConfig(pose_model=config.pose_model, data=Path(), output=Path(), hours=2.0))
    training.best_ap = -1.0
    assert timed.line(trainer, training, 0.1, 9) == "epoch 3, step 1200: loss 0.1, 9 images/s, 1 h 30 min left"
    assert (duration(7500), duration(600), duration(42)) == ("2 h 05 min", "10 min", "42 s")
    assert lines.in_terminal == sys.stderr.isatty()
