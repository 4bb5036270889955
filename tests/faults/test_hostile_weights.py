"""Weights that would run code or take the machine's memory: refused before anything runs, in one line."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.artifacts.weights_info import read_weights_info
from engine.backends.pose_graph import load_pose
from engine.errors import ModelError
from models.build import build_model
from models.checkpoints import CheckpointError, load_foreign_pose_model, load_pose_model, read_metadata
from models.foreign_weights import check_archive, read_foreign_tensors
from models.pose_model import PoseModelConfig
from tests.engine.small_pose_model import write_small_model
from tests.faults.hostile_weights import (
    FORGED_SAFETENSORS,
    endless_view,
    overlapping_bomb,
    packed_bomb,
    pickles,
    zip_with,
)
from tests.faults.ledger import ROOT, Fault

pytestmark = pytest.mark.fault("hostile weights")

SUFFIXES = (".pth", ".pt", ".ckpt", ".pth.tar", ".bin")


def one_line(error: BaseException) -> str:
    line = str(error)
    assert line and "\n" not in line
    assert len(line) < 600, line
    return line


def test_no_code_in_a_checkpoint_runs(tmp_path: Path, fault: Fault) -> None:
    marker = tmp_path / "ran"
    evil = pickles(tmp_path, marker)
    fault.more(2 * len(evil) * len(SUFFIXES))
    for content in evil.values():
        for suffix in SUFFIXES:
            file = tmp_path / f"evil{suffix}"
            for write in (file.write_bytes, lambda data, file=file: zip_with(file, data)):
                write(content)
                with warnings.catch_warnings(), pytest.raises(CheckpointError, match=r"not (read|tensors)") as caught:
                    warnings.simplefilter("ignore")
                    read_foreign_tensors(file)
                one_line(caught.value)
    assert not marker.exists()


def test_the_pickles_are_dangerous(tmp_path: Path) -> None:
    """The check above can fail: loaded without restriction, such a file runs."""
    marker = tmp_path / "ran"
    (tmp_path / "evil.pth").write_bytes(pickles(tmp_path, marker)["a whole checkpoint"])
    torch.load(tmp_path / "evil.pth", weights_only=False)["model"].close()
    assert marker.exists()


def test_bombs_are_refused_unopened(tmp_path: Path, fault: Fault) -> None:
    fault.more(2)
    for make in (packed_bomb, overlapping_bomb):
        file = make(tmp_path / "bomb.pth")
        with pytest.raises(CheckpointError, match="it is packed"):
            read_foreign_tensors(file)
        with pytest.raises(CheckpointError, match="it is packed"):
            check_archive(file)


def test_a_tensor_of_excessive_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds less than its shape"):
        read_foreign_tensors(endless_view(tmp_path / "view.pth"))


def test_a_foreign_file_cannot_allocate_gigabytes(tmp_path: Path) -> None:
    torch.save({"deconv_layers.0.weight": torch.zeros(1, 4096, 1, 1)}, tmp_path / "wide.pth")
    with pytest.raises(CheckpointError, match="far fewer numbers"):
        load_foreign_pose_model(tmp_path / "wide.pth", PoseModelConfig(name="resnet152"))


@pytest.mark.parametrize("what", sorted(FORGED_SAFETENSORS))
def test_a_forged_safetensors_file_is_refused(what: str, tmp_path: Path) -> None:
    file = FORGED_SAFETENSORS[what](tmp_path / "forged.safetensors")
    with pytest.raises(CheckpointError, match=r"forged\.safetensors") as caught:
        load_pose_model(file)
    one_line(caught.value)
    with pytest.raises(CheckpointError) as caught:
        read_foreign_tensors(file)
        raise CheckpointError("tensors without a network do no harm")
    one_line(caught.value)
    try:  # the window and the command line read only the header, which may be valid
        read_weights_info(file)
    except ModelError as error:
        one_line(error)


def test_a_skeleton_that_does_not_fit_is_refused_by_the_name_of_the_file(tmp_path: Path, fault: Fault) -> None:
    """Of several networks a command reads, it says which."""
    file = write_small_model(tmp_path / "small.safetensors")
    tensors, metadata = load_file(file), read_metadata(file)
    skeleton = metadata["skeleton"]
    wrongs: tuple[dict[str, object], ...] = (
        {**skeleton, "keypoint_names": skeleton["keypoint_names"][:1]}, {**skeleton, "oks_sigmas": [float("nan")]},
        {**skeleton, "edges": 7}, {},
    )  # fmt: skip
    for wrong in wrongs:
        save_file(tensors, tmp_path / "wrong.safetensors", {"kcam": json.dumps({**metadata, "skeleton": wrong})})
        for read in (load_pose, read_weights_info):
            with pytest.raises(ModelError, match=r"wrong\.safetensors") as caught:
                read(tmp_path / "wrong.safetensors")
            one_line(caught.value)
    fault.more(2 * len(wrongs))


def test_nan_values_are_refused(tmp_path: Path, fault: Fault) -> None:
    fault.more(3)
    whole = write_small_model(tmp_path / "small.safetensors")
    metadata = {"kcam": json.dumps(read_metadata(whole))}
    for wrong, message in (
        (torch.tensor(float("nan")), "not numbers"),
        (torch.tensor(float("inf")), "not numbers"),
        (torch.tensor(1, dtype=torch.int16), "int16"),
    ):
        tensors = load_file(whole)
        tensors["conv1.weight"] = torch.full_like(tensors["conv1.weight"], 1, dtype=wrong.dtype) * wrong
        save_file(tensors, tmp_path / "wrong.safetensors", metadata)
        with pytest.raises(CheckpointError, match=message):
            load_pose_model(tmp_path / "wrong.safetensors")


@pytest.mark.parametrize(
    "name", ["person\x1b[2J", "a\nb", "x" * 300, "", "\u202eevil"], ids=["escape", "line", "long", "empty", "turned"]
)
def test_names_with_control_characters_are_refused(name: str, tmp_path: Path) -> None:
    from tests.faults.hostile_weights import ours, safetensors

    file = safetensors(tmp_path / "names.safetensors", {}, b"", ours(class_names=[name]))
    with pytest.raises(ModelError, match="printable") as caught:
        read_weights_info(file)
    assert one_line(caught.value).isprintable()


def test_the_command_line_refuses_in_one_line(tmp_path: Path, fault: Fault) -> None:
    """Through `main.py`: a pose model that is a pickle, and one that is forged."""
    fault.more(3)
    marker = tmp_path / "ran"
    evil = pickles(tmp_path, marker)["protocol 2"]
    (tmp_path / "evil.pth").write_bytes(evil)
    (tmp_path / "evil.safetensors").write_bytes(evil)
    FORGED_SAFETENSORS["a header of 2^63 bytes"](tmp_path / "forged.safetensors")
    for name in ("evil.pth", "evil.safetensors", "forged.safetensors"):
        ended = fault.run(
            "main.py", "--video", "demo", "--output", tmp_path / "out.mp4", "--pose-model", tmp_path / name
        )
        assert name in fault.refused(ended.code, ended.err)
    assert not marker.exists()
    assert not (tmp_path / "out.mp4").exists()


DETECTORS = """
import sys
from pathlib import Path
from engine.build.detector_export import export_detector
from engine.errors import ModelError
for name in sys.argv[1:]:
    try:
        export_detector(Path(name), Path(name).with_suffix(".onnx"))
    except ModelError as error:
        print(f"refused: {error}")
    else:
        print("taken")
"""


@pytest.mark.slow
def test_a_hostile_detector_is_refused(tmp_path: Path, fault: Fault) -> None:
    """`.pt` files go through the ultralytics package, in a child process."""
    marker = tmp_path / "ran"
    files = []
    for number, content in enumerate(pickles(tmp_path, marker).values()):
        files += [tmp_path / f"raw{number}.pt", tmp_path / f"zip{number}.pt"]
        files[-2].write_bytes(content)
        zip_with(files[-1], content)
    files += [packed_bomb(tmp_path / "packed.pt"), overlapping_bomb(tmp_path / "overlapping.pt")]
    torch.save({"model": build_model("resnet18", deconv_channels=16).state_dict()}, tmp_path / "poses.pt")
    files.append(tmp_path / "poses.pt")
    fault.more(len(files))
    ended = fault.run("-c", DETECTORS, *files, env={"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)})
    lines = ended.out.strip().splitlines()
    assert [line for line in lines if not line.startswith("refused: ")] == []
    assert len(lines) == len(files)
    assert not marker.exists()
