"""Trails: where hands, feet and other ends of limbs were in the last second."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from engine.overlay.text import Color
from engine.skeleton import Skeleton
from engine.types import Poses, UInt8Array

_LENGTH_S = 1.0
_GAP_S = 0.3  # a limb that was not seen for longer starts a new trail
_MOST_POINTS = 240  # of a person, whatever the frame rate


@dataclass(frozen=True, kw_only=True)
class _Point:
    """Ends of limbs at a time: (E, 2) float64 in shares of the picture's width and height, NaN where not seen."""

    time_s: float
    ends: npt.NDArray[np.float64]


def ends_of_limbs(skeleton: Skeleton) -> list[int]:
    """Keypoints with one line; all of them where there is none."""
    degrees = np.bincount([index for edge in skeleton.edges for index in edge], minlength=skeleton.num_keypoints)
    ends = np.flatnonzero(degrees == 1).tolist()
    return ends or list(range(skeleton.num_keypoints))


class Trails:
    """The trails of people with ids. Positions are kept as shares of the picture, which may change its size."""

    def __init__(self) -> None:
        self._trails: dict[int, deque[_Point]] = {}
        self._last_s = -np.inf

    def reset(self) -> None:
        """Forget them: the next frame does not follow the last one."""
        self._trails = {}
        self._last_s = -np.inf

    def add(
        self, poses: Poses, ends: list[int], shown: npt.NDArray[np.bool_], time_s: float, size_wh: tuple[int, int]
    ) -> None:
        """Add the people of a frame; a time before the last one starts anew, the same time replaces its points.

        Args:
            poses: in px of the picture; people without ids have no trails.
            ends: indices of the keypoints that leave a trail.
            shown: (N, K) which keypoints were seen.
            size_wh: of the picture in px.
        """
        if time_s < self._last_s or poses.track_ids is None:
            self.reset()
        if poses.track_ids is None:
            return
        for person, number in enumerate(poses.track_ids.tolist()):
            points = self._trails.setdefault(number, deque(maxlen=_MOST_POINTS))
            while points and points[-1].time_s >= time_s:
                points.pop()
            places = poses.keypoints_xy[person, ends] / np.array(size_wh, np.float64)
            places[~shown[person, ends]] = np.nan
            points.append(_Point(time_s=time_s, ends=places))
        self._last_s = time_s
        for number, points in list(self._trails.items()):
            while points and points[0].time_s < time_s - _LENGTH_S:
                points.popleft()
            if not points:
                del self._trails[number]

    def draw(self, image: UInt8Array, colors: dict[int, Color], line_width: float) -> None:
        """Draw the trails of these ids, each in its colour, thinner the older, into (H, W, 3) uint8 BGR."""
        height, width = image.shape[:2]
        size = np.array([width, height])
        for number, color in colors.items():
            for old, new in itertools.pairwise(self._trails.get(number, ())):
                if new.time_s - old.time_s > _GAP_S:
                    continue
                age = (self._last_s - old.time_s) / _LENGTH_S
                thick = max(1, round(line_width * (1 - 0.8 * age)))
                shade = [round(part * (1 - 0.5 * age)) for part in color]
                for start, end in zip(old.ends * size, new.ends * size, strict=True):
                    if np.isfinite([start, end]).all() and np.abs([start, end]).max() < 2**15:
                        one, other = ((round(float(x)), round(float(y))) for x, y in (start, end))
                        cv2.line(image, one, other, shade, thick, cv2.LINE_AA)
