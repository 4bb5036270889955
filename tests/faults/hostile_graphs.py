"""Small ONNX files and specs that the tests of hostile graphs and engines modify."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.artifacts.model_spec import ModelSpec, TensorSpec, sha256_of


def a_detector(file: Path, *, rows: int = 3, columns: int = 6) -> Path:
    """A graph that takes pictures and gives the same boxes for each, with the metadata of an ultralytics export."""
    boxes = numpy_helper.from_array(np.zeros((1, rows, columns), np.float32), "weights")
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["unused"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMin", ["unused"], ["lowest"], keepdims=0),
            helper.make_node("Add", ["weights", "lowest"], ["boxes"]),
        ],
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["B", "H", "W", 3])],
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, rows, columns])],
        [boxes],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(proto, str(file))
    return file


def spec_of(file: Path, **changed: Any) -> ModelSpec:
    values: dict[str, Any] = {
        "kind": "detector",
        "name": "some_detector",
        "precision": "fp32",
        "input_size_wh": (64, 64),
        "inputs": (TensorSpec(name="images", shape=("B", "H", "W", 3), dtype="uint8"),),
        "outputs": (TensorSpec(name="boxes", shape=("B", "M", 6), dtype="float32"),),
        "skeleton": None,
        "class_names": ("person",),
        "file_sha256": sha256_of(file),
        "weights_sha256": "0" * 64,
        "graph_version": 1,
        "made_with": {},
    }
    return ModelSpec(**{**values, **changed})


def make_external(tensor: Any, location: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in (("offset", "0"), ("location", location), ("length", "72")):
        tensor.external_data.add(key=key, value=value)
