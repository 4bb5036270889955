"""Conversion of plain ONNX exports of the ultralytics package to the inputs and outputs of our own graphs.

A plain export takes float RGB (B, 3, H, W) between 0 and 1 and describes itself in its metadata. A few prepended nodes
make it take uint8 BGR (B, H, W, 3), so that the rest of the program handles one kind of detector only.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from engine.artifacts.model_spec import refuse_external_data
from engine.errors import ModelError

_PREFIX = "kcam_adopted_"

DEFAULT_INPUT_SIZE = 640


def adopt_graph(source: Path, input_size: int | None) -> tuple[Any, tuple[str, ...], tuple[int, int], str]:
    """The rewritten graph (`onnx.ModelProto`), class names, input size (w, h) in px, and the name of its output.

    Args:
        input_size: long side in px for a file whose height and width are open; None takes the one in its metadata.

    Raises:
        ModelError: not an ONNX file, or not a detector that ultralytics exported.
    """
    import onnx
    import onnx.compose

    refuse_external_data(source)
    try:
        proto = onnx.load(str(source), load_external_data=False)
        onnx.checker.check_model(proto)
    except Exception as error:  # protobuf and onnx raise many types for damaged bytes
        raise ModelError(f"{source} is not an ONNX file, or it is damaged") from error
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    task = metadata.get("task")
    if task is None or "names" not in metadata:
        raise ModelError(
            f"{source} does not state its classes: it has no spec beside it and no metadata of an ultralytics export"
        )
    if task != "detect":
        raise ModelError(f"{source} is made for the task '{task}'; a detector was expected")
    names = names_in_order(metadata["names"], source)
    height, width = _open_or_fixed_size(proto, source)
    if height is None or width is None:
        side = input_size or _metadata_size(metadata.get("imgsz"), DEFAULT_INPUT_SIZE)
        size_wh = (side, side)
    else:
        if input_size is not None and input_size != max(height, width):
            raise ModelError(f"{source} is fixed at {width}x{height} px; it cannot be run at {input_size}")
        size_wh = (width, height)
    # The file's own names must not collide with ours: "boxes" is a likely name for an inner value.
    proto = onnx.compose.add_prefix(proto, _PREFIX + "given_")
    output_name = _rename_output(proto, source, len(names))
    _prepend_conversion(proto)
    return proto, names, size_wh, output_name


def _open_or_fixed_size(proto: Any, source: Path) -> tuple[int | None, int | None]:
    """Height and width of the input, None where they are open."""
    from onnx import TensorProto

    inputs = [value for value in proto.graph.input if value.name not in {t.name for t in proto.graph.initializer}]
    if len(inputs) != 1:
        raise ModelError(f"{source} has {len(inputs)} inputs; a detector with one was expected")
    tensor = inputs[0].type.tensor_type
    dimensions = [dimension.dim_value for dimension in tensor.shape.dim]
    known_type = tensor.elem_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
    if len(dimensions) != 4 or dimensions[1] not in (0, 3) or not known_type:
        raise ModelError(f"{source} takes {dimensions}; a float picture (1, 3, height, width) was expected")
    if dimensions[0] > 1:
        raise ModelError(f"{source} is fixed at batches of {dimensions[0]} pictures; export it with batch 1")
    return dimensions[2] or None, dimensions[3] or None


def _metadata_size(text: str | None, default: int) -> int:
    """Long side from metadata such as "[640, 640]"."""
    try:
        values = ast.literal_eval(text or "")
        side = max(values) if isinstance(values, (list, tuple)) else int(values)
    except (ValueError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError):
        return default
    return side if isinstance(side, int) and 32 <= side <= 4096 else default


def _rename_output(proto: Any, source: Path, classes: int) -> str:
    """Rename the only output to our name for it, as float32; returns that name."""
    from onnx import TensorProto, helper

    graph = proto.graph
    if len(graph.output) != 1:
        raise ModelError(f"{source} has {len(graph.output)} outputs; a detector with one was expected")
    output = graph.output[0]
    shape = [dimension.dim_value for dimension in output.type.tensor_type.shape.dim]
    if len(shape) == 3 and shape[2] == 6 and shape[1] != 4 + classes:
        name = "boxes"
        dimensions: list[str | int | None] = ["B", "M", 6]
    elif len(shape) == 3 and shape[1] in (0, 4 + classes):
        name, dimensions = "candidates", ["B", 4 + classes, "A"]
    else:
        raise ModelError(
            f"{source} gives {shape}; boxes (1, 300, 6) or candidates (1, {4 + classes}, any) were expected"
        )
    inner = _PREFIX + "inner_output"
    _rename_value(graph, output.name, inner)
    graph.node.append(helper.make_node("Cast", [inner], [name], name=_PREFIX + "output", to=TensorProto.FLOAT))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dimensions))
    return name


def _rename_value(graph: Any, old: str, new: str) -> None:
    """Give a value another name in all nodes, so that its old one is free."""
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
    # The recorded shapes of inner values are optional, and some would now have the wrong name.
    del graph.value_info[:]


def _prepend_conversion(proto: Any) -> None:
    """Prepend the conversion of uint8 BGR (B, H, W, 3) to the graph's own input."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    graph = proto.graph
    initializers = {tensor.name for tensor in graph.initializer}
    wanted = next(value for value in graph.input if value.name not in initializers)
    elem_type = wanted.type.tensor_type.elem_type
    batch, _, height, width = (d.dim_value or None for d in wanted.type.tensor_type.shape.dim)
    p = _PREFIX
    inner = p + "inner_images"
    _rename_value(graph, wanted.name, inner)
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([2, 1, 0], np.int64), p + "rgb_order"),
            numpy_helper.from_array(np.array(1 / 255, np.float32), p + "scale"),
        ]
    )
    nodes = [
        helper.make_node("Cast", ["images"], [p + "float"], name=p + "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", [p + "float"], [p + "planes"], name=p + "transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Gather", [p + "planes", p + "rgb_order"], [p + "rgb"], name=p + "gather", axis=1),
        helper.make_node("Mul", [p + "rgb", p + "scale"], [p + "unit"], name=p + "mul"),
        helper.make_node("Cast", [p + "unit"], [inner], name=p + "typed", to=elem_type),
    ]
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
    shape: list[int | str | None] = [batch or "B", height or "H", width or "W", 3]
    graph.input.remove(wanted)
    graph.input.append(helper.make_tensor_value_info("images", TensorProto.UINT8, shape))


def names_in_order(names: Any, source: Path) -> tuple[str, ...]:
    """Class names by id, from a dict, a list or the text of a dict as ultralytics writes it.

    Raises:
        ModelError: the ids are not 0, 1, 2, ...
    """
    try:
        if isinstance(names, str):
            names = ast.literal_eval(names)
        if isinstance(names, dict):
            names = [names[index] for index in range(len(names))]
        ordered = tuple(str(name) for name in names)
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError) as error:
        raise ModelError(f"{source}: its class names cannot be read") from error
    if not ordered:
        raise ModelError(f"{source} names no classes")
    return ordered
