"""`python -m train.id_check`: how often people change their ids in the program's own poses files.

Counted as in CLEAR MOT (Bernardin and Stiefelhagen 2008): a person keeps the id they had while that box is still on
them, and otherwise has that of the nearest box; a change is an id other than the last one. Where the people are was
read off the frames by eye, see `about` in tests/data/clip_ids.json.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.system.entry import run_command
from engine.types import Float32Array
from train.clip_check import check_clips
from train.command import reports_errors


@dataclass(frozen=True, kw_only=True)
class IdCount:
    """One person of one clip.

    Attributes:
        frames: of the span in which they are to be seen.
        boxed: frames of it in which a box is on them.
        ids: in the order in which they had them, one after another.
    """

    frames: int
    boxed: int
    ids: tuple[int, ...]

    @property
    def changes(self) -> int:
        """How often their id became another one."""
        return max(0, len(self.ids) - 1)


def count_ids(waypoints: list[list[float]], reach_px: float, poses: list[dict[str, Any]]) -> IdCount:
    """Follow one person through a poses file.

    Args:
        waypoints: frame number, x and y of their middle in frame px; in order of time.
        reach_px: how far from there the middle of their box may be.
        poses: the lines of a poses file; line i is frame i.
    """
    numbers, xs, ys = np.array(waypoints, np.float64).T
    first, last = int(numbers[0]), min(int(numbers[-1]), len(poses) - 1)
    ids: list[int] = []
    boxed = 0
    for frame in range(first, last + 1):
        place = np.array([np.interp(frame, numbers, xs), np.interp(frame, numbers, ys)], np.float32)
        near = _ids_near(place, reach_px, poses[frame]["people"])
        boxed += bool(near)
        if near and (not ids or ids[-1] not in near):
            ids.append(near[0])
    return IdCount(frames=last - first + 1, boxed=boxed, ids=tuple(ids))


def _ids_near(place: Float32Array, reach_px: float, people: list[dict[str, Any]]) -> list[int]:
    """Ids of the boxes whose centre is within reach of a place (2,) in px, nearest first; without ids none."""
    found = []
    for person in people:
        x1, y1, x2, y2 = person["box_xyxy"]
        distance = float(np.hypot((x1 + x2) / 2 - place[0], (y1 + y2) / 2 - place[1]))
        if person["id"] is not None and distance <= reach_px:
            found.append((distance, int(person["id"])))
    return [number for _, number in sorted(found)]


def count_clip(labels: dict[str, Any], poses: list[dict[str, Any]]) -> dict[str, IdCount]:
    """`count_ids` of everybody in a clip, by name."""
    reach = float(labels["reach_px"])
    return {name: count_ids(waypoints, reach, poses) for name, waypoints in labels["people"].items()}


def table(clips: dict[str, dict[str, IdCount]]) -> str:
    """A Markdown table, a row a person and one a clip."""
    lines = ["| clip | person | frames | with a box | id changes | ids |", "|---|---|---|---|---|---|"]
    for clip, people in clips.items():
        for name, count in people.items():
            ids = ", ".join(map(str, count.ids[:12])) + (", ..." if len(count.ids) > 12 else "")
            lines.append(f"| {clip} | {name} | {count.frames} | {count.boxed} | {count.changes} | {ids} |")
        counts = people.values()
        frames, boxed, changes = (sum(getattr(count, part) for count in counts) for part in _SUMS)
        lines.append(f"| {clip} | all | {frames} | {boxed} | {changes} | |")
    return "\n".join(lines)


_SUMS = ("frames", "boxed", "changes")


@reports_errors("train.id_check")
def main(argv: list[str] | None = None) -> int:
    """Print the table; exit code 2 and one line where the input cannot be used."""
    return check_clips(
        argv,
        command="train.id_check",
        description="Count how often ids change.",
        labels="tests/data/clip_ids.json",
        score=count_clip,
        table=table,
        counts=lambda people: {name: {**asdict(count), "changes": count.changes} for name, count in people.items()},
    )


if __name__ == "__main__":
    raise SystemExit(run_command(main))
