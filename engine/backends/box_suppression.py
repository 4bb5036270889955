"""Non-maximum suppression inside a detector's graph, built from plain ONNX operations.

ONNX has NonMaxSuppression, but some runtimes refuse it, and in others its output has no fixed shape. Here all shapes
are fixed: the best candidates are compared pairwise, and the rule "a box stays unless a better box that stays overlaps
it" is applied to all of them at once, for a fixed number of rounds that is enough to converge.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.errors import ModelError

NMS_OVERLAP = 0.65
"""Intersection over union above which the box with the lower score is dropped."""

MOST_CANDIDATES = 512
"""Number of highest-scoring candidates that are compared; the shipped detector has at most 453 above 0.01."""

MOST_BOXES = 100
"""Number of output boxes; where fewer remain, the others have the score -1."""

# Each round resolves one more link of a chain (a box, suppressed by a better one, which is itself suppressed, ...). For
# chains that are longer, an even number of rounds keeps a box too many rather than too few. The longest chain among the
# candidates of 250 pictures of val had 16 links.
_ROUNDS = 24
_PREFIX = "kcam_suppression_"


def append_suppression(proto: Any) -> None:
    """Turn `candidates` (B, 4 + classes, A), a graph's only output, into `boxes` (B, MOST_BOXES, 6), in place.

    Rows are x1, y1, x2, y2, score, class id, highest score first. A candidate takes part once for each class, with its
    score for that class.

    Args:
        proto: an `onnx.ModelProto`.

    Raises:
        ModelError: the graph has other outputs, does not say of how many classes, or has an opset older than 18.
    """
    from onnx import TensorProto, helper

    if [value.name for value in proto.graph.output] != ["candidates"]:
        raise ModelError("a graph with the output 'candidates' alone was expected")
    if any(opset.domain in ("", "ai.onnx") and opset.version < 18 for opset in proto.opset_import):
        raise ModelError("the detector's graph is older than ONNX opset 18; export it again")
    rows = proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    if rows < 5:
        raise ModelError("the detector's graph does not say how many classes it has; export it again")
    _Suppression(proto.graph, rows - 4).append()
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["B", MOST_BOXES, 6]))


class _Suppression:
    """Adds the nodes one after the other; every method returns the name of the value that it adds."""

    def __init__(self, graph: Any, classes: int) -> None:
        from onnx import helper, numpy_helper

        self._graph, self._classes = graph, classes
        self._helper, self._numpy_helper = helper, numpy_helper
        self._count = 0

    def append(self) -> None:
        rows = self._add("Transpose", "candidates", perm=[0, 2, 1])  # (B, A, 4 + classes)
        # A small picture may have fewer anchors than are compared: padding with the score -1 makes up for that.
        places = self._pad(self._slice(rows, 0, 4), (0, MOST_CANDIDATES, 0), 0.0)  # (B, A + M, 4)
        scores = self._add("Reshape", self._slice(rows, 4, 4 + self._classes), self._ints([0, -1]))
        scores = self._pad(scores, (0, MOST_CANDIDATES), -1.0)  # (B, A classes + M)
        best, index = self._top(scores, MOST_CANDIDATES)  # (B, M) each
        place, class_id = index, self._add("Mul", self._cast(index), self._floats(0))
        if self._classes > 1:
            place = self._add("Div", index, self._ints(self._classes))
            class_id = self._cast(self._add("Sub", index, self._add("Mul", place, self._ints(self._classes))))
        boxes = self._corners(self._take_rows(places, place, 4))  # (B, M, 4)
        stays = self._settle(self._dominance(boxes, class_id))  # (B, M)
        best = self._add("Where", self._add("Greater", stays, self._floats(0.5)), best, self._floats(-1))
        score, order = self._top(best, MOST_BOXES)  # (B, boxes) each
        chosen = self._take_rows(boxes, order, 4)
        class_id = self._unsqueeze(self._add("GatherElements", class_id, order, axis=1), 2)
        self._add("Concat", chosen, self._unsqueeze(score, 2), class_id, axis=2, output="boxes")

    def _dominance(self, boxes: str, class_id: str) -> str:
        """(B, M, M): 1 where the box of the row has the higher score and overlaps the box of the column."""
        down, across = self._unsqueeze(boxes, 2), self._unsqueeze(boxes, 1)  # (B, M, 1, 4) and (B, 1, M, 4)
        low = self._add("Max", self._slice(down, 0, 2, axis=3), self._slice(across, 0, 2, axis=3))
        high = self._add("Min", self._slice(down, 2, 4, axis=3), self._slice(across, 2, 4, axis=3))
        shared = self._area(self._add("Sub", high, low))  # (B, M, M)
        size = self._add("Sub", self._slice(boxes, 2, 4), self._slice(boxes, 0, 2))
        area = self._area(size, axis=2)  # (B, M)
        both = self._add("Add", self._unsqueeze(area, 2), self._unsqueeze(area, 1))
        union = self._add("Sub", both, shared)
        overlaps = self._add("Greater", shared, self._add("Mul", union, self._floats(NMS_OVERLAP)))
        if self._classes > 1:
            same = self._add("Equal", self._unsqueeze(class_id, 2), self._unsqueeze(class_id, 1))
            overlaps = self._add("And", overlaps, same)
        better = np.triu(np.ones((MOST_CANDIDATES, MOST_CANDIDATES), np.float32), k=1)
        return self._add("Mul", self._cast(overlaps), self._constant(better))

    def _settle(self, dominance: str) -> str:
        """(B, M): 1 for the boxes that remain."""
        stays = ""
        for _ in range(_ROUNDS):
            suppressions = self._add("Mul", dominance, self._unsqueeze(stays, 2)) if stays else dominance
            suppressed = self._add("ReduceMax", suppressions, self._ints([1]), keepdims=0)
            stays = self._add("Sub", self._floats(1), suppressed)
        return stays

    def _corners(self, centers_sizes: str) -> str:
        center, size = self._slice(centers_sizes, 0, 2), self._slice(centers_sizes, 2, 4)
        half = self._add("Mul", size, self._floats(0.5))
        return self._add("Concat", self._add("Sub", center, half), self._add("Add", center, half), axis=2)

    def _area(self, size: str, axis: int = 3) -> str:
        positive = self._add("Max", size, self._floats(0))
        sides = [self._slice(positive, side, side + 1, axis=axis) for side in (0, 1)]
        return self._add("Squeeze", self._add("Mul", *sides), self._ints([axis]))

    def _take_rows(self, values: str, rows: str, width: int) -> str:
        """Rows (B, M, width) of values (B, any, width)."""
        repeated = self._add("Concat", *[self._unsqueeze(rows, 2)] * width, axis=2)
        return self._add("GatherElements", values, repeated, axis=1)

    def _top(self, values: str, count: int) -> tuple[str, str]:
        index = self._name()
        top = self._add("TopK", values, self._ints([count]), axis=1, also=index)
        return top, index

    def _slice(self, value: str, start: int, end: int, axis: int = 2) -> str:
        return self._add("Slice", value, self._ints([start]), self._ints([end]), self._ints([axis]))

    def _pad(self, value: str, after: tuple[int, ...], filling: float) -> str:
        return self._add("Pad", value, self._ints([*(0 for _ in after), *after]), self._floats(filling))

    def _unsqueeze(self, value: str, axis: int) -> str:
        return self._add("Unsqueeze", value, self._ints([axis]))

    def _cast(self, value: str) -> str:
        return self._add("Cast", value, to=1)  # float32

    def _ints(self, values: int | list[int]) -> str:
        return self._constant(np.array(values, np.int64))

    def _floats(self, value: float) -> str:
        return self._constant(np.array(value, np.float32))

    def _constant(self, array: np.ndarray) -> str:
        name = self._name()
        self._graph.initializer.append(self._numpy_helper.from_array(array, name))
        return name

    def _add(self, kind: str, *inputs: str, output: str = "", also: str = "", **attributes: Any) -> str:
        name = output or self._name()
        outputs = [name, also] if also else [name]
        self._graph.node.append(
            self._helper.make_node(
                kind, list(inputs), outputs, name=f"{_PREFIX}{kind}_{len(self._graph.node)}", **attributes
            )
        )
        return name

    def _name(self) -> str:
        self._count += 1
        return f"{_PREFIX}{self._count}"
