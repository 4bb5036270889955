"""What can be built for a pose network on this machine, and why the rest cannot; imports no runtime."""

from __future__ import annotations

from dataclasses import dataclass

from engine.artifacts.model_files import default_models
from engine.backends.cuda_driver import gpu, why_no_cuda
from engine.backends.trt_package import installed_version, why_not_installed
from engine.build import torch2trt_build
from engine.build.tensorrt_build import DEFAULT_TARGETS


@dataclass(frozen=True, kw_only=True)
class BuildOffer:
    """One possible build.

    Attributes:
        key: short name, the same on every machine.
        title: for the user.
        arguments: of `python -m engine build`.
        backend, precision: what runs it here afterwards; empty for builds for other machines.
        why_not: why it cannot be built here, and the remedy; empty where it can be built.
    """

    key: str
    title: str
    arguments: tuple[str, ...]
    backend: str = ""
    precision: str = "auto"
    why_not: str = ""


def build_offers(pose_model: str | None, people_in: str | None = None) -> tuple[BuildOffer, ...]:
    """All possible builds, those that this machine can do first.

    Args:
        pose_model: name or file of the network; None for the default.
        people_in: a video or a folder of photos to calibrate INT8 with; None where there is none.
    """
    model = ("--pose-model", pose_model or str(default_models().pose_model))
    no_gpu = why_no_cuda() or ""
    exporter = why_not_installed("torch") or why_not_installed("onnx") or ""
    tensorrt = why_not_installed("tensorrt") or no_gpu or exporter
    rtx = why_not_installed("tensorrt_rtx") or exporter
    torch2trt = tensorrt or torch2trt_build.why_not(installed_version("tensorrt")) or ""
    device = gpu()
    here = device is not None and device.target in DEFAULT_TARGETS
    rtx_here = rtx or no_gpu or ("" if here else "TensorRT-RTX is for RTX GPUs; TensorRT builds for this one")
    offers = [
        BuildOffer(key="tensorrt", title="TensorRT, for this GPU", arguments=(*model, "--runtime", "tensorrt"),
                   backend="tensorrt", why_not=tensorrt),
        BuildOffer(key="tensorrt-rtx", title="TensorRT-RTX, for this GPU",
                   arguments=(*model, "--runtime", "tensorrt-rtx"), backend="tensorrt_rtx", why_not=rtx_here),
        BuildOffer(key="torch2trt", title="torch2trt, for this GPU", arguments=(*model, "--runtime", "torch2trt"),
                   backend="tensorrt", why_not=torch2trt),
        BuildOffer(key="int8", title="INT8 for OpenVINO, calibrated with this source",
                   arguments=(*model, "--runtime", "openvino", "--precision", "int8", "--calibrate", people_in or ""),
                   backend="openvino", precision="int8", why_not=_why_no_int8(pose_model, people_in)),
        BuildOffer(key="openvino", title="OpenVINO and ONNX Runtime graph",
                   arguments=(*model, "--runtime", "openvino"), backend="openvino",
                   why_not=why_not_installed("openvino") or exporter),
        BuildOffer(key="tensorrt-rtx-ahead", title="TensorRT-RTX, for other RTX GPUs",
                   arguments=(*model, "--runtime", "tensorrt-rtx", "--target", ",".join(DEFAULT_TARGETS)), why_not=rtx),
    ]  # fmt: skip
    return tuple(sorted(offers, key=lambda offer: bool(offer.why_not)))


def _why_no_int8(pose_model: str | None, people_in: str | None) -> str:
    missing = next(filter(None, map(why_not_installed, ("openvino", "torch", "nncf"))), None)
    if missing is not None:
        return missing
    if pose_model is not None and pose_model.lower().endswith(".onnx"):
        return "INT8 is built from a .safetensors file"
    return "" if people_in else "open a video or a folder of photos with people: INT8 is calibrated with them"
