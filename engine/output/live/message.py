"""What is sent for a frame, and what a receiver must know to draw it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from engine.skeleton import Skeleton


@dataclass(frozen=True, kw_only=True)
class About:
    """What the frames of a stream have in common.

    Attributes:
        source: short name to display.
        size_wh: width and height of the frames in px.
        skeleton: the keypoints of the poses.
    """

    source: str
    size_wh: tuple[int, int]
    skeleton: Skeleton

    @cached_property
    def text(self) -> str:
        """As JSON: source, size_wh, keypoint_names and edges (pairs of keypoint numbers to draw a line between)."""
        return json.dumps(
            {
                "source": self.source,
                "size_wh": list(self.size_wh),
                "keypoint_names": list(self.skeleton.keypoint_names),
                "edges": [list(edge) for edge in self.skeleton.edges],
            }
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Message:
    """One frame: its record (`engine.types.frame_record`), encoded once for all receivers, in the first's thread."""

    about: About
    record: dict[str, Any]

    @cached_property
    def text(self) -> str:
        """The record as JSON in one line, without its end."""
        return json.dumps(self.record, allow_nan=False)
