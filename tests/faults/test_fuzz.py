"""Random values: detections up to the picture and the file."""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.artifacts.model_spec import ModelSpec, TensorSpec
from engine.artifacts.part_file import PartFile
from engine.detection.detector import PersonDetector
from engine.detection.propagation import BoxPropagator
from engine.errors import EngineError
from engine.geometry import apply_affines, boxes_to_affines, invert_affines, warp_crops
from engine.output.poses_writer import PosesWriter
from engine.overlay.attention import AttentionView
from engine.overlay.drawing import OverlayOptions, draw
from engine.skeleton import COCO17, Skeleton
from engine.system.closing import Closing
from engine.tracking.smoothing import PoseSmoother
from engine.types import Detections, Frame, FrameResult, Poses
from tests.engine.fakes import THREE, plain_pipeline, pose_spec
from tests.faults.ledger import Fault

pytestmark = pytest.mark.fault("fuzzing")

# Detections and keypoints

FLOATS = st.one_of(
    st.floats(width=32),
    st.floats(-200, 300, width=32),
    st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 1e38, -1e38, 1e-45, 0.5, 1.0]),
)
FINITE = st.one_of(st.floats(-200, 300, width=32), st.sampled_from([0.0, 1e6, -1e6, 1e15, -1e15, 0.25]))
FRAME_SIZES = st.sampled_from([(64, 48), (1, 1), (17, 31), (2, 300)])


def rows_of(people: int) -> st.SearchStrategy[np.ndarray]:
    """(people, 6) possible output of a detector: box, score, class."""
    return hnp.arrays(np.float32, (people, 6), elements=FLOATS, fill=st.sampled_from([0.5, 1.0, math.nan, 40.0]))


class AnyDetector(Closing):
    """A detector network that returns given rows."""

    name, device, precision = "any", "cpu", "fp32"

    def __init__(self) -> None:
        self.rows = np.zeros((0, 6), np.float32)
        self.spec = ModelSpec(
            kind="detector", name="any", precision="fp32", input_size_wh=(64, 64),
            inputs=(TensorSpec(name="images", shape=("B", "H", "W", 3), dtype="uint8"),),
            outputs=(TensorSpec(name="boxes", shape=("B", "M", 6), dtype="float32"),),
            skeleton=None, class_names=("person", "dog"), file_sha256="", weights_sha256="", graph_version=1,
            made_with={},
        )  # fmt: skip

    def infer(self, inputs: Mapping[str, np.ndarray], want: Sequence[str]) -> dict[str, np.ndarray]:
        return {"boxes": self.rows[None].copy()}

    def close(self) -> None:
        """There are no resources to release."""


class AnyPoses(Closing):
    """A pose network that returns these values repeatedly, also as maps."""

    name, device, precision = "any", "cpu", "fp32"

    def __init__(self) -> None:
        self.spec = pose_spec()
        self.values = np.zeros(1, np.float32)

    def infer(self, inputs: Mapping[str, np.ndarray], want: Sequence[str]) -> dict[str, np.ndarray]:
        people = len(inputs["crops"])
        shapes = {"keypoints": (people, 3, 3), "areas": (people, 3, 32, 24), "attention": (people, 3, 32, 24)}
        return {name: np.resize(self.values, shapes[name]).astype(np.float32) for name in want}

    def close(self) -> None:
        """There are no resources to release."""


LOOKS = (
    OverlayOptions(boxes=True, scores=True, attention=AttentionView(kind="attention", keypoint=1)),
    OverlayOptions(opacity=0.5, attention=AttentionView(kind="areas", keypoint=0), scale="frame"),
    OverlayOptions(score_threshold=0, line_width=100),
)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), size=FRAME_SIZES, every=st.sampled_from([1, 3, "auto"]), tracking=st.booleans())
def test_any_detection_is_drawn_and_written(
    data: st.DataObject, size: tuple[int, int], every: Any, tracking: bool
) -> None:
    """Four frames of any network output, with ids, smoothing, propagation, every overlay, and a poses file."""
    network, poses = AnyDetector(), AnyPoses()
    detector = PersonDetector(network, score_threshold=data.draw(st.sampled_from([0.0, 0.3])), max_boxes=300)
    pipeline = plain_pipeline(
        detector, poses, max_people=300, want_areas=True, want_attention=True, tracking=tracking, smoothing=tracking,
        detect_every=every,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), pipeline:
        warnings.simplefilter("error")  # users would see them on the terminal
        part = PartFile(Path(folder) / "p.jsonl")
        with writing(part, THREE) as writer:
            for index in range(4):
                network.rows = data.draw(st.sampled_from([0, 1, 2, 5]).flatmap(rows_of))
                poses.values = data.draw(hnp.arrays(np.float32, st.integers(1, 30), elements=FLOATS))
                time_s = data.draw(st.sampled_from([index / 30, 0.0, index * 1e6]))
                image = np.full((size[1], size[0], 3), index * 40, np.uint8)
                result = pipeline.process(Frame(image_bgr=image, index=index, timestamp_s=time_s))
                check(result, size)
                for look in LOOKS:
                    drawn = draw(result, THREE, look)
                    assert drawn.shape == image.shape and drawn.dtype == np.uint8
                writer.write(index, time_s, result.poses)
        for line in part.path.read_text().splitlines():
            json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} in a poses file"))


@contextlib.contextmanager
def writing(part: PartFile, skeleton: Skeleton) -> Iterator[PosesWriter]:
    """A poses file that keeps its part name."""
    writer = PosesWriter(part, skeleton)
    try:
        yield writer
    finally:
        writer.abort()


@pytest.mark.parametrize("every", [1, "auto"])
def test_three_hundred_people_are_processed(every: Any, fault: Fault) -> None:
    """And none, and three hundred again."""
    random = np.random.default_rng(3)
    network, poses = AnyDetector(), AnyPoses()
    poses.values = random.uniform(0, 1, 999).astype(np.float32) * 90
    pipeline = plain_pipeline(
        PersonDetector(network, max_boxes=300), poses, max_people=300, want_attention=True, tracking=True,
        smoothing=True, detect_every=every,
    )  # fmt: skip
    crowd = np.zeros((400, 6), np.float32)
    crowd[:, :2] = random.permutation(400)[:, None] // (1, 20) % 20 * 1.6  # none lies on another
    crowd[:, 2:4] = crowd[:, :2] + 1
    crowd[:, 4], crowd[:, 5] = random.uniform(0.3, 1, 400), 0
    fault.more(4)
    with pipeline, warnings.catch_warnings():
        warnings.simplefilter("error")
        for index, rows in enumerate((crowd, crowd[:0], crowd, crowd)):
            network.rows = rows
            image = np.zeros((48, 64, 3), np.uint8)
            result = pipeline.process(Frame(image_bgr=image, index=index, timestamp_s=index / 30))
            check(result, (64, 48))
            assert len(result.detections) == min(len(rows), 300) or every != 1
            assert len(result.poses) == len(result.detections) or every != 1
            draw(result, THREE, LOOKS[0])


def check(result: FrameResult, size: tuple[int, int]) -> None:
    """Invariants that the code after the pipeline relies on."""
    detections = result.detections
    assert np.isfinite(detections.boxes_xyxy).all()
    assert np.isfinite(detections.scores).all() and (detections.scores <= 1).all()
    assert len(result.poses) <= len(detections) <= 300
    ids = result.poses.track_ids
    if ids is not None:
        assert len(set(ids.tolist())) == len(ids), "two people with one id"


def boxes_of(people: int) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float32, (people, 4), elements=FINITE)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), people=st.sampled_from([0, 1, 3, 300]), size=st.sampled_from([(192, 256), (32, 32), (96, 128)]))
def test_any_boxes_give_crops_and_map_back(data: st.DataObject, people: int, size: tuple[int, int]) -> None:
    boxes = data.draw(boxes_of(people))
    affines = boxes_to_affines(boxes, size)
    back = invert_affines(affines)
    assert np.isfinite(affines).all() and np.isfinite(back).all()
    image = np.zeros((48, 64, 3), np.uint8)
    assert warp_crops(image, affines, size).shape == (people, size[1], size[0], 3)
    middle = np.tile(np.array([[size[0] / 2, size[1] / 2]], np.float32), (people, 1, 1))
    centers = (boxes[:, :2].astype(np.float64) + boxes[:, 2:]) / 2
    found = apply_affines(back, middle)[:, 0]
    extent = np.maximum(np.abs(boxes).max(axis=1, initial=1), 1)[:, None] if people else 1
    assert (np.abs(found - centers) <= 1e-3 * extent + 1e-2).all()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_propagation_and_smoothing_handle_any_poses(data: st.DataObject) -> None:
    """Separately, with values that earlier stages would reject."""
    propagator, smoother = BoxPropagator(), PoseSmoother()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        for step in range(5):
            people = data.draw(st.sampled_from([0, 1, 4]))
            boxes = data.draw(boxes_of(people))
            poses = Poses(
                keypoints_xy=data.draw(hnp.arrays(np.float32, (people, 3, 2), elements=FLOATS)),
                scores=data.draw(hnp.arrays(np.float32, (people, 3), elements=FLOATS)),
                boxes_xyxy=boxes,
                box_scores=np.ones(people, np.float32),
                person_scores=np.ones(people, np.float32),
                track_ids=np.arange(people, dtype=np.int64),
            )
            time_s = data.draw(st.sampled_from([step / 30, 0.0, -5.0, 1e9]))
            assert smoother.smooth(poses, time_s).keypoints_xy.shape == (people, 3, 2)
            predicted = propagator.predict(time_s, (64, 48))
            if step % 2 == 0 or len(predicted) != people:
                found = Detections(
                    boxes_xyxy=boxes, scores=np.ones(people, np.float32), class_ids=np.zeros(people, np.int64)
                )
                propagator.detected(found, poses, time_s)
            else:
                propagator.propagated(poses, time_s)
            assert len(propagator.predict(time_s, (64, 48))) <= people


# Poses files that are read back


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_poses_files_that_were_changed_are_read_or_refused(data: st.DataObject) -> None:
    """By their reader: the check of a clip in training."""
    from train.clip_check import read_poses

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "p.jsonl"
        part = PartFile(file)
        with writing(part, COCO17) as writer:
            for index in range(3):
                writer.write(index, index / 10, Poses.empty(17))
        content = bytearray(part.path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(content)))
            content[at : at + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
        file.write_bytes(bytes(content))
        try:
            read_poses(file)
        except EngineError as error:
            assert "\n" not in str(error)
