"""Ids: the same person keeps theirs, through detections and boxes that follow keypoints alike."""

from __future__ import annotations

import builtins
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engine.errors import ModelError
from engine.pipeline.pose_pipeline import PosePipeline
from engine.tracking import tracker as tracking
from engine.tracking.tracker import PersonTracker
from engine.types import Float32Array, Frame
from tests.engine.fakes import BrightestPixel, FixedDetector, boxes

RATE = 30.0
ROOT = Path(__file__).parents[3]


def walk(number: int) -> Float32Array:
    """Three people at a frame: one walks right, one left in another lane, one comes nearer; their paths never cross."""
    return boxes(
        (20 + 4 * number, 50, 80 + 4 * number, 200),
        (600 - 5 * number, 300, 660 - 5 * number, 460),
        (300 - number / 2, 60 - number / 4, 350 + number / 2, 180 + number / 4),
    )


def test_ids_hold_on_a_walk_whatever_the_order_of_the_boxes_and_their_noise() -> None:
    tracker, noise = PersonTracker(), np.random.default_rng(0)
    ids_of: list[set[int]] = [set(), set(), set()]
    for number in range(100):
        order = noise.permutation(3)
        found = (walk(number) + noise.normal(0, 2, (3, 4)).astype(np.float32))[order]
        for person, track_id in zip(order, tracker.update(found, number / RATE), strict=True):
            ids_of[person].add(int(track_id))
    assert [len(ids) for ids in ids_of] == [1, 1, 1]
    assert sorted(next(iter(ids)) for ids in ids_of) == [1, 2, 3]


def test_detections_and_boxes_of_keypoints_are_one_person() -> None:
    """Between looks of the detector boxes are a little tighter: that makes nobody a stranger."""
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
def test_who_is_hidden_for_a_moment_keeps_the_id(away_frames: int, same: bool) -> None:
    tracker = PersonTracker()
    place = boxes((100, 100, 160, 300))
    for number in range(10):
        before = tracker.update(place, number / RATE)
    for number in range(10, 10 + away_frames):
        assert len(tracker.update(boxes(), number / RATE)) == 0
    after = [tracker.update(place, (10 + away_frames + number) / RATE) for number in range(3)]
    assert len({int(ids[0]) for ids in after}) == 1
    assert (int(before[0]) == int(after[0][0])) == same


def test_after_a_cut_whoever_stands_at_the_same_place_is_somebody_else() -> None:
    tracker = PersonTracker()
    tracker.reset()  # nothing is loaded yet
    place = boxes((100, 100, 160, 300), (300, 100, 360, 300))
    for number in range(5):
        before = tracker.update(place, number / RATE)
    tracker.reset()
    after = [tracker.update(place, 60 + number / RATE).tolist() for number in range(3)]
    assert sorted(before.tolist()) == [1, 2] and [sorted(ids) for ids in after] == [[3, 4]] * 3


def test_how_long_someone_may_be_hidden_is_told_by_time() -> None:
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


def test_someone_seen_twice_keeps_the_id_and_the_second_box_has_one_of_its_own() -> None:
    """The detector's second box comes and goes, and now and then the first one is missing."""
    tracker = PersonTracker()
    person, second = (100, 100, 160, 300), (104, 104, 176, 290)
    ids = []
    for number in range(60):
        found = [person] if number % 3 else [person, second]
        ids.append(tracker.update(boxes(*([second] if number in (20, 41) else found)), number / RATE).tolist())
    assert {one[0] for one in ids} == {1}
    assert {one[1] for one in ids if len(one) == 2} == {2}


def test_two_who_pass_before_each_other_keep_their_ids() -> None:
    """While they overlap, one is not taken for the other seen twice."""
    tracker = PersonTracker()
    seen: list[set[int]] = [set(), set()]
    for number in range(100):
        right, left = 100.0 + 3 * number, 400.0 - 3 * number
        found = boxes((right, 100, right + 60, 300), (left, 110, left + 60, 310))
        for person, track_id in enumerate(tracker.update(found, number / RATE)):
            seen[person].add(int(track_id))
    assert seen == [{1}, {2}]


def test_every_box_has_an_id_of_its_own_at_once() -> None:
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


def begins_to_load(people: Sequence[int], monkeypatch: pytest.MonkeyPatch) -> int:
    """After how many frames, of so many people each, the tracker's packages are being imported; 0 if after none."""
    end = threading.Event()
    monkeypatch.setattr(tracking, "_new_tracker", end.wait)
    detector = FixedDetector(boxes(), np.zeros(0, np.float32))
    pipeline = PosePipeline(detector, BrightestPixel(), tracking=True)
    image = np.zeros((480, 640, 3), np.uint8)
    try:
        for number, count in enumerate(people):
            detector.boxes_xyxy = boxes(*[(50 * index, 50, 50 * index + 40, 200) for index in range(count)])
            detector.scores = np.ones(count, np.float32)
            pipeline.process(Frame(image_bgr=image, index=number, timestamp_s=number / RATE, pts=number))
            if "tracker import" in [thread.name for thread in threading.enumerate()]:
                return number + 1
        return 0
    finally:
        end.set()
        pipeline.wait_until_ready()


def test_people_are_shown_before_the_tracker_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert begins_to_load([3, 3, 3], monkeypatch) == 2
    assert begins_to_load([3], monkeypatch) == 0
    assert begins_to_load([0, 0, 0, 0, 1, 0, 2, 2], monkeypatch) == 7
    assert begins_to_load([0] * 40, monkeypatch) == 30  # nobody is there to be shown: now is the time


def test_opencv_has_its_threads_while_the_tracker_is_loaded_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = cv2.getNumThreads()
    seen: list[int] = []

    def take_threads_away() -> None:
        cv2.setNumThreads(0)
        seen.append(cv2.getNumThreads())
        other = threading.Thread(target=cv2.setNumThreads, args=(threads + 1,))
        other.start()
        other.join()
        seen.append(cv2.getNumThreads())

    monkeypatch.setattr(tracking, "_new_tracker", take_threads_away)
    try:
        PersonTracker().wait()
        assert seen == [threads, threads + 1]
        cv2.setNumThreads(threads)
        assert cv2.getNumThreads() == threads
    finally:
        cv2.setNumThreads(threads)


def test_the_packages_of_the_tracker_never_stop_what_opencv_computes_meanwhile() -> None:
    """OpenCV divides by its number of threads: 0 for a moment ends the process where another thread is at work."""
    script = """
import sys
import cv2
from engine.tracking.tracker import PersonTracker

asked = []
real = cv2.setNumThreads
cv2.setNumThreads = lambda count: (asked.append(count), real(count))
tracker = PersonTracker()
tracker.wait()
assert tracker.is_ready
print("ultralytics.utils" in sys.modules, asked)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[0] == "True []", done.stderr


def broken(make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(tracking, "_new_tracker", make)
    with pytest.raises(ModelError) as caught:
        PersonTracker().update(boxes(), 0.0)
    return str(caught.value)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without_lap(name: str, *rest: Any) -> Any:
        if name.startswith("ultralytics"):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return imported(name, *rest)

    for name in [name for name in sys.modules if name.startswith("ultralytics")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without_lap)
    with pytest.raises(ModelError, match=r"needs the packages ultralytics.*--no-tracking"):
        PersonTracker().update(boxes(), 0.0)


def test_a_package_that_is_broken_is_told_in_the_thread_that_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        raise OSError("libcudart.so is not there")

    text = broken(fail, monkeypatch)
    assert "libcudart.so is not there" in text
    assert "--no-tracking" in text
