"""TensorRT engines through the torch2trt package. Runs in the child process of `python -m engine build`.

The networks are weakly typed: TensorRT chooses where to compute in 16 bits, so the graph's float32 parts (soft-max,
sums) are not guaranteed, and the parity gate decides. TensorRT 11 does not support such networks any more.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from engine.backends.trt_package import one_line, version_numbers
from engine.errors import BackendError

_ALTERNATIVE = "--runtime tensorrt builds the same model through TensorRT's own ONNX parser"
_WORKSPACE_BYTES = 1 << 30


def why_not(tensorrt_version: str) -> str | None:
    """The reason why torch2trt cannot build here, with an alternative; None where it can try."""
    if version_numbers(tensorrt_version) >= (11,):
        return (
            f"torch2trt needs TensorRT 10 (TensorRT {tensorrt_version} removed weakly typed networks); {_ALTERNATIVE}"
        )
    for package in ("torch2trt", "onnx_graphsurgeon"):
        if importlib.util.find_spec(package) is None:
            advice = "requirements-tensorrt.txt states how to install it"
            return f"the {package} package is not installed ({advice}); {_ALTERNATIVE}"
    return None


def build_plan_bytes(trt: Any, weights: Path, precision: str, max_people: int) -> bytes:
    """Compile a pose model's weights.

    Args:
        weights: a `.safetensors` file.
        precision: "fp16" or "fp32".
        max_people: length of the largest batch.

    Raises:
        BackendError: torch2trt cannot run here, or failed.
        ModelError: the weights cannot be used.
    """
    reason = why_not(trt.__version__)
    if reason is not None:
        raise BackendError(reason)
    import torch
    import torch2trt

    from engine.artifacts.model_spec import OPSET
    from engine.backends.pose_graph import PoseGraph, load_pose

    checkpoint, _ = load_pose(weights)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    graph = PoseGraph(checkpoint.model, checkpoint.mean, checkpoint.std).eval().to(device)
    width, height = graph.input_size_wh

    def shape(people: int) -> tuple[int, int, int, int]:
        return people, height, width, 3

    try:
        with torch.no_grad():
            module = torch2trt.torch2trt(
                graph,
                [torch.zeros(shape(min(2, max_people)), dtype=torch.uint8, device=device)],
                input_names=["crops"],
                output_names=list(graph.output_names),
                fp16_mode=precision == "fp16",
                max_workspace_size=_WORKSPACE_BYTES,
                # Its own converters support neither argmax nor gather; the ONNX parser supports both.
                use_onnx=True,
                onnx_opset=OPSET,
                min_shapes=[shape(1)],
                opt_shapes=[shape(min(4, max_people))],
                max_shapes=[shape(max_people)],
            )
    except Exception as error:  # it raises the errors of all its dependencies
        raise BackendError(
            f"torch2trt failed: {one_line(str(error)) or type(error).__name__}; {_ALTERNATIVE}"
        ) from error
    return _plan_of(module)


def _plan_of(module: Any) -> bytes:
    """The compiled bytes of torch2trt's result: some versions keep an engine, others its bytes."""
    engine = module.engine
    if engine is None:
        raise BackendError(f"torch2trt gave no engine; {_ALTERNATIVE}")
    return bytes(engine.serialize() if hasattr(engine, "serialize") else engine)
