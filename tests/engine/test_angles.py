"""Angles at joints against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.angles import angles_of
from engine.errors import ModelError, OptionError
from engine.skeleton import COCO17, Angle, Skeleton

CORNER = Skeleton(
    keypoint_names=("a", "b", "c"), edges=(), flip_pairs=(), oks_sigmas=(0.1,) * 3,
    angles=(Angle(name="bend", first=(0,), vertex=(1,), last=(2,)),),
)  # fmt: skip


def angle(first: tuple[float, float], vertex: tuple[float, float], last: tuple[float, float]) -> float:
    points = np.array([[first, vertex, last]], np.float32)
    return float(angles_of(points, np.ones((1, 3), np.float32), CORNER.named_angles, 0.2)[0, 0])


@pytest.mark.parametrize(
    ("first", "vertex", "last", "degrees"),
    [
        ((0, 0), (10, 0), (20, 0), 180),
        ((20, 0), (10, 0), (20, 0), 0),
        ((10, 10), (10, 0), (20, 0), 90),
        ((10, -7), (10, 0), (20, 0), 90),  # the other way round is the same angle
        ((0, 0), (100, 0), (50, 50 * math.sqrt(3)), 60),
        ((-30, 0), (0, 0), (30, 30 * math.tan(math.radians(30))), 150),
        ((3, 4), (0, 0), (4, 3), math.degrees(math.acos(24 / 25))),
    ],
)
def test_angles_by_hand(
    first: tuple[float, float], vertex: tuple[float, float], last: tuple[float, float], degrees: float
) -> None:
    assert angle(first, vertex, last) == pytest.approx(degrees, abs=1e-3)


def test_what_is_not_seen_has_no_angle() -> None:
    assert math.isnan(angle((5, 5), (5, 5), (9, 5))), "two points in one place"
    points = np.array([[(0, 0), (10, 0), (20, 0)]] * 3, np.float32)
    points[2, 0] = np.nan
    scores = np.array([[0.9, 0.9, 0.19], [0.2, 0.2, 0.2], [0.9, 0.9, 0.9]], np.float32)
    found = angles_of(points, scores, CORNER.named_angles, 0.2)
    assert found.dtype == np.float32 and np.isnan(found[:, 0]).tolist() == [True, False, True]
    assert angles_of(points[:0], scores[:0], CORNER.named_angles, 0.2).shape == (0, 1)


def test_the_angles_of_a_body() -> None:
    names = [one.name for one in COCO17.named_angles]
    assert names == [
        "left_elbow", "right_elbow", "left_shoulder", "right_shoulder", "left_hip", "right_hip", "left_knee",
        "right_knee", "trunk",
    ]  # fmt: skip
    places = dict.fromkeys(COCO17.keypoint_names, (0.0, 0.0))
    # Leaning 45 degrees to the right, the left arm straight down, its forearm level.
    places |= {"left_hip": (10, 100), "right_hip": (-10, 100), "left_shoulder": (60, 50), "right_shoulder": (40, 50)}
    places |= {"left_elbow": (60, 80), "left_wrist": (90, 80), "left_knee": (10, 150), "left_ankle": (60, 150)}
    points = np.array([[places[name] for name in COCO17.keypoint_names]], np.float32)
    degrees = angles_of(points, np.ones((1, 17), np.float32), COCO17.named_angles, 0.2)[0]
    found = dict(zip(names, degrees.tolist(), strict=True))
    assert found["trunk"] == pytest.approx(45)
    assert found["left_elbow"] == pytest.approx(90)
    assert found["left_shoulder"] == pytest.approx(45)
    assert found["left_hip"] == pytest.approx(135)
    assert found["left_knee"] == pytest.approx(90)


def test_angles_travel_with_the_skeleton() -> None:
    up = Angle(name="lean", first=(0, 2), vertex=(1,), last=())
    skeleton = Skeleton(keypoint_names=("a", "b", "c"), edges=(), flip_pairs=(), oks_sigmas=(0.1,) * 3, angles=(up,))
    assert Skeleton.from_dict(skeleton.to_dict()) == skeleton
    assert "angles" not in COCO17.to_dict(), "files of a body's network stay as they were"
    assert skeleton.angle_index("Lean") == 0
    with pytest.raises(OptionError, match="Did you mean 'left_elbow'"):
        COCO17.angle_index("left_elbo")
    with pytest.raises(ModelError, match="needs keypoints from 0 to 2"):
        Skeleton.from_dict(skeleton.to_dict() | {"angles": {"lean": [[0], [7], []]}})
    nameless = Skeleton(keypoint_names=("x",), edges=(), flip_pairs=(), oks_sigmas=(0.1,))
    with pytest.raises(OptionError, match="names no angles"):
        nameless.angle_index("x")
