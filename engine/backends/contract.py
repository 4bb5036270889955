"""The contract of all backends, and the checks that they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from engine.artifacts.model_spec import ModelSpec
from engine.errors import BackendError, OptionError, nearest_hint
from engine.options import PRECISIONS

Array = npt.NDArray[Any]


class Backend(Protocol):
    """A network that is ready to run. Opened, used and closed in one thread.

    Attributes:
        name: of the runtime.
        spec: its inputs and outputs.
        device: where it runs, e.g. "cpu" or "cuda:0".
        precision: what it computes in.
    """

    name: str
    spec: ModelSpec
    device: str
    precision: str

    def infer(self, inputs: Mapping[str, Array], want: Sequence[str]) -> dict[str, Array]:
        """Run the network.

        Args:
            inputs: arrays by name, with the shapes and dtypes of the spec. An empty batch is allowed.
            want: names of the outputs to compute and copy; others are left out.

        Returns:
            Arrays by name, float32; the caller owns them.

        Raises:
            BackendError: an input does not fit the spec, or the runtime failed.
        """
        ...

    def close(self) -> None:
        """Release the resources of the runtime; may be called more than once."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_error: object) -> None: ...


Gate = Callable[[Backend, Path], "Checked"]
"""Compares a backend with the weights it was made from; implemented by `engine.build.parity_gate.check`."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The result of the parity gate: state "passed" or "failed", and the measurement in one line."""

    state: str
    report: str


@dataclass(frozen=True, kw_only=True)
class OpenOptions:
    """How a backend is to be opened.

    Attributes:
        precision: one of PRECISIONS; auto is the fastest that the device computes natively within the tolerance.
        device: "auto", "cpu", "coreml", "cuda" or "cuda:N".
        threads: processor threads of one inference; None leaves it to the runtime (one per physical core).
        with_crop: prefer a pose network that takes the whole frame and crops inside the graph, where the runtime has
            one (its spec then has the inputs `frame` and `crop_to_frame`); other runtimes take crops regardless.
        notify: receives one line before anything that takes long.
        gate: compares an engine that was never checked with the weights it was made from; None refuses such engines.
    """

    precision: str = "auto"
    device: str = "auto"
    threads: int | None = None
    with_crop: bool = False
    notify: Callable[[str], None] = lambda _line: None
    gate: Gate | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise OptionError(f"unknown precision '{self.precision}'.{nearest_hint(self.precision, PRECISIONS)}")
        kind, _, number = self.device.partition(":")
        if kind not in ("auto", "cpu", "cuda", "coreml") or (
            ":" in self.device and not (kind == "cuda" and number.isdecimal())
        ):
            raise OptionError(f"unknown device '{self.device}'; auto, cpu, coreml, cuda or cuda:0 was expected")
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise OptionError(f"the number of threads is {self.threads}; expected 1 to 1024")


@dataclass(frozen=True, kw_only=True)
class Availability:
    """Whether a runtime can run here; `detail` is its version, or the reason and the remedy."""

    usable: bool
    detail: str


class RuntimeModule(Protocol):
    """The interface of the modules of this folder that wrap a runtime."""

    def probe(self, device: str) -> Availability:
        """Whether the runtime can run on "cpu", "coreml" or "cuda" here; fast, does not import the runtime."""
        ...

    def check_precision(self, model: Path, precision: str, device: str) -> None:
        """Refuse, without opening it, a pose model in a precision that it does not have on a device that can run.

        Raises:
            ModelError: the model cannot be read.
            BackendError: the runtime does not compute in that precision, or has no INT8 graph of the model.
        """
        ...

    def open_pose(self, model: Path, options: OpenOptions) -> Backend:
        """Open a pose model: a `.safetensors` file, or an `.onnx` file with its spec."""
        ...

    def open_detector(self, onnx_file: Path, options: OpenOptions) -> Backend:
        """Open a detector: an `.onnx` file with its spec."""
        ...


def refuse_precision(name: str, requested: str, supported: Sequence[str], advice: str) -> BackendError:
    """The error for a precision that a runtime does not compute in."""
    return BackendError(f"{name} computes in {' and '.join(supported)} here, not in {requested}; {advice}")


def check_call(spec: ModelSpec, inputs: Mapping[str, Array], want: Sequence[str]) -> dict[str, int]:
    """Check a call against the spec; returns the lengths of the open dimensions by name.

    Raises:
        BackendError: an input is missing, unknown or does not fit, or a requested output does not exist.
    """
    names = {tensor.name for tensor in spec.inputs}
    if set(inputs) != names:
        raise BackendError(f"{spec.name} takes the inputs {sorted(names)}, {sorted(inputs)} were given")
    for name in want:
        if name not in spec.output_names:
            raise BackendError(f"{spec.name} has no output '{name}'.{nearest_hint(name, spec.output_names)}")
    lengths: dict[str, int] = {}
    for tensor in spec.inputs:
        array = inputs[tensor.name]
        fits = array.ndim == len(tensor.shape) and all(
            have == (expected if isinstance(expected, int) else lengths.setdefault(expected, have))
            for have, expected in zip(array.shape, tensor.shape, strict=True)
        )
        if not fits or array.dtype != np.dtype(tensor.dtype):
            shape = ", ".join(str(length) for length in tensor.shape)
            raise BackendError(
                f"{spec.name}: input '{tensor.name}' is {array.dtype} {array.shape}, expected {tensor.dtype} ({shape})"
            )
    return lengths


def empty_outputs(spec: ModelSpec, lengths: Mapping[str, int], want: Sequence[str]) -> dict[str, Array]:
    """The outputs of an empty batch; a dimension that is known only after a run is 0."""
    shapes = {tensor.name: (tensor.shape, tensor.dtype) for tensor in spec.outputs}
    return {
        name: np.zeros([n if isinstance(n, int) else lengths.get(n, 0) for n in shapes[name][0]], shapes[name][1])
        for name in want
    }
