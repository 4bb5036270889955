"""PosePipeline with a fake detector and a fake pose network."""

from __future__ import annotations

import dataclasses
from dataclasses import FrozenInstanceError
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.backends import OpenedBackend
from engine.errors import BackendError, ModelError, OptionError
from engine.pipeline import opening as pipeline_opening
from engine.pipeline.opening import open_pipeline
from engine.pipeline.pose_pipeline import PipelineOptions
from engine.skeleton import COCO17
from engine.types import Frame, UInt8Array, mean_visible_scores
from tests.engine.fakes import BrightestPixel, FixedDetector, boxes, plain_pipeline, pose_spec


def frame_of(image_bgr: UInt8Array) -> Frame:
    return Frame(image_bgr=image_bgr, index=7, timestamp_s=0.25, pts=3)


def dark_frame() -> Frame:
    return frame_of(np.zeros((480, 640, 3), np.uint8))


def test_keypoints_are_mapped_back_to_frame_px() -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    # One disc per keypoint and person, in the channel of that keypoint, well inside that person's box.
    people_px = [[(150, 120), (110, 200), (190, 210)], [(450, 150), (400, 300), (500, 310)]]
    for person in people_px:
        for channel, (x, y) in enumerate(person):
            layer = np.ascontiguousarray(image[:, :, channel])
            cv2.circle(layer, (x, y), 6, 255, -1)
            image[:, :, channel] = layer
    cv2.GaussianBlur(image, (0, 0), 3, dst=image)  # a peak in the middle of each disc
    detector = FixedDetector(boxes((80, 80, 230, 280), (370, 90, 540, 380)), np.array([0.9, 0.5], np.float32))
    backend = BrightestPixel()
    result = plain_pipeline(detector, backend).process(frame_of(image))

    assert result.frame.index == 7
    assert len(result.poses) == 2
    # The crops are smaller than the boxes: a px of the crop is up to 3 px of the frame.
    assert np.abs(result.poses.keypoints_xy - np.array(people_px, np.float32)).max() < 4
    assert result.attention is None
    assert backend.calls == [("keypoints",)]  # both people in one call, and no map that was not requested
    assert np.allclose(result.poses.boxes_xyxy, detector.boxes_xyxy)
    assert np.allclose(result.poses.person_scores, [0.9, 0.5] * result.poses.scores.mean(axis=1), atol=1e-6)
    assert result.timings.detect_ms > 0
    assert result.timings.crop_ms > 0
    assert result.timings.pose_ms > 0


@pytest.mark.parametrize("maps", [False, True])
def test_an_empty_frame_never_reaches_the_pose_network(maps: bool) -> None:
    backend = BrightestPixel()
    detector = FixedDetector(boxes(), np.zeros(0, np.float32))
    result = plain_pipeline(detector, backend, want_areas=maps, want_attention=maps).process(dark_frame())
    assert len(result.poses) == 0
    assert result.poses.keypoints_xy.shape == (0, 3, 2)
    assert backend.calls == []
    assert result.timings.pose_ms == 0
    assert (result.attention is not None) == maps


@pytest.mark.parametrize("areas", [False, True])
@pytest.mark.parametrize("attention", [False, True])
def test_only_requested_maps_are_computed(areas: bool, attention: bool) -> None:
    backend = BrightestPixel()
    detector = FixedDetector(boxes((0, 0, 200, 300), (100, 100, 300, 400)), np.ones(2, np.float32))
    result = plain_pipeline(detector, backend, want_areas=areas, want_attention=attention).process(dark_frame())
    assert set(backend.calls[0]) == {"keypoints"} | ({"areas"} if areas else set()) | (
        {"attention"} if attention else set()
    )
    if not areas and not attention:
        assert result.attention is None
        return
    assert result.attention is not None
    assert (result.attention.areas is not None) == areas
    assert (result.attention.attention is not None) == attention
    # The crop's corner maps to the corner of the padded box: 300 px high, padded by 1.25, centre at (100, 150).
    corner = result.attention.crop_to_frame[0] @ np.array([0, 0, 1], np.float32)
    assert np.allclose(corner, [100 - 300 * 0.75 * 1.25 / 2, 150 - 300 * 1.25 / 2], atol=1e-2)


def test_the_highest_scores_are_kept_in_their_order() -> None:
    scores = np.array([0.2, 0.9, 0.5, 0.8], np.float32)
    detector = FixedDetector(boxes(*[(10 * i, 0, 10 * i + 50, 90) for i in range(4)]), scores)
    result = plain_pipeline(detector, BrightestPixel(), max_people=2).process(dark_frame())
    assert result.detections.scores.tolist() == pytest.approx([0.9, 0.8])
    assert len(result.poses) == 2


@pytest.mark.parametrize("maps", [False, True])
def test_a_photo_keeps_the_people_who_are_most_confident(maps: bool) -> None:
    """The box of the brightest disc has the lowest score; all boxes are posed, by calls of at most two crops."""
    image = np.zeros((480, 640, 3), np.uint8)
    brightness = [100, 60, 80, 90, 250]
    for place, value in enumerate(brightness):
        image[200:220, 100 * place + 40 : 100 * place + 60] = value
    found = boxes(*[(100 * place, 150, 100 * place + 90, 280) for place in range(5)])
    detector = FixedDetector(found, np.array([0.9, 0.89, 0.88, 0.87, 0.86], np.float32))
    backend = BrightestPixel()
    pipeline = plain_pipeline(
        detector, backend, max_people=2, want_areas=maps, want_attention=maps, person_threshold=0.0
    )
    result = pipeline.process(dataclasses.replace(frame_of(image), is_still=True))
    assert result.poses.boxes_xyxy[:, 0].tolist() == [0, 400] and len(backend.calls) == 3
    assert len(result.detections) == 5
    centres = [[50, 210], [450, 210]]
    assert np.abs(result.poses.keypoints_xy - np.array(centres, np.float32)[:, None]).max() <= 15
    if maps:
        assert result.attention is not None and result.attention.attention is not None
        assert len(result.attention.attention) == 2
        origin = result.attention.crop_to_frame[:, 0, 2]
        assert origin[1] - origin[0] == pytest.approx(400)
    unsure = pipeline.process(frame_of(image))
    assert unsure.poses.boxes_xyxy[:, 0].tolist() == [0, 100], "a video's frame has no time for all of them"


def test_crops_are_written_into_one_buffer() -> None:
    backend = BrightestPixel()
    detector = FixedDetector(boxes((0, 0, 50, 90), (50, 0, 99, 90)), np.ones(2, np.float32))
    pipeline = plain_pipeline(detector, backend)
    for people in (2, 1, 2):
        detector.boxes_xyxy, detector.scores = detector.boxes_xyxy[:people], detector.scores[:people]
        pipeline.process(dark_frame())
        detector.boxes_xyxy, detector.scores = boxes((0, 0, 50, 90), (50, 0, 99, 90)), np.ones(2, np.float32)
    assert len(set(backend.buffers)) == 1


def test_a_warm_up_runs_both_networks_and_counts_nobody() -> None:
    found = FixedDetector(boxes((80, 80, 230, 280), (370, 90, 540, 380)), np.array([0.9, 0.5], np.float32))
    image = np.full((480, 640, 3), 200, np.uint8)
    backend = BrightestPixel()
    warm = plain_pipeline(found, backend, tracking=True, smoothing=True)
    warm.warm_up(frame_of(image))
    assert backend.calls == [("keypoints",)] * 2, "one person, then several"
    cold = plain_pipeline(found, BrightestPixel(), tracking=True, smoothing=True)
    first, expected = warm.process(dark_frame()).poses, cold.process(dark_frame()).poses
    assert expected.track_ids is not None
    np.testing.assert_array_equal(first.track_ids, expected.track_ids)
    np.testing.assert_array_equal(first.keypoints_xy, expected.keypoints_xy)


def test_a_growing_number_of_people_is_posed() -> None:
    backend = BrightestPixel()
    pipeline_detector = FixedDetector(boxes(), np.zeros(0, np.float32))
    pipeline = plain_pipeline(pipeline_detector, backend, max_people=9)
    for people in (1, 2, 3, 7, 9, 12):
        pipeline_detector.boxes_xyxy = boxes(*[(50 * i, 10, 50 * i + 40, 90) for i in range(people)])
        pipeline_detector.scores = np.ones(people, np.float32)
        assert len(pipeline.process(dark_frame()).poses) == min(people, 9)


def test_boxes_beyond_the_frame_and_without_area_are_posed() -> None:
    detector = FixedDetector(boxes((-50, -80, 900, 700), (10, 10, 10, 10)), np.ones(2, np.float32))
    result = plain_pipeline(detector, BrightestPixel()).process(dark_frame())
    assert np.isfinite(result.poses.keypoints_xy).all()
    assert result.poses.person_scores.tolist() == [0, 0]


def test_maps_that_the_network_lacks_are_refused_at_once() -> None:
    backend = BrightestPixel(spec=pose_spec(maps=()))
    detector = FixedDetector(boxes(), np.zeros(0, np.float32))
    with pytest.raises(ModelError, match=r"some_model.*no attention maps.*kcam_"):
        plain_pipeline(detector, backend, want_attention=True)


def test_a_detector_in_the_place_of_the_pose_network_is_refused() -> None:
    backend = BrightestPixel(spec=pose_spec(skeleton=None, kind="detector"))
    with pytest.raises(ModelError, match="not a pose network"):
        plain_pipeline(FixedDetector(boxes(), np.zeros(0, np.float32)), backend)


def test_peaks_above_1_are_scores_of_1() -> None:
    class Steep(BrightestPixel):
        def infer(self, inputs: Any, want: Any) -> Any:
            outputs = super().infer(inputs, want)
            outputs["keypoints"][:, :, 2] = (1.03, 0.99, 0.4)
            return outputs

    detector = FixedDetector(boxes((80, 80, 230, 280)), np.ones(1, np.float32))
    poses = plain_pipeline(detector, Steep()).process(dark_frame()).poses
    np.testing.assert_allclose(poses.scores, [[1, 0.99, 0.4]], rtol=1e-6)
    assert poses.person_scores.tolist() == pytest.approx([(1.03 + 0.99 + 0.4) / 3]), "people are ranked as before"


def test_outputs_of_a_wrong_shape_are_an_error() -> None:
    backend = BrightestPixel(spec=pose_spec(skeleton=COCO17))  # promises 17 keypoints, gives 3
    with pytest.raises(BackendError, match=r"shape \(1, 3, 3\), expected \(1, 17, 3\)"):
        plain_pipeline(FixedDetector(boxes((0, 0, 50, 90)), np.ones(1, np.float32)), backend).process(dark_frame())


def test_both_parts_are_closed_even_if_one_fails() -> None:
    backend = BrightestPixel(fail_on_close=True)
    detector = FixedDetector(boxes(), np.zeros(0, np.float32))
    with pytest.raises(BackendError, match="cannot close"), plain_pipeline(detector, backend):
        pass
    assert backend.closed
    assert detector.closed


@given(
    people=st.integers(1, 4),
    keypoint_scores=st.lists(st.floats(-1, 2, width=32), min_size=5, max_size=5),
)
def test_mean_visible_scores_against_a_plain_loop(people: int, keypoint_scores: list[float]) -> None:
    seen = [score for score in keypoint_scores if np.float32(score) > np.float32(0.2)]
    mean = sum(seen) / len(seen) if seen else 0.0
    got = mean_visible_scores(np.tile(np.array(keypoint_scores, np.float32), (people, 1)))
    assert got.dtype == np.float32
    assert np.allclose(got, [mean] * people, atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"score_threshold": -0.1},
        {"score_threshold": 1.5},
        {"max_people": 0},
        {"backend": "openvimo"},
        {"precision": "fp8"},
        {"device": "tpu"},
    ],
)
def test_invalid_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        PipelineOptions(**wrong)


def test_options_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        PipelineOptions().max_people = 3  # type: ignore[misc]


class Opening:
    """Replaces the two functions that open networks, and records their arguments."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, classes: tuple[str, ...] = ("person",)) -> None:
        self.pose = BrightestPixel(spec=dataclasses.replace(pose_spec(), class_names=classes))
        self.detector_requested: dict[str, Any] = {}
        self.pose_requested: dict[str, Any] = {}
        self.fail: Exception | None = None
        monkeypatch.setattr(pipeline_opening, "open_pose_backend", self.open_pose)
        monkeypatch.setattr(pipeline_opening, "open_detector", self.open_detector)

    def open_pose(self, model: str | None, **requested: Any) -> OpenedBackend:
        self.pose_requested = requested
        return OpenedBackend(backend=self.pose, skipped=(("tensorrt", "no GPU"),))

    def open_detector(self, detector: str | None, **requested: Any) -> tuple[FixedDetector, OpenedBackend]:
        self.detector_requested = requested
        if self.fail is not None:
            raise self.fail
        return FixedDetector(boxes(), np.zeros(0, np.float32)), OpenedBackend(backend=self.pose, skipped=())


@pytest.mark.parametrize(
    ("requested", "backend", "precision", "device"),
    [
        ({}, "auto", "auto", "auto"),
        ({"backend": "openvino", "precision": "bf16"}, "openvino", "auto", "auto"),
        ({"backend": "onnxruntime", "device": "cuda:1"}, "onnxruntime", "auto", "cuda:1"),
        ({"backend": "torch", "precision": "fp32"}, "auto", "fp32", "auto"),
        ({"backend": "torch", "device": "cuda"}, "auto", "auto", "auto"),
        ({"device": "cpu"}, "auto", "auto", "cpu"),
    ],
)
def test_the_detector_uses_the_backend_of_the_pose_network_if_it_can(
    requested: dict[str, str], backend: str, precision: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = Opening(monkeypatch)
    open_pipeline(PipelineOptions(pose_model="some", **requested)).close()  # type: ignore[arg-type]
    assert {name: opening.pose_requested[name] for name in requested} == requested
    got = opening.detector_requested
    assert (got["backend"], got["precision"], got["device"]) == (backend, precision, device)


@pytest.mark.parametrize(
    ("posed", "requested", "expected"),
    [(("person",), None, None), (("dog", "cat"), None, "dog,cat"), (("dog",), "wolf", "wolf")],
)
def test_the_classes_are_those_of_the_pose_network(
    posed: tuple[str, ...], requested: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = Opening(monkeypatch, posed)
    open_pipeline(PipelineOptions(pose_model="some", classes=requested)).close()
    assert opening.detector_requested["classes"] == expected


def test_opened_parts_are_closed_when_another_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    opening = Opening(monkeypatch)
    opening.fail = ModelError("no such detector")
    with pytest.raises(ModelError, match="no such detector"):
        open_pipeline(PipelineOptions(pose_model="some"))
    assert opening.pose.closed


def test_the_running_networks_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    Opening(monkeypatch)
    with open_pipeline(PipelineOptions(pose_model="some")) as pipeline:
        reported = pipeline.describe()
    assert (reported["pose_model"], reported["backend"], reported["device"], reported["precision"]) == (
        "some_model", "brightest", "cpu", "fp32",
    )  # fmt: skip
    assert reported["skipped"] == [["tensorrt", "no GPU"]]
    assert reported["detector_backend"] == "brightest"
