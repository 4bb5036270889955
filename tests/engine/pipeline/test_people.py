"""Following, angles and counts through the whole pipeline, with fake networks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from engine.errors import OptionError
from engine.options import Follow, PoseOptions, count_rule
from engine.pipeline.options import PipelineOptions, check_still
from engine.skeleton import Angle, Skeleton
from engine.types import Detections, Frame, FrameResult, UInt8Array
from tests.engine.fakes import BrightestPixel, boxes, plain_pipeline, pose_spec

BENT = Skeleton(
    keypoint_names=("head", "left_hand", "right_hand"), edges=((0, 1), (0, 2)), flip_pairs=((1, 2),),
    oks_sigmas=(0.05,) * 3, angles=(Angle(name="spread", first=(1,), vertex=(0,), last=(2,)),),
)  # fmt: skip
TWO = boxes((80, 80, 230, 280), (370, 90, 540, 380))


@dataclass
class Walkers:
    """Two people; the second one is gone in some frames."""

    gone: set[int] = field(default_factory=set)
    frame: int = 0

    def detect(self, image_bgr: UInt8Array) -> Detections:
        number, self.frame = self.frame, self.frame + 1
        found = TWO[:1] if number in self.gone else TWO
        return Detections(
            boxes_xyxy=found + np.float32(number),
            scores=np.full(len(found), 0.9, np.float32),
            class_ids=np.zeros(len(found), np.int64),
        )

    def close(self) -> None:
        pass


class Counting(BrightestPixel):
    """Counts the crops of each call."""

    crops: list[int]

    def infer(self, inputs: Any, want: Any) -> Any:
        self.crops = [*getattr(self, "crops", []), len(inputs["crops"])]
        return super().infer(inputs, want)


def image() -> UInt8Array:
    """A picture with a bright spot of each channel in both people: the hands at right angles from the head."""
    picture = np.zeros((480, 640, 3), np.uint8)
    for x, y in ((150, 150), (450, 200)):
        for channel, (dx, dy) in enumerate(((0, 0), (0, 60), (50, 0))):
            picture[y + dy - 2 : y + dy + 3, x + dx - 2 : x + dx + 3, channel] = 255
    return picture


def run(
    follow: Follow | None, frames: int, *, gone: set[int] | None = None, batch: int = 1, **options: Any
) -> tuple[list[FrameResult], Counting]:
    network, still = Counting(spec=pose_spec(BENT)), options.pop("still", False)
    fields = {"tracking": True, "follow": follow, **options.pop("people", {}), **options}
    pipeline = plain_pipeline(Walkers(gone or set()), network, **fields)
    shots = [Frame(image_bgr=image(), index=i, timestamp_s=i / 20, is_still=still) for i in range(frames)]
    results = []
    for start in range(0, frames, batch):
        pending = [pipeline.find(shot) for shot in shots[start : start + batch]]
        results += [pipeline.finish(one) for one in pipeline.pose(pending)]
    return results, network


@pytest.mark.parametrize("batch", [1, 4])
def test_only_the_followed_person_is_posed(batch: int) -> None:
    results, network = run("largest", 8, batch=batch)
    assert sum(network.crops) == 8, "one crop a frame"
    for number, result in enumerate(results):
        assert np.allclose(result.poses.boxes_xyxy, TWO[1:] + np.float32(number))
        assert result.poses.to_dicts()[0]["followed"] is True and result.poses.to_dicts()[0]["id"] == 1
        assert len(result.detections) == 2, "the others are still detected"


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("wanted", [1, 2])
def test_an_id_is_that_of_a_run_with_everybody(wanted: int, batch: int) -> None:
    everybody, _ = run(None, 8)
    results, network = run(wanted, 8, batch=batch)
    assert sum(network.crops) == 8 + batch, "everybody is posed until the id is known"
    for plain, result in zip(everybody, results, strict=True):
        assert plain.poses.track_ids is not None and result.poses.track_ids is not None
        place = plain.poses.track_ids.tolist().index(wanted)
        assert result.poses.track_ids.tolist() == [wanted]
        assert np.array_equal(result.poses.keypoints_xy[0], plain.poses.keypoints_xy[place])


def test_a_loss_gives_frames_without_people_and_the_same_person_after_it() -> None:
    results, network = run("largest", 20, gone=set(range(6, 12)))
    assert [len(result.poses) for result in results] == [1] * 6 + [0] * 6 + [1] * 8
    assert {int(i) for r in results if r.poses.track_ids is not None for i in r.poses.track_ids} == {1}
    assert sum(network.crops) == 14


def test_boxes_that_are_carried_on_hold_the_followed_person_alone() -> None:
    results, network = run("centre", 12, detect_every=4)
    assert [len(result.poses) for result in results] == [1] * 12
    assert network.crops == [1] * 12


def test_a_person_is_pointed_at_and_let_go() -> None:
    network = Counting(spec=pose_spec(BENT))
    pipeline = plain_pipeline(Walkers(), network, tracking=True)
    results: list[FrameResult] = []
    for number in range(12):
        if number == 4:
            poses = results[-1].poses
            assert poses.track_ids is not None
            pipeline.follow(poses.boxes_xyxy[0], int(poses.track_ids[0]), results[-1].frame.timestamp_s)
        if number == 8:
            pipeline.follow(None)
        results.append(pipeline.process(Frame(image_bgr=image(), index=number, timestamp_s=number / 20)))
    assert network.crops == [2] * 4 + [1] * 4 + [2] * 4
    assert all(result.poses.followed is not None for result in results[4:8])
    assert results[-1].poses.followed is None and "followed" not in results[-1].poses.to_dicts()[0]
    assert np.allclose(results[7].poses.boxes_xyxy, TWO[:1] + np.float32(7))


def test_angles_and_counts_are_in_the_poses() -> None:
    options = {"angles": True, "count": count_rule("spread:95:100")}
    results, _ = run(None, 2, people=options)
    person = results[1].poses.to_dicts()[0]
    assert person["angles"]["spread"] == pytest.approx(90, abs=6)  # a px of the crop is 2 to 3 of the frame
    assert person["repetitions"] == 0
    hidden, _ = run(None, 1, people={"angles": True, "keypoint_threshold": 1.0})
    assert "angles" in hidden[0].poses.to_dicts()[0]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(OptionError, match="--count counts by person"):
        PipelineOptions(count=count_rule("left_elbow:60:150"), tracking=False)
    with pytest.raises(OptionError, match="--follow 3 names an id"):
        PipelineOptions(follow=3, tracking=False)
    with pytest.raises(OptionError, match="unknown angle 'elbow'"):
        run(None, 1, people={"count": count_rule("elbow:60:150")})
    with pytest.raises(OptionError, match="photos do not follow each other, so --follow ID"):
        check_still(PoseOptions(follow=2))


def test_in_photos_the_person_is_chosen_anew() -> None:
    options = PipelineOptions.of(PoseOptions(follow="largest"), still=True)
    assert not options.tracking and options.follow == "largest"
    results, network = run("largest", 3, tracking=False, still=True)
    assert [len(result.poses) for result in results] == [1] * 3 and sum(network.crops) == 3
    assert results[0].poses.track_ids is None
