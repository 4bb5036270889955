"""Export of the ultralytics package's detectors to our graph: uint8 letterboxed BGR in, boxes in letterbox px out.

Runs in the child process of `python -m engine build`: `.pt` files are pickles, and even a restricted unpickler is kept
out of the window's process.

The output is `boxes` (B, M, 6) = x1, y1, x2, y2, score, class id where the network (or its file) outputs one box per
person, and otherwise `candidates` (B, 4 + classes, A) = centre x, centre y, width, height, one score per class, whose
overlapping boxes engine/detection/detector.py then drops.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.artifacts.model_spec import ModelSpec, TensorSpec
from engine.build.detector_adopt import DEFAULT_INPUT_SIZE, adopt_graph, names_in_order
from engine.build.onnx_export import save_with_spec, store_weights_in_float16, trace_to_onnx
from engine.errors import ModelError, message_line
from engine.system.ultralytics_env import disable_telemetry, prepare_ultralytics

# The number is fixed in the graph, and a 10:1 frame letterboxed to 320 px has 210 anchors.
_MAX_BOXES = 100
_SIZE_RANGE = (160, 4096)


def export_detector(
    source: Path,
    output: Path,
    *,
    input_size: int | None = None,
    class_names: Sequence[str] | None = None,
    one_to_one: bool = True,
    half_weights: bool = False,
) -> ModelSpec:
    """Write our graph and spec for a detector.

    Args:
        source: a `.pt` file or a plain ONNX export of the ultralytics package.
        input_size: long side of the letterboxed frame in px, a multiple of 32; None takes the file's own.
        class_names: other names for the classes, e.g. where a one-class training named its class "item".
        one_to_one: use the branch that outputs one box per person, where the network has one.
        half_weights: store weights in float16 and compute in float32, which halves the file.

    Raises:
        ModelError: the file cannot be used.
    """
    if input_size is not None and (input_size % 32 or not _SIZE_RANGE[0] <= input_size <= _SIZE_RANGE[1]):
        raise ModelError(f"the detector's input size is {input_size}; expected a multiple of 32 from 160 to 4096")
    if source.suffix.lower() == ".pt":
        proto, names, side, output_name = _graph_of_pt(source, input_size, one_to_one)
        size_wh = (side, side)
    else:
        proto, names, size_wh, output_name = adopt_graph(source, input_size)
    if class_names is not None:
        if len(class_names) != len(names):
            raise ModelError(f"{source.name} has {len(names)} classes, {len(class_names)} names were given")
        names = tuple(class_names)
    if half_weights:
        store_weights_in_float16(proto)
    boxes = ("B", "M", 6) if output_name == "boxes" else ("B", 4 + len(names), "A")
    dimensions = zip(proto.graph.input[0].type.tensor_type.shape.dim, "BHW3", strict=True)
    images = tuple(int(d.dim_value) if d.dim_value > 0 else name for d, name in dimensions)
    spec = ModelSpec(
        kind="detector",
        name=output.stem,
        input_size_wh=size_wh,
        inputs=(TensorSpec(name="images", shape=images, dtype="uint8"),),
        outputs=(TensorSpec(name=output_name, shape=boxes, dtype="float32"),),
        skeleton=None,
        class_names=names,
    )
    return save_with_spec(proto, output, spec, source)


def _graph_of_pt(source: Path, input_size: int | None, one_to_one: bool) -> tuple[Any, tuple[str, ...], int, str]:
    """The graph of a `.pt` file, its class names, its input size and the name of its output."""
    import onnx
    import torch

    model, trained_size = _load_pt(source)
    head = model.model[-1]
    if getattr(head, "one2one_cv2", None) is not None:
        model.end2end = one_to_one
    model = model.fuse().eval()
    head.export, head.dynamic, head.format, head.max_det = True, True, "onnx", _MAX_BOXES
    output_name = "boxes" if getattr(head, "end2end", False) else "candidates"

    class Graph(torch.nn.Module):
        """The detector, which takes RGB between 0 and 1, with an input of uint8 BGR (B, H, W, 3)."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: torch.Tensor) -> Any:
            return self.model(images.float().permute(0, 3, 1, 2).flip(1) * (1 / 255))

    # Not square, so that height and width cannot be confused; large enough for _MAX_BOXES anchors.
    example = torch.zeros((1, 192, 320, 3), dtype=torch.uint8)
    last = {0: "B", 1: "M"} if output_name == "boxes" else {0: "B", 2: "A"}
    axes = {"images": {0: "B", 1: "H", 2: "W"}, output_name: last}
    proto = trace_to_onnx(Graph().eval(), (example,), ("images",), [output_name], axes)
    names = names_in_order(model.names, source)
    # The exporter loses what it cannot follow, such as the length of what a bilinear upsampling reached.
    del proto.graph.output[:]
    shape: list[str | int | None] = ["B", "M", 6] if output_name == "boxes" else ["B", 4 + len(names), "A"]
    proto.graph.output.append(onnx.helper.make_tensor_value_info(output_name, onnx.TensorProto.FLOAT, shape))
    return proto, names, input_size or trained_size, output_name


def _load_pt(source: Path) -> tuple[Any, int]:
    """The network in a `.pt` file and the input size it was trained at; code in the file is not executed."""
    prepare_ultralytics()
    import ultralytics.utils
    from ultralytics.nn import tasks

    from models.foreign_weights import CheckpointError, check_archive

    disable_telemetry()
    restricted = getattr(getattr(tasks, "_SafeLoad", None), "SUPPORTED", False)
    if not (getattr(ultralytics.utils, "SAFE_LOAD", False) and restricted):
        # With a torch that is too old, the package would silently load the file without restrictions.
        raise ModelError(f"{source} is not opened: this ultralytics cannot load weights without running code")
    try:
        check_archive(source)
        # An absolute path, because the package downloads files that are given by name only.
        model, checkpoint = tasks.load_checkpoint(str(source.resolve()))  # type: ignore[no-untyped-call]
    except CheckpointError as error:
        raise ModelError(str(error)) from error
    except Exception as error:  # its loader raises many types for a damaged or refused file
        why = message_line(error).encode("ascii", "ignore").decode().removeprefix("ERROR").strip()
        raise ModelError(f"{source} is not a detector that can be read safely: {why}") from error
    if getattr(model, "task", None) != "detect":
        raise ModelError(f"{source} is made for the task '{getattr(model, 'task', '?')}'; a detector was expected")
    size = (checkpoint.get("train_args") or {}).get("imgsz", DEFAULT_INPUT_SIZE)
    side = max(size) if isinstance(size, (list, tuple)) else int(size)
    return model, min(max(_SIZE_RANGE[0], round(side / 32) * 32), _SIZE_RANGE[1])
