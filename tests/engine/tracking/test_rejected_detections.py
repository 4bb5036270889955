"""False positives are not posed on every frame, and new people are not missed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
import pytest

from engine.pipeline.file_runner import results
from engine.pipeline.pose_pipeline import PosePipeline
from engine.pipeline.prefetch import Steps
from engine.types import Frame, UInt8Array
from tests.engine.fakes import BrightestPixel, FixedDetector, boxes, plain_pipeline

CHAIR, PERSON = (40.0, 20.0, 100.0, 100.0), (140.0, 20.0, 200.0, 100.0)
GREY = 10
"""Scores 10/255: clearly no person for the pose network."""


@dataclass
class Counting(BrightestPixel):
    """Counts the crops of each call."""

    crops: list[int] = field(default_factory=list)

    def infer(self, inputs, want):  # type: ignore[no-untyped-def]
        self.crops.append(len(inputs["crops"]))
        return super().infer(inputs, want)


def picture(*bright: tuple[float, float, float, float], level: int = 220) -> UInt8Array:
    """A grey picture with a person in each of these boxes."""
    image = np.full((120, 240, 3), GREY, np.uint8)
    for x1, y1, x2, y2 in bright:
        image[int(y1) + 10 : int(y2) - 10, int(x1) + 10 : int(x2) - 10] = level
    return image


def frames(*images: UInt8Array, rate: float = 30) -> list[Frame]:
    return [Frame(image_bgr=image, index=i, timestamp_s=i / rate) for i, image in enumerate(images)]


def pipeline(network: BrightestPixel, threshold: float = 0.2, **options: object) -> PosePipeline:
    detector = FixedDetector(boxes(CHAIR, PERSON), np.array([1, 1], np.float32))
    return plain_pipeline(detector, network, person_threshold=threshold, **options)  # type: ignore[arg-type]


def test_a_false_positive_is_posed_once_and_stays_among_the_detections() -> None:
    network = Counting()
    found = [*map(pipeline(network).process, frames(*[picture(PERSON)] * 5))]
    assert network.crops == [2, 1, 1, 1, 1]
    assert [len(one.detections) for one in found] == [2] * 5
    for one in found:
        assert one.poses.boxes_xyxy.tolist() == [list(PERSON)]
        np.testing.assert_array_equal(one.poses.keypoints_xy, found[0].poses.keypoints_xy)


def test_maps_belong_to_the_remaining_people() -> None:
    runs = pipeline(Counting(), want_attention=True)
    found = [*map(runs.process, frames(*[picture(PERSON)] * 2))][-1]
    assert found.attention is not None and found.attention.attention is not None
    assert len(found.attention.attention) == len(found.attention.crop_to_frame) == len(found.poses) == 1


def test_a_new_person_is_detected_at_once() -> None:
    network = Counting()
    found = [*map(pipeline(network).process, frames(*[picture(PERSON)] * 3, picture(PERSON, CHAIR)))]
    assert [len(one.poses) for one in found] == [1, 1, 1, 2]
    assert network.crops == [2, 1, 1, 2]


def test_a_small_change_in_a_large_box_is_enough() -> None:
    network = Counting()
    changed = picture(PERSON)
    changed[40:60, 60:72] = 90
    list(map(pipeline(network).process, frames(*[picture(PERSON)] * 2, changed)))
    assert network.crops == [2, 1, 2]


def test_noise_is_no_change() -> None:
    network, rng = Counting(), np.random.default_rng(0)
    clean = picture(PERSON).astype(np.int16)
    noisy = [np.clip(clean + rng.normal(0, 4, clean.shape), 0, 255).astype(np.uint8) for _ in range(4)]
    list(map(pipeline(network).process, frames(*noisy)))
    assert network.crops == [2, 1, 1, 1]


def test_a_box_is_posed_again_after_a_second_and_after_a_jump_back() -> None:
    network = Counting()
    runs = pipeline(network)
    for time_s in (0.0, 0.5, 1.0, 1.1, 1.2, 0.3):
        runs.process(Frame(image_bgr=picture(PERSON), index=0, timestamp_s=time_s))
    assert network.crops == [2, 1, 1, 2, 1, 2]


def test_people_near_the_threshold_are_posed_on_every_frame() -> None:
    network = Counting()
    doubtful = picture(PERSON)
    doubtful[30:90, 50:90] = round(0.35 * 255)
    list(map(pipeline(network, threshold=0.5).process, frames(*[doubtful] * 3)))
    assert network.crops == [2, 2, 2]


def test_without_a_threshold_everything_is_posed() -> None:
    network = Counting()
    list(map(pipeline(network, 0.0).process, frames(*[picture(PERSON)] * 3)))
    assert network.crops == [2, 2, 2]


def test_a_restart_clears_the_cache() -> None:
    network = Counting()
    runs = pipeline(network)
    for frame in frames(*[picture(PERSON)] * 3):
        runs.process(frame)
        runs.restart()
    assert network.crops == [2, 2, 2]


def test_the_pose_network_is_idle_without_people_and_boxes_may_exceed_the_frame() -> None:
    network = Counting()
    detector = FixedDetector(boxes((-50, -50, -10, -10), (230, 110, 400, 300)), np.array([1, 1], np.float32))
    runs = plain_pipeline(detector, network, person_threshold=0.2)
    found = [*map(runs.process, frames(*[picture()] * 4))]
    assert network.crops == [2] and [len(one.poses) for one in found] == [0] * 4


def test_prefetch_gives_the_same_as_one_frame_at_a_time() -> None:
    images = [picture(PERSON, *([CHAIR] if 7 <= i < 12 else [])) for i in range(20)]
    one_by_one = [*map(pipeline(Counting()).process, frames(*images))]
    network = Counting()
    with Steps() as steps:
        prefetched = [*results(pipeline(network), frames(*images), steps, live=False)]
    for one, other in zip(one_by_one, prefetched, strict=True):
        assert one.frame.index == other.frame.index
        np.testing.assert_array_equal(one.poses.boxes_xyxy, other.poses.boxes_xyxy)
        np.testing.assert_array_equal(one.poses.keypoints_xy, other.poses.keypoints_xy)
    assert sum(network.crops) < 2 * len(images)


def moving(network: BrightestPixel, *found: list[tuple[float, float, float, float]]) -> list[list[list[float]]]:
    """Boxes of the people of frames at 10 a second, in each of which these boxes are detected."""
    detector = FixedDetector(boxes(), np.zeros(0, np.float32))
    runs, shown = plain_pipeline(detector, network, person_threshold=0.2), []
    for index, rows in enumerate(found):
        detector.boxes_xyxy, detector.scores = boxes(*rows), np.ones(len(rows), np.float32)
        image = picture(*rows)
        shown.append(
            runs.process(Frame(image_bgr=image, index=index, timestamp_s=index / 10)).poses.boxes_xyxy.tolist()
        )
    return shown


def at(x: float, *, part: bool = False) -> tuple[float, float, float, float]:
    """A person's box, or that of a part of them."""
    return (x + 5, 30, x + 60, 100) if part else (x, 20, x + 60, 100)


def test_a_second_box_is_posed_again_after_half_a_second_while_both_move() -> None:
    network = Counting()
    shown = moving(network, *[[at(20 + 3 * i), at(20 + 3 * i, part=True)] for i in range(8)])
    assert network.crops == [2, 1, 1, 1, 1, 1, 2, 1]
    assert shown == [[list(at(20 + 3 * i))] for i in range(8)]


@pytest.mark.parametrize(
    "then",
    [[at(20, part=True)], [at(20), at(120)], [at(120), at(20, part=True)]],
    ids=["left", "moved", "person moved"],
)
def test_a_box_that_parts_from_its_person_is_posed_at_once(then: list[tuple[float, float, float, float]]) -> None:
    network = Counting()
    shown = moving(network, [at(20), at(20, part=True)], then)
    assert network.crops == [2, len(then)] and shown[1] == [list(box) for box in then]


def test_a_photo_does_not_depend_on_the_one_before() -> None:
    network = Counting()
    runs = pipeline(network)
    for frame in frames(*[picture(PERSON)] * 3, rate=1):
        runs.process(dataclasses.replace(frame, is_still=True))
    assert network.crops == [2, 2, 2]
    runs.process(frame)
    assert network.crops[3:] == [2], "nothing of photos is remembered, of which a folder may hold any number"
