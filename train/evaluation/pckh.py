"""PCKh, the metric of MPII: the share of keypoints within half a head size of the label."""

from __future__ import annotations

import numpy as np

from engine.types import Float32Array
from train.data.people import PeopleSet

_LEFT_OUT = ("pelvis", "thorax")
"""As in MPII's own evaluation."""


def pckh(people: PeopleSet, keypoints: Float32Array, threshold: float = 0.5) -> dict[str, float]:
    """PCKh in percent of each joint (left and right together) and of all, as "mean"; -1 without labels.

    Args:
        people: with head sizes; people without one are left out.
        keypoints: (N, K, 3) float32, of each person in the labelled box, picture px.
        threshold: largest distance in head sizes.
    """
    sizes = np.array([people.head_sizes.get(person.annotation_id, 0.0) for person in people.people])
    truth = np.stack([person.keypoints for person in people.people])
    counted = (truth[..., 2] > 0) & (sizes > 0)[:, None]
    distance = np.linalg.norm(keypoints[..., :2] - truth[..., :2], axis=-1) / np.maximum(sizes, 1e-9)[:, None]
    near = counted & (distance <= threshold)
    joints: dict[str, list[int]] = {}
    for index, name in enumerate(people.skeleton.keypoint_names):
        joints.setdefault(name.removeprefix("left_").removeprefix("right_"), []).append(index)
    report = {name: _percent(near[:, columns], counted[:, columns]) for name, columns in joints.items()}
    rest = [column for name, columns in joints.items() if name not in _LEFT_OUT for column in columns]
    return {"mean": _percent(near[:, rest], counted[:, rest]), **report}


def _percent(near: np.ndarray, counted: np.ndarray) -> float:
    return 100 * float(near.sum() / counted.sum()) if counted.any() else -1.0
