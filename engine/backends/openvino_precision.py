"""Keeps what bfloat16 would damage in float32 when OpenVINO computes a network in bfloat16.

OpenVINO rounds every matrix product to bfloat16. The products of the attention are small, and their results go through
an exponential; docs/decisions/0011-attention-in-bfloat16.md has the errors with and without this. The first block of
MobileNetV2 works on few channels of very different ranges: docs/decisions/0025-bfloat16-mobilenet.md.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

_PARTS = ("/model/kcam/", "/model/final_layer/")
_LAYERS = ("/model/blocks.0/",)
"""`PoseMobileNet.float32_layers`, as they are named in an exported graph."""
_NOT_COMPUTED = ("Constant", "Parameter", "Result")


def keep_layers_float32(openvino: Any, core: Any, model: Any) -> Any:
    """The network with the layers marked as float32 without which its keypoints move; unchanged if it has none."""
    names = {
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_friendly_name().startswith(_LAYERS) and node.get_type_name() not in _NOT_COMPUTED
    }
    return _marked(openvino, core, model, names) if names else model


def keep_attention_float32(openvino: Any, core: Any, model: Any) -> Any:
    """The network with the steps that lead to its attention marked as float32; unchanged if it has no attention."""
    outputs = [output for output in model.outputs if "attention" in output.get_names()]
    if not outputs:
        return model
    names = {
        node.get_friendly_name()
        for node in _ancestors(outputs[0].get_node())
        if node.get_friendly_name().startswith(_PARTS) and node.get_type_name() not in _NOT_COMPUTED
    }
    for node in list(model.get_ordered_ops()):
        if node.get_friendly_name() in names and node.get_type_name() == "MatMul":
            _take_in_transposes(openvino, node)
    return _marked(openvino, core, model, names)


def _ancestors(node: Any) -> Iterable[Any]:
    found: dict[str, Any] = {}
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one.get_friendly_name() in found:
            continue
        found[one.get_friendly_name()] = one
        waiting += [one.input_value(index).get_node() for index in range(one.get_input_size())]
    return found.values()


def _take_in_transposes(openvino: Any, product: Any) -> None:
    """Move transposes into a product: OpenVINO would do so itself, in a new node that lacks the mark."""
    inputs, transposed = [product.input_value(0), product.input_value(1)], [False, False]
    for side, value in enumerate(inputs):
        node = value.get_node()
        if node.get_type_name() == "Transpose":
            inputs[side], transposed[side] = node.input_value(0), True
    if any(transposed):
        name = product.get_friendly_name()
        made = openvino.opset13.matmul(*inputs, *transposed)
        product.output(0).replace(made.output(0))
        made.set_friendly_name(name)


def _marked(openvino: Any, core: Any, model: Any, names: set[str]) -> Any:
    """The model with a mark on the nodes of these names; marks can only be set in its XML form."""
    with tempfile.TemporaryDirectory(prefix="kcam-openvino-") as folder:
        file = Path(folder) / "model.xml"
        openvino.save_model(model, str(file), compress_to_fp16=False)
        tree = ElementTree.parse(file)  # noqa: S314 - written by the line above
        for layer in tree.iter("layer"):
            if layer.get("name") in names:
                notes = layer.find("rt_info")
                if notes is None:
                    notes = ElementTree.Element("rt_info")
                    layer.insert(0 if layer.find("data") is None else 1, notes)
                ElementTree.SubElement(notes, "attribute", name="precise", version="0")
        return core.read_model(ElementTree.tostring(tree.getroot()), file.with_suffix(".bin").read_bytes())
