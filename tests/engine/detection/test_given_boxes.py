"""Boxes without a detector: the whole picture, and those of a file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from engine.detection.given_boxes import WholePicture, read_boxes
from engine.errors import OptionError, SourceError
from engine.options import PoseOptions
from engine.pipeline import opening
from engine.pipeline.options import PipelineOptions
from engine.types import Frame
from tests.engine.fakes import BrightestPixel, plain_pipeline, pose_spec

IMAGE = np.zeros((60, 80, 3), np.uint8)


def test_without_a_detector_the_whole_picture_is_one_box() -> None:
    found = WholePicture().detect(IMAGE)
    assert found.boxes_xyxy.tolist() == [[0, 0, 79, 59]] and found.scores.tolist() == [1]
    assert WholePicture().detect(IMAGE[:, :1]).boxes_xyxy.tolist() == [[0, 0, 1, 59]], "one px wide"


@pytest.mark.parametrize("kind", ["jsonl", "json"])
def test_boxes_of_a_file_go_to_their_frames(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"boxes.{kind}"
    if kind == "jsonl":
        lines = [
            {"frame": 0, "people": [{"box_xyxy": [1, 2, 30, 40], "score": 0.5}]},
            {"frame": 2, "people": [{"box_xyxy": [5, 6, 50, 60]}, {"box_xyxy": [7, 8, 9, 10]}]},
        ]
        file.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    else:
        boxes = [(0, [1, 2, 29, 38], 0.5), (2, [5, 6, 45, 54], 1), (2, [7, 8, 2, 2], 1)]
        file.write_text(json.dumps([{"image_id": i, "bbox": box, "score": score} for i, box, score in boxes]))
    pipeline = plain_pipeline(read_boxes(file), BrightestPixel(pose_spec()))
    found = [pipeline.process(Frame(image_bgr=IMAGE, index=index, timestamp_s=index / 25)) for index in range(3)]
    assert [result.poses.boxes_xyxy.tolist() for result in found] == [
        [[1, 2, 30, 40]],
        [],
        [[5, 6, 50, 60], [7, 8, 9, 10]],
    ]
    assert found[0].poses.box_scores.tolist() == [0.5]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.json", None, "cannot be read"),
        ("a.json", "{}", "a list of boxes was expected"),
        ("a.json", '[{"image_id": 0}]', "an entry has no 'bbox'"),
        ("a.json", '[{"image_id": 0, "bbox": [1, 2, 0, 3]}]', "has no area"),
        ("a.jsonl", '{"frame": 0}', "an entry has no 'people'"),
        ("a.jsonl", "{", "is not a file of boxes"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.json", '[{"image_id": 0, "bbox": [1, 2, 1e308, 3]}]', "lies beyond"),
        ("a.json", f'[{{"image_id": 0, "bbox": [1, 2, 1{"0" * 400}, 3]}}]', "64 bits"),
        ("a.json", '[{"image_id": 1e999, "bbox": [1, 2, 3, 4]}]', "not a finite number"),
        ("a.json", '[{"image_id": 0, "bbox": [1, 2, 3, 4], "score": NaN}]', "not a finite number"),
        ("a.jsonl", '{"frame": 1e999, "people": []}', "not a finite number"),
        ("a.jsonl", '[{"frame": 0, "people": []}]', "is not a file of boxes"),
    ],
)
def test_a_wrong_file_of_boxes_is_one_line(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_text(content)
    with pytest.raises(SourceError, match=message) as caught:
        read_boxes(file)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_given_boxes_are_posed_in_every_frame_and_not_doubted(tmp_path: Path) -> None:
    for options in (PoseOptions(detector="none"), PoseOptions(boxes=tmp_path / "b.json")):
        found = PipelineOptions.of(options, live=True)
        assert (found.detect_every, found.person_threshold) == (1, 0.0)
    with pytest.raises(OptionError, match="leave one of them out"):
        PipelineOptions.of(PoseOptions(detector="none", boxes=tmp_path / "b.json"))


@pytest.mark.parametrize("classes", [None, "robot"])  # the class of the pose network, and one that the user names
def test_an_unknown_class_names_the_detector_that_is_needed(classes: str | None) -> None:
    posed = dataclasses.replace(pose_spec(), class_names=("robot",) if classes is None else ("person",))
    with pytest.raises(OptionError) as caught:
        opening._open_detector(PipelineOptions(backend="onnxruntime", classes=classes), posed, lambda _line: None)
    message = str(caught.value)
    assert "unknown class 'robot'" in message and "python -m train.detector" in message and "--detector none" in message
    assert ("poses robot" in message) == (classes is None)


def test_a_misspelt_class_is_only_corrected() -> None:
    with pytest.raises(OptionError, match="Did you mean 'person'") as caught:
        options = PipelineOptions(backend="onnxruntime", classes="persn")
        opening._open_detector(options, pose_spec(), lambda _line: None)
    assert "train.detector" not in str(caught.value)
