"""`python -m train.clip_check`: the program's own poses files against frames that were labelled by eye.

The data set labels only people with keypoints, so a detector's precision cannot be measured on it. A few dozen frames
of video in which everybody is labelled allow that, and show exchanged left and right sides.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from engine.artifacts.documents import reason
from engine.artifacts.write_guard import check_targets
from engine.errors import SourceError
from engine.skeleton import COCO17
from engine.system.entry import run_command
from engine.system.json_file import read_json, read_json_lines
from engine.system.one_line_parser import OneLineParser
from engine.types import Float32Array
from models.checkpoints import write_atomically
from train.command import reports_errors
from train.detector_recall import match

Score = TypeVar("Score")

DRAWN = 0.2
"""Score from which the program draws a keypoint, see `engine.overlay.drawing.OverlayOptions`."""
_SIDES = (("left_shoulder", "right_shoulder"), ("left_hip", "right_hip"))


@dataclass(kw_only=True)
class ClipScore:
    """Counts over the labelled frames of one clip, and over its empty spans.

    Attributes:
        counts: by name. "frames": labelled ones. "people", "found": labelled people, and those that a box overlaps by
            half. "posed": of those found, people on whom a skeleton is drawn, with a limb between two keypoints over
            `DRAWN`. "boxes", "skeletons": boxes in the labelled frames, and those of them with a skeleton. "sided",
            "swapped": people found whose facing is plain and whose shoulders or hips are drawn, and those of them with
            left and right exchanged. "empty", "empty_with_box", "empty_with_skeleton": frames of the empty spans.
    """

    counts: Counter[str] = field(default_factory=Counter)


def has_skeleton(keypoints: Float32Array) -> bool:
    """Whether a limb of one person's keypoints (K, 3) would be drawn."""
    drawn = keypoints[:, 2] >= DRAWN
    return any(bool(drawn[a] and drawn[b]) for a, b in COCO17.edges)


def is_swapped(keypoints: Float32Array, faces: str) -> bool | None:
    """Whether left and right are exchanged; None where that cannot be said.

    Args:
        keypoints: (17, 3) x, y in frame px and score.
        faces: "camera" (the left shoulder is to the right in the picture), "away", or "side".
    """
    if faces == "side":
        return None
    width = 0.0
    for left_name, right_name in _SIDES:
        left, right = (keypoints[COCO17.keypoint_names.index(name)] for name in (left_name, right_name))
        if min(left[2], right[2]) >= DRAWN:
            width += float(left[0] - right[0])
    if width == 0:
        return None
    return width < 0 if faces == "camera" else width > 0


def score_clip(labels: dict[str, Any], poses: list[dict[str, Any]]) -> ClipScore:
    """Counts of one clip.

    Args:
        labels: "frames" (by number: box_xyxy and faces of everybody in it) and "empty" (spans of frame numbers).
        poses: the lines of a poses file; line i is frame i.
    """
    score = ClipScore()
    counts = score.counts
    for number, truth in labels["frames"].items():
        people = poses[int(number)]["people"] if int(number) < len(poses) else []
        counts["frames"] += 1
        _score_frame(counts, truth, people)
    for first, last in labels.get("empty", []):
        for line in poses[first : last + 1]:
            counts["empty"] += 1
            counts["empty_with_box"] += bool(line["people"])
            counts["empty_with_skeleton"] += any(has_skeleton(_keypoints(person)) for person in line["people"])
    return score


def _keypoints(person: dict[str, Any]) -> Float32Array:
    return np.array(person["keypoints"], np.float32).reshape(-1, 3)


def _score_frame(counts: Counter[str], truth: list[dict[str, Any]], people: list[dict[str, Any]]) -> None:
    true_boxes = np.array([person["box_xyxy"] for person in truth], np.float32).reshape(-1, 4)
    counts["people"] += len(truth)
    counts["boxes"] += len(people)
    ordered = sorted(people, key=lambda person: -float(person["score"]))
    taken = np.zeros(len(truth), bool)
    for person in ordered:
        keypoints = _keypoints(person)
        skeleton = has_skeleton(keypoints)
        counts["skeletons"] += skeleton
        free = np.flatnonzero(~taken)
        hit = match(true_boxes[free], np.array([person["box_xyxy"]], np.float32))
        if not hit.any():
            continue
        label = int(free[hit.argmax()])
        taken[label] = True
        counts["found"] += 1
        counts["posed"] += skeleton
        swapped = is_swapped(keypoints, truth[label]["faces"])
        counts["sided"] += swapped is not None
        counts["swapped"] += bool(swapped)


def read_poses(path: Path) -> list[dict[str, Any]]:
    """The lines of a poses file.

    Raises:
        SourceError: it is missing or not such a file.
    """
    try:
        lines = read_json_lines(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be read; make it with: main.py --video CLIP --poses {path}") from error
    except ValueError as error:
        raise SourceError(f"{path} is not a poses file of JSON lines: {error}") from error
    if not all(isinstance(line, dict) and "people" in line for line in lines):
        raise SourceError(f"{path} is not a poses file: a line has no people")
    return lines


_COLUMNS = (
    ("frames", "frames", None),
    ("people", "people", None),
    ("found", "found", "people"),
    ("posed", "posed", "people"),
    ("boxes right", "found", "boxes"),
    ("skeletons right", "posed", "skeletons"),
    ("sides swapped", "swapped", "sided"),
    ("skeleton in empty", "empty_with_skeleton", "empty"),
    ("box in empty", "empty_with_box", "empty"),
)


def table(scores: dict[str, ClipScore]) -> str:
    """A Markdown table, one row a clip and one for all."""
    total = ClipScore()
    for score in scores.values():
        total.counts.update(score.counts)
    lines = [
        "| clip | " + " | ".join(title for title, _, _ in _COLUMNS) + " |",
        "|---|" + "---|" * len(_COLUMNS),
    ]
    for name, score in {**scores, "all": total}.items():
        cells = []
        for _, part, whole in _COLUMNS:
            if whole is None:
                cells.append(str(score.counts[part]))
            else:
                cells.append(f"{score.counts[part]} of {score.counts[whole]}" if score.counts[whole] else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def check_clips(
    argv: list[str] | None,
    *,
    command: str,
    description: str,
    labels: str,
    score: Callable[[dict[str, Any], list[dict[str, Any]]], Score],
    table: Callable[[dict[str, Score]], str],
    counts: Callable[[Score], Any],
) -> int:
    """A command that compares poses files with labelled clips: prints a table, and writes a report where one is named.

    Args:
        argv: the command line.
        command, description: for `--help`.
        labels: the file of labels that comes with the program.
        score: of one clip, from its labels and the lines of its poses file.
        table: of the scores, by clip.
        counts: of a score, for JSON.

    Raises:
        SourceError: the labels or a poses file cannot be read, or do not have their form.
    """
    parser = OneLineParser(prog=f"python -m {command}", description=description)
    parser.add_argument("--labels", type=Path, required=True, help=f"{labels}, or a file like it")
    parser.add_argument("--poses", type=Path, required=True, help="folder with CLIP.jsonl of main.py --poses")
    parser.add_argument("--report", type=Path, help="write the counts as JSON")
    parser.add_overwrite()
    arguments = parser.parse_args(argv)
    check_targets([arguments.report], inputs=[arguments.labels, arguments.poses], overwrite=arguments.overwrite)
    try:
        clips = dict(read_json(arguments.labels)["clips"])
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"{arguments.labels} is not a file of labelled clips: {reason(error)}") from error
    scores = {}
    for name, clip in clips.items():
        file = arguments.poses / f"{Path(name).stem}.jsonl"
        lines = read_poses(file)
        try:
            scores[name] = score(clip, lines)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise SourceError(
                f"the labels of '{name}' in {arguments.labels}, or the poses in {file}, do not have their form: "
                f"{reason(error)}"
            ) from error
    print(table(scores))
    if arguments.report:
        report = {name: counts(found) for name, found in scores.items()}
        write_atomically(arguments.report, (json.dumps(report, indent=1) + "\n").encode())
    return 0


@reports_errors("train.clip_check")
def main(argv: list[str] | None = None) -> int:
    """Print the table; exit code 2 and one line where the input cannot be used."""
    return check_clips(
        argv,
        command="train.clip_check",
        description="Check poses against labelled frames of video.",
        labels="tests/data/clip_people.json",
        score=score_clip,
        table=table,
        counts=lambda score: dict(score.counts),
    )


if __name__ == "__main__":
    raise SystemExit(run_command(main))
