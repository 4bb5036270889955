"""Who is followed: chosen as asked, through crossings and losses, and nobody else instead."""

from __future__ import annotations

import numpy as np
import pytest

from engine.tracking.following import FOUND_AGAIN_S, PersonFollower
from engine.types import Detections

FRAME_WH = (640, 480)
Box = tuple[float, float, float, float]


def person(x: float, y: float = 240, height: float = 200) -> Box:
    return (x - height / 5, y - height / 2, x + height / 5, y + height / 2)


def found(*boxes: Box) -> Detections:
    return Detections(
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.full(len(boxes), 0.9, np.float32),
        class_ids=np.zeros(len(boxes), np.int64),
    )


def chosen(follower: PersonFollower, frame: int, *boxes: Box) -> int | None:
    """Index of the chosen box, at 20 frames a second."""
    choice = follower.choose(found(*boxes), frame / 20, FRAME_WH)
    assert not isinstance(choice, str)
    return int(choice[0]) if len(choice) else None


def test_the_largest_and_the_most_central() -> None:
    people = person(100, height=180), person(330, height=150), person(560, height=240)
    assert chosen(PersonFollower("largest"), 0, *people) == 2
    assert chosen(PersonFollower("centre"), 0, *people) == 1
    follower = PersonFollower("largest")
    assert chosen(follower, 0) is None and follower.number is None, "an empty frame chooses nobody"
    assert chosen(follower, 1, *people) == 2 and follower.number == 1
    assert chosen(follower, 2, person(100, height=400), *people[1:]) == 2, "who was chosen stays"


def test_somebody_who_crosses_the_way_is_not_followed() -> None:
    follower = PersonFollower("largest")
    for frame in range(60):
        still, walker = person(320, height=210), person(20 + 10 * frame, y=250, height=200)
        boxes = (walker, still) if frame % 2 else (still, walker)
        assert boxes[chosen(follower, frame, *boxes) or 0] == still


@pytest.mark.parametrize("gone_s", [0.5, 1.5])
def test_a_short_loss_is_bridged_by_place_and_size(gone_s: float) -> None:
    follower, frames = PersonFollower("largest"), round(20 * gone_s)
    for frame in range(20):
        assert chosen(follower, frame, person(300), person(500, height=150)) == 0
    for frame in range(20, 20 + frames):
        assert chosen(follower, frame, person(500, height=150)) is None, "the other one stays the other one"
    frame = 20 + frames
    assert chosen(follower, frame, person(500, height=150), person(360)) == 1, "at another place, under a new track"
    assert follower.number == 1


def test_after_a_long_loss_the_choice_is_made_anew() -> None:
    follower = PersonFollower("largest")
    for frame in range(10):
        chosen(follower, frame, person(100), person(500, height=150))
    later = 10 + round(20 * FOUND_AGAIN_S) + 2
    assert chosen(follower, later, person(500, height=150)) == 0
    assert follower.number == 2


def test_who_was_pointed_at_is_found_and_let_go_when_gone() -> None:
    follower = PersonFollower(None)
    follower.lock(np.array(person(500), np.float32), 7, 0.0)
    for frame in range(1, 10):
        assert chosen(follower, frame, person(200), person(500 - 4 * frame)) == 1
    assert follower.number == 7 and not follower.is_over(0.5)
    for frame in range(10, 60):
        assert chosen(follower, frame, person(200)) is None
    assert follower.is_over(60 / 20)


def test_an_id_waits_for_its_person() -> None:
    follower = PersonFollower(3)
    assert follower.choose(found(person(100), person(300)), 0.0, FRAME_WH) == "all"
    follower.lock(np.array(person(300), np.float32), 3, 0.05)
    assert chosen(follower, 2, person(100), person(302)) == 1
    follower.reset()
    assert follower.is_waiting


def test_a_box_that_the_pose_network_refuses_is_given_up() -> None:
    follower = PersonFollower("largest")
    chair, somebody = person(100, height=300), person(400)
    for frame in range(5):
        assert chosen(follower, frame, chair, somebody) == 0
        follower.judged(False)
    for frame in range(5, 10):
        assert chosen(follower, frame, chair, somebody) == 1
        follower.judged(True)
