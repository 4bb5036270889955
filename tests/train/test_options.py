"""The command line of `python -m train`: presets are the paper's rows, and no name is guessed at."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import train.options
from engine.errors import OptionError
from engine.option_table import NOT_NEGATIVE, described, options_of
from models.pose_model import PoseModelConfig
from train.config import NetworkOptions, TrainConfig
from train.options import PRESETS, build_parser, config_from, parse_options


def config(*argv: str) -> TrainConfig:
    return config_from(parse_options([*argv, "--data", "d"]))


def test_the_presets_of_the_paper_are_its_recipe() -> None:
    resnet, hrnet = config("--preset", "paper_resnet50"), config("--preset", "paper_hrnet_w48")
    assert (resnet.pose_model.name, resnet.pose_model.input_size_wh) == ("kcam_resnet50", (192, 256))
    assert (hrnet.pose_model.name, hrnet.pose_model.input_size_wh) == ("kcam_hrnet_w48", (288, 384))
    for run, sigma in ((resnet, 2), (hrnet, 3)):
        assert (run.optimizer, run.learning_rate, run.weight_decay, run.schedule) == ("adam", 5e-4, 0, "step")
        assert (run.epochs, run.batch_size, run.alpha, run.init) == (210, 128, 0.2, "imagenet")
        assert (run.rotation_deg, run.scale_range, run.flip_probability) == (40, (0.5, 1.5), 0.5)
        assert [round(share * 210) for share in run.milestones] == [170, 200]
        assert run.target_sigma(run.pose_model.heatmap_size_wh) == sigma
        off = (run.joint_weights, run.pose_model.udp, run.pose_model.decode, run.ema_decay, run.compile)
        assert off == (False, False, "quarter", 0, False)


def test_the_baselines_of_table_3_are_their_authors_recipes() -> None:
    """From the configurations of the official code."""
    for name, epochs, steps, scale, rotation, half, batch in (
        ("simplebaseline_resnet50", 140, [90, 120], (0.7, 1.3), 40, 0, 128),
        ("simplebaseline_resnet152", 140, [90, 120], (0.7, 1.3), 40, 0, 128),
        ("hrnet_w32", 210, [170, 200], (0.65, 1.35), 45, 0.3, 128),
        ("hrnet_w48", 210, [170, 200], (0.65, 1.35), 45, 0.3, 96),
    ):
        run = config("--preset", name)
        assert (run.learning_rate, run.optimizer, run.augmentation, run.init) == (1e-3, "adam", "official", "imagenet")
        assert (run.epochs, run.scale_range, run.rotation_deg) == (epochs, scale, rotation)
        assert [round(share * epochs) for share in run.milestones] == steps
        assert (run.half_body_probability, run.batch_size, run.pose_model.has_kcam) == (half, batch, False)


def test_the_configuration_of_a_run_gives_the_same_run_again(tmp_path: Path) -> None:
    options = ("--preset", "mobilenet_v2", "--source-shares", "coco:2", "--boxes", "b.json", "--output", str(tmp_path))
    run = config(*options)
    run.save()
    file = ("--config", str(tmp_path / "config.json"))
    assert config_from(parse_options(file)) == run
    assert config_from(parse_options([*file, "--epochs", "3"])) == dataclasses.replace(run, epochs=3)
    with pytest.raises(OptionError, match="leave one of them out"):
        config(*file, "--preset", "small_cpu")
    (tmp_path / "config.json").write_text('{"epoch": 3}')
    with pytest.raises(OptionError, match="Did you mean 'epochs'"):
        config(*file)


def test_the_help_lists_every_command_of_the_package() -> None:
    text = build_parser().format_help()
    package = Path(train.options.__file__).parent
    modules = {file.stem for file in package.glob("*.py") if "__main__" in file.read_text(encoding="utf-8")}
    commands = (modules | {"detector"}) - {"__main__"}
    assert len(commands) > 9
    assert not [name for name in sorted(commands) if f"python -m train.{name} " not in text]


def test_tables_1_and_2_are_switches() -> None:
    without = config("--preset", "paper_resnet50", "--no-coarse-supervision").pose_model
    assert (without.coarse_supervision, without.fusion) == (False, "concat")
    for fusion in ("add", "none"):
        assert config("--preset", "paper_resnet50", "--fusion", fusion).pose_model.fusion == fusion


def test_every_preset_makes_a_run_and_an_option_beside_it_wins() -> None:
    for name, values in PRESETS.items():
        run = config("--preset", name, "--learning-rate", "0.25")
        assert run.pose_model.name == values["model"] and run.learning_rate == 0.25
        assert run.pose_model.has_kcam == values["model"].startswith("kcam_")


def test_every_field_of_a_run_is_an_option() -> None:
    known = {flag for action in build_parser()._actions for flag in action.option_strings}
    fields = {field.name for field in dataclasses.fields(TrainConfig)} - {"pose_model", "cache_images"}
    assert {f"--{name.replace('_', '-')}" for name in fields} | {"--no-cache-images"} <= known
    networks = {field.name for field in dataclasses.fields(PoseModelConfig)} - {"num_keypoints"}  # the data say it
    assert {item.name for item in options_of(NetworkOptions)} == networks


def test_an_option_more_is_found_on_the_command_line_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class More(TrainConfig):
        tilt_deg: float = dataclasses.field(
            default=5.0, metadata=described("cameras tilt by so much ({default})", float, within=NOT_NEGATIVE)
        )

    monkeypatch.setattr(train.options, "TrainConfig", More)
    assert "cameras tilt by so much (5.0)" in build_parser().format_help()
    requested = ["--model", "resnet18", "--data", "d", "--tilt-deg"]
    run = config_from(parse_options([*requested, "7"]))
    assert run.to_dict()["tilt_deg"] == 7
    with pytest.raises(OptionError, match=r"--tilt-deg is -7\.0; expected 0 or more"):
        config_from(parse_options([*requested, "-7"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--epochs", "0"), "--epochs is 0; expected at least 1"),
        (("--hours", "0"), "--hours is 0.0; expected a positive number"),
        (("--ema-decay", "1"), "--ema-decay is 1.0; expected 0 to below 1"),
        (("--checkpoint-minutes", "0"), "--checkpoint-minutes is 0.0; expected above 0"),
        (("--milestones", "170,200"), "--milestones is (170.0, 200.0); expected shares of the run, such as 0.81,0.95"),
        (("--grow", "0.8:0.75,0.4:0.5"), "the shares rising"),
        (("--rotation-deg", "-40"), "--rotation-deg is -40.0; expected 0 or more"),
        (("--optimizer", "sgd"), "--optimizer is 'sgd'. Known: adam, adamw."),
    ],
)
def test_values_that_do_not_fit(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        config("--model", "resnet18", *arguments)


@pytest.mark.parametrize("option", ["--learning-rat", "--lerning-rate", "--learning_rate=1"])
def test_a_name_that_is_nearly_right_is_not_taken_for_it(option: str) -> None:
    with pytest.raises(OptionError, match=r"unknown option .*Did you mean '--learning-rate'"):
        parse_options(["--preset", "paper_resnet50", option, "1"])


def test_torchrun_says_how_many_processes_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without that, each would train by itself, all of them into one folder."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("WORLD_SIZE", "8")
    run = config("--preset", "paper_resnet50")
    assert (run.devices, run.nodes, run.batch_size) == (4, 2, 128)
    assert config("--preset", "paper_resnet50", "--devices", "4").devices == 4
    with pytest.raises(OptionError, match="--devices is 2, but torchrun started 4"):
        config("--preset", "paper_resnet50", "--devices", "2")
