"""Conversion of a float32 ONNX graph to a strongly typed one (TensorRT's term), which contains its precision.

Weights, activations and matrix products become 16 bits. The picture's normalisation, soft-max, normalising sums and
everything after the last matrix product stay float32: box and keypoint coordinates reach into the thousands, where the
resolution of 16 bits is half a pixel or worse.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from engine.artifacts.model_spec import OPSET
from engine.errors import ModelError

PRODUCTS = ("Conv", "ConvTranspose", "MatMul", "Gemm")
"""Operations of a GPU's matrix units; always in 16 bits, because TensorRT-RTX refuses them in float32 on some GPUs."""

_KEEP_FLOAT32 = (
    "Softmax", "LogSoftmax", "ReduceSum", "ReduceMean", "ReduceL2", "Div", "Exp", "Log", "Pow", "Sqrt", "GridSample",
    "BatchNormalization", "InstanceNormalization", "LayerNormalization",
)  # fmt: skip
# Inputs that a runtime takes in float32 (or integers), whatever the type of the data is: scales, sizes, counts.
_DATA_INPUTS = {"Resize": (0,), "Range": (), "TopK": (0,), "Pad": (0, 2), "Dropout": (0,), "Upsample": (0,)}


def lower_graph(proto: Any, precision: str) -> None:
    """Rewrite an `onnx.ModelProto` in place; its inputs and outputs keep their types.

    bfloat16 is not supported: with its seven bits a heatmap's peak and its neighbours round to the same value, and
    TensorRT-RTX does not build transposed convolutions in it.

    Args:
        proto: a float32 graph without subgraphs, nodes in order.
        precision: "fp16"; "fp32" leaves the graph unchanged.

    Raises:
        ModelError: the graph has something that this rewriting does not support.
    """
    if precision == "fp16":
        _fold_constant_casts(proto.graph)
        _Lowering(proto).run()
    elif precision != "fp32":
        raise ModelError(f"a graph is written in fp32 or fp16, not in {precision}")


class _Lowering:
    """One rewriting: the float type of each value, and the casts between them."""

    def __init__(self, proto: Any) -> None:
        import onnx

        self._onnx = onnx
        self._graph = proto.graph
        self._low = onnx.TensorProto.FLOAT16
        self._high = onnx.TensorProto.FLOAT
        self._nodes: list[Any] = []
        self._casts: dict[tuple[str, int], str] = {}
        self._constants = {tensor.name: tensor for tensor in self._graph.initializer}
        self._typed_constants: dict[tuple[str, int], Any] = {}
        self._types: dict[str, int] = {}  # of computed float values only
        self._outputs = {value.name for value in self._graph.output}

    def run(self) -> None:
        """Rewrite all nodes in order."""
        floats = _float_values(self._graph, self._onnx)
        before_a_product = _before_a_product(self._graph.node)
        for value in self._graph.input:
            if value.type.tensor_type.elem_type == self._high:
                self._types[value.name] = self._high
        for node in list(self._graph.node):
            if any(attribute.type == self._onnx.AttributeProto.GRAPH for attribute in node.attribute):
                raise ModelError(f"the graph has a branch ({node.op_type}); it cannot be made strongly typed")
            self._rewrite(node, floats, node.op_type in PRODUCTS or bool(set(node.output) & before_a_product))
        used = {name for node in self._nodes for name in node.input}
        kept = [tensor for tensor in self._graph.initializer if tensor.name in used]
        kept += self._typed_constants.values()
        del self._graph.initializer[:], self._graph.node[:], self._graph.value_info[:]
        self._graph.initializer.extend(kept)
        self._graph.node.extend(self._nodes)

    def _rewrite(self, node: Any, floats: set[str], leads_to_a_product: bool) -> None:
        wanted = self._type_of(node, leads_to_a_product)
        data_inputs = _DATA_INPUTS.get(node.op_type, range(len(node.input)))
        for index in data_inputs:
            if index < len(node.input) and node.input[index] in floats:
                node.input[index] = self._as(node.input[index], wanted)
        renamed: list[tuple[str, str]] = []
        for index, name in enumerate(node.output):
            if name not in floats:
                continue
            self._types[name] = self._output_type(node, wanted)
            if name in self._outputs and self._types[name] != self._high:
                inner = f"{name}_low"
                self._types[inner] = self._types.pop(name)
                renamed.append((inner, name))
                node.output[index] = inner
        self._nodes.append(node)
        for inner, name in renamed:
            # The output's name goes to a float32 copy; further nodes read that one at no extra cost.
            self._nodes.append(self._onnx.helper.make_node("Cast", [inner], [name], name=f"{name}_out", to=self._high))
            self._types[name] = self._high
            self._casts[(name, self._low)] = inner

    def _type_of(self, node: Any, leads_to_a_product: bool) -> int:
        """The float type that a node computes in."""
        if node.op_type in PRODUCTS:
            return int(self._low)
        if node.op_type in _KEEP_FLOAT32 or not leads_to_a_product:
            return int(self._high)
        types = [self._types[name] for name in node.input if name in self._types]
        return int(self._low if types and all(kind == self._low for kind in types) else self._high)

    def _output_type(self, node: Any, wanted: int) -> int:
        if node.op_type == "Cast":
            return int(next(attribute.i for attribute in node.attribute if attribute.name == "to"))
        if node.op_type in ("ConstantOfShape", "Range", "EyeLike", "RandomNormal", "RandomUniform"):
            return int(self._high)
        return wanted

    def _as(self, name: str, kind: int) -> str:
        """The name under which a value has a type; adds a cast or a converted constant where needed."""
        if name in self._constants:
            return self._constant_as(name, kind)
        if name not in self._types:
            raise ModelError(f"the value '{name}' is used before it is computed")
        if self._types[name] == kind:
            return name
        key = (name, kind)
        if key not in self._casts:
            cast = f"{name}_as_{self._onnx.TensorProto.DataType.Name(kind).lower()}"
            self._nodes.append(self._onnx.helper.make_node("Cast", [name], [cast], name=cast, to=kind))
            self._types[cast] = kind
            self._casts[key] = cast
        return self._casts[key]

    def _constant_as(self, name: str, kind: int) -> str:
        tensor = self._constants[name]
        if tensor.data_type == kind:
            return name
        key = (name, kind)
        if key not in self._typed_constants:
            converted = _converted(tensor, kind, self._onnx)
            converted.name = f"{name}_as_{self._onnx.TensorProto.DataType.Name(kind).lower()}"
            self._typed_constants[key] = converted
        return str(self._typed_constants[key].name)


def _converted(tensor: Any, kind: int, onnx: Any) -> Any:
    """A constant in another float type."""
    import numpy as np

    values = onnx.numpy_helper.to_array(tensor)
    if kind == onnx.TensorProto.FLOAT16:
        if values.size and not np.abs(values).max() <= 65504:
            raise ModelError(f"the constant '{tensor.name}' does not fit into 16 bits; build with fp32")
        return onnx.numpy_helper.from_array(values.astype(np.float16))
    return onnx.numpy_helper.from_array(values.astype(np.float32))


def _fold_constant_casts(graph: Any) -> None:
    """Replace weights that are stored in 16 bits and cast at run time by plain float32 constants."""
    import onnx

    constants = {tensor.name: tensor for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        is_cast = node.op_type == "Cast" and node.input[0] in constants
        if is_cast and node.attribute[0].i == onnx.TensorProto.FLOAT:
            tensor = _converted(constants[node.input[0]], onnx.TensorProto.FLOAT, onnx)
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _before_a_product(nodes: Iterable[Any]) -> set[str]:
    """Names of values that a later matrix product depends on."""
    found: set[str] = set()
    for node in reversed(list(nodes)):
        if node.op_type in PRODUCTS or any(name in found for name in node.output):
            found.update(name for name in node.input if name)
    return found


def _float_values(graph: Any, onnx: Any) -> set[str]:
    """Names of all float32 values of a graph, as its shape inference gives them."""
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    inferred = onnx.shape_inference.infer_shapes(onnx.helper.make_model(graph, opset_imports=opsets))
    values = [*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output]
    floats = {value.name for value in values if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    known = {value.name for value in values} | {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        for name in node.output:
            if name and name not in known:
                raise ModelError(f"the type of '{name}' ({node.op_type}) is not known")
    return floats | {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
