"""`python -m train.evaluate` as a person runs it: boxes, splits, foreign weights, files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import SourceError
from engine.heatmap import decode_heatmaps, decode_heatmaps_dark
from engine.skeleton import COCO17
from engine.types import Detections, Float32Array, UInt8Array
from models.build import build_model
from models.checkpoints import load_pose_model, save_pose_model
from tests.train.people_folder import write_people
from train.data.boxes import labelled_boxes, read_detections
from train.data.dataset import ImageStore
from train.data.people import PeopleSet
from train.data.reading import read_people
from train.detector_recall import detection_entries
from train.evaluate import main
from train.evaluation.coco_eval import METRIC_NAMES
from train.evaluation.prediction import predict_boxes

SIZE = {"input_size_wh": (64, 64), "deconv_channels": 16}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("people") / "p")


@pytest.fixture(scope="module")
def people(data: Path) -> PeopleSet:
    return read_people(data, "val")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, people: PeopleSet) -> Path:
    """A random network for the made-up people."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "small.safetensors"
    model = build_model("kcam_resnet18", num_keypoints=3, **SIZE).eval()  # type: ignore[arg-type]
    save_pose_model(file, model, skeleton=people.skeleton.to_dict(), class_names=people.class_names)
    return file


def detections(people: PeopleSet, file: Path, **change: Any) -> Path:
    """A detector's file that finds everyone, and one box each of another category and another picture."""
    boxes = [
        {
            "image_id": person.image_id,
            "category_id": 1,
            "bbox": [float(v) for v in (*box[:2], *(box[2:] - box[:2]))],
            "score": 0.5,
            **change,
        }
        for person, box in zip(people.people, labelled_boxes(people).boxes_xyxy, strict=True)
    ]
    others = [{**boxes[0], "category_id": 3}, {**boxes[0], "image_id": 999}]
    file.write_text(json.dumps([others[0], *reversed(boxes), others[1]]))
    return file


def dot_finder(crops: UInt8Array) -> Float32Array:
    """A "network" that knows the made-up people: white dot, red dot, blue dot."""
    small = crops.astype(np.float32)[:, 2::4, 2::4] / 255  # (N, h, w, 3) BGR
    blue, green, red = small[..., 0], small[..., 1], small[..., 2]
    return np.asarray(np.stack([np.minimum(blue, green), red - green, blue - green], axis=1), np.float32)


def test_a_detectors_boxes_give_what_labelled_boxes_give(people: PeopleSet, tmp_path: Path) -> None:
    images = ImageStore(people, keep=False)
    labelled = labelled_boxes(people)
    expected = predict_boxes(dot_finder, labelled, images, (96, 128), batch_size=4)
    truth = np.stack([person.keypoints for person in people.people])
    assert np.abs(expected[..., :2] - truth[..., :2]).max() < 6  # the dots have a radius of 5
    boxes = read_detections(detections(people, tmp_path / "boxes.json"), people)
    assert list(boxes.image_ids) == list(reversed(labelled.image_ids)) and set(boxes.scores) == {0.5}
    found = predict_boxes(dot_finder, boxes, images, (96, 128), batch_size=4)
    np.testing.assert_allclose(found, expected[::-1], atol=1e-3)


def test_each_picture_is_decoded_once_though_its_people_are_scattered(people: PeopleSet) -> None:
    decoded: list[int] = []

    class Counting(ImageStore):
        def __getitem__(self, index: int) -> UInt8Array:
            decoded.append(index)
            return super().__getitem__(index)

    boxes = labelled_boxes(people)
    twice = type(boxes)(
        images=[*boxes.images, *boxes.images],
        image_ids=[*boxes.image_ids, *boxes.image_ids],
        boxes_xyxy=np.concatenate([boxes.boxes_xyxy, boxes.boxes_xyxy]),
        scores=np.concatenate([boxes.scores, boxes.scores]),
    )
    found = predict_boxes(dot_finder, twice, Counting(people, keep=False), (96, 128), batch_size=5)
    assert sorted(decoded) == sorted(set(boxes.images))
    np.testing.assert_array_equal(found[: len(boxes)], found[len(boxes) :])


def test_the_decoder_that_is_asked_for_is_used(people: PeopleSet) -> None:
    boxes, images = labelled_boxes(people), ImageStore(people, keep=False)
    quarter, dark = (
        predict_boxes(dot_finder, boxes, images, (96, 128), decode=decode)
        for decode in (decode_heatmaps, decode_heatmaps_dark)
    )
    assert 0 < np.abs(quarter[..., :2] - dark[..., :2]).max() < 8


def test_what_a_detector_finds_is_written_as_it_is_read(people: PeopleSet, tmp_path: Path) -> None:
    labelled = labelled_boxes(people)
    entries = []
    for image_id, box in zip(labelled.image_ids, labelled.boxes_xyxy, strict=True):
        found = Detections(boxes_xyxy=box[None], scores=np.array([0.25], np.float32), class_ids=np.zeros(1, np.int64))
        entries += detection_entries(image_id, 1, found)
    (tmp_path / "boxes.json").write_text(json.dumps(entries))
    again = read_detections(tmp_path / "boxes.json", people)
    assert list(again.images) == list(labelled.images) and set(again.scores) == {0.25}
    np.testing.assert_allclose(again.boxes_xyxy, labelled.boxes_xyxy, atol=0.02)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "a list of boxes was expected, found dict"),
        ("[", "is not a file of person boxes"),
        ('[{"image_id": 0, "category_id": 1, "score": 1}]', "an entry has no 'bbox'"),
        ('[{"image_id": 0, "category_id": 1, "score": 1, "bbox": [1, 2, 3]}]', "is not a file of person boxes"),
        ('[{"image_id": 77, "category_id": 1, "score": 1, "bbox": [1, 2, 3, 4]}]', "no box of category 1 in any of"),
    ],
)
def test_a_wrong_detections_file_is_one_line(people: PeopleSet, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "boxes.json").write_text(content)
    with pytest.raises(SourceError) as caught:
        read_detections(tmp_path / "boxes.json", people)
    assert message in str(caught.value) and "boxes.json" in str(caught.value) and "\n" not in str(caught.value)


def test_report_results_and_tables(
    data: Path, people: PeopleSet, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = detections(people, tmp_path / "boxes.json")
    arguments = ["--weights", str(weights), "--data", str(data), "--boxes", str(boxes), "--flip-test"]
    files = ["--report", str(tmp_path / "out" / "report.json"), "--results", str(tmp_path / "results.json")]
    assert main([*arguments, *files, "--decode", "dark", "--compare-paper"]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["boxes"], report["flip_test"], report["decode"]) == (str(boxes), True, "dark")
    assert (report["box_count"], report["people"], report["input_size"]) == (6, 6, "64x64")
    assert set(report["metrics"]) == set(METRIC_NAMES)
    assert report["breakdown"]["up_to_128_px"]["people"] == 6
    assert report["halves"]["even"]["people"] == report["halves"]["odd"]["people"] == 3
    results = json.loads((tmp_path / "results.json").read_text())
    assert {tuple(result) for result in results} == {("image_id", "category_id", "keypoints", "score")}
    assert all(len(result["keypoints"]) == 9 for result in results)
    printed = capsys.readouterr().out
    assert "boxes: boxes.json (6), flip test, dark decoding, torch fp32 on cpu" in printed
    rows = [line.split() for line in printed.splitlines()]
    for half in ("even", "odd"):
        assert [half, "3", f"{report['halves'][half]['AP']:.2f}"] in [row[:3] for row in rows]
    paper = next(line for line in printed.splitlines() if line.startswith("KCAM "))
    assert paper.split() == ["KCAM", "75.8", "92.7", "83.6", "72.3", "81.8", "HRNet-W48,", "384x288"]
    assert "this: kcam_resnet18" in printed


def test_a_split_without_labels_gives_results_only(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """test-dev: pictures are listed, labels are not public, results go to the server."""
    torch.manual_seed(0)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "test2017").symlink_to(data / "val")
    images = [{"id": 10 + i, "file_name": f"{i}.png", "width": 160, "height": 120} for i in range(3)]
    listing = {"images": images, "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "annotations" / "image_info_test-dev2017.json").write_text(json.dumps(listing))
    boxes = [{"image_id": i, "category_id": 1, "bbox": [40, 20, 60, 60], "score": 0.8} for i in (10, 12, 500)]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    model = build_model("resnet18", **SIZE).eval()  # type: ignore[arg-type]
    save_pose_model(tmp_path / "w.safetensors", model, skeleton=COCO17.to_dict())
    common = ["--weights", str(tmp_path / "w.safetensors"), "--data", str(tmp_path), "--split", "test-dev"]
    out = ["--results", str(tmp_path / "results.json")]
    assert main([*common, "--boxes", str(tmp_path / "boxes.json"), *out]) == 0
    assert "has no labels: results only" in capsys.readouterr().out
    results = json.loads((tmp_path / "results.json").read_text())
    assert [result["image_id"] for result in results] == [10, 12] and len(results[0]["keypoints"]) == 51
    assert main(common) == 2
    assert "test-dev has no labels; give a detector's boxes" in capsys.readouterr().err


def test_official_weights_are_evaluated_as_bare_models_and_kept_when_asked(data: Path, tmp_path: Path) -> None:
    """Under MMPose's names; the other forms are read in tests/models/test_checkpoints.py."""
    torch.manual_seed(0)
    theirs = build_model("resnet18", num_keypoints=3, **SIZE).eval()  # type: ignore[arg-type]
    heads = ("deconv_layers", "final_layer")
    named = {f"{'head.' if k.startswith(heads) else 'backbone.'}{k}": v for k, v in theirs.state_dict().items()}
    torch.save({"state_dict": named}, tmp_path / "pose_resnet_18_64x64.pth.tar")
    kept, report = tmp_path / "kept.safetensors", tmp_path / "report.json"
    arguments = ["--weights", str(tmp_path / "pose_resnet_18_64x64.pth.tar"), "--data", str(data), "--save", str(kept)]
    assert main([*arguments, "--model", "resnet18", "--report", str(report)]) == 0
    written = json.loads(report.read_text())
    assert (written["model"], written["input_size"], written["context"]) == ("resnet18", "64x64", {})
    images = torch.randn(1, 3, 64, 64)
    again = load_pose_model(kept)
    torch.testing.assert_close(again.model(images).heatmaps, theirs(images).heatmaps, rtol=0, atol=0)
    assert again.class_names == ("stick",)


def test_foreign_weights_that_do_not_serve_are_one_line(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(build_model("resnet18", **SIZE).state_dict(), tmp_path / "coco.pth")  # type: ignore[arg-type]
    (tmp_path / "no.pth").write_bytes(b"no")
    size = ["--input-size", "256x192"]
    for options, message in (
        ([str(tmp_path / "coco.pth")], "name it with --model"),
        ([str(tmp_path / "coco.pth"), "--model", "resnet18"], "give --input-size, as in 256x192"),
        ([str(tmp_path / "coco.pth"), "--model", "resnet18", *size], "finds 17 keypoints, but"),
        ([str(tmp_path / "coco.pth"), "--model", "hrnet_w19", *size], "Did you mean 'hrnet_w18'"),
        ([str(tmp_path / "no.pth"), "--model", "resnet18", *size], "not a file of plain tensors"),
        ([str(weights), "--model", "resnet18"], "contains its own description"),
        (["nothing.pth", "--model", "resnet18", *size], "nothing.pth does not exist"),
    ):
        assert main(["--data", str(data), "--weights", *options]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
