"""Compilation of ONNX to a TensorRT or TensorRT-RTX engine. Runs in the child process of `python -m engine build`.

Both packages parse the same strongly typed graph. TensorRT compiles for the GPU of the machine and needs it;
TensorRT-RTX compiles ahead of time for every named compute capability, on any machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.artifacts import engine_cache
from engine.artifacts.atomic import replacing
from engine.artifacts.engine_file import EngineKey
from engine.artifacts.model_spec import ModelSpec, TensorSpec
from engine.backends.trt_package import make_logger, one_line
from engine.errors import BackendError, ModelError

Shape = tuple[int, ...]
Profile = dict[str, tuple[Shape, Shape, Shape]]
"""For each input its smallest shape, the one to tune for, and its largest."""

DEFAULT_TARGETS = ("sm75", "sm86", "sm89", "sm120")
"""The RTX GPUs: Turing, Ampere, Ada, Blackwell."""

_SMALLEST_FRAME = 16
_SMALLEST_LETTERBOX = 32  # its sides are multiples of 32
_PROGRESS_EVERY_S = 1.0


def profiles_of(spec: ModelSpec, max_people: int, max_side: int) -> list[Profile]:
    """The shapes that an engine is tuned for: one person, up to four people, up to the largest batch."""
    if spec.kind == "detector":
        return [{tensor.name: _shapes(tensor, 1, 1, max_side) for tensor in spec.inputs}]
    steps = sorted({1, min(4, max_people), max_people})
    return [{tensor.name: _shapes(tensor, most, most, max_side) for tensor in spec.inputs} for most in steps]


def _shapes(tensor: TensorSpec, usual: int, most: int, max_side: int) -> tuple[Shape, Shape, Shape]:
    # A frame or a letterboxed picture is most often 16:9.
    short = max(32, round(max_side * 9 / 16 / 32) * 32)
    ranges = {
        "N": (1, usual, most),
        "B": (1, usual, most),
        "frame_height": (_SMALLEST_FRAME, short, max_side),
        "frame_width": (_SMALLEST_FRAME, max_side, max_side),
        "H": (_SMALLEST_LETTERBOX, short, max_side),
        "W": (_SMALLEST_LETTERBOX, max_side, max_side),
    }
    try:
        lengths = [(n, n, n) if isinstance(n, int) else ranges[n] for n in tensor.shape]
    except KeyError as error:
        raise ModelError(f"the open dimension {error} of input '{tensor.name}' is not known") from error
    smallest, tuned, largest = zip(*lengths, strict=True)
    return smallest, tuned, largest


def build_plan_bytes(
    trt: Any, onnx_file: Path, spec: ModelSpec, key: EngineKey, notify: Callable[[str], None]
) -> bytes:
    """Compile a graph.

    Args:
        onnx_file: a strongly typed graph.
        spec: of that graph; the parsed network must match it.
        key: target and limits. TensorRT builds for the GPU it runs on, whatever the targets are.

    Raises:
        ModelError: the parsed network does not match the spec.
        BackendError: the package refuses the graph or fails.
    """
    is_rtx = key.runtime == "tensorrt_rtx"
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    if builder is None:
        raise BackendError(f"{key.runtime} cannot start: {_errors(logger)}")
    network = parse_network(trt, builder, logger, onnx_file, key.runtime)
    check_network(trt, network, spec)
    config = builder.create_builder_config()
    if is_rtx:
        config.num_compute_capabilities = len(key.targets)  # one file contains all of them
        for index, target in enumerate(key.targets):
            config.set_compute_capability(getattr(trt.ComputeCapability, target.upper()), index)
    if key.precision == "fp32":
        # TF32 has a mantissa of 10 bits only, so it is not float32.
        config.clear_flag(trt.BuilderFlag.TF32)
    for profile in profiles_of(spec, key.max_people, key.max_side):
        shapes = builder.create_optimization_profile()
        for name, (smallest, tuned, largest) in profile.items():
            shapes.set_shape(name, smallest, tuned, largest)
        if config.add_optimization_profile(shapes) < 0:
            raise BackendError(f"{key.runtime} refuses the shapes {profile}: {_errors(logger)}")
    # TensorRT's kernel timings of earlier builds; TensorRT-RTX measures nothing ahead of time.
    timing_file = None if is_rtx else engine_cache.timing_cache_path(key)
    if timing_file is not None:
        _set_timing_cache(config, timing_file.read_bytes() if timing_file.is_file() else b"")
    config.progress_monitor = _progress_monitor(trt, notify)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise BackendError(_refusal(key, logger))
    if timing_file is not None:
        with replacing(timing_file) as temporary:
            temporary.write_bytes(bytes(config.get_timing_cache().serialize()))
    return bytes(serialized)


def parse_network(trt: Any, builder: Any, logger: Any, onnx_file: Path, package: str) -> Any:
    """The network of an ONNX file, strongly typed.

    Raises:
        BackendError: the parser refuses it.
    """
    # TensorRT 11 has only strongly typed networks, and no such flag.
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx_file.read_bytes()):
        errors = "; ".join(str(parser.get_error(index)) for index in range(min(parser.num_errors, 3)))
        raise BackendError(f"{package} refuses the graph: {one_line(errors) or _errors(logger)}")
    return network


def check_network(trt: Any, network: Any, spec: ModelSpec) -> None:
    """Compare names, shapes and dtypes of a parsed network with its spec.

    Raises:
        ModelError: they differ.
    """
    for kind, count, get, tensors in (
        ("inputs", network.num_inputs, network.get_input, spec.inputs),
        ("outputs", network.num_outputs, network.get_output, spec.outputs),
    ):
        found = [network_tensor(trt, get(index)) for index in range(count)]
        wanted = [
            (tensor.name, tuple(n if isinstance(n, int) else -1 for n in tensor.shape), tensor.dtype)
            for tensor in tensors
        ]
        for have, want in zip(found, wanted, strict=False):
            # A dimension that the spec leaves open may be known to the parser.
            same_shape = len(have[1]) == len(want[1]) and all(
                w in (-1, h) for h, w in zip(have[1], want[1], strict=True)
            )
            if (have[0], have[2]) != (want[0], want[2]) or not same_shape:
                raise ModelError(f"{spec.name}: the parsed network has {have} where its spec has {want}")
        if len(found) != len(wanted):
            raise ModelError(f"{spec.name}: the parsed network has {len(found)} {kind}, its spec {len(wanted)}")


def network_tensor(trt: Any, tensor: Any) -> tuple[str, Shape, str]:
    """Name, shape (-1 for open dimensions) and dtype of a network's tensor."""
    return tensor.name, tuple(int(n) for n in tensor.shape), dtype_name(trt, tensor.dtype)


def dtype_name(trt: Any, dtype: Any) -> str:
    """The package's dtype as the spec names it.

    Raises:
        ModelError: a dtype that a spec cannot have.
    """
    names = {
        trt.DataType.UINT8: "uint8", trt.DataType.FLOAT: "float32",
        trt.DataType.HALF: "float16", trt.DataType.INT64: "int64",
    }  # fmt: skip
    if dtype not in names:
        raise ModelError(f"a tensor of the dtype {dtype} fits no spec")
    return names[dtype]


def known_targets(trt: Any) -> tuple[str, ...]:
    """Compute capabilities that TensorRT-RTX compiles for."""
    members = getattr(trt.ComputeCapability, "__members__", None) or vars(trt.ComputeCapability)
    return tuple(sorted((name.lower() for name in members if name.startswith("SM")), key=lambda name: int(name[2:])))


def _set_timing_cache(config: Any, content: bytes) -> None:
    cache = config.create_timing_cache(content) or config.create_timing_cache(b"")
    if not config.set_timing_cache(cache, False):
        # The cache is of another GPU or version: start an empty one.
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _progress_monitor(trt: Any, notify: Callable[[str], None]) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Reports phases and their steps, at most once per second."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}
            self.reported_at = 0.0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            now = time.monotonic()
            if now - self.reported_at >= _PROGRESS_EVERY_S:
                self.reported_at = now
                notify(f"compiling: {phase_name}, {step + 1} of {self.steps.get(phase_name, step + 1)}")
            return True

        def phase_finish(self, phase_name: str) -> None:
            self.steps.pop(phase_name, None)

    return Monitor()


def _refusal(key: EngineKey, logger: Any) -> str:
    reason = _errors(logger)
    if key.runtime == "tensorrt_rtx" and key.precision == "fp32" and "sm75" in key.targets:
        return f"tensorrt-rtx has no float32 products for sm75; leave it out of --target, or use fp16 ({reason})"
    return f"{key.runtime} could not compile the network: {reason}"


def _errors(logger: Any) -> str:
    return one_line("; ".join(logger.errors[:2])) or "it gave no reason"
