"""Export from PyTorch to ONNX. Runs in the child process of `python -m engine build`; see compiler.py."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.artifacts.atomic import replacing
from engine.artifacts.folders import WEIGHTS_DIR
from engine.artifacts.model_spec import GRAPH_VERSION, OPSET, ModelSpec, sha256_of, spec_path, write_spec
from engine.build.strong_typing import lower_graph

if TYPE_CHECKING:
    import torch


def export_pose(
    weights: Path,
    output: Path,
    *,
    precision: str = "fp32",
    with_crop: bool = False,
    fold: bool = True,
    half_weights: bool = False,
) -> ModelSpec:
    """Write a pose model's graph (see pose_graph.py) and its spec.

    Args:
        weights: a `.safetensors` file of this program.
        output: the ONNX file to write; its spec is written beside it.
        precision: "fp32", or "fp16" or "bf16" for a graph with that precision written into it (strong_typing.py).
        with_crop: the graph takes the whole frame and the affines of its people instead of crops.
        fold: move KCAM's large convolutions to its representations; False keeps the paper's form, for comparisons.
        half_weights: store weights in float16 and compute in float32, which halves the file.

    Raises:
        ModelError: the weights cannot be used.
    """
    import torch

    from engine.backends.pose_graph import CroppingPoseGraph, PoseGraph, fold_attention, load_pose, pose_spec

    checkpoint, skeleton = load_pose(weights)
    config = checkpoint.config
    if fold:
        fold_attention(checkpoint.model)
    graph = PoseGraph(checkpoint.model, checkpoint.mean, checkpoint.std).eval()
    width, height = config.input_size_wh
    # Two crops, because exporters tend to treat a batch of one as a constant.
    names = graph.output_names
    axes = {name: {0: "N"} for name in names}
    if with_crop:
        frame = torch.zeros((height + 2, width + 5, 3), dtype=torch.uint8)
        affines = torch.eye(2, 3).repeat(2, 1, 1)
        axes |= {"frame": {0: "frame_height", 1: "frame_width"}, "crop_to_frame": {0: "N"}}
        cropping = CroppingPoseGraph(graph).eval()
        proto = trace_to_onnx(cropping, (frame, affines), ("frame", "crop_to_frame"), names, axes)
    else:
        example = torch.zeros((2, height, width, 3), dtype=torch.uint8)
        proto = trace_to_onnx(graph, (example,), ("crops",), names, axes | {"crops": {0: "N"}})
    lower_graph(proto, precision)
    if half_weights:
        store_weights_in_float16(proto)
    spec = pose_spec(checkpoint, skeleton, with_crop=with_crop)
    return save_with_spec(proto, output, dataclasses.replace(spec, precision=precision), weights)


def trace_to_onnx(
    module: torch.nn.Module,
    examples: tuple[torch.Tensor, ...],
    input_names: Sequence[str],
    output_names: Sequence[str],
    dynamic_axes: Mapping[str, Mapping[int, str]],
) -> Any:
    """The simplified ONNX form of a module, as an `onnx.ModelProto`.

    The tracing exporter is used, because the newer one needs another package (onnxscript), and the ultralytics
    package, whose detectors are exported here too, relies on the tracing one.
    """
    import onnx
    import onnxslim
    import torch

    with tempfile.TemporaryDirectory(prefix="kcam-export-") as folder, warnings.catch_warnings():
        # Deprecation warnings of the exporter are for developers, not for users.
        warnings.simplefilter("ignore")
        file = Path(folder) / "graph.onnx"
        with torch.no_grad():
            torch.onnx.export(
                module,
                examples,
                str(file),
                opset_version=OPSET,
                input_names=list(input_names),
                output_names=list(output_names),
                dynamic_axes={name: dict(axes) for name, axes in dynamic_axes.items()},
                dynamo=False,
            )
        return onnxslim.slim(onnx.load(str(file)))


def store_weights_in_float16(proto: Any) -> None:
    """Convert float32 weights to float16, each followed by a cast, in place; computation stays in float32."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in proto.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        # Small constants (strides, epsilons, biases) save nothing and lose precision.
        if values.size < 512 or np.abs(values).max() > 65504:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_float16"))
        casts.append(helper.make_node("Cast", [f"{name}_float16"], [name], name=f"cast_{name}", to=TensorProto.FLOAT))
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([*casts, *nodes])


def store_weights_in_float32(proto: Any) -> None:
    """Undo `store_weights_in_float16`, in place; a graph with float32 weights stays as it is."""
    import numpy as np
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    nodes = []
    for node in proto.graph.node:
        if node.op_type == "Cast" and node.input[0] == f"{node.output[0]}_float16":
            tensor = constants[node.input[0]]
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, node.output[0]))
        else:
            nodes.append(node)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def save_with_spec(
    proto: Any, output: Path, spec: ModelSpec, weights: Path, made_with: Mapping[str, str] | None = None
) -> ModelSpec:
    """Check a graph, write it atomically, then its spec, and return the spec.

    The spec is written last and contains the file's SHA-256, so that an incomplete pair is always detected.

    Args:
        proto: the graph, an `onnx.ModelProto`.
        spec: of the graph; hashes, version and what it was made with are set here.
        made_with: what the spec names beside packages and weights.
    """
    import onnx

    onnx.checker.check_model(proto)
    with replacing(output) as temporary:
        onnx.save(proto, str(temporary))
        spec_path(output).unlink(missing_ok=True)
    packages = ("torch", "onnx", "onnxslim", *(("ultralytics",) if spec.kind == "detector" else ()))
    spec = dataclasses.replace(
        spec,
        file_sha256=sha256_of(output),
        weights_sha256=sha256_of(weights),
        graph_version=GRAPH_VERSION,
        made_with={
            **{package: importlib.metadata.version(package) for package in packages},
            # Of weights that ship the name is enough, and the path of this machine does not ship with them.
            "weights": weights.name if weights.parent == WEIGHTS_DIR else str(weights.resolve()),
            **(made_with or {}),
        },
    )
    write_spec(output, spec)
    return spec
