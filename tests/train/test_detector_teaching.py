"""Detectors that teach a detector: whom they label, what they leave alone, and that a training goes by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from engine.errors import ModelError, OptionError, SourceError
from engine.geometry import overlaps
from engine.system.ultralytics_env import prepare_ultralytics
from engine.types import Detections, Float32Array, UInt8Array
from tests.train.people_folder import write_people
from train.detector.nanodet import NanoDet
from train.detector.teaching import Teaching, _inside, dense_teacher, open_teacher, tolerate
from train.detector.training import main
from train.detector.yolo_dataset import write_yolo_dataset

SIDE, BINS = 64, 8
NANODET = Path("../shared/teachers/nanodet_416.onnx")


def write_nanodet(file: Path, rows: dict[int, tuple[int, float, tuple[int, int, int, int]]], side: int = SIDE) -> Path:
    """A network whatever it sees gives one person a stride: of a cell, a score and the bin of each side."""
    nodes, outputs, stored = [], [], []
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])
    nodes.append(helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0))
    nodes.append(helper.make_node("Mul", ["mean", "zero"], ["nothing"]))
    for stride, (cell, score, bins) in rows.items():
        cells = (side // stride) ** 2
        scores = np.zeros((1, cells, 80), np.float32)
        scores[0, cell, 0], scores[0, 0, 5] = score, 0.9  # a bus in the first cell
        distances = np.zeros((1, cells, 4, BINS), np.float32)
        distances[0, cell, range(4), bins] = 30.0  # the whole share
        for name, values in (("d", distances.reshape(1, cells, -1)), ("s", scores)):
            stored.append(helper.make_tensor(f"{name}{stride}", TensorProto.FLOAT, values.shape, values.ravel()))
            nodes.append(helper.make_node("Add", [f"{name}{stride}", "nothing"], [f"{name}{stride}_out"]))
            outputs.append(helper.make_tensor_value_info(f"{name}{stride}_out", TensorProto.FLOAT, values.shape))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, side, side])
    graph = helper.make_graph(nodes, "nanodet", [image], outputs, [zero, *stored])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(file))
    return file


def test_a_nanodet_gives_boxes_in_px_of_the_picture(tmp_path: Path) -> None:
    rows = {8: (8 * 3 + 2, 0.6, (1, 2, 3, 1)), 16: (4 * 2 + 1, 0.8, (1, 1, 1, 1)), 32: (0, 0.1, (1, 1, 1, 1))}
    teacher = open_teacher(str(write_nanodet(tmp_path / "n.onnx", rows)), 0.2)
    found = teacher.detect(np.zeros((96, 128, 3), np.uint8))  # half as large in the network
    assert found.scores.tolist() == pytest.approx([0.8, 0.6])
    # Stride 16: column 1, row 2, centre (24, 40), one stride to each side; the picture ends at 96 px.
    assert found.boxes_xyxy[0].tolist() == pytest.approx([16, 48, 80, 96], abs=0.01)
    # Stride 8: column 2, row 3, centre (20, 28); 8, 16, 24 and 8 px.
    assert found.boxes_xyxy[1].tolist() == pytest.approx([24, 24, 88, 72], abs=0.01)


def test_every_cell_of_a_nanodet_has_a_score_and_a_box(tmp_path: Path) -> None:
    rows = {32: (3, 0.4, (1, 1, 1, 1)), 8: (8 * 3 + 2, 0.6, (1, 2, 3, 1)), 16: (4 * 2 + 1, 0.8, (1, 1, 1, 1))}
    scores, boxes = dense_teacher([str(write_nanodet(tmp_path / "n.onnx", rows))], SIDE).cells(
        np.zeros((SIDE, SIDE, 3), np.uint8)
    )
    assert scores.shape == (84,) and boxes.shape == (84, 4)
    assert np.flatnonzero(scores).tolist() == [26, 64 + 9, 64 + 16 + 3]
    assert scores[[26, 73, 83]].tolist() == pytest.approx([0.6, 0.8, 0.4])
    assert boxes[[26, 73, 83]].tolist() == [
        pytest.approx(box, abs=0.01) for box in ([12, 12, 44, 36], [8, 24, 40, 56], [16, 16, 80, 80])
    ]


def test_cells_are_taught_by_a_nanodet_of_that_size_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_people(tmp_path / "p")
    teacher = write_nanodet(tmp_path / "n.onnx", {8: (0, 0.5, (1, 1, 1, 1))})
    words = ["--data", str(data), "--output", str(tmp_path / "run"), "--cell-weight", "1"]
    for more, message in (
        ([], "--cell-weight needs a NanoDet as --teacher"),
        (["--teacher", "yolo_person"], "--cell-weight needs a NanoDet among the teachers"),
        (["--teacher", str(teacher)], "--cell-weight needs --input-size 64, as the NanoDet has it"),
    ):
        assert main([*words, *more]) == 2
        assert capsys.readouterr().err.endswith(f"train.detector: {message}\n")
    assert not (tmp_path / "run").exists()


def test_another_file_is_no_nanodet(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no NanoDet"):
        NanoDet(Path("models/weights/yolo_person.onnx"), 0.2)
    text = tmp_path / "not.onnx"
    text.write_text("no graph")
    with pytest.raises(ModelError, match="can be run"):
        open_teacher(str(text), 0.2)


def test_a_teacher_that_does_not_know_the_class_of_the_data_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_people(tmp_path / "p", class_name="dog")
    nanodet = str(write_nanodet(tmp_path / "n.onnx", {8: (0, 0.5, (1, 1, 1, 1))}))
    for teacher, message in (
        ("yolo_person", "yolo_person cannot teach 'dog', the class of the data: unknown class 'dog'."),
        (nanodet, f"{nanodet} teaches people, and the class of the data is 'dog'"),
    ):
        assert main(["--data", str(data), "--output", str(tmp_path / "run"), "--teacher", teacher]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not NANODET.is_file(), reason="the NanoDet file of the shared folder is not there")
def test_the_published_nanodet_finds_whom_the_shipped_detector_finds(photo_paths: list[Path]) -> None:
    teachers = [open_teacher(str(NANODET), 0.4), open_teacher("yolo_person", 0.1)]
    for photo in photo_paths:
        image = cv2.imread(str(photo))
        assert image is not None
        found, own = (teacher.detect(np.asarray(image, np.uint8)).boxes_xyxy for teacher in teachers)
        assert len(found) >= 2
        assert (overlaps(found[:2], own).max(axis=1) > 0.45).all(), photo.name


class Fixed:
    """A teacher that finds the same in every picture."""

    def __init__(self, *found: tuple[float, float, float, float, float]) -> None:
        self._rows = np.array(found, np.float32).reshape(-1, 5)

    def detect(self, image_bgr: UInt8Array) -> Detections:
        classes = np.zeros(len(self._rows), np.int64)
        return Detections(boxes_xyxy=self._rows[:, :4], scores=self._rows[:, 4].copy(), class_ids=classes)


def test_only_new_people_become_labels_and_what_is_unsure_is_kept_apart() -> None:
    one = Fixed((10, 10, 30, 50, 0.9), (60, 10, 80, 50, 0.7), (12, 12, 28, 28, 0.8), (100, 0, 120, 40, 0.3))
    other = Fixed((61, 10, 81, 50, 0.5), (100, 0, 120, 40, 0.6), (140, 0, 150, 30, 0.25))
    labelled = np.array([[10, 10, 30, 52]], np.float32)
    sure, unsure = Teaching(teachers=(one, other), threshold=0.4).boxes(np.zeros((80, 160, 3), np.uint8), labelled)
    # The first is the labelled person; the head of that person is unsure, and so is what only one saw, hardly.
    assert sure.tolist() == [[60, 10, 80, 50], [100, 0, 120, 40]]
    assert unsure.tolist() == [[12, 12, 28, 28], [140, 0, 150, 30]]


def test_a_taught_data_set_has_the_pictures_that_leave_people_out(tmp_path: Path) -> None:
    data = write_people(tmp_path / "p", pictures=6)
    coco = json.loads((data / "train.json").read_text())
    for image in coco["images"]:
        image["source"] = "coco" if image["id"] < 2 else "lsp"
    (data / "train.json").write_text(json.dumps(coco))

    def teach(image: UInt8Array, labelled: Float32Array) -> tuple[Float32Array, Float32Array]:
        assert image.shape == (120, 160, 3) and labelled.shape == (1, 4)
        assert labelled[0, 2] - labelled[0, 0] == pytest.approx(52, abs=0.01)
        return np.array([[16, 12, 48, 60]], np.float32), np.array([[0, 0, 16, 12]], np.float32)

    write_yolo_dataset(data, tmp_path / "plain")
    assert len(list((tmp_path / "plain" / "images" / "train").iterdir())) == 2
    write_yolo_dataset(data, tmp_path / "taught", teach=teach)
    labels = sorted((tmp_path / "taught" / "labels" / "train").iterdir())
    assert len(labels) == 6
    assert [label.read_text().splitlines()[1] for label in labels] == ["0 0.200000 0.300000 0.200000 0.400000"] * 6
    unsure = json.loads((tmp_path / "taught" / "unsure.json").read_text())
    assert len(unsure) == 6 and unsure["0.png"] == [pytest.approx([0.05, 0.05, 0.1, 0.1])]
    assert all(len(file.read_text().splitlines()) == 1 for file in (tmp_path / "taught" / "labels" / "val").iterdir())
    write_yolo_dataset(data, tmp_path / "some", teach=teach, shares={"lsp": 0.0})
    assert len(list((tmp_path / "some" / "images" / "train").iterdir())) == 2


def test_cells_of_an_unsure_box() -> None:
    prepare_ultralytics(verbose=False)
    features = [torch.zeros(2, 1, 8, 4), torch.zeros(2, 1, 4, 2)]  # 32 x 64 px at strides of 8 and 16
    inside = _inside(features, torch.tensor([8.0, 16.0]), torch.tensor([[1, 0.25, 0.5, 0.5, 0.25]]))
    assert not inside[0].any()
    fine, coarse = inside[1, :32].view(8, 4), inside[1, 32:].view(4, 2)
    assert fine.nonzero().tolist() == [[3, 0], [3, 1], [4, 0], [4, 1]]  # x up to 16, y from 24 to 40 px
    assert coarse.nonzero().tolist() == [[1, 0], [2, 0]]


def network_and_batch(one_to_many: bool) -> tuple[Any, dict[str, Any]]:
    """A random network for 64 x 64 px, and a picture with one labelled person."""
    prepare_ultralytics(verbose=False)
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel, yaml_model_load

    torch.manual_seed(0)
    layout = yaml_model_load("yolo26n.yaml")  # type: ignore[no-untyped-call]
    layout["end2end"] = not one_to_many
    network: Any = DetectionModel(layout, nc=1, verbose=False)  # type: ignore[no-untyped-call]
    network.args = get_cfg()
    return network.train(), {
        "img": torch.rand(1, 3, 64, 64),
        "cls": torch.zeros(1, 1),
        "bboxes": torch.tensor([[0.25, 0.25, 0.3, 0.3]]),
        "batch_idx": torch.zeros(1),
    }


@pytest.mark.parametrize("one_to_many", [True, False])
def test_the_loss_leaves_unsure_boxes_alone(one_to_many: bool) -> None:
    network, person = network_and_batch(one_to_many)

    def gradient(unsure: list[list[float]]) -> torch.Tensor:
        """(84,) absolute gradient of each cell's score, of the branch that ships."""
        tolerate(type("Trainer", (), {"model": network})())
        preds = network(person["img"])
        branch = preds if one_to_many else preds["one2many"]
        branch["scores"].retain_grad()
        batch = person | {"unsure": torch.tensor(unsure).reshape(-1, 5)}
        network.criterion(preds, batch)[0].sum().backward()
        size: torch.Tensor = branch["scores"].grad[0, 0].abs()
        return size

    plain = gradient([])
    lower_right = [[0.0, 0.75, 0.75, 0.5, 0.5]]
    tolerant = gradient(lower_right)
    inside = _inside(
        [torch.zeros(1, 1, n, n) for n in (8, 4, 2)], torch.tensor([8.0, 16.0, 32.0]), torch.tensor(lower_right)
    )
    assert (plain > 0).all()
    assert (tolerant[inside[0]] == 0).all() and inside.sum() == 16 + 4 + 1
    assert (tolerant[~inside[0]] > 0).all()
    everywhere = gradient([[0.0, 0.5, 0.5, 1.0, 1.0]])
    assert 0 < (everywhere > 0).sum() < 42, "the labelled person still teaches"


def test_cells_learn_the_score_and_the_box_of_the_teachers_cells() -> None:
    from ultralytics.utils.tal import make_anchors

    network, person = network_and_batch(True)
    batch = person | {"unsure": torch.zeros(0, 5)}
    tolerate(type("Trainer", (), {"model": network})(), cell_weight=2.0)
    criterion = network.criterion

    def gradients(more: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        preds = network(person["img"])
        for name in ("scores", "boxes"):
            preds[name].retain_grad()
        criterion(preds, batch | more)[0].sum().backward()
        return preds["scores"].grad[0, 0], preds["boxes"].grad[0]

    plain_scores, plain_boxes = gradients({})
    with torch.no_grad():
        preds = network(person["img"])
        points, cell_px = make_anchors(preds["feats"], criterion.stride, 0.5)  # type: ignore[no-untyped-call]
        own = criterion.bbox_decode(points, preds["boxes"].permute(0, 2, 1)) * cell_px
        scores = preds["scores"].sigmoid()[:, 0]
    agreeing = torch.zeros_like(scores)
    agreeing[0, 70] = 0.5
    taught_scores, taught_boxes = gradients({"cell_scores": agreeing, "cell_boxes": own})
    # Binary cross-entropy over a sum of scores below one: what the cell says less what the teacher says.
    expected = 2.0 * network.args.cls * (scores[0] - agreeing[0])
    assert torch.allclose(taught_scores - plain_scores, expected, atol=1e-5)
    assert torch.allclose(taught_boxes, plain_boxes, atol=1e-4), "these boxes are the teacher's already"
    moved = own.clone()
    moved[0, 70] += 40.0
    _, taught_boxes = gradients({"cell_scores": agreeing, "cell_boxes": moved})
    changed = (taught_boxes - plain_boxes).abs().amax(dim=0) > 1e-4
    assert changed.nonzero()[:, 0].tolist() == [70]


def test_a_taught_training_runs_goes_on_and_gives_a_detector(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_people(tmp_path / "p", pictures=4, class_name="person")
    rows = {16: (5, 0.8, (1, 1, 1, 1)), 8: (40, 0.3, (1, 1, 1, 1))}
    teacher = write_nanodet(tmp_path / "n.onnx", rows | {32: (0, 0.1, (1, 1, 1, 1))}, side=160)
    words = ["--data", str(data), "--output", str(tmp_path / "taught"), "--teacher", str(teacher)]
    words += ["--epochs", "1", "--input-size", "160", "--cell-weight", "1", "--batch-size", "4"]
    words += ["--workers", "0", "--threads", "1"]
    assert main([*words, "--one-to-many", "--paste-people", "0"]) == 0
    assert f"detector: {tmp_path / 'taught' / 'taught.onnx'}" in capsys.readouterr().out
    labels = (tmp_path / "taught" / "dataset" / "labels" / "train" / "0.txt").read_text().splitlines()
    assert (
        len(labels) == 2
        and len(json.loads((tmp_path / "taught" / "dataset" / "unsure.json").read_text())["0.png"]) == 1
    )


def test_a_teacher_is_never_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_people(tmp_path / "p")
    (tmp_path / "run").mkdir()
    teacher = write_nanodet(tmp_path / "run" / "run.onnx", {8: (0, 0.5, (1, 1, 1, 1))})
    before = teacher.read_bytes()
    assert main(["--data", str(data), "--output", str(tmp_path / "run"), "--teacher", str(teacher)]) == 2
    assert "run.onnx" in capsys.readouterr().err
    assert teacher.read_bytes() == before


def test_labels_are_boxes_of_one_person_inside_the_picture(tmp_path: Path) -> None:
    data = write_people(tmp_path / "p", pictures=1)
    coco = json.loads((data / "train.json").read_text())
    (own,) = coco["annotations"]
    coco["categories"].insert(0, {"id": 7, "name": "ball"})
    others: list[dict[str, Any]] = [{"iscrowd": 1}, {"category_id": 7}, {"bbox": [170, 10, 20, 20]}]
    coco["annotations"] += [{**own, "id": 2 + number, **other} for number, other in enumerate(others)]
    (data / "train.json").write_text(json.dumps(coco))
    write_yolo_dataset(data, tmp_path / "set")
    (label,) = (tmp_path / "set" / "labels" / "train").iterdir()
    assert len(label.read_text().splitlines()) == 1
    assert '0: "stick"' in (tmp_path / "set" / "data.yaml").read_text()
    coco["annotations"] = [{**own, "category_id": 7}]
    (data / "train.json").write_text(json.dumps(coco))
    with pytest.raises(SourceError, match="none of its boxes is that of one stick"):
        write_yolo_dataset(data, tmp_path / "none")
    none = np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32)
    with pytest.raises(OptionError, match="no source of the data set"):
        write_yolo_dataset(write_people(tmp_path / "q"), tmp_path / "r", teach=lambda *_: none, shares={"lsp": 1.0})
