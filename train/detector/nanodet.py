"""NanoDet, whose published files may teach: it has a cell for each of a YOLO's of the same input size.

NanoDet: https://github.com/RangiLyu/nanodet (Apache-2.0).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from engine.backends.box_suppression import NMS_OVERLAP
from engine.detection.detector import MOST_BOXES, drop_overlapping
from engine.errors import ModelError
from engine.system.regular_file import read_regular
from engine.types import Detections, Float32Array, UInt8Array

MEAN = np.array([103.53, 116.28, 123.675], np.float32)
STD = np.array([57.375, 57.12, 58.395], np.float32)


class NanoDet:
    """A NanoDet as exported to ONNX, of 80 classes of which the first is a person.

    Args:
        file: one input (1, 3, S, S) float32, BGR less its mean, over its deviation; for each stride scores (1, n, 80)
            behind the sigmoid and distances (1, n, 4 x bins), in any order.
        score_threshold: boxes below are dropped.

    Raises:
        ModelError: the file cannot be read, or is no NanoDet.
    """

    def __init__(self, file: Path, score_threshold: float) -> None:
        import onnx

        content = read_regular(file)
        try:
            graph = onnx.load_model_from_string(content).graph
            self._network = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
        except Exception as error:  # protobuf and OpenCV raise many kinds for damaged bytes
            raise ModelError(f"{file} is not an ONNX file that can be run") from error
        stored = {tensor.name for tensor in graph.initializer}
        inputs = [_shape(value) for value in graph.input if value.name not in stored]
        self._threshold = score_threshold
        self._levels: dict[int, dict[str, int]] = {}
        """By the number of cells of a stride, the places of its scores and distances among the outputs."""
        for place, shape in enumerate(_shape(value) for value in graph.output):
            if len(shape) == 3:
                self._levels.setdefault(shape[1], {})["scores" if shape[2] == 80 else "distances"] = place
        of_strides = 2 * len(self._levels) == len(graph.output) and all(len(one) == 2 for one in self._levels.values())
        if len(inputs) != 1 or inputs[0][:2] != (1, 3) or not of_strides:
            raise ModelError(f"{file} is no NanoDet: expected one picture, and scores and distances for each stride")
        self.side = inputs[0][3]
        self._names = [value.name for value in graph.output]

    def detect(self, image_bgr: UInt8Array) -> Detections:
        """Boxes of people in px of the picture (H, W, 3), highest score first."""
        height, width = image_bgr.shape[:2]
        factor = self.side / max(height, width)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        board = np.zeros((self.side, self.side, 3), np.uint8)
        board[: size[1], : size[0]] = cv2.resize(image_bgr, size, interpolation=method)
        scores, boxes = self.cells(board)
        order = np.argsort(-scores, kind="stable")
        order = order[: np.count_nonzero(scores >= self._threshold)]
        boxes, scores = boxes[order], scores[order]
        kept = drop_overlapping(boxes, scores, np.zeros(len(scores), int), NMS_OVERLAP)[:MOST_BOXES]
        in_picture = boxes[kept] * np.array([width / size[0], height / size[1]] * 2, np.float32)
        clipped = np.clip(in_picture, 0, [width, height, width, height]).astype(np.float32)
        return Detections(boxes_xyxy=clipped, scores=scores[kept], class_ids=np.zeros(len(kept), np.int64))

    def cells(self, square_bgr: UInt8Array) -> tuple[Float32Array, Float32Array]:
        """Score (A,) of a person and box (A, 4) in px, at every cell; the finest stride first, and row by row.

        Args:
            square_bgr: (S, S, 3) uint8.
        """
        boxes, scores = [], []
        self._network.setInput(((square_bgr - MEAN) / STD).transpose(2, 0, 1)[None])
        threads = cv2.getNumThreads()
        cv2.setNumThreads(torch.get_num_threads())  # ultralytics leaves OpenCV a single one
        try:
            outputs = self._network.forward(self._names)
        finally:
            cv2.setNumThreads(threads)
        for cells, places in sorted(self._levels.items(), reverse=True):
            side = round(cells**0.5)
            stride = self.side / side
            distance = outputs[places["distances"]][0]
            bins = distance.reshape(cells, 4, distance.shape[1] // 4)
            shares = np.exp(bins - bins.max(axis=2, keepdims=True))
            shares /= shares.sum(axis=2, keepdims=True)
            sides = (shares * np.arange(bins.shape[2])).sum(axis=2) * stride
            rows, columns = np.divmod(np.arange(cells), side)
            centres = (np.stack([columns, rows], axis=1) + 0.5) * stride
            boxes.append(np.concatenate([centres - sides[:, :2], centres + sides[:, 2:]], axis=1))
            scores.append(outputs[places["scores"]][0, :, 0])
        return np.concatenate(scores).astype(np.float32), np.concatenate(boxes).astype(np.float32)


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
