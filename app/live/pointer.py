"""The values under the mouse: the place in the frame, the person there, a keypoint nearby, and the shown map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from app.live.probe import person_at
from app.live.shots import Shown
from engine.overlay.attention import AttentionView, attention_at


def values_at(shown: Shown, point_xy: tuple[float, float], view: AttentionView | None, reach: float) -> str:
    """What is at a point of a frame, in one line; a keypoint is named within `reach`; point and reach in frame px."""
    parts = [f"{point_xy[0]:.0f}, {point_xy[1]:.0f}"]
    result, skeleton = shown.result, shown.skeleton
    point = np.array(point_xy, np.float32)
    person = None if shown.poses is None else person_at(shown.poses, point)
    if result is None or skeleton is None or person is None:
        return parts[0]
    poses, names = result.poses, skeleton.keypoint_names
    if poses.track_ids is not None:
        parts.append(f"#{poses.track_ids[person]}")
    distances = np.linalg.norm(poses.keypoints_xy[person] - point, axis=1)
    nearest = int(np.where(np.isfinite(distances), distances, np.inf).argmin())
    if distances[nearest] <= reach:
        parts.append(f"{names[nearest].replace('_', ' ')} {poses.scores[person, nearest]:.2f}")
    maps = result.attention
    chosen = None if view is None else shown.maps(view.kind)
    if maps is not None and view is not None and chosen is not None and view.keypoint < chosen.shape[1]:
        value = attention_at(replace(maps, attention=chosen), person, point)[view.keypoint]
        letter = "G" if view.kind == "areas" else "S"
        parts.append(f"{letter} {names[view.keypoint].replace('_', ' ')} {value:.3g}")
    return " · ".join(parts)
