"""Numbers that are not finite, where they enter: options, networks, files, results. None of them ever wins."""

from __future__ import annotations

import importlib
import itertools
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import train.config
from engine.artifacts.model_spec import ModelSpec, TensorSpec
from engine.benchmark.selection import CostOptions
from engine.build.options import BuildOptions
from engine.errors import ModelError, OptionError
from engine.option_table import options_of
from engine.options import Options
from engine.overlay.drawing import OverlayOptions
from engine.pipeline.options import PipelineOptions
from engine.skeleton import COCO17
from models.build import build_model
from models.checkpoints import CheckpointError, load_pose_model, save_pose_model
from models.pose_model import PoseModelConfig
from tests.engine.small_pose_model import SKELETON, write_small_model
from tests.faults.ledger import Fault
from tests.train.people_folder import write_people
from train.detector.training import DetectorOptions
from train.evaluate import EvaluateOptions
from train.evaluation.coco_eval import keypoint_ap
from train.maintenance.measure_tradeoff import TradeoffOptions

pytestmark = pytest.mark.fault("not finite")

TEXTS = ("nan", "inf", "-inf", "1e400", "-1e400", "NaN")
VALUES = (math.nan, math.inf, -math.inf)

# Options

NEEDED: dict[type, dict[str, Any]] = {
    train.config.TrainConfig: {
        "pose_model": PoseModelConfig(name="kcam_resnet18"), "data": Path("d"), "output": Path("o"),
    },
    EvaluateOptions: {"weights": "w", "data": Path("d")},
    DetectorOptions: {"data": Path("d"), "output": Path("o")},
    TradeoffOptions: {"weights": ["w"]},
    CostOptions: {}, BuildOptions: {}, PipelineOptions: {}, OverlayOptions: {},
}  # fmt: skip


def values_that(read: Any) -> Iterator[Any]:
    """What an option's reader makes of such numbers, alone and where a list or a pair is wanted."""
    for text in TEXTS:
        for form in ("{}", "{},{}", "{}:{}", "a:{}", "0.5,{}", "0.5:{}"):
            try:
                yield read(form.replace("{}", text))
            except (ValueError, TypeError, OverflowError):
                continue


@pytest.mark.parametrize("table", NEEDED, ids=lambda table: table.__name__)
def test_options_of_a_table(table: type, fault: Fault) -> None:
    tried = 0
    for item in options_of(table):
        for value in values_that(item.read):
            if isinstance(value, (str, Path)):
                continue
            tried += 1
            with pytest.raises(OptionError):
                table(**{**NEEDED[table], item.name: value})
    fault.more(max(1, tried))


def test_options_of_the_command_line(fault: Fault) -> None:
    """They are refused while they are read."""
    tried = 0
    for item, text in itertools.product(options_of(Options), TEXTS):
        try:
            value = item.read(text)
        except ValueError:
            value = None
        assert not isinstance(value, float), f"{item.flag} {text}"
        tried += 1
    fault.more(tried)


@pytest.mark.parametrize(
    "words",
    [
        ["--learning-rate", "inf"], ["--alpha", "nan"], ["--rotation-deg", "nan"], ["--seed", "4294967296"],
        ["--seed", "-1"], ["--checkpoint-minutes", "1e300"], ["--sigma", "nan"], ["--grow", "nan:nan"],
        ["--scale-range", "nan,nan"], ["--weight-decay", "inf"], ["--milestones", "0.1,nan"],
    ],
    ids="=".join,
)  # fmt: skip
def test_a_training_is_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: Fault
) -> None:
    base = ["--model", "kcam_resnet18", "--data", str(tmp_path), "--output", str(tmp_path / "out")]
    assert importlib.import_module("train.__main__").main([*base, *words]) == 2
    err = capsys.readouterr().err
    fault.quiet(err)
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


# Results

TRUTH = {
    "images": [{"id": 1, "width": 100, "height": 100}],
    "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.keypoint_names)}],
    "annotations": [{
        "id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [0, 0, 90, 90], "area": 4000.0,
        "num_keypoints": 17, "keypoints": [50.0, 50.0, 2] * 17,
    }],
}  # fmt: skip


def test_no_score_for_what_is_no_number(fault: Fault) -> None:
    """The first keypoint's x, y and score, all of them, and the person's score."""
    places: list[Any] = [slice(0, 1), slice(1, 2), slice(2, 3), slice(None), None]
    for value, place in itertools.product(VALUES, places):
        keypoints = np.array([50.0, 50.0, 0.9] * 17)
        if place is not None:
            keypoints[place] = value
        score = 0.9 if place is not None else value
        result = {"image_id": 1, "category_id": 1, "keypoints": keypoints.tolist(), "score": score}
        with pytest.raises(ModelError, match="not finite"):
            keypoint_ap(TRUTH, [result], COCO17.oks_sigmas)
    fault.more(len(VALUES) * len(places))


# Weights


def test_weights_that_are_no_numbers_are_not_written(tmp_path: Path, fault: Fault) -> None:
    """Tensors all over a network in turn; the file that was there stays."""
    model = build_model("kcam_resnet18", num_keypoints=4, input_size_wh=(64, 96), deconv_channels=16)
    file = tmp_path / "best.safetensors"
    file.write_bytes(b"precious")
    state = [value for value in model.state_dict().values() if value.is_floating_point()][::3]
    for number, value in enumerate(state):
        kept = value.flatten()[0].item()
        value.view(-1)[0] = VALUES[number % 3]
        with pytest.raises(CheckpointError):
            save_pose_model(file, model, skeleton=SKELETON.to_dict())
        fault.keeps(file.read_bytes() == b"precious", "the good weights were replaced")
        value.view(-1)[0] = kept
    fault.more(len(state))


def test_what_float16_cannot_hold_is_still_loaded(tmp_path: Path, fault: Fault) -> None:
    """A running variance above 65504, in each batch norm."""
    model = build_model("kcam_resnet18", num_keypoints=4, input_size_wh=(64, 96), deconv_channels=16).eval()
    names = [name for name in model.state_dict() if name.endswith("running_var")]
    for value in (65520.0, 7e4, 1e30):
        for name in names:
            model.state_dict()[name].fill_(value)
        save_pose_model(tmp_path / "w.safetensors", model, skeleton=SKELETON.to_dict())
        loaded = load_pose_model(tmp_path / "w.safetensors").model.state_dict()
        assert loaded.keys() == model.state_dict().keys()
        fault.keeps(all(torch.all(loaded[name] == value) for name in names), "the variances are others")
    fault.more(3 * len(names))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("small") / "small.safetensors")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_headers_of_weights(value: str, small: Path, tmp_path: Path, fault: Fault) -> None:
    with safe_open(small, "pt") as opened:
        texts = opened.metadata()
    (key,) = texts
    metadata = json.loads(texts[key])
    fields: list[tuple[str, ...]] = [("mean",), ("std",), ("config", "sigma"), ("skeleton", "oks_sigmas")]
    fields += [("config", name) for name in ("num_keypoints", "deconv_channels", "input_size_wh")]
    for path in fields:
        changed = json.loads(json.dumps(metadata))
        holder = changed[path[0]] if len(path) == 2 else changed
        holder[path[-1]] = ["@"] * len(holder[path[-1]]) if isinstance(holder[path[-1]], list) else "@"
        file = tmp_path / "w.safetensors"
        save_file(load_file(small), file, {key: json.dumps(changed).replace('"@"', value)})
        with pytest.raises((CheckpointError, ModelError)):
            checkpoint = load_pose_model(file)
            importlib.import_module("engine.skeleton").Skeleton.from_dict(checkpoint.skeleton)
    fault.more(len(fields))


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("field", ["sigma", "mean", "std"])
def test_specs(field: str, value: float, fault: Fault) -> None:
    tensor = TensorSpec(name="a", shape=(1,), dtype="float32")
    given: dict[str, Any] = {field: value if field == "sigma" else (0.5, value, 0.5)}
    with pytest.raises(ModelError):
        ModelSpec(
            kind="pose", name="n", precision="fp32", input_size_wh=(64, 96), inputs=(tensor,), outputs=(tensor,),
            skeleton=SKELETON, class_names=("person",), file_sha256="", weights_sha256="", graph_version=1,
            made_with={}, **given,
        )  # fmt: skip


@pytest.mark.parametrize("text", ["1e999", "[1e999, 640]", "nan", "-1e999", "1" + "0" * 5000, "[[]]", "(" * 500])
def test_the_size_in_an_onnx_file(text: str, fault: Fault) -> None:
    from engine.build.detector_adopt import _metadata_size

    assert _metadata_size(text, 640) == 640


# Training

OPTIONS = [
    "--model", "kcam_resnet18", "--deconv-channels", "16", "--input-size", "64x64", "--batch-size", "4",
    "--workers", "0", "--threads", "1", "--epochs", "1", "--learning-rate", "1e-3",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data set, and a good run on it."""
    folder = tmp_path_factory.mktemp("trained")
    data = write_people(folder / "people", pictures=8)
    words = [*OPTIONS, "--data", str(data), "--output", str(folder / "run")]
    assert importlib.import_module("train.__main__").main(words) == 0
    return data, folder / "run"


@pytest.mark.parametrize("extra", [[], ["--checkpoint-steps", "1"], ["--ema-decay", "0.9"]], ids=str)
def test_a_training_that_diverges_keeps_the_last_good_weights(
    extra: list[str], trained: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], fault: Fault
) -> None:
    data, good = trained
    output = tmp_path / "run"
    shutil.copytree(good, output)
    kept = ("best.safetensors", "last.safetensors", "checkpoints/last.ckpt")
    best = (output / "best.safetensors").read_bytes() if (output / "best.safetensors").exists() else None
    words = [*OPTIONS, "--data", str(data), "--output", str(output), "--resume", *extra]
    words += ["--epochs", "4", "--learning-rate", "1e20"]
    code = importlib.import_module("train.__main__").main(words)
    err = capfd.readouterr().err
    fault.quiet(err)
    assert code == 2, err
    assert len([line for line in err.splitlines() if line.startswith("train:")]) == 1, err
    fault.keeps(best is None or (output / kept[0]).read_bytes() == best, "the best weights were replaced")
    load_pose_model(output / "last.safetensors")
    state = torch.load(output / kept[2], weights_only=True)["state_dict"]
    fault.keeps(all(value.isfinite().all() for value in state.values()), "the checkpoint holds NaN")
    assert "checkpoints/last.ckpt are as before: go on from there with --resume" in err, err


def test_a_training_that_diverges_before_its_first_checkpoint_advises_what_works(
    trained: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], fault: Fault
) -> None:
    """Neither it nor a second run into its folder names --resume, which has nothing to go on from."""
    words = [*OPTIONS, "--data", str(trained[0]), "--output", str(tmp_path / "run")]
    for extra, expected in ((["--learning-rate", "1e20"], "begin again with a lower"), ([], "name another output")):
        code = importlib.import_module("train.__main__").main([*words, *extra])
        err = capfd.readouterr().err
        fault.quiet(err)
        assert code == 2 and expected in err and "--resume" not in err, err
