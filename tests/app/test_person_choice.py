"""Who the chosen person is: somebody who stays the same, until the user says otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PyQt5.QtGui import QImage

from app.live.composer import Picture
from app.live.shots import Shot, Shown
from app.person_choice import PersonChoice
from engine.skeleton import COCO17
from engine.types import Frame
from tests.app.fakes import SIZE_WH, fake_result


def picture(
    time_s: float, ids: list[int] | None, *, serial: int = 1, followed: int | None = None, people: int = 2
) -> Picture:
    """Some of the two people, with these ids."""
    frame = Frame(image_bgr=np.zeros((SIZE_WH[1], SIZE_WH[0], 3), np.uint8), index=0, timestamp_s=time_s)
    result = fake_result(frame, attention=False)
    count = people if ids is None else len(ids)
    numbers = None if ids is None else np.array(ids, np.int64)
    mark = None if followed is None else np.ones(count, np.bool_)
    poses = replace(result.poses.take(np.arange(count)), track_ids=numbers, followed=mark)
    shot = Shot(frame=frame, captured_s=0.0, position_s=time_s, serial=serial)
    shown = Shown(shot=shot, result=replace(result, poses=poses), skeleton=COCO17, pipeline=2)
    return Picture(
        image=QImage(), frame_to_picture=np.eye(2, 3, dtype=np.float32), shown=shown,
        people_xyxy=np.zeros((0, 4), np.float32), reading=None, probe_set=False, draw_ms=0.0,
    )  # fmt: skip


@pytest.fixture
def choice() -> PersonChoice:
    return PersonChoice()


def test_somebody_stays_chosen_in_whatever_order_people_come(choice: PersonChoice) -> None:
    for time_s, ids in ((0.0, [4, 9]), (0.1, [9, 4]), (0.2, [9]), (0.3, [9, 4])):
        choice.take(picture(time_s, ids))
        assert choice.chosen.track_id == 4
    choice.take(picture(1.4, [9]))
    assert choice.chosen.track_id == 9, "of somebody who is gone for a second another takes the place"


def test_who_was_chosen_by_the_user_is_waited_for(choice: PersonChoice) -> None:
    first = picture(0.0, [4, 9])
    choice.take(first)
    assert first.shown.result is not None
    choice.choose(first.shown.result.poses, 1)
    choice.take(picture(60.0, [4]))
    assert choice.chosen.track_id == 9


def test_ids_of_another_source_are_of_other_people(choice: PersonChoice) -> None:
    first = picture(0.0, [4, 9])
    choice.take(first)
    assert first.shown.result is not None
    choice.choose(first.shown.result.poses, 1)
    choice.take(picture(0.1, [4, 9], serial=2))
    assert choice.chosen.track_id == 4


def test_the_followed_person_is_chosen(choice: PersonChoice) -> None:
    choice.take(picture(0.0, [4, 9]))
    choice.take(picture(0.1, [9], followed=9))
    assert choice.chosen.track_id == 9
    choice.take(picture(0.2, [4, 9]))
    assert choice.chosen.track_id == 9


def test_without_ids_a_place_is_chosen(choice: PersonChoice) -> None:
    first = picture(0.0, None)
    choice.take(first)
    assert first.shown.result is not None
    assert choice.chosen.person_in(first.shown.result.poses) == 0
    choice.choose(first.shown.result.poses, 1)
    later = picture(0.1, None)
    choice.take(later)
    assert later.shown.result is not None and choice.chosen.person_in(later.shown.result.poses) == 1
    alone = picture(0.2, None, people=1)
    choice.take(alone)
    assert alone.shown.result is not None and choice.chosen.person_in(alone.shown.result.poses) == 0
