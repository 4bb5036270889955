"""The recall of a detector, on made-up people and a detector whose boxes are known."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from engine.types import Detections, UInt8Array
from tests.train.people_folder import write_people
from train import detector_recall as module
from train.detector_recall import main


class Halves:
    """Finds everybody in the first three pictures that it gets, and nobody in the others."""

    def __init__(self, boxes_xyxy: list[list[float]]) -> None:
        spec = SimpleNamespace(name="halves", input_size_wh=(320, 320))
        self.backend = SimpleNamespace(name="none", precision="fp32", spec=spec)
        self._boxes = iter(boxes_xyxy)
        self._seen = 0

    def __enter__(self) -> Halves:
        return self

    def __exit__(self, *_error: object) -> None:
        """Nothing to close."""

    def detect(self, image_bgr: UInt8Array) -> Detections:
        box, self._seen = next(self._boxes), self._seen + 1
        if self._seen > 3:
            return Detections.empty()
        boxes = np.array([box], np.float32)
        return Detections(boxes_xyxy=boxes, scores=np.ones(1, np.float32), class_ids=np.zeros(1, np.int64))


def test_recall_is_that_of_the_pictures_that_can_be_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_people(tmp_path / "p", pictures=6)
    (data / "val" / "1.png").write_bytes(b"no picture")
    labels = json.loads((data / "val.json").read_text())["annotations"]
    boxes = [[x, y, x + w, y + h] for x, y, w, h in (one["bbox"] for one in labels)]
    detector = Halves(boxes[:1] + boxes[2:])
    monkeypatch.setattr(module, "open_detector", lambda *_given, **_more: (detector, detector))
    report, found = tmp_path / "report.json", tmp_path / "found.json"
    words = ["--detector", "d", "--data", str(data), "--report", str(report), "--detections", str(found)]
    assert main(words) == 0
    content = json.loads(report.read_text())
    assert content["recall"]["taller_than_0_px"] == {"people": 5, "recall": 3 / 5}
    assert content["broken_pictures"] == 1 and content["boxes_per_picture"] == 3 / 5
    assert [entry["image_id"] for entry in json.loads(found.read_text())] == [0, 2, 3]
    assert "1.png is not a picture" in capsys.readouterr().out
