"""Boxes without a detector: the whole picture, or those of a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import SourceError
from engine.types import Detections, UInt8Array

NO_DETECTOR = "none"
"""The name of a detector that takes the whole picture as the box of one person."""


class WholePicture:
    """One box around the whole picture."""

    def detect(self, image_bgr: UInt8Array) -> Detections:
        """The box of a picture (H, W, 3), through the centres of its outer pixels."""
        height, width = image_bgr.shape[:2]
        return _detections([[0, 0, width - 1, height - 1]], [1.0])

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
        text = file.read_text(encoding="utf-8")
        rows = _rows_of_lines(text) if file.suffix.lower() == ".jsonl" else _rows_of_list(json.loads(text))
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
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise SourceError(f"{file} is not a file of boxes: {error}") from error


def _rows_of_lines(text: str) -> Iterator[tuple[int, list[float], float]]:
    for line in filter(str.strip, text.splitlines()):
        entry = json.loads(line)
        for person in entry["people"]:
            yield int(entry["frame"]), [float(value) for value in person["box_xyxy"]], float(person.get("score", 1))


def _rows_of_list(entries: Iterable[Any]) -> Iterator[tuple[int, list[float], float]]:
    if not isinstance(entries, list):
        raise ValueError("a list of boxes was expected")
    for entry in entries:
        x, y, width, height = (float(value) for value in entry["bbox"])
        yield int(entry["image_id"]), [x, y, x + width, y + height], float(entry.get("score", 1))


def _detections(boxes_xyxy: list[list[float]], scores: list[float]) -> Detections:
    boxes = np.array(boxes_xyxy, np.float32).reshape(-1, 4)
    if not np.isfinite(boxes).all() or not (boxes[:, 2:] > boxes[:, :2]).all():
        raise ValueError("a box has no area, or is not finite")
    return Detections(
        boxes_xyxy=boxes, scores=np.clip(np.array(scores, np.float32), 0, 1), class_ids=np.zeros(len(boxes), np.int64)
    )
