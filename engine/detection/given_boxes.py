"""Boxes without a detector: the whole picture, or those of a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import SourceError
from engine.system.json_file import read_json, read_json_lines
from engine.types import Detections, UInt8Array

NO_DETECTOR = "none"
"""The name of a detector that takes the whole picture as the box of one person."""
_FARTHEST_PX = 1e6


class WholePicture:
    """One box around the whole picture."""

    def detect(self, image_bgr: UInt8Array) -> Detections:
        """The box of a picture (H, W, 3), through the centres of its outer pixels."""
        height, width = image_bgr.shape[:2]
        return _detections([[0, 0, max(width - 1, 1), max(height - 1, 1)]], [1.0])  # a picture may be one px wide

    def close(self) -> None:
        """Nothing to free."""


class BoxesOfFile(WholePicture):
    """The boxes that a file gives for each frame; none for a frame that it does not name."""

    def __init__(self, by_frame: Mapping[int, Detections]) -> None:
        self._by_frame = by_frame

    def of_frame(self, index: int) -> Detections:
        """The boxes of a frame by its number, from 0."""
        return self._by_frame.get(index, Detections.empty())


def read_boxes(file: Path) -> BoxesOfFile:
    """Boxes by frame, px: `.jsonl` as `--poses` writes it, or a JSON list of image_id, bbox (x, y, w, h) and score.

    Frames (`frame`, `image_id`) count from 0. `score` is 1 where it is missing.

    Raises:
        SourceError: the file cannot be read, or is neither.
    """
    try:
        is_lines = file.suffix.lower() == ".jsonl"
        rows = _rows_of_lines(read_json_lines(file)) if is_lines else _rows_of_list(read_json(file))
        boxes: dict[int, list[list[float]]] = {}
        scores: dict[int, list[float]] = {}
        for frame, box, score in rows:
            boxes.setdefault(frame, []).append(box)
            scores.setdefault(frame, []).append(score)
        return BoxesOfFile({frame: _detections(boxes[frame], scores[frame]) for frame in boxes})
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}") from error
    except KeyError as error:
        raise SourceError(f"{file} is not a file of boxes: an entry has no {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise SourceError(f"{file} is not a file of boxes: {error}") from error


def _rows_of_lines(entries: Iterable[Any]) -> Iterator[tuple[int, list[float], float]]:
    for entry in entries:
        for person in entry["people"]:
            yield int(entry["frame"]), [float(value) for value in person["box_xyxy"]], float(person.get("score", 1))


def _rows_of_list(entries: Iterable[Any]) -> Iterator[tuple[int, list[float], float]]:
    if not isinstance(entries, list):
        raise ValueError("a list of boxes was expected")
    for entry in entries:
        x, y, width, height = (float(value) for value in entry["bbox"])
        yield int(entry["image_id"]), [x, y, x + width, y + height], float(entry.get("score", 1))


def _detections(boxes_xyxy: list[list[float]], scores: list[float]) -> Detections:
    boxes = np.array(boxes_xyxy).reshape(-1, 4)
    if not (np.abs(boxes) < _FARTHEST_PX).all() or not (boxes[:, 2:] > boxes[:, :2]).all():
        raise ValueError(f"a box has no area, or lies beyond {_FARTHEST_PX:.0f} px")
    return Detections(
        boxes_xyxy=boxes.astype(np.float32),
        scores=np.clip(np.array(scores, np.float32), 0, 1),
        class_ids=np.zeros(len(boxes), np.int64),
    )
