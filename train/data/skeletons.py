"""Skeletons from what a data set states: names, lines, left and right, OKS sigmas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.errors import nearest_hint
from engine.skeleton import COCO17, Angle, Skeleton
from train.data.people import flip_pairs_by_name

_LIMBS = {"shoulder": 0.079, "elbow": 0.072, "wrist": 0.062, "hip": 0.107, "knee": 0.087, "ankle": 0.089}

CROWDPOSE_NAMES = (
    *(f"{side}_{joint}" for joint in _LIMBS for side in ("left", "right")), "top_head", "neck",
)  # fmt: skip
AIC_NAMES = (
    *(f"{side}_{joint}" for side in ("right", "left") for joint in ("shoulder", "elbow", "wrist")),
    *(f"{side}_{joint}" for side in ("right", "left") for joint in ("hip", "knee", "ankle")), "head_top", "neck",
)  # fmt: skip
MPII_NAMES = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax", "upper_neck",
    "head_top", "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
)  # fmt: skip

OKS_SIGMAS: Mapping[str, tuple[float, ...]] = {
    "coco": COCO17.oks_sigmas,
    "crowdpose": (*(_LIMBS[joint] for joint in _LIMBS for _ in range(2)), 0.079, 0.079),
    # Half of the deltas in AI Challenger's own evaluation, as MMPose has them.
    "aic": (
        0.01388152, 0.01515228, 0.01057665, 0.01417709, 0.01497891, 0.01402144, 0.03909642, 0.03686941, 0.01981803,
        0.03843971, 0.03412318, 0.02415081, 0.01291456, 0.01236173,
    ),
    # MPII is measured by PCKh; these, adapted from COCO by MMPose, give an OKS beside it.
    "mpii": (
        0.089, 0.083, 0.107, 0.107, 0.083, 0.089, 0.026, 0.026, 0.026, 0.026, 0.062, 0.072, 0.179, 0.179, 0.072, 0.062,
    ),
    # Body, feet, face, hands: the constants of COCO-WholeBody's own evaluation.
    "coco_wholebody": (
        *COCO17.oks_sigmas, 0.068, 0.066, 0.066, 0.092, 0.094, 0.094,
        0.042, 0.043, 0.044, 0.043, 0.040, 0.035, 0.031, 0.025, 0.020, 0.023, 0.029, 0.032, 0.037, 0.038, 0.043, 0.041,
        0.045, 0.013, 0.012, 0.011, 0.011, 0.012, 0.012, 0.011, 0.011, 0.013, 0.015, 0.009, 0.007, 0.007, 0.007, 0.012,
        0.009, 0.008, 0.016, 0.010, 0.017, 0.011, 0.009, 0.011, 0.009, 0.007, 0.013, 0.008, 0.011, 0.012, 0.010, 0.034,
        0.008, 0.008, 0.009, 0.008, 0.008, 0.007, 0.010, 0.008, 0.009, 0.009, 0.009, 0.007, 0.007, 0.008, 0.011, 0.008,
        0.008, 0.008, 0.010, 0.008,
        *(0.029, 0.022, 0.035, 0.037, 0.047, 0.026, 0.025, 0.024, 0.035, 0.018, 0.024, 0.022, 0.026, 0.017, 0.021,
          0.021, 0.032, 0.020, 0.019, 0.022, 0.031) * 2,
    ),
}  # fmt: skip
"""OKS sigmas that data sets publish, by the name that `sigmas` may give."""

_BY_NAMES = {
    COCO17.keypoint_names: "coco", CROWDPOSE_NAMES: "crowdpose", AIC_NAMES: "aic", MPII_NAMES: "mpii",
}  # fmt: skip


def make_skeleton(
    settings: Mapping[str, Any], names: tuple[str, ...], edges: tuple[tuple[int, int], ...], other_sigma: float
) -> tuple[Skeleton, bool]:
    """The skeleton of a data set, and whether it is known which keypoints trade places in a mirrored picture.

    Args:
        settings: `flip_idx` (for each keypoint the index of the one on the other side), `sigmas` (K numbers, or a name
            of OKS_SIGMAS), `upper_body` (indices, for half-body crops) and `angles` (for each name three points: a
            keypoint's name, several joined by + for their middle, or, as the last, `up`), each only where the data set
            states it.
        names: of the keypoints.
        edges: pairs of keypoint indices from 0.
        other_sigma: of every keypoint where nothing is known.

    Raises:
        ValueError, TypeError: a setting does not fit the keypoints.
    """
    flip = settings.get("flip_idx")
    pairs = flip_pairs_by_name(names)
    if flip is not None:
        if sorted(flip) != list(range(len(names))):
            raise ValueError(f"flip_idx {flip} is no order of {len(names)} keypoints")
        pairs = tuple((i, int(j)) for i, j in enumerate(flip) if i < j)
    upper_body = settings.get("upper_body", COCO17.upper_body if names == COCO17.keypoint_names else ())
    skeleton = Skeleton(
        keypoint_names=names,
        edges=edges,
        flip_pairs=pairs,
        oks_sigmas=_sigmas(settings.get("sigmas"), names) or (other_sigma,) * len(names),
        upper_body=tuple(int(index) for index in upper_body),
        angles=_angles(settings.get("angles") or {}, names),
    )
    return skeleton, flip is not None or bool(pairs) or len(names) == 1


def _angles(stated: Any, names: tuple[str, ...]) -> tuple[Angle, ...]:
    if not isinstance(stated, Mapping):
        raise ValueError(f"angles are a mapping from names to three points each, not {stated!r}")
    found = []
    for name, points in stated.items():
        if not isinstance(points, Sequence) or isinstance(points, str) or len(points) != 3:
            raise ValueError(f"the angle {name} needs three points, such as [shoulder, elbow, wrist], not {points!r}")
        texts = [str(point) for point in points]
        up = texts[2] == "up" and "up" not in names
        indices = [tuple(_keypoint(part, names) for part in text.split("+")) for text in (texts[:2] if up else texts)]
        found.append(Angle(name=str(name), first=indices[0], vertex=indices[1], last=() if up else indices[2]))
    return tuple(found)


def _keypoint(text: str, names: tuple[str, ...]) -> int:
    if text.strip() not in names:
        raise ValueError(f"unknown keypoint '{text.strip()}' in angles.{nearest_hint(text.strip(), names)}")
    return names.index(text.strip())


def _sigmas(stated: Any, names: tuple[str, ...]) -> tuple[float, ...] | None:
    """OKS sigmas as stated, by name, or by the names of the keypoints; None where they are not known."""
    if stated is None:
        if len(names) == len(OKS_SIGMAS["coco_wholebody"]) and names[:17] == COCO17.keypoint_names:
            return OKS_SIGMAS["coco_wholebody"]
        return OKS_SIGMAS.get(_BY_NAMES.get(tuple(name.lower() for name in names), ""))
    if isinstance(stated, str):
        if stated not in OKS_SIGMAS:
            raise ValueError(f"unknown sigmas '{stated}'.{nearest_hint(stated, OKS_SIGMAS)}")
        stated = OKS_SIGMAS[stated]
    if not isinstance(stated, Sequence) or len(stated) != len(names):
        raise ValueError(f"sigmas {stated} are not {len(names)} numbers, one a keypoint")
    return tuple(float(sigma) for sigma in stated)


def report_unknown_sides(origin: Path) -> None:
    """Say that crops are not mirrored, and how to change that."""
    print(
        f"{origin}: neither flip_idx nor names with left and right state which keypoints trade places in a mirrored "
        "picture, so nothing is mirrored; flip_idx: [0, 2, 1] would exchange keypoints 1 and 2"
    )
