"""Ids are stable over detected and propagated boxes."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import ModelError, OptionError
from engine.options import TRACKERS
from engine.tracking.tracker import PersonTracker
from engine.types import Float32Array
from tests.engine.fakes import boxes

RATE = 30.0
ROOT = Path(__file__).parents[3]


def walk(number: int) -> Float32Array:
    """Three people at a frame: one walks right, one left in another lane, one comes nearer; their paths never cross."""
    return boxes(
        (20 + 4 * number, 50, 80 + 4 * number, 200),
        (600 - 5 * number, 300, 660 - 5 * number, 460),
        (300 - number / 2, 60 - number / 4, 350 + number / 2, 180 + number / 4),
    )


def test_ids_are_stable_for_any_order_of_the_boxes_and_noise() -> None:
    tracker, noise = PersonTracker(), np.random.default_rng(0)
    ids_of: list[set[int]] = [set(), set(), set()]
    for number in range(100):
        order = noise.permutation(3)
        found = (walk(number) + noise.normal(0, 2, (3, 4)).astype(np.float32))[order]
        for person, track_id in zip(order, tracker.update(found, number / RATE), strict=True):
            ids_of[person].add(int(track_id))
    assert [len(ids) for ids in ids_of] == [1, 1, 1]
    assert sorted(next(iter(ids)) for ids in ids_of) == [1, 2, 3]


def test_detections_and_propagated_boxes_are_one_person() -> None:
    """Propagated boxes are a little tighter than detected ones, which must not change ids."""
    tracker = PersonTracker()
    seen = set()
    for number in range(60):
        found = walk(number)
        if number % 10:
            size = found[:, 2:] - found[:, :2]
            found = np.concatenate([found[:, :2] + 0.12 * size, found[:, 2:] - 0.08 * size], axis=1)
        seen.add(tuple(tracker.update(found.astype(np.float32), number / RATE).tolist()))
    assert seen == {(1, 2, 3)}


@pytest.mark.parametrize(("away_frames", "same"), [(6, True), (50, True), (70, False)])
def test_a_briefly_occluded_person_keeps_the_id(away_frames: int, same: bool) -> None:
    tracker = PersonTracker()
    place = boxes((100, 100, 160, 300))
    for number in range(10):
        before = tracker.update(place, number / RATE)
    for number in range(10, 10 + away_frames):
        assert len(tracker.update(boxes(), number / RATE)) == 0
    after = [tracker.update(place, (10 + away_frames + number) / RATE) for number in range(3)]
    assert len({int(ids[0]) for ids in after}) == 1
    assert (int(before[0]) == int(after[0][0])) == same


def test_after_a_cut_a_person_at_the_same_place_has_a_new_id() -> None:
    tracker = PersonTracker()
    tracker.reset()  # nothing is loaded yet
    place = boxes((100, 100, 160, 300), (300, 100, 360, 300))
    for number in range(5):
        before = tracker.update(place, number / RATE)
    tracker.reset()
    after = [tracker.update(place, 60 + number / RATE).tolist() for number in range(3)]
    assert sorted(before.tolist()) == [1, 2] and [sorted(ids) for ids in after] == [[3, 4]] * 3


def test_the_lifetime_of_a_lost_id_is_in_seconds() -> None:
    """At 10 frames a second, 25 frames are too long; at 60 they are not."""
    kept = {}
    for rate in (10.0, 60.0):
        tracker, place = PersonTracker(), boxes((100, 100, 160, 300))
        for number in range(60):
            before = tracker.update(place, number / rate)
        for number in range(60, 85):
            tracker.update(boxes(), number / rate)
        kept[rate] = bool(tracker.update(place, 85 / rate)[0] == before[0])
    assert kept == {10.0: False, 60.0: True}


def test_a_person_with_a_duplicate_box_keeps_the_id_and_the_duplicate_has_its_own() -> None:
    """The duplicate box is intermittent, and sometimes the first one is missing."""
    tracker = PersonTracker()
    person, second = (100, 100, 160, 300), (104, 104, 176, 290)
    ids = []
    for number in range(60):
        found = [person] if number % 3 else [person, second]
        ids.append(tracker.update(boxes(*([second] if number in (20, 41) else found)), number / RATE).tolist())
    assert {one[0] for one in ids} == {1}
    assert {one[1] for one in ids if len(one) == 2} == {2}


def test_two_people_who_cross_keep_their_ids() -> None:
    """While they overlap, one is not treated as a duplicate of the other."""
    tracker = PersonTracker()
    seen: list[set[int]] = [set(), set()]
    for number in range(100):
        right, left = 100.0 + 3 * number, 400.0 - 3 * number
        found = boxes((right, 100, right + 60, 300), (left, 110, left + 60, 310))
        for person, track_id in enumerate(tracker.update(found, number / RATE)):
            seen[person].add(int(track_id))
    assert seen == [{1}, {2}]


def test_every_box_has_its_own_id_at_once() -> None:
    tracker, noise = PersonTracker(), np.random.default_rng(3)
    for number in range(40):
        corner = noise.uniform(0, 400, (noise.integers(0, 12), 2))
        found = np.concatenate([corner, corner + noise.uniform(0, 90, corner.shape)], axis=1).astype(np.float32)
        found[: len(found) // 3, 2:] = found[: len(found) // 3, :2]  # without area
        ids = tracker.update(found, number / RATE)
        assert ids.dtype == np.int64
        assert len(set(ids.tolist())) == len(found)
        assert (ids > 0).all()


def test_trackers_do_not_count_each_other_s_people() -> None:
    first, second = PersonTracker(), PersonTracker()
    assert first.update(walk(0), 0.0).tolist() == [1, 2, 3]
    assert second.update(walk(0), 0.0).tolist() == [1, 2, 3]


def test_the_first_frame_does_not_import_the_package_and_its_ids_are_stable() -> None:
    """A window shows its first picture before the import; a person lost then is not confused with a later one."""
    script = """
import sys
import numpy as np
from engine.tracking.tracker import PersonTracker

boxes = np.float32([[10, 10, 60, 160], [12, 12, 64, 158], [200, 10, 260, 160]])
tracker = PersonTracker()
print(tracker.update(boxes[:0], 0.0).tolist(), tracker.update(boxes, 0.03).tolist(), "trackers" in sys.modules)
tracker.reset()
print(tracker.update(boxes, 0.06).tolist(), "trackers" in sys.modules)
print(tracker.update(boxes, 0.1).tolist(), "trackers" in sys.modules, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["[] [1, 2, 3] False", "[4, 5, 6] False", "[4, 5, 6] True False"], done.stderr


@pytest.mark.parametrize("name", TRACKERS)
def test_every_tracker_separates_and_reidentifies_people(name: str) -> None:
    tracker = PersonTracker(name)
    seen = set()
    for number in range(60):
        found = walk(number)[[0, 2] if 20 <= number < 26 else [0, 1, 2]]
        seen.add(tuple(tracker.update(found, number / RATE).tolist()))
    assert seen == {(1, 2, 3), (1, 3)}


def test_an_unknown_tracker_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(OptionError, match=r"'bytetrak'; there are bytetrack, ocsort.*bytetrack"):
        PersonTracker("bytetrak")


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ModelError, match=r"the package trackers is not installed.*--no-tracking"):
        PersonTracker()


def test_a_broken_package_is_reported_at_the_second_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_name: str) -> Any:
        raise OSError("libopenblas.so is not there")

    tracker = PersonTracker()
    tracker.update(boxes((10, 10, 60, 160)), 0.0)
    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(ModelError, match=r"libopenblas.so is not there.*--no-tracking"):
        tracker.update(boxes(), 0.03)
