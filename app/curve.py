"""A coordinate of a keypoint or an angle of one person over time, from the pictures that were shown."""

from __future__ import annotations

import csv
import io
import math
from collections import deque
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from app.live.chosen import Chosen
from app.live.shots import Shown
from engine.angles import angles_of
from engine.skeleton import Skeleton
from engine.types import Poses

HISTORY_S = 30.0
MOST_POINTS = 3000  # whatever the frame rate


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """What is plotted.

    Attributes:
        name: of a keypoint or of an angle.
        axis: 'x' or 'y' of the keypoint in frame px; None for an angle in degrees.
    """

    name: str
    axis: Literal["x", "y"] | None = None

    @property
    def column(self) -> str:
        """Its name in files, as in those of poses."""
        return f"{self.name}_deg" if self.axis is None else f"{self.name}_{self.axis}"

    @property
    def unit(self) -> str:
        """Of its values."""
        return "°" if self.axis is None else "px"

    def of(self, poses: Poses, person: int, skeleton: Skeleton, score_threshold: float) -> float:
        """The value of a person; NaN where a keypoint has a lower score than the threshold."""
        if self.axis is None:
            angle = skeleton.named_angles[skeleton.angle_index(self.name)]
            one = slice(person, person + 1)
            return float(angles_of(poses.keypoints_xy[one], poses.scores[one], [angle], score_threshold)[0, 0])
        keypoint = skeleton.keypoint_index(self.name)
        if poses.scores[person, keypoint] < score_threshold:
            return math.nan
        return float(poses.keypoints_xy[person, keypoint, 0 if self.axis == "x" else 1])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Moment:
    """The people of a shown frame.

    Attributes:
        time_s: on a clock that only increases.
        segment: number of the line that it belongs to.
        number, place_s: of the frame in its source.
        value: of the chosen person; NaN where it is not known.
    """

    time_s: float
    segment: int
    number: int
    place_s: float
    poses: Poses
    value: float


class Curve:
    """The values of the last 30 s. Another quantity or person is shown from the beginning, too."""

    def __init__(self) -> None:
        self.quantity: Quantity | None = None
        self.chosen = Chosen()
        self._threshold = 0.2
        self._moments: deque[_Moment] = deque(maxlen=MOST_POINTS)
        self._skeleton: Skeleton | None = None
        self._origin = (0, 0)  # serials of the source and of the pipeline whose ids these are
        self._epoch = self._index = -1
        self._breaks = False

    def __len__(self) -> int:
        return len(self._moments)

    def choose(self, quantity: Quantity | None, chosen: Chosen, score_threshold: float) -> None:
        """Show something else, also of the frames that were."""
        if (quantity, chosen, score_threshold) == (self.quantity, self.chosen, self._threshold):
            return
        self.quantity, self.chosen, self._threshold = quantity, chosen, score_threshold
        again = [replace(moment, value=self._value(moment.poses)) for moment in self._moments]
        self._moments = deque(again, maxlen=MOST_POINTS)

    def break_line(self) -> None:
        """No line leads from the last frame to the next: there was a pause."""
        self._breaks = True

    def add(self, shown: Shown) -> None:
        """Add a shown frame; one that is shown again replaces its value."""
        result, shot = shown.result, shown.shot
        if result is None or shown.skeleton is None:
            return
        if (shot.serial, shown.pipeline) != self._origin:
            self._origin, self._skeleton = (shot.serial, shown.pipeline), shown.skeleton
            self._moments.clear()
        segment = self._moments[-1].segment if self._moments else 0
        if self._moments and shot.frame.index == self._index:
            self._moments.pop()
        elif self._breaks or shot.epoch != self._epoch:
            segment += 1
            self._breaks = False
        self._epoch, self._index = shot.epoch, shot.frame.index
        number, place_s = shot.place
        self._moments.append(
            _Moment(
                time_s=shot.frame.timestamp_s,
                segment=segment,
                number=number,
                place_s=place_s,
                poses=result.poses,
                value=self._value(result.poses),
            )
        )
        while self._moments[0].time_s < self._moments[-1].time_s - HISTORY_S:
            self._moments.popleft()

    def _value(self, poses: Poses) -> float:
        person = self.chosen.person_in(poses)
        if self.quantity is None or self._skeleton is None or person is None:
            return math.nan
        return self.quantity.of(poses, person, self._skeleton, self._threshold)

    @property
    def last(self) -> float:
        """The newest value; NaN where it is not known."""
        return self._moments[-1].value if self._moments else math.nan

    @property
    def has_person(self) -> bool:
        """Whether the chosen person is in the newest frame."""
        return bool(self._moments) and self.chosen.person_in(self._moments[-1].poses) is not None

    def points(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Seconds before the newest frame (T,), from -30 to 0, and values (T,), with a NaN wherever the line breaks."""
        count = len(self._moments)
        times = np.fromiter((moment.time_s for moment in self._moments), np.float64, count)
        values = np.fromiter((moment.value for moment in self._moments), np.float64, count)
        segments = np.fromiter((moment.segment for moment in self._moments), np.int64, count)
        breaks = np.flatnonzero(np.diff(segments)) + 1
        times = times - times[-1] if count else times
        return np.insert(times, breaks, times[breaks]), np.insert(values, breaks, np.nan)

    def to_csv(self) -> str:
        """The shown values as text: a row for each frame; the column `segment` counts the lines that pauses break.

        Raises:
            ValueError: nothing was chosen.
        """
        if self.quantity is None:
            raise ValueError("there is nothing to write")
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("frame", "time_s", "id", "segment", self.quantity.column))
        number = "" if self.chosen.track_id is None else self.chosen.track_id
        for moment in self._moments:
            value = f"{moment.value:.2f}" if math.isfinite(moment.value) else ""
            rows.writerow((moment.number, f"{moment.place_s:.4f}", number, moment.segment, value))
        return text.getvalue()
