"""Writes poses as JSON lines, CSV, or COCO results, by the suffix of the file name.

- `.jsonl`: one line per frame, `{"frame": 0, "time_s": 0.0, "people": [{"id": null, "box_xyxy": [..4], "score": 0.9,
  "keypoints": [[x, y, score] x K]}]}`.
- `.csv`: one row per person with the same values; a frame without people has a row with `frame` and `time_s` only, so
  that the frames can be counted.
- `.json`: the list of COCO keypoint results. `image_id` is the photo's file name where that is a number (as in
  COCO), else the frame number; where another photo has that number already, the next free one.

A person has `followed`, `angles` and `repetitions` where they were asked for (`Poses.to_dicts`); in a CSV these are
columns, before the name of the photo, `followed` as 1 or 0 and each angle as `NAME_deg`.

Of photos, `file_name` is given with each frame, row and result (the last column of a CSV).

Coordinates are frame px, rounded to a hundredth; scores to four digits; times to a microsecond.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from engine.artifacts.part_file import PartFile
from engine.errors import OptionError, nearest_hint, one_line
from engine.output.part_writer import PartWriter
from engine.skeleton import Skeleton
from engine.types import Poses, frame_record

POSES_SUFFIXES = (".jsonl", ".csv", ".json")
_COCO_PERSON = 1
_MOST_DIGITS = 15  # whole numbers that every reader of JSON keeps exactly


def check_poses_path(path: Path) -> None:
    """Refuse a file name with an unknown suffix.

    Raises:
        OptionError: the suffix is unknown; the message names the known ones.
    """
    if path.suffix.lower() not in POSES_SUFFIXES:
        found = path.suffix or "no suffix"
        hint = nearest_hint(found, POSES_SUFFIXES)
        raise OptionError(f"no format for the poses file {path}: its name ends with {found}.{hint}")


def _csv_line(cells: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


Extra = Literal["followed", "angles", "repetitions"]
"""What a person's record has only where it was asked for, see `Poses.to_dicts`."""


def csv_columns(skeleton: Skeleton, extras: Collection[Extra] = ()) -> list[str]:
    """Column names of the CSV format."""
    points = [f"{name}_{part}" for name in skeleton.keypoint_names for part in ("x", "y", "score")]
    box = [f"box_{corner}" for corner in ("x1", "y1", "x2", "y2")]
    return ["frame", "time_s", "id", *box, "score", *points, *_extra_columns(skeleton, extras)]


def _extra_columns(skeleton: Skeleton, extras: Collection[Extra]) -> list[str]:
    angles = [f"{angle.name}_deg" for angle in skeleton.named_angles] if "angles" in extras else []
    return [
        *(["followed"] if "followed" in extras else []),
        *angles,
        *(["repetitions"] if "repetitions" in extras else []),
    ]


def _extra_cells(person: Mapping[str, Any], extras: Collection[Extra]) -> list[Any]:
    """A person's cells in the columns of `_extra_columns`; empty for an angle that is not known."""
    cells: list[Any] = [int(person.get("followed", False))] if "followed" in extras else []
    if "angles" in extras:
        cells += ["" if angle is None else angle for angle in person["angles"].values()]
    return cells + ([person["repetitions"]] if "repetitions" in extras else [])


class PosesWriter(PartWriter):
    """Writes one poses file; `write` flushes each frame to the operating system."""

    def __init__(
        self, part: PartFile, skeleton: Skeleton, *, photos: bool = False, extras: Collection[Extra] = ()
    ) -> None:
        """Open the file.

        Args:
            photos: whether the frames are photos, whose names are written.
            extras: what the poses carry beside keypoints, for the columns of a CSV.

        Raises:
            OptionError: unknown suffix.
            OutputError: the file cannot be written.
        """
        check_poses_path(part.final)
        super().__init__(part)
        self._form = part.final.suffix.lower()
        self._extras = frozenset(extras)
        self._columns = csv_columns(skeleton, self._extras) + ["file_name"] * photos
        self._photos = photos
        self._image_ids: set[int] = set()
        self._results = 0
        self._whole_bytes = 0
        try:
            # No newline translation: the file is the same on every system.
            self._file = part.path.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise self._unwritable(error) from error
        self._put("[" if self._form == ".json" else _csv_line(self._columns) if self._form == ".csv" else "")

    def write(
        self, frame: int, time_s: float, poses: Poses, photo: Path | None = None, name: str | None = None
    ) -> None:
        """Add the people of a frame.

        Args:
            frame: number of the frame in its source, from 0.
            time_s: its time from the start, in seconds.
            poses: its people, frame px.
            photo: path of the photo, for a source of photos.
            name: of the photo in the file; its file name unless given.

        Raises:
            OutputError: the file cannot be written.
        """
        file_name = one_line(name or ("" if photo is None else photo.name)) if self._photos else None
        record = frame_record(frame, time_s, poses, file_name)
        if self._form == ".jsonl":
            self._put(json.dumps(record, allow_nan=False) + "\n")
        elif self._form == ".csv":
            self._put("".join(self._csv_rows(record)))
        else:
            self._put("".join(self._coco_results(self._image_id(frame, photo), record)))
        self.frames += 1
        self._part.sync_soon()

    def _image_id(self, frame: int, photo: Path | None) -> int:
        """The id of a picture, which no other picture of the file has."""
        if photo is None:
            return frame
        stem = photo.stem
        image_id = int(stem) if stem.isascii() and stem.isdecimal() and len(stem) <= _MOST_DIGITS else frame
        while image_id in self._image_ids:
            image_id += 1
        self._image_ids.add(image_id)
        return image_id

    def _csv_rows(self, record: dict[str, Any]) -> Iterable[str]:
        frame, time_s, people = record["frame"], record["time_s"], record["people"]
        name = [record["file_name"]] if self._photos else []
        if not people:
            yield _csv_line([frame, time_s] + [""] * (len(self._columns) - 2 - len(name)) + name)
        for person in people:
            points = [value for point in person["keypoints"] for value in point]
            number = "" if person["id"] is None else person["id"]
            extras = _extra_cells(person, self._extras)
            yield _csv_line([frame, time_s, number, *person["box_xyxy"], person["score"], *points, *extras, *name])

    def _coco_results(self, image_id: int, record: dict[str, Any]) -> Iterable[str]:
        name = {"file_name": record["file_name"]} if self._photos else {}
        for person in record["people"]:
            x1, y1, x2, y2 = person["box_xyxy"]
            result = {
                "image_id": image_id,
                **name,
                "category_id": _COCO_PERSON,
                "keypoints": [value for point in person["keypoints"] for value in point],
                "score": person["score"],
                "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
                **{name: person[name] for name in ("followed", "angles", "repetitions") if name in person},
            }
            yield (",\n" if self._results else "\n") + json.dumps(result, allow_nan=False)
            self._results += 1

    def _put(self, text: str) -> None:
        try:
            self._file.write(text)
            self._file.flush()
            self._whole_bytes += len(text.encode())
        except OSError as error:
            raise self._unwritable(error) from error

    def finish(self) -> None:
        """Close the file."""
        if self._file.closed:
            return
        try:
            if self._form == ".json":
                self._put("\n]\n")
        finally:
            try:
                self._file.close()
            except OSError as error:
                raise self._unwritable(error) from error

    def _keep_whole_frames(self) -> int:
        with contextlib.suppress(OSError):
            os.truncate(self._part.path, self._whole_bytes)
        return self.frames
