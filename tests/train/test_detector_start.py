"""The shipped detector as a start for training: the same function, and batch norms that a training can go on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from engine.build.detector_export import export_detector
from engine.detection.detector import open_detector
from engine.errors import ModelError
from engine.types import UInt8Array
from tests.train.people_folder import write_people
from train.detector.nanodet_start import nanodet_layout
from train.detector.start import _weights, restore_detector, starting_point
from train.detector.training import ARCHITECTURE, main

SHIPPED = Path("models/weights/yolo_person.onnx")
SHIPPED_LAYOUT = nanodet_layout() | {"end2end": False}
SIDE = 320


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, photo_paths: list[Path]) -> list[Path]:
    """Square cuts of the photos that the ultralytics package ships, already at the input size."""
    folder = tmp_path_factory.mktemp("pictures")
    files = []
    for photo in photo_paths:
        image = cv2.imread(str(photo))
        assert image is not None
        side = min(image.shape[:2])
        for start in np.linspace(0, max(image.shape[:2]) - side, 4).astype(int):
            tall = image.shape[0] > image.shape[1]
            cut = image[start : start + side] if tall else image[:, start : start + side]
            files.append(folder / f"{photo.stem}_{start}.png")
            cv2.imwrite(str(files[-1]), cv2.resize(cut, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    return files


def as_pixels(files: list[Path]) -> UInt8Array:
    return np.stack([np.asarray(cv2.imread(str(file)), np.uint8) for file in files])


def as_tensor(pixels: UInt8Array) -> torch.Tensor:
    return torch.from_numpy(pixels[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def own_yolo26n(tmp_path_factory: pytest.TempPathFactory, pictures: list[Path]) -> Path:
    """The one-to-many branch of a YOLO26n with random weights, exported."""
    folder = tmp_path_factory.mktemp("yolo26n")
    rest: Any = {"architecture": ARCHITECTURE, "start": folder / "start.pt", "input_size": SIDE, "one_to_many": True}
    start = starting_point(None, pictures=pictures[0].parent, **rest)
    from ultralytics import YOLO  # type: ignore[attr-defined]

    model: Any = YOLO(str(start))
    model.model.float().train()
    with torch.no_grad():
        for _ in range(20):
            model.model(as_tensor(as_pixels(pictures)))  # until the batch norms know what reaches them
        head = model.model.model[-1]
        for boxes, scores in zip(head.cv2, head.cv3, strict=True):  # a new head scores all cells alike, about 0
            seen: list[torch.Tensor] = []
            hook = scores[-1].register_forward_hook(lambda _layer, _inputs, output, seen=seen: seen.append(output))
            model.model.eval()(as_tensor(as_pixels(pictures)))
            hook.remove()
            scores[-1].weight.div_(seen[0].std())
            scores[-1].bias.sub_(seen[0].mean()).div_(seen[0].std())
            boxes[-1].bias.add_(torch.rand(4))
    model.save(str(start))
    export_detector(start, folder / "own.onnx", input_size=SIDE, class_names=("person",), one_to_one=False)
    return folder / "own.onnx"


@pytest.mark.parametrize("which", ["shipped", "yolo26n"])
def test_restored_network_computes_what_the_file_computes_and_goes_on_doing_so_in_training(
    which: str, pictures: list[Path], request: pytest.FixtureRequest
) -> None:
    file: Path = SHIPPED if which == "shipped" else request.getfixturevalue("own_yolo26n")
    network = restore_detector(file, SHIPPED_LAYOUT if which == "shipped" else ARCHITECTURE, pictures, SIDE)
    pixels = as_pixels(pictures)
    session = onnxruntime.InferenceSession(str(file))
    expected = session.run(None, {"images": pixels[:2]})[0]
    assert expected[0, 4, :1600].std() > 2e-2
    network.model[-1].end2end = False  # type: ignore[union-attr,index]
    with torch.no_grad():
        found = network(as_tensor(pixels[:2]))[0].numpy()
        assert np.abs(found[:, 4:] - expected[:, 4:]).max() < 2e-3
        assert np.abs(found[:, :4] - expected[:, :4]).max() < 0.1
        # In training the batch norms divide by what they see, and must still give the same people.
        network.train()
        out = network(as_tensor(pixels))
    logits = out.get("one2many", out)["scores"]  # a network with one branch gives that one
    scores = torch.sigmoid(logits[:2]).flatten().numpy()
    assert np.corrcoef(scores, expected[:, 4].ravel())[0, 1] > 0.9


def test_a_file_of_another_kind_is_refused_in_one_line(tmp_path: Path, pictures: list[Path]) -> None:
    text = tmp_path / "not.onnx"
    text.write_text("no graph")
    with pytest.raises(ModelError, match="not an ONNX file"):
        restore_detector(text, ARCHITECTURE, pictures, SIDE)
    with pytest.raises(ModelError, match="another architecture"):
        restore_detector(SHIPPED, "yolo11n.yaml", pictures, SIDE)


def test_a_bias_that_is_stored_under_the_name_of_another_layer_is_found(tmp_path: Path) -> None:
    model = onnx.load(str(SHIPPED))
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    one, other = [node for node in convolutions if list(stored[node.input[2]].dims) == [32]][:2]
    kept, merged = one.input[2], other.input[2]
    model.graph.initializer.remove(stored[merged])
    other.input[2] = kept
    onnx.save(model, str(tmp_path / "merged.onnx"))
    found = _weights(tmp_path / "merged.onnx")
    values = torch.from_numpy(numpy_helper.to_array(stored[kept]).copy())
    assert values.any() and torch.equal(found[merged.removeprefix("model.model.")], values)


def test_one_branch_alone_starts_from_the_file_and_comes_out_of_it_again(tmp_path: Path, pictures: list[Path]) -> None:
    """The branch that ships gets the whole loss where the other is not there at all."""
    from engine.system.ultralytics_env import prepare_ultralytics

    prepare_ultralytics(verbose=False)
    from ultralytics import YOLO  # type: ignore[attr-defined]

    rest: Any = {"architecture": ARCHITECTURE, "start": tmp_path / "start.pt", "input_size": SIDE, "one_to_many": True}
    start = starting_point(SHIPPED, pictures=pictures[0].parent, **rest)
    network: Any = YOLO(str(start)).model
    assert not any("one2one" in name for name in network.state_dict())
    pixels = as_pixels(pictures)[:2]
    expected = onnxruntime.InferenceSession(str(SHIPPED)).run(None, {"images": pixels})[0]
    with torch.no_grad():
        found = network.float().eval()(as_tensor(pixels))[0].numpy()
    assert np.abs(found[:, 4:] - expected[:, 4:]).max() < 1e-2  # a .pt file holds float16
    from_nothing: Any = YOLO(str(starting_point(None, pictures=tmp_path, **rest))).model
    assert not any("one2one" in name for name in from_nothing.state_dict())
    assert from_nothing.model[-1].nc == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--input-size", "330"], "--input-size is 330; expected a multiple of 32"),
        (["--threads", "0"], "--threads is 0; expected at least 1"),
        (
            ["--source-shares", "lsp:0.5"],
            "--source-shares needs --teacher: without one, pictures of other sources are left out",
        ),
        (["--zoom", "1"], "--zoom is 1.0; expected 0 to less than 1"),
        (["--learning-rate", "0.1"], "--learning-rate needs --optimizer: otherwise ultralytics chooses both"),
        (["--optimizer", "AdamW", "--learning-rate", "0"], "--learning-rate is 0.0; expected above 0 and up to 1"),
        (
            ["--one-to-many", "--init", "x.pt"],
            "--one-to-many starts from an .onnx file or from nothing, not from x.pt",
        ),
    ],
)
def test_options_that_do_not_fit_are_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_people(tmp_path / "p")
    assert main(["--data", str(data), "--output", str(tmp_path / "run"), *options]) == 2
    assert capsys.readouterr().err == f"train.detector: {message}\n"


def test_a_training_gives_a_detector_that_the_program_opens_by_the_name_of_its_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_people(tmp_path / "p", pictures=4)  # their class is "stick"
    options = ["--epochs", "1", "--input-size", "160", "--batch-size", "4", "--workers", "0", "--threads", "1"]
    assert main(["--data", str(data), "--output", str(tmp_path / "sticks"), *options]) == 0
    written = tmp_path / "sticks" / "sticks.onnx"
    dimensions = [
        one.dim_value or one.dim_param for one in onnx.load(str(written)).graph.output[0].type.tensor_type.shape.dim
    ]
    assert dimensions in (["B", "M", 6], ["B", 5, "A"])
    assert f"detector: {written}" in capsys.readouterr().out
    written.unlink()  # as if the export had failed
    assert main(["--data", str(data), "--output", str(tmp_path / "sticks"), *options, "--resume"]) == 0
    assert "is finished; the detector is exported again" in capsys.readouterr().out and written.is_file()
    opened, _ = open_detector(str(written), backend="onnxruntime", classes="stick", score_threshold=0.0)
    with opened:
        assert opened.backend.spec.class_names == ("stick",)
        assert len(opened.detect(np.full((120, 160, 3), 90, np.uint8)).boxes_xyxy) > 0
