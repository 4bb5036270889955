"""Conversion of a pose network to INT8 with a check of its accuracy. Runs in the child of `python -m engine build`.

The graph is ONNX and contains its scales, so that OpenVINO and ONNX Runtime run the same file.
docs/decisions/0013-int8.md states what stays in float, and why.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.artifacts.compiler import Notify
from engine.artifacts.model_spec import ModelSpec
from engine.backends import OpenOptions
from engine.backends.onnxruntime import OnnxRuntimeBackend
from engine.backends.openvino import silence_openvino
from engine.build.calibration import SIDE_PX, calibration_crops
from engine.build.onnx_export import export_pose, save_with_spec
from engine.build.parity import ParityReport, compare
from engine.build.parity_gate import summary
from engine.errors import BackendError
from engine.types import UInt8Array

LEAST_CROPS, MOST_CROPS = 200, 300
"""Number of crops for the calibration of the ranges."""
CHECKED_CROPS = 100
"""Number of further crops, on which the result is compared with float32."""
_LEAST_CHECKED = 25


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
        proto = quantized_graph(plain, measured)
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


def quantized_graph(plain: Path, crops: UInt8Array) -> Any:
    """The graph with quantisers around its convolutions, as an `onnx.ModelProto`.

    Args:
        plain: ONNX file of a pose network in float32.
        crops: (N, H, W, 3) uint8 BGR to measure ranges on.

    Raises:
        BackendError: nncf failed.
    """
    import onnx

    silence_openvino()
    import nncf

    nncf.set_log_level(logging.ERROR)
    proto = onnx.load(str(plain))
    dataset = nncf.Dataset([{"crops": crop[None]} for crop in crops])
    try:
        return nncf.quantize(
            proto,
            dataset,
            subset_size=len(crops),
            ignored_scope=nncf.IgnoredScope(names=list(nodes_in_float(proto)), validate=False),
        )
    except Exception as error:  # nncf and its runtime have no common base class of errors
        raise BackendError(f"nncf cannot quantise {plain.stem}: {type(error).__name__}: {error}") from error


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
