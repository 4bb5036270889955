"""Writes poses as JSON lines, CSV, or COCO results, by the suffix of the file name.

- `.jsonl`: one line per frame, `{"frame": 0, "time_s": 0.0, "people": [{"id": null, "box_xyxy": [..4], "score": 0.9,
  "keypoints": [[x, y, score] x K]}]}`.
- `.csv`: one row per person with the same values; a frame without people has a row with `frame` and `time_s` only, so
  that the frames can be counted.
- `.json`: the list of COCO keypoint results. `image_id` is the photo's file name where that is a number (as in
  COCO), else the frame number.

Coordinates are frame px, rounded to a hundredth; scores to four digits; times to a microsecond.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from engine.artifacts.part_file import PartFile
from engine.errors import OptionError, OutputError, nearest_hint
from engine.skeleton import Skeleton
from engine.types import Poses

POSES_SUFFIXES = (".jsonl", ".csv", ".json")
_COCO_PERSON = 1


def check_poses_path(path: Path) -> None:
    """Refuse a file name with an unknown suffix.

    Raises:
        OptionError: the suffix is unknown; the message names the known ones.
    """
    if path.suffix.lower() not in POSES_SUFFIXES:
        found = path.suffix or "no suffix"
        hint = nearest_hint(found, POSES_SUFFIXES)
        raise OptionError(f"no format for the poses file {path}: its name ends with {found}.{hint}")


@dataclass(frozen=True, kw_only=True)
class _Person:
    id: int | None
    box_xyxy: list[float]
    score: float
    keypoints: list[list[float]]


def _rounded(values: Any, digits: int) -> Any:
    """Nested lists of finite floats; NaN and infinity become 0, because JSON has neither."""
    clean = np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return (np.round(clean, digits) + 0.0).tolist()  # + 0.0 makes -0.0 a plain zero


def _people(poses: Poses) -> list[_Person]:
    scores = np.where(np.isfinite(poses.keypoints_xy).all(axis=2), poses.scores, 0)
    places, scores = _rounded(poses.keypoints_xy, 2), _rounded(scores, 4)
    boxes, person_scores = _rounded(poses.boxes_xyxy, 2), _rounded(poses.person_scores, 4)
    return [
        _Person(
            id=None if poses.track_ids is None else int(poses.track_ids[number]),
            box_xyxy=boxes[number],
            score=person_scores[number],
            keypoints=[[*place, score] for place, score in zip(places[number], scores[number], strict=True)],
        )
        for number in range(len(poses))
    ]


def _csv_line(cells: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def csv_columns(skeleton: Skeleton) -> list[str]:
    """Column names of the CSV format."""
    points = [f"{name}_{part}" for name in skeleton.keypoint_names for part in ("x", "y", "score")]
    return ["frame", "time_s", "id", "box_x1", "box_y1", "box_x2", "box_y2", "score", *points]


class PosesWriter:
    """Writes one poses file; `write` flushes each frame to the operating system."""

    def __init__(self, part: PartFile, skeleton: Skeleton) -> None:
        """Open the file.

        Raises:
            OptionError: unknown suffix.
            OutputError: the file cannot be written.
        """
        check_poses_path(part.final)
        self._part = part
        self._form = part.final.suffix.lower()
        self._columns = csv_columns(skeleton)
        self._results = 0
        self.frames = 0
        self._whole_bytes = 0
        self._file: TextIO | None = None
        self._put("[" if self._form == ".json" else _csv_line(self._columns) if self._form == ".csv" else "")

    @property
    def path(self) -> Path:
        """Current path of the file."""
        return self._part.path

    def write(self, frame: int, time_s: float, poses: Poses, photo: Path | None = None) -> None:
        """Add the people of a frame.

        Args:
            frame: number of the frame in its source, from 0.
            time_s: its time from the start, in seconds.
            poses: its people, frame px.
            photo: path of the photo, for a source of photos.

        Raises:
            OutputError: the file cannot be written.
        """
        people = _people(poses)
        time_s = round(time_s, 6) + 0.0
        if self._form == ".jsonl":
            line = {"frame": frame, "time_s": time_s, "people": [vars(person) for person in people]}
            self._put(json.dumps(line, allow_nan=False) + "\n")
        elif self._form == ".csv":
            self._put("".join(self._csv_rows(frame, time_s, people)))
        else:
            image_id = int(photo.stem) if photo is not None and photo.stem.isdecimal() else frame
            self._put("".join(self._coco_results(image_id, people)))
        self.frames += 1
        self._part.sync_soon()

    def _csv_rows(self, frame: int, time_s: float, people: Sequence[_Person]) -> Iterable[str]:
        if not people:
            yield _csv_line([frame, time_s] + [""] * (len(self._columns) - 2))
        for person in people:
            points = [value for point in person.keypoints for value in point]
            number = "" if person.id is None else person.id
            yield _csv_line([frame, time_s, number, *person.box_xyxy, person.score, *points])

    def _coco_results(self, image_id: int, people: Sequence[_Person]) -> Iterable[str]:
        for person in people:
            x1, y1, x2, y2 = person.box_xyxy
            result = {
                "image_id": image_id,
                "category_id": _COCO_PERSON,
                "keypoints": [value for point in person.keypoints for value in point],
                "score": person.score,
                "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
            }
            yield (",\n" if self._results else "\n") + json.dumps(result, allow_nan=False)
            self._results += 1

    def _put(self, text: str) -> None:
        try:
            if self._file is None:
                # No newline translation: the file is the same on every system.
                self._file = self._part.path.open("w", encoding="utf-8", newline="")
            self._file.write(text)
            self._file.flush()
            self._whole_bytes += len(text.encode())
        except OSError as error:
            raise OutputError(f"cannot write {self._part.path}: {error.strerror or error}") from error

    def finish(self) -> None:
        """Close the file, which keeps its part name until `commit`.

        Raises:
            OutputError: the file cannot be written.
        """
        if self._file is None:
            return
        try:
            if self._form == ".json":
                self._put("\n]\n")
        finally:
            self._close()

    def _close(self) -> None:
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            file.close()
        except OSError as error:
            raise OutputError(f"cannot write {self._part.path}: {error.strerror or error}") from error

    def commit(self) -> Path:
        """Give the finished file its final name.

        Raises:
            OutputError: it cannot be renamed; it is kept under its part name.
        """
        return self._part.commit()

    def abort(self) -> Path | None:
        """End after an error; returns the part file, which is kept.

        None where no frame was written (the part file is then removed) or the file already has its final name.
        """
        # On a full or missing disk only the data already written remains.
        with contextlib.suppress(OSError, OutputError):
            self.finish()
        with contextlib.suppress(OSError):  # a partially written line
            os.truncate(self._part.path, self._whole_bytes)
        if not self._part.path.exists():
            return None
        if self.frames == 0:
            self._part.discard()
            return None
        return self._part.keep()
