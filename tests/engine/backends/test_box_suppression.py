"""Box suppression in the graph equals a plain loop, and a shipped detector's engine contains it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from engine.artifacts import folders
from engine.backends import OpenOptions
from engine.backends.box_suppression import MOST_BOXES, MOST_CANDIDATES, NMS_OVERLAP, append_suppression
from engine.backends.onnxruntime import OnnxRuntimeBackend
from engine.detection.detector import PersonDetector, open_detector
from engine.errors import ModelError
from engine.types import UInt8Array
from tests.engine.engine_orders import Use, build

Rows = list[tuple[float, ...]]


def _suppression(classes: int, opset: int = 18) -> onnx.ModelProto:
    """A graph that takes candidates and gives boxes."""
    h = onnx.helper
    info = h.make_tensor_value_info("candidates", onnx.TensorProto.FLOAT, ["B", 4 + classes, "A"])
    proto = h.make_model(
        h.make_graph([], "only", [info], [info]), opset_imports=[h.make_opsetid("", opset)], ir_version=9
    )
    append_suppression(proto)
    onnx.checker.check_model(proto)
    return proto


def _run(candidates: np.ndarray) -> np.ndarray:
    """Boxes (B, M, 6) of candidates (B, 4 + classes, A)."""
    proto = _suppression(candidates.shape[1] - 4)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    boxes: np.ndarray = session.run(["boxes"], {"candidates": candidates})[0]
    return boxes


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def _by_a_loop(candidates: np.ndarray) -> Rows:
    """Greedy suppression: the best box removes those it overlaps, then the next best, and so on."""
    waiting: Rows = []
    for x, y, width, height, *scores in candidates.T.tolist():
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        waiting += [(*corners, score, float(class_id)) for class_id, score in enumerate(scores)]
    waiting = sorted(waiting, key=lambda row: -row[4])[:MOST_CANDIDATES]
    kept: Rows = []
    while waiting:
        best = waiting.pop(0)
        kept.append(best)
        waiting = [row for row in waiting if row[5] != best[5] or _overlap(row, best) <= NMS_OVERLAP]
    return kept[:MOST_BOXES]


def _crowd(rng: np.random.Generator, places: int, classes: int) -> np.ndarray:
    """Candidates (4 + classes, places) in clusters, as detectors give them."""
    people = int(rng.integers(1, 40))
    centers, sizes = rng.uniform(0, 320, (people, 2)), rng.uniform(10, 120, (people, 2))
    who = rng.integers(0, people, places)
    parts = [
        (centers[who] + rng.normal(0, 4, (places, 2))).T,
        (sizes[who] * rng.uniform(0.8, 1.2, (places, 2))).T,
        rng.uniform(0.01, 1, (classes, places)),
    ]
    return np.concatenate(parts).astype(np.float32)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("places", [1, 21, 300, 900])
def test_random_candidates_match_a_plain_loop(classes: int, places: int) -> None:
    rng = np.random.default_rng(places + classes)
    pictures = np.stack([_crowd(rng, places, classes) for _ in range(2)])
    for boxes, candidates in zip(_run(pictures), pictures, strict=True):
        expected = _by_a_loop(candidates)
        real = boxes[boxes[:, 4] >= 0]
        np.testing.assert_allclose(real, np.array(expected), atol=1e-3)
        assert (boxes[len(expected) :, 4] == -1).all()


def test_a_long_chain_loses_no_box_that_a_loop_keeps() -> None:
    """Each box overlaps the next one alone: every other one stays."""
    count = 40
    scores = np.linspace(0.9, 0.3, count)
    chain = np.stack([np.arange(count) * 3.0, *np.full((3, count), 20.0), scores]).astype(np.float32)
    expected = {row[:4] for row in _by_a_loop(chain)}
    boxes = _run(chain[None])[0]
    kept = {tuple(row) for row in boxes[boxes[:, 4] >= 0, :4].tolist()}
    assert len(expected) == count // 2
    assert expected <= kept  # beyond the number of rounds, a box too many remains and none is lost


def test_older_graphs_and_those_without_a_number_of_classes_are_refused() -> None:
    with pytest.raises(ModelError, match="opset 18"):
        _suppression(1, opset=17)
    with pytest.raises(ModelError, match="how many classes"):
        _suppression(-4)


@pytest.mark.usefixtures("own_cache", "quick")
def test_an_engine_of_the_shipped_detector_detects_the_same_people(use_gpu: Use, photo_paths: list[Path]) -> None:
    detector = folders.WEIGHTS_DIR / "yolo_person.onnx"
    if not detector.is_file():
        pytest.skip("the detector that ships is not in this checkout")
    use_gpu()
    build(detector, precision="fp32")
    opened, how = open_detector(detector, backend="tensorrt", score_threshold=0.1)
    with opened, PersonDetector(OnnxRuntimeBackend(detector, OpenOptions()), score_threshold=0.1) as plain:
        assert how.backend.spec.output_names == ("boxes",)
        for path in photo_paths:
            image: UInt8Array = np.asarray(cv2.imread(str(path)), np.uint8)
            found, expected = opened.detect(image), plain.detect(image)
            assert len(expected) >= 2
            np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, atol=0.5)
            np.testing.assert_allclose(found.scores, expected.scores, atol=1e-3)
