"""A set of keypoints: names, edges to draw, left-right pairs, OKS sigmas and colours."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import ModelError, OptionError, nearest_hint

# Colour-blind safe (Okabe and Ito): the person's left, right and middle.
_LEFT_BGR, _RIGHT_BGR, _MIDDLE_BGR = (233, 180, 86), (0, 159, 230), (115, 158, 0)


MOST_KEYPOINTS = 1024
_LONGEST_NAME = 200


@dataclass(frozen=True, kw_only=True)
class Angle:
    """An angle at a joint: between the lines from its vertex to two other points.

    Attributes:
        name: such as left_elbow.
        first, vertex, last: keypoint indices; the point is the middle of several. `last` may be empty: straight up from
            the vertex.
    """

    name: str
    first: tuple[int, ...]
    vertex: tuple[int, ...]
    last: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Skeleton:
    """Keypoints and their relations; stored with weights and specs, so that K is never fixed in code.

    Attributes:
        keypoint_names: K names.
        edges: pairs of keypoint indices to join by a line.
        flip_pairs: pairs of keypoint indices that are swapped in a mirrored picture.
        oks_sigmas: K values, the per-keypoint constants of object keypoint similarity.
        upper_body: keypoint indices of the upper half, for half-body augmentation; may be empty.
        angles: angles that its data set names; empty for those of `named_angles`.
    """

    keypoint_names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    flip_pairs: tuple[tuple[int, int], ...]
    oks_sigmas: tuple[float, ...]
    upper_body: tuple[int, ...] = ()
    angles: tuple[Angle, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.keypoint_names)
        if count == 0 or len(set(self.keypoint_names)) != count:
            raise ModelError("a skeleton needs keypoint names, each different from the others")
        if count > MOST_KEYPOINTS:
            raise ModelError(f"a skeleton of {count} keypoints is too large; {MOST_KEYPOINTS} at most fit")
        for name in self.keypoint_names:
            if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
                raise ModelError(
                    f"{name[:40]!r} is not a keypoint's name: 1 to {_LONGEST_NAME} printable characters fit"
                )
        if len(self.oks_sigmas) != count or not all(0 < sigma < math.inf for sigma in self.oks_sigmas):
            raise ModelError(f"a skeleton of {count} keypoints needs {count} positive OKS sigmas")
        for index in [i for pair in (*self.edges, *self.flip_pairs) for i in pair] + list(self.upper_body):
            if not 0 <= index < count:
                raise ModelError(f"the skeleton names keypoint {index}, but there are {count} (from 0)")
        order = self.flip_order
        if any(order[order[keypoint]] != keypoint for keypoint in range(count)):
            raise ModelError("the flip pairs (flip_idx) of a skeleton name a keypoint twice, with different others")
        self._check_angles()

    def _check_angles(self) -> None:
        if len({angle.name for angle in self.angles}) != len(self.angles) or len(self.angles) > MOST_KEYPOINTS:
            raise ModelError(f"the angles of a skeleton need names, each different, {MOST_KEYPOINTS} at most")
        for angle in self.angles:
            if not 0 < len(angle.name) <= _LONGEST_NAME or not angle.name.isprintable() or ":" in angle.name:
                raise ModelError(f"{angle.name[:40]!r} is not the name of an angle")
            indices = [*angle.first, *angle.vertex, *angle.last]
            if not angle.first or not angle.vertex or not all(0 <= k < self.num_keypoints for k in indices):
                raise ModelError(f"the angle {angle.name} needs keypoints from 0 to {self.num_keypoints - 1}")

    @property
    def num_keypoints(self) -> int:
        """K."""
        return len(self.keypoint_names)

    @property
    def flip_order(self) -> tuple[int, ...]:
        """(K,) permutation that restores the keypoint order in a mirrored picture."""
        order = list(range(self.num_keypoints))
        for a, b in self.flip_pairs:
            order[a], order[b] = b, a
        return tuple(order)

    def keypoint_index(self, name: str) -> int:
        """Index of a keypoint by name; spaces and dashes count as underscores.

        Raises:
            OptionError: no keypoint has that name; the message names the nearest.
        """
        return _index_of("keypoint", name, self.keypoint_names)

    @property
    def named_angles(self) -> tuple[Angle, ...]:
        """The angles of the data set; where it names none, those of a body whose keypoints have COCO's names.

        These are elbows, shoulders, hips and knees, and the trunk against straight up.
        """
        return self.angles or _body_angles(self.keypoint_names)

    def angle_index(self, name: str) -> int:
        """Index of an angle in `named_angles`; spaces and dashes count as underscores.

        Raises:
            OptionError: there is no such angle; the message names the nearest.
        """
        known = [angle.name for angle in self.named_angles]
        if not known:
            raise OptionError("this skeleton names no angles; `angles` in the YAML of its data set does")
        return _index_of("angle", name, known)

    def color_bgr(self, keypoint: int) -> tuple[int, int, int]:
        """Colour of a keypoint: by side of the body where the names contain it, else spread over the hues."""
        name = self.keypoint_names[keypoint]
        if not self.flip_pairs:
            red, green, blue = colorsys.hsv_to_rgb(keypoint / self.num_keypoints, 0.75, 0.95)
            return round(blue * 255), round(green * 255), round(red * 255)
        if name.startswith("left"):
            return _LEFT_BGR
        if name.startswith("right"):
            return _RIGHT_BGR
        return _MIDDLE_BGR

    def edge_color_bgr(self, edge: tuple[int, int]) -> tuple[int, int, int]:
        """Colour of a line: that of its keypoints if equal, else the middle's."""
        first, second = (self.color_bgr(keypoint) for keypoint in edge)
        return first if first == second else _MIDDLE_BGR

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, for JSON."""
        return {
            "keypoint_names": list(self.keypoint_names),
            "edges": [list(edge) for edge in self.edges],
            "flip_pairs": [list(pair) for pair in self.flip_pairs],
            "oks_sigmas": list(self.oks_sigmas),
            "upper_body": list(self.upper_body),
            **(
                {"angles": {a.name: [list(a.first), list(a.vertex), list(a.last)] for a in self.angles}}
                if self.angles
                else {}
            ),
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Skeleton:
        """The inverse of `to_dict`.

        Raises:
            ModelError: a field is missing, of the wrong kind or out of range.
        """
        try:
            return Skeleton(
                keypoint_names=tuple(str(name) for name in values["keypoint_names"]),
                edges=tuple((int(a), int(b)) for a, b in values["edges"]),
                flip_pairs=tuple((int(a), int(b)) for a, b in values["flip_pairs"]),
                oks_sigmas=tuple(float(sigma) for sigma in values["oks_sigmas"]),
                upper_body=tuple(int(index) for index in values.get("upper_body", ())),
                angles=tuple(_angle(str(name), points) for name, points in values.get("angles", {}).items()),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelError(f"the skeleton in the file cannot be read: {error!r}") from error


def _index_of(kind: str, name: str, known: Sequence[str]) -> int:
    wanted = name.strip().lower().replace(" ", "_").replace("-", "_")
    names = [one.lower() for one in known]
    if wanted not in names:
        raise OptionError(f"unknown {kind} '{name}'.{nearest_hint(wanted, known)}")
    return names.index(wanted)


def _angle(name: str, points: Any) -> Angle:
    first, vertex, last = (tuple(int(index) for index in indices) for indices in points)
    return Angle(name=name, first=first, vertex=vertex, last=last)


def _body_angles(names: tuple[str, ...]) -> tuple[Angle, ...]:
    """The angles of a body whose keypoints these names tell; those of which a keypoint is missing are left out."""
    corners = {"elbow": ("shoulder", "elbow", "wrist"), "shoulder": ("hip", "shoulder", "elbow"),
               "hip": ("shoulder", "hip", "knee"), "knee": ("hip", "knee", "ankle")}  # fmt: skip
    index = {name: number for number, name in enumerate(names)}
    found = []
    for joint, corner in corners.items():
        for side in ("left", "right"):
            points = [f"{side}_{part}" for part in corner]
            if all(point in index for point in points):
                first, vertex, last = (index[point] for point in points)
                found.append(Angle(name=f"{side}_{joint}", first=(first,), vertex=(vertex,), last=(last,)))
    trunk = [[f"{side}_{part}" for side in ("left", "right")] for part in ("shoulder", "hip")]
    if all(point in index for pair in trunk for point in pair):
        shoulders, hips = (tuple(index[point] for point in pair) for pair in trunk)
        found.append(Angle(name="trunk", first=shoulders, vertex=hips, last=()))
    return tuple(found)


COCO17 = Skeleton(
    keypoint_names=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
        "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
        "right_ankle",
    ),
    edges=(
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10),
        (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    ),
    flip_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    oks_sigmas=(
        0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087,
        0.089, 0.089,
    ),
    upper_body=(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
)  # fmt: skip
"""COCO's 17 person keypoints, 0-based."""
