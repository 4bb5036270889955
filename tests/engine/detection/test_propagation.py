"""Boxes between two detections, and when detection runs again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from engine.detection.propagation import BoxPropagator
from engine.detection.schedule import MOST_FRAMES, MOST_S, DetectSchedule
from engine.errors import OptionError
from engine.geometry import box_centers_sizes
from engine.options import DetectEvery
from engine.types import Detections, Float32Array, Frame, Poses, UInt8Array
from tests.engine.fakes import BrightestPixel, boxes, plain_pipeline

SIZE_WH = (640, 480)
RATE = 30.0


def detections(*rows: tuple[float, float, float, float]) -> Detections:
    found = boxes(*rows)
    return Detections(
        boxes_xyxy=found, scores=np.full(len(found), 0.8, np.float32), class_ids=np.zeros(len(found), np.int64)
    )


def poses_in(found: Float32Array, score: float = 0.9) -> Poses:
    """Five keypoints inside each box, at fixed fractions of it."""
    shares = np.array([[0.5, 0.1], [0.1, 0.4], [0.9, 0.4], [0.3, 0.95], [0.7, 0.95]], np.float32)
    size = found[:, 2:] - found[:, :2]
    return Poses(
        keypoints_xy=(found[:, None, :2] + shares * size[:, None]).astype(np.float32),
        scores=np.full((len(found), 5), score, np.float32),
        boxes_xyxy=found,
        box_scores=np.ones(len(found), np.float32),
        person_scores=np.ones(len(found), np.float32),
    )


def overlap(one: Float32Array, other: Float32Array) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / (float(np.prod(one[2:] - one[:2])) + float(np.prod(other[2:] - other[:2])) - shared)


@pytest.mark.parametrize(
    "path",
    [
        lambda n: (100 + 8 * n, 100, 200 + 8 * n, 400),  # walks across
        lambda n: (250 - 3 * n, 150 - 3 * n, 350 + 3 * n, 350 + 3 * n),  # comes nearer
        lambda n: (300 + 2 * n, 100 + 5 * n, 420 - 2 * n, 400 - 5 * n),  # goes away
        lambda n: (220 - 12 * abs(n - 10), 100, 320 - 12 * abs(n - 10), 400),  # turns round
    ],
)
def test_boxes_follow_the_keypoints(path: Callable[[int], tuple[float, float, float, float]]) -> None:
    propagator = BoxPropagator()
    true = boxes(path(0))
    propagator.detected(detections(path(0)), poses_in(true), 0.0)
    for number in range(1, 20):
        true = boxes(path(number))
        guessed = propagator.predict(number / RATE, SIZE_WH)
        assert len(guessed) == 1
        assert guessed.scores.tolist() == pytest.approx([0.8])
        # The crop is 1.25 times the box: as long as the guess is near, the person is inside.
        assert overlap(guessed.boxes_xyxy[0], true[0]) > 0.6
        assert propagator.propagated(poses_in(true), number / RATE) == 0


def test_a_box_grows_with_a_stretched_arm() -> None:
    propagator = BoxPropagator()
    true = boxes((200, 100, 300, 400))
    propagator.detected(detections((200, 100, 300, 400)), poses_in(true), 0.0)
    stretched = poses_in(true)
    stretched.keypoints_xy[0, 2] = (345, 150)
    for number in range(1, 4):
        propagator.predict(number / RATE, SIZE_WH)
        propagator.propagated(stretched, number / RATE)
    box = propagator.predict(4 / RATE, SIZE_WH).boxes_xyxy[0]
    assert box[2] >= 345
    outlier = poses_in(true)
    outlier.keypoints_xy[0, 2] = (639, 150)
    propagator.propagated(outlier, 4 / RATE)
    assert propagator.predict(5 / RATE, SIZE_WH).boxes_xyxy[0, 2] < 450, "one outlier keypoint does not drag it far"


def test_people_whose_keypoints_fade_are_lost_and_the_others_stay() -> None:
    propagator = BoxPropagator()
    rows = ((50.0, 100.0, 150.0, 400.0), (300.0, 100.0, 400.0, 400.0))
    propagator.detected(detections(*rows), poses_in(boxes(*rows)), 0.0)
    propagator.predict(1 / RATE, SIZE_WH)
    poses = poses_in(boxes(*rows))
    poses.scores[0] = 0.35
    assert propagator.propagated(poses, 1 / RATE) == 1
    assert len(propagator) == 1
    assert propagator.predict(2 / RATE, SIZE_WH).boxes_xyxy[0] == pytest.approx(rows[1], abs=3)


def test_two_boxes_on_one_person_become_one() -> None:
    propagator = BoxPropagator()
    rows = ((50.0, 100.0, 150.0, 400.0), (120.0, 100.0, 220.0, 400.0))
    propagator.detected(detections(*rows), poses_in(boxes(*rows)), 0.0)
    propagator.predict(1 / RATE, SIZE_WH)
    assert propagator.propagated(poses_in(boxes(rows[1], rows[1])), 1 / RATE) == 1
    assert len(propagator) == 1


def test_people_who_leave_the_frame_are_dropped() -> None:
    propagator = BoxPropagator()
    place = [560.0, 100.0, 640.0, 300.0]
    propagator.detected(detections((560, 100, 640, 300)), poses_in(boxes((560, 100, 640, 300))), 0.0)
    for number in range(1, 12):
        if len(propagator.predict(number / RATE, SIZE_WH)) == 0:
            break
        place[0], place[2] = place[0] + 10, place[2] + 10
        propagator.propagated(poses_in(boxes((place[0], place[1], place[2], place[3]))), number / RATE)
    assert len(propagator) == 0
    assert number < 10


# When to detect


def looks(schedule: DetectSchedule, pictures: list[UInt8Array], known: int = 1, rate: float = RATE) -> list[int]:
    """Frames on which a schedule detects while the same people are tracked."""
    detected = []
    for number, image in enumerate(pictures):
        people = boxes(*[(200, 100, 300, 400)] * known)
        if schedule.due(image, number / rate, people):
            detected.append(number)
            schedule.detected(image, number / rate, known=known, found_xyxy=people)
    return detected


def still(count: int) -> list[UInt8Array]:
    return [np.full((480, 640, 3), 90, np.uint8)] * count


@pytest.mark.parametrize("every", [1, 2, 7])
def test_a_fixed_interval_is_kept(every: int) -> None:
    assert looks(DetectSchedule(every), still(30)) == list(range(0, 30, every))


def test_in_a_static_scene_detection_becomes_rare_but_never_stops() -> None:
    detected = looks(DetectSchedule("auto"), still(100))
    gaps = np.diff(detected).tolist()
    assert gaps[:3] == [2, 4, 8]
    assert max(gaps) == MOST_FRAMES
    slow = looks(DetectSchedule("auto"), still(40), rate=4.0)
    assert np.diff(slow).max() <= max(2, MOST_S * 4)  # on a slow machine the limit is in time, not in frames


def test_without_people_every_frame_is_detected() -> None:
    assert looks(DetectSchedule("auto"), still(10), known=0) == list(range(10))


@pytest.mark.parametrize("every", [6, "auto"])
def test_a_lost_person_triggers_detection(every: DetectEvery) -> None:
    schedule, image = DetectSchedule(every), still(1)[0]
    for number in range(20):
        if schedule.due(image, number / RATE, boxes((0, 0, 9, 9))):
            schedule.detected(image, number / RATE, known=1, found_xyxy=boxes((0, 0, 9, 9)))
            last = number
    schedule.lost()
    assert last != 20
    assert schedule.due(image, 20 / RATE, boxes())


def test_a_new_person_triggers_detection_and_motion_of_tracked_people_does_not() -> None:
    pictures = still(60)
    for number in range(60):
        image = pictures[number].copy()
        image[100 + number : 380, 210:290] = 200  # moves inside the box of a tracked person
        if number >= 43:
            image[100:400, 0:60] = 220  # enters at the left
        pictures[number] = image
    calm = looks(DetectSchedule("auto"), pictures[:43])
    assert calm == looks(DetectSchedule("auto"), still(43))
    assert 43 in looks(DetectSchedule("auto"), pictures)


def test_constant_motion_does_not_trigger_detection_on_every_frame() -> None:
    noise = np.random.default_rng(0)
    pictures = [np.full((480, 640, 3), noise.integers(0, 255), np.uint8) for _ in range(100)]
    assert len(looks(DetectSchedule("auto"), pictures)) < 25


def test_a_time_jump_back_triggers_detection() -> None:
    schedule, image = DetectSchedule("auto"), still(1)[0]
    for number in range(30):
        if schedule.due(image, number / RATE, boxes((0, 0, 9, 9))):
            schedule.detected(image, number / RATE, known=1, found_xyxy=boxes((0, 0, 9, 9)))
    assert schedule.due(image, 0.0, boxes((0, 0, 9, 9)))


# In the pipeline


@dataclass
class Walkers:
    """A detector of white rectangles with a coloured spot for each keypoint; records its calls."""

    detected: list[int] = field(default_factory=list)

    def detect(self, image_bgr: UInt8Array) -> Detections:
        self.detected.append(int(image_bgr[0, 0, 0]))
        columns = np.flatnonzero((image_bgr[1:] > 40).any(axis=(0, 2)))
        if len(columns) == 0:
            return Detections.empty()
        groups = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
        return detections(*[(float(group[0]), 100.0, float(group[-1]), 300.0) for group in groups])

    def close(self) -> None:
        """There are no resources to release."""


def scene(number: int, *lefts: int) -> Frame:
    image = np.zeros((480, 640, 3), np.uint8)
    image[0, 0, 0] = number
    for left in lefts:
        image[100:300, left : left + 90] = 50
        for channel, (x, y) in enumerate(((45, 25), (15, 90), (75, 170))):
            image[100 + y - 6 : 100 + y + 7, left + x - 6 : left + x + 7, channel] = 255
    return Frame(image_bgr=image, index=number, timestamp_s=number / RATE)


@pytest.mark.parametrize("every", [5, "auto"])
def test_people_are_posed_at_their_positions_between_detections(every: DetectEvery) -> None:
    detector = Walkers()
    pipeline = plain_pipeline(detector, BrightestPixel(), detect_every=every)
    for number in range(60):
        left = 20 + 4 * number
        lefts = (left,) if number < 30 else (left, 500)
        result = pipeline.process(scene(number, *lefts))
        people = result.poses.keypoints_xy
        heads = sorted(people[:, 0, 0].tolist())
        assert heads[0] == pytest.approx(left + 45, abs=9)
        if number >= 30 + (5 if every == 5 else 1):
            assert len(heads) == 2, "a newcomer is found within a few frames"
        centers, sizes = box_centers_sizes(result.detections.boxes_xyxy, (96, 128))
        assert (np.abs(people[:, 0] - centers) < sizes / 2).all()
    assert len(detector.detected) <= (12 if every == 5 else 20)


def test_detection_runs_first_after_a_restart() -> None:
    detector = Walkers()
    pipeline = plain_pipeline(detector, BrightestPixel(), detect_every="auto")
    for number in range(5):
        pipeline.process(scene(number, 100))
    pipeline.restart()
    assert len(pipeline.process(scene(5, 400)).poses) == 1
    assert detector.detected[-1] == 5


@pytest.mark.parametrize("wrong", [0, -1, "often", 2.5, True])
def test_the_detection_interval_is_validated(wrong: object) -> None:
    with pytest.raises(OptionError, match="makes no sense"):
        plain_pipeline(Walkers(), BrightestPixel(), detect_every=wrong)  # type: ignore[arg-type]
