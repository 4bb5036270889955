"""PyTorch, directly from the weights: fp16 on CUDA, and in fp32 on the processor the reference for all others."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.artifacts.model_spec import sha256_of
from engine.backends.contract import (
    Array,
    Availability,
    OpenOptions,
    check_call,
    empty_outputs,
    refuse_precision,
)
from engine.backends.cuda_driver import why_no_cuda
from engine.backends.device_cuda import open_memory
from engine.backends.torch_graphs import GraphedModule
from engine.errors import BackendError, message_line
from engine.system.closing import Closing
from engine.system.missing import not_installed


def probe(device: str) -> Availability:
    """Whether PyTorch can run on "cpu" or "cuda" here."""
    if importlib.util.find_spec("torch") is None:
        return Availability(usable=False, detail=not_installed("torch"))
    version = importlib.metadata.version("torch")
    if device == "cuda":
        reason = why_no_cuda()
        if reason is not None:
            return Availability(usable=False, detail=reason)
        if "+cpu" in version:
            return Availability(usable=False, detail=f"torch {version} is a build without CUDA")
    return Availability(usable=True, detail=version)


def check_precision(model: Path, precision: str, device: str) -> None:
    """See `RuntimeModule.check_precision`."""
    _precision(precision, device != "cpu")


def open_pose(model: Path, options: OpenOptions) -> TorchBackend:
    """Open a pose model. It takes crops: whole frames would need another CUDA graph for each frame size."""
    return TorchBackend(model, dataclasses.replace(options, with_crop=False))


def open_detector(onnx_file: Path, options: OpenOptions) -> TorchBackend:
    """Detectors are ONNX files, which PyTorch does not run."""
    raise BackendError(f"torch does not run the detector {onnx_file.name}; openvino and onnxruntime do")


class TorchBackend(Closing):
    """A pose model in PyTorch, see `Backend`.

    Args:
        weights: a `.safetensors` file.
        fold: compute KCAM as the exported graphs do, for comparisons; the default, the paper's form, is the reference
            for all checks.

    Raises:
        ModelError: the weights cannot be used.
        BackendError: it cannot run with these options.
    """

    name = "torch"

    def __init__(self, weights: Path, options: OpenOptions, *, fold: bool = False) -> None:
        if weights.suffix.lower() != ".safetensors":
            raise BackendError(f"torch runs .safetensors weights, not {weights.name}")
        try:
            import torch

            from engine.backends.pose_graph import CroppingPoseGraph, PoseGraph, fold_attention, load_pose, pose_spec
        except (ImportError, OSError) as error:
            raise BackendError(f"the torch package cannot be loaded: {error}") from error
        self.device = "cpu" if options.device == "auto" else options.device
        on_cuda = self.device != "cpu"
        if on_cuda and not torch.cuda.is_available():
            raise BackendError(f"torch {torch.__version__} finds no CUDA device; --device cpu runs on the processor")
        self.precision = _precision(options.precision, on_cuda)
        checkpoint, skeleton = load_pose(weights)
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        if fold:
            fold_attention(checkpoint.model)
        graph = PoseGraph(checkpoint.model, checkpoint.mean, checkpoint.std).eval()
        digest, made_with = sha256_of(weights), {"torch": importlib.metadata.version("torch")}
        spec = pose_spec(checkpoint, skeleton, with_crop=options.with_crop)
        self.spec = dataclasses.replace(spec, file_sha256=digest, weights_sha256=digest, made_with=made_with)
        if self.precision != "fp32":
            graph.lower_precision({"bf16": torch.bfloat16, "fp16": torch.float16}[self.precision])
        self._torch = torch
        whole = CroppingPoseGraph(graph).eval() if options.with_crop else graph
        try:
            self._graph: Any = whole.to(self.device).to(memory_format=torch.channels_last)
        except RuntimeError as error:
            raise BackendError(f"torch cannot use {self.device}: {message_line(error)}") from error
        self._graphed: GraphedModule | None = None
        if on_cuda:
            self._graphed = GraphedModule(torch, self._graph, self.spec, open_memory(self.device))

    def infer(self, inputs: Mapping[str, Array], want: Sequence[str]) -> dict[str, Array]:
        """See `Backend.infer`."""
        if self._graph is None:
            raise BackendError("torch: the backend is closed")
        lengths = check_call(self.spec, inputs, want)
        if 0 in lengths.values() or not want:
            return empty_outputs(self.spec, lengths, want)
        try:
            if self._graphed is not None:
                return self._graphed(inputs, want)
            with self._torch.inference_mode():
                given = (np.ascontiguousarray(inputs[tensor.name]) for tensor in self.spec.inputs)
                tensors = [self._torch.from_numpy(array).to(self.device) for array in given]
                outputs = dict(zip(self._graph.output_names, self._graph(*tensors), strict=True))
                return {name: _owned(outputs[name]) for name in want}
        except RuntimeError as error:
            raise BackendError(f"torch failed on {self.spec.name}: {message_line(error)}") from error

    def close(self) -> None:
        """Release the network."""
        self._graph = self._graphed = None


def _owned(tensor: Any) -> Array:
    """A C-contiguous array that owns its memory."""
    array: Array = tensor.cpu().contiguous().numpy()
    return array if array.flags.owndata else array.copy()


def _precision(requested: str, on_cuda: bool) -> str:
    if requested == "auto":
        return "fp16" if on_cuda else "fp32"
    supported = ["fp32", "bf16", "fp16"] if on_cuda else ["fp32", "bf16"]
    if requested not in supported:
        advice = "fp16 needs a CUDA device" if requested == "fp16" else "use --precision auto"
        raise refuse_precision("torch", requested, supported, advice)
    return requested
