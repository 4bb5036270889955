"""`python -m engine list | check | clean`: list the cache, run the parity gate on a built file, delete the cache."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.artifacts import engine_cache
from engine.artifacts.engine_file import EngineRecord, failure_of, read_engine, write_record
from engine.artifacts.folders import WEIGHTS_DIR, cache_dir, is_entry
from engine.artifacts.model_files import INT8_SUFFIX, bundled_pose_models, resolve_pose_model
from engine.artifacts.model_spec import ModelSpec, read_spec, sha256_of
from engine.backends import OpenOptions, open_detector_backend, open_pose_backend
from engine.backends.cuda_driver import gpu, why_no_cuda
from engine.backends.trt_package import load_package
from engine.build import parity_gate
from engine.build.parity_gate import Photo
from engine.errors import BackendError, ModelError, OptionError

if TYPE_CHECKING:
    from engine.backends.trt_runtime import TensorRtBackend

_TIMED_RUNS = 50
_GRAPH_RUNTIMES = ("openvino", "onnxruntime")
_PACKAGES = {"tensorrt": "tensorrt", "torch2trt": "tensorrt", "tensorrt_rtx": "tensorrt_rtx"}


def list_engines() -> list[str]:
    """One line per shipped pose model with its cost, and per engine or exported graph with its state and path."""
    lines = []
    for entry in engine_cache.entries():
        if entry.record is None:
            lines.append(f"{entry.file.parent.name}  damaged: {entry.damage}")
            continue
        key = entry.record.key
        shape = f"frames up to {key.max_side} px" if key.with_crop else ""
        people = f"up to {key.max_people} people" if key.max_people > 1 else ""
        parts = [
            entry.file.stem,
            f"{key.runtime} {key.runtime_version}",
            key.precision,
            ",".join(key.targets) + (f" ({key.gpu})" if key.gpu else ""),
            ", ".join(part for part in (people, shape) if part),
            f"{entry.record.state}: {entry.record.report}" if entry.record.report else entry.record.state,
            f"{engine_cache.size_of(entry.file.parent) / 2**20:.1f} MiB",
            str(entry.file),
        ]
        lines.append("  ".join(part for part in parts if part))
    built = [*lines, *_graphs()] or [f"nothing has been built yet ({cache_dir()})"]
    return [*_shipped_weights(), *built]


def _shipped_weights() -> list[str]:
    """One line per shipped pose model: input size, parameters and FLOPs."""
    from models.build import cost_of
    from models.checkpoints import read_metadata
    from models.pose_model import PoseModelConfig

    lines = []
    for name in bundled_pose_models():
        file = resolve_pose_model(name)
        config = PoseModelConfig.from_dict(read_metadata(file)["config"])
        size = f"{config.input_size_wh[1]}x{config.input_size_wh[0]}"
        lines.append("  ".join((name, "weights", size, str(cost_of(config)), f"{_mib(file):.1f} MiB", str(file))))
    return lines


def _graphs() -> list[str]:
    """One line per exported graph, for the runtimes that compile it themselves when they open it."""
    lines = []
    for file in sorted((cache_dir() / "onnx").glob("*/*.onnx")):
        if not is_entry(file.parent):
            continue
        try:
            spec = read_spec(file)
        except ModelError as error:
            lines.append(f"{file.parent.name}  damaged: {error}")
            continue
        size = f"{spec.input_size_wh[1]}x{spec.input_size_wh[0]}"
        lines.append("  ".join((file.stem, "onnx", spec.precision, size, f"{_mib(file):.1f} MiB", str(file))))
    return lines


def _mib(file: Path) -> float:
    return file.stat().st_size / 2**20


def check_engine(file: Path, weights: Path | None, photos: Path | None, notify: Callable[[str], None]) -> Iterator[str]:
    """Run the parity gate on a built file; of an engine, record the result and measure its speed.

    Args:
        file: an `.engine` file, or an exported `.onnx`, which is compared on each runtime of the processor.
        weights: the weights it was built from; None for their path at the time of the build.
        photos: folder of pictures to compare on; None for those of the ultralytics package.

    Raises:
        ModelError: a file is missing or damaged.
        BackendError: it cannot run here, or deviates from float32.
    """
    if not file.is_file():
        raise ModelError(f"{file} does not exist; python -m engine list shows what has been built")
    chosen = None if photos is None else parity_gate.photos_of(photos)
    check = _check_graph if file.suffix.lower() == ".onnx" else _check_compiled
    yield from check(file, weights, chosen, notify)


def _check_graph(
    file: Path, weights: Path | None, photos: Sequence[Photo] | None, notify: Callable[[str], None]
) -> Iterator[str]:
    """The parity gate on an exported graph, a line for each runtime."""
    spec = read_spec(file)
    made_from_others = spec.kind == "pose" or spec.precision == "int8"
    reference = weights or (_weights_of(file, spec) if made_from_others else file)
    precision = "int8" if spec.precision == "int8" else "fp32"
    notify(f"comparing {file.name} ({precision}) with float32 of {reference.name}")
    options = OpenOptions(precision=precision, device="cpu")
    failed = []
    for name in _GRAPH_RUNTIMES:
        if spec.kind == "pose":
            opened = open_pose_backend(file, backend=name, precision=precision, device="cpu")
        else:
            opened = open_detector_backend(file, backend=name, options=options)
        with opened.backend as backend:
            checked = parity_gate.check(backend, reference, photos)
        yield f"{spec.name} on {name} {checked.state}: {checked.report}"
        if checked.state == "failed":
            failed.append(name)
    if failed:
        raise BackendError(f"{file} deviates from float32 on {' and '.join(failed)}; build it again")


def _weights_of(file: Path, spec: ModelSpec) -> Path:
    """The file that a graph was made from: where it was, beside the graph, or among those that ship."""
    recorded = spec.made_with.get("weights", "")
    suffix = ".safetensors" if spec.kind == "pose" else ".onnx"
    beside = file.with_name(file.name.removesuffix(INT8_SUFFIX).removesuffix(".onnx") + suffix)
    candidates = [Path(recorded), beside, *sorted(WEIGHTS_DIR.glob(f"*{suffix}"))]
    for candidate in candidates:
        if candidate.is_file() and sha256_of(candidate) == spec.weights_sha256:
            return candidate
    where = f" ({recorded})" if recorded else ""
    raise ModelError(
        f"the weights that {file.name} was made from are not here any more{where}; name them with --weights"
    )


def _check_compiled(
    file: Path, weights: Path | None, photos: Sequence[Photo] | None, notify: Callable[[str], None]
) -> Iterator[str]:
    """The parity gate on an engine, and its speed."""
    from engine.backends import tensorrt

    spec, record = read_engine(file)
    package = _PACKAGES.get(record.key.runtime, "tensorrt")
    device = gpu()
    if device is None:
        raise BackendError(f"{file.name} cannot be checked here: {why_no_cuda()}")
    # `load_engine` ignores the recorded state, so an engine that failed before is checked again.
    options = OpenOptions(device="cuda", notify=notify)
    with tensorrt.load_engine(file, load_package(package), package, device, options) as backend:
        checked = parity_gate.check(backend, weights or Path(record.weights), photos)
        record = dataclasses.replace(record, state=checked.state, report=checked.report)
        write_record(file, record)
        yield f"{spec.name} {record.state}: {record.report}"
        yield from _speed(backend, record)
    if record.state == "failed":
        raise BackendError(failure_of(file, record))


def _speed(backend: TensorRtBackend, record: EngineRecord) -> Iterator[str]:
    """Milliseconds and pictures per second for batches of one, four and the maximum, without copies."""
    side = record.key.max_side or 64
    for count in sorted({1, min(4, record.key.max_people), record.key.max_people}):
        lengths = {"N": count, "B": 1, "frame_height": side, "frame_width": side, "H": side, "W": side}
        inputs = {
            tensor.name: np.zeros([n if isinstance(n, int) else lengths[n] for n in tensor.shape], tensor.dtype)
            for tensor in backend.spec.inputs
        }
        took_ms = backend.time_ms(inputs, _TIMED_RUNS)
        yield f"batch {count}: {took_ms:.2f} ms, {count / took_ms * 1000:.0f} pictures a second (without copies)"


def clean(*, only_damaged: bool, confirm: Callable[[], bool]) -> Iterator[str]:
    """Delete compiled files (or only damaged ones): yields what would go, asks, and yields the freed space.

    Raises:
        OptionError: nobody agreed; nothing was deleted.
    """
    found = engine_cache.removable(only_damaged=only_damaged)
    if not found:
        yield f"nothing to delete in {cache_dir()}"
        return
    for path in found:
        yield f"{path}  {engine_cache.size_of(path) / 2**20:.1f} MiB"
    if not confirm():
        raise OptionError("nothing was deleted; --yes deletes what is listed")
    freed = sum(engine_cache.remove(path) for path in found)
    yield f"{freed / 2**20:.1f} MiB freed in {cache_dir()}"
