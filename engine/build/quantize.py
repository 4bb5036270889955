"""Conversion of networks to INT8 with a check of their accuracy. Runs in the child of `python -m engine build`.

The graph is ONNX and contains its scales, so that OpenVINO and ONNX Runtime run the same file.
docs/decisions/0013-int8.md states what stays in float, and why.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from engine.artifacts.compiler import Notify
from engine.artifacts.model_spec import ModelSpec, read_spec
from engine.backends import OpenOptions
from engine.backends.onnxruntime import OnnxRuntimeBackend
from engine.backends.openvino import silence_openvino
from engine.build import parity_gate
from engine.build.calibration import SIDE_PX, calibration_crops, calibration_pictures
from engine.build.onnx_export import export_pose, save_with_spec, store_weights_in_float32
from engine.build.parity import ParityReport, compare
from engine.build.parity_gate import Photo, summary
from engine.detection.detector import letterbox_of
from engine.errors import BackendError
from engine.types import UInt8Array

LEAST_CROPS, MOST_CROPS = 200, 300
"""Number of crops for the calibration of the ranges."""
CHECKED_CROPS = 100
"""Number of further crops, on which the result is compared with float32."""
_LEAST_CHECKED = 25
LEAST_PICTURES, MOST_PICTURES, CHECKED_PICTURES = 100, 250, 30
"""The same for a detector, in whole pictures."""


def quantize_pose(weights: Path, output: Path, calibrate: str, notify: Notify) -> ModelSpec:
    """Write the INT8 graph of a pose network and its spec.

    Args:
        weights: a `.safetensors` file of this program.
        output: the ONNX file to write; its spec is written beside it.
        calibrate: the source of the people, see `calibration_crops`.

    Raises:
        ModelError: the weights cannot be used.
        SourceError: there are too few people to calibrate with.
        BackendError: nncf is missing or failed, or the result deviates too much from float32.
    """
    least, most = LEAST_CROPS + _LEAST_CHECKED, MOST_CROPS + CHECKED_CROPS
    notify(f"int8 needs {least} people in {calibrate}, at least {SIDE_PX} px wide and high; {most} are enough")
    with tempfile.TemporaryDirectory(prefix="kcam-int8-") as folder:
        plain = Path(folder) / f"{weights.stem}.onnx"
        spec = dataclasses.replace(export_pose(weights, plain), precision="int8")
        crops = calibration_crops(calibrate, spec, least=least, most=most, notify=notify)
        checked = max(_LEAST_CHECKED, len(crops) * CHECKED_CROPS // (MOST_CROPS + CHECKED_CROPS))
        measured = crops[: len(crops) - checked]
        notify(f"measuring the ranges of all layers on {len(measured)} crops")
        proto = quantized_graph(_load(plain), list(measured), nodes_in_float)
        quantized = Path(folder) / f"{weights.stem}.int8.onnx"
        save_with_spec(proto, quantized, spec, weights)
        notify(f"comparing with float32 on {checked} other crops")
        with (
            OnnxRuntimeBackend(quantized, OpenOptions(precision="int8", device="cpu")) as ours,
            OnnxRuntimeBackend(plain, OpenOptions(precision="fp32", device="cpu")) as theirs,
        ):
            report = compare(ours, theirs, crops[len(measured) :])
        _refuse_if_bad(report)
        notify(summary(report))
        made_with = {
            "nncf": importlib.metadata.version("nncf"),
            "calibrated": f"{len(measured)} crops of {Path(calibrate).name}",
            "against float32": summary(report),
        }
        return save_with_spec(proto, output, spec, weights, made_with)


def quantize_detector(detector: Path, output: Path, calibrate: str, notify: Notify) -> ModelSpec:
    """Write the INT8 graph of a detector and its spec.

    Args:
        detector: an `.onnx` file of this program in float, with its spec.
        output: the ONNX file to write; its spec is written beside it.
        calibrate: the source of the pictures, see `calibration_pictures`.

    Raises:
        ModelError: the detector cannot be used.
        SourceError: there are too few pictures to calibrate with.
        BackendError: nncf is missing or failed, or the result deviates too much from float32.
    """
    spec = dataclasses.replace(read_spec(detector), precision="int8")
    least, most = LEAST_PICTURES + CHECKED_PICTURES, MOST_PICTURES + CHECKED_PICTURES
    notify(f"int8 needs {least} pictures of {calibrate}; {most} are enough")
    longest_px = 2 * max(spec.input_size_wh)
    pictures = calibration_pictures(calibrate, longest_px=longest_px, least=least, most=most, notify=notify)
    checked, measured = pictures[:CHECKED_PICTURES], pictures[CHECKED_PICTURES:]
    notify(f"measuring the ranges of all layers on {len(measured)} pictures")
    proto = _load(detector)
    store_weights_in_float32(proto)
    boxed = [letterbox_of(spec).apply(picture) for picture in measured]
    proto = quantized_graph(proto, boxed, nodes_around_convolutions)
    with tempfile.TemporaryDirectory(prefix="kcam-int8-") as folder:
        quantized = Path(folder) / f"{detector.stem}.int8.onnx"
        save_with_spec(proto, quantized, spec, detector)
        notify(f"comparing with float32 on {len(checked)} other pictures")
        photos = [Photo.of_whole(picture) for picture in checked]
        with OnnxRuntimeBackend(quantized, OpenOptions(precision="int8", device="cpu")) as backend:
            compared = parity_gate.check(backend, detector, photos)
    if compared.state != "passed":
        raise BackendError(
            f"this detector loses too much accuracy in INT8, the graph is not kept: {compared.report}; it runs in float"
        )
    notify(compared.report)
    made_with = {
        "nncf": importlib.metadata.version("nncf"),
        "calibrated": f"{len(measured)} pictures of {Path(calibrate).name}",
        "against float32": compared.report,
    }
    return save_with_spec(proto, output, spec, detector, made_with)


def _load(file: Path) -> Any:
    import onnx

    return onnx.load(str(file))


def quantized_graph(proto: Any, pictures: Sequence[UInt8Array], in_float: Callable[[Any], Iterator[str]]) -> Any:
    """The graph with quantisers around its convolutions, as an `onnx.ModelProto`.

    Args:
        proto: a network in float32 with one input, of pictures (N, H, W, 3) uint8.
        pictures: each (H, W, 3) uint8 BGR, as the network takes them, to measure ranges on.
        in_float: gives the names of the nodes that stay in float.

    Raises:
        BackendError: nncf failed.
    """
    silence_openvino()
    import nncf

    nncf.set_log_level(logging.ERROR)
    name = proto.graph.input[0].name
    dataset = nncf.Dataset([{name: picture[None]} for picture in pictures])
    try:
        quantized = nncf.quantize(
            proto,
            dataset,
            subset_size=len(pictures),
            ignored_scope=nncf.IgnoredScope(names=list(in_float(proto)), validate=False),
        )
    except Exception as error:  # nncf and its runtime have no common base class of errors
        raise BackendError(f"nncf cannot quantise this network: {type(error).__name__}: {error}") from error
    _store_activations_unsigned(quantized)
    return quantized


def _store_activations_unsigned(proto: Any) -> None:
    """Store activations that nncf quantises to int8 as uint8 with another zero point; their values stay the same.

    OpenVINO (2026.4) computes a convolution behind a concatenation of int8 activations wrongly, with errors of a fifth,
    and that of uint8 rightly. A detector with such layers found nobody.
    """
    import numpy as np
    from onnx import TensorProto, numpy_helper

    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    values = {value.name: value for value in proto.graph.value_info}
    for node in proto.graph.node:
        if node.op_type != "QuantizeLinear":
            continue
        zero = constants[node.input[2]]
        numbers = numpy_helper.to_array(zero)
        if numbers.dtype == np.int8:
            zero.CopyFrom(numpy_helper.from_array((numbers.astype(np.int16) + 128).astype(np.uint8), zero.name))
        if node.output[0] in values:
            values[node.output[0]].type.tensor_type.elem_type = TensorProto.UINT8


def nodes_around_convolutions(proto: Any) -> Iterator[str]:
    """Names of the nodes before a detector's first convolutions and behind its last ones, which stay in float.

    Before them pixels become numbers from 0 to 1; behind them boxes of hundreds of pixels and scores below 1 would
    share one scale.
    """
    makes = {name: index for index, node in enumerate(proto.graph.node) for name in node.output}
    is_convolution = [node.op_type in ("Conv", "ConvTranspose") for node in proto.graph.node]
    behind, before = list(is_convolution), list(is_convolution)
    for index, node in enumerate(proto.graph.node):  # ONNX lists them in the order in which they are computed
        behind[index] |= any(behind[makes[name]] for name in node.input if name in makes)
    for index, node in reversed(list(enumerate(proto.graph.node))):
        for name in node.input:
            if name in makes:
                before[makes[name]] |= before[index]
    for index, node in enumerate(proto.graph.node):
        if not (behind[index] and before[index]):
            yield node.name


def nodes_in_float(proto: Any) -> Iterator[str]:
    """Names of the nodes that stay in float: all but the backbone.

    The names of normalisation and decoding are not below "/model/". The two heatmap layers end in a map whose
    neighbouring pixels differ by less than one quantisation step of eight bits, and their order decides the keypoint.
    From the areas on, KCAM divides, multiplies and exponentiates: little of the computation and most of the error.
    """
    for node in proto.graph.node:
        if not node.name.startswith("/model/") or node.name.startswith(
            ("/model/kcam/", "/model/final_layer/", "/model/kcam_final_layer/")
        ):
            yield node.name


def _refuse_if_bad(report: ParityReport) -> None:
    if report.keypoints == 0:
        raise BackendError("INT8 cannot be checked: the network finds no clear keypoint on these people")
    if report.failures("int8"):
        raise BackendError(
            f"this network loses too much accuracy in INT8, the graph is not kept: {summary(report)}; use bf16 or fp32"
        )
