"""The build of an engine, from a weights file to a checked entry of the cache. Runs in `python -m engine build`.

Lock, search the cache, export the strongly typed graph, compile, run the parity gate if this machine has the GPU, and
move the result into the cache in one step.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.artifacts import engine_cache
from engine.artifacts.atomic import file_lock, filling, unwritable_cache
from engine.artifacts.engine_file import EngineKey, EngineRecord, failure_of, read_engine, read_record, write_record
from engine.artifacts.model_spec import GRAPH_VERSION, ModelSpec, TensorSpec, read_spec, sha256_of, write_spec
from engine.backends.box_suppression import MOST_BOXES, append_suppression
from engine.backends.cuda_driver import Gpu, gpu, why_no_cuda
from engine.backends.device_cuda import open_memory
from engine.backends.trt_package import load_package
from engine.build import tensorrt_build as trt_build
from engine.build import torch2trt_build
from engine.build.onnx_export import export_pose
from engine.build.strong_typing import lower_graph
from engine.errors import BackendError, ModelError, OptionError, OutputError, nearest_hint

RUNTIMES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx", "torch2trt": "tensorrt"}
"""Values of --runtime, and the package that runs each one's engines."""

DEFAULT_MAX_FRAME = 1920
_MOST_PEOPLE = 256


@dataclass(frozen=True, kw_only=True)
class EngineOrder:
    """A requested build.

    Attributes:
        model: `.safetensors` of a pose network, or `.onnx` of a detector with its spec.
        runtime: a key of RUNTIMES.
        precision: auto, fp16 or fp32.
        max_people: length of the largest batch.
        targets: compute capabilities, for tensorrt-rtx; empty for this machine's GPU.
        with_crop: a pose network that takes the whole frame.
        max_frame: longest side in px of such frames.
        photos: folder of pictures to compare on; None for those of the ultralytics package.
        force: build even if the cache has the engine.
    """

    model: Path
    runtime: str
    precision: str = "auto"
    max_people: int = 16
    targets: tuple[str, ...] = ()
    with_crop: bool = False
    max_frame: int = DEFAULT_MAX_FRAME
    photos: Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if self.precision not in ("auto", "fp16", "fp32"):
            raise OptionError(
                f"{self.runtime} builds in fp16 and fp32, not in {self.precision}; openvino has other precisions"
            )
        if not 1 <= self.max_people <= _MOST_PEOPLE:
            raise OptionError(f"--max-people is {self.max_people}; expected 1 to {_MOST_PEOPLE}")
        if not 64 <= self.max_frame <= 8192:
            raise OptionError(f"--max-frame is {self.max_frame}; expected 64 to 8192 px")
        if self.targets and self.runtime != "tensorrt-rtx":
            raise OptionError(f"{self.runtime} builds for the GPU it runs on; --target is for --runtime tensorrt-rtx")
        is_pose = self.model.suffix.lower() == ".safetensors"
        if self.with_crop and (not is_pose or self.runtime == "torch2trt"):
            raise OptionError("--with-crop is for pose models built by tensorrt or tensorrt-rtx")
        if self.runtime == "torch2trt" and not is_pose:
            raise OptionError("torch2trt builds pose models from .safetensors; --runtime tensorrt builds detectors")
        if not is_pose and self.model.suffix.lower() != ".onnx":
            raise OptionError(f"{self.model.name} cannot be built; a .safetensors file was expected")


def build_engine(order: EngineOrder, notify: Callable[[str], None]) -> Path:
    """Build an engine into the cache, or find it there, and return its file.

    Raises:
        EngineError: it cannot be built; the message states why.
    """
    package = RUNTIMES[order.runtime]
    if order.runtime == "torch2trt":
        _check_torch2trt(package)
    trt = load_package(package)
    device = gpu()
    spec = None if order.model.suffix.lower() == ".safetensors" else _detector_spec(order.model)
    key = _key(order, trt, device, spec)
    name = order.model.stem
    folder = engine_cache.folder_of(name, key)
    with _locked(folder, notify):
        found, why_not = engine_cache.find(name, key)
        if found is not None and found.parent == folder and not order.force:
            notify(f"{found.name} exists already")
            return _unless_failed(found)
        reason = why_not or ("--force" if order.force else "another range of batches or frames is wanted")
        notify(f"building {name} for {', '.join(key.targets)} with {order.runtime} {key.runtime_version}: {reason}")
        # An existing folder can only hold a damaged or refused engine: this process holds the lock and has searched.
        with filling(folder) as temporary:
            file = temporary / f"{name}.engine"
            _compile(order, key, trt, file, notify)
            _check(order, trt, device, file, notify)
        engine_cache.remove_superseded(name, folder / file.name)
        return _unless_failed(folder / file.name)


def _unless_failed(file: Path) -> Path:
    """The file, if it passed the parity gate; a failed engine is kept, so that it is not built again in vain."""
    record = read_record(file)
    if record.state == "failed":
        raise BackendError(failure_of(file, record))
    return file


def _check_torch2trt(package: str) -> None:
    """Refuse early and name an alternative, before a missing GPU is reported."""
    from engine.backends.trt_package import installed_version, why_not_installed

    missing = why_not_installed(package)
    reason = missing or torch2trt_build.why_not(installed_version(package))
    if reason is not None:
        other = "" if "--runtime tensorrt" in reason else "; --runtime tensorrt-rtx builds without a GPU"
        raise BackendError(f"torch2trt cannot build here: {reason}{other}")


def _detector_spec(onnx_file: Path) -> ModelSpec:
    spec = read_spec(onnx_file)
    if spec.kind != "detector":
        raise ModelError(f"{onnx_file} is a pose network's graph; build from its .safetensors file")
    return spec


def _key(order: EngineOrder, trt: Any, device: Gpu | None, detector: ModelSpec | None) -> EngineKey:
    """The key under which the engine is cached.

    Raises:
        BackendError: it needs a GPU, and this machine has none.
        OptionError: a target is unknown.
    """
    if order.runtime == "tensorrt-rtx":
        targets = order.targets or ((device.target,) if device is not None else ())
        if not targets:
            named = ",".join(trt_build.DEFAULT_TARGETS)
            raise BackendError(f"{why_no_cuda()}, so name what to build for: --target {named} (or some of them)")
        known = trt_build.known_targets(trt)
        if device is not None and not order.targets and device.target not in known:
            label = f"{device.name} ({device.target})"
            raise BackendError(f"tensorrt-rtx does not build for {label}; --runtime tensorrt does")
        for target in targets:
            if target not in known:
                raise OptionError(f"tensorrt-rtx does not build for '{target}'.{nearest_hint(target, known)}")
    elif device is None:
        raise BackendError(
            f"{order.runtime} builds on the GPU it builds for: {why_no_cuda()}; "
            "--runtime tensorrt-rtx --target sm89 builds on any machine"
        )
    else:
        targets = (device.target,)
    try:
        weights_sha256 = sha256_of(order.model)
    except OSError as error:
        raise ModelError(f"{order.model} cannot be read ({error.strerror})") from error
    is_open = detector is not None and any(not isinstance(n, int) for n in detector.inputs[0].shape[1:3])
    max_side = max(detector.input_size_wh) if detector is not None and is_open else 0
    return EngineKey(
        weights_sha256=weights_sha256,
        graph_version=GRAPH_VERSION,
        runtime=order.runtime.replace("-", "_"),
        runtime_version=str(trt.__version__),
        targets=tuple(sorted(set(targets), key=lambda target: (len(target), target))),
        gpu=device.name if device is not None and order.runtime != "tensorrt-rtx" else "",
        precision="fp16" if order.precision == "auto" else order.precision,
        max_people=1 if detector is not None else order.max_people,
        with_crop=order.with_crop,
        max_side=order.max_frame if order.with_crop else max_side,
    )


def _compile(order: EngineOrder, key: EngineKey, trt: Any, file: Path, notify: Callable[[str], None]) -> None:
    """Export, compile, and write the engine, its spec and a record with the state "unchecked"."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kcam-build-") as folder:
        graph = Path(folder) / "graph.onnx"
        notify("exporting the graph")
        spec = _typed_graph(order, key, graph)
        if order.runtime == "torch2trt":
            plan = torch2trt_build.build_plan_bytes(trt, order.model, key.precision, key.max_people)
        else:
            notify("compiling")
            plan = trt_build.build_plan_bytes(trt, graph, spec, key, notify)
    try:
        file.write_bytes(plan)
    except OSError as error:
        raise OutputError(
            f"{file} cannot be written ({error.strerror}); {len(plan) / 2**20:.0f} MiB are needed"
        ) from error
    made_with = {**spec.made_with, order.runtime: key.runtime_version}
    write_spec(file, dataclasses.replace(
        spec, weights_sha256=key.weights_sha256, file_sha256=sha256_of(file), made_with=made_with
    ))  # fmt: skip
    record = EngineRecord(
        key=key, state="unchecked", report="", weights=str(order.model), built_s=time.monotonic() - started
    )
    write_record(file, record)


def _typed_graph(order: EngineOrder, key: EngineKey, graph: Path) -> ModelSpec:
    """Write the strongly typed graph, and return its spec."""
    if order.model.suffix.lower() == ".safetensors":
        return export_pose(order.model, graph, precision=key.precision, with_crop=key.with_crop)
    import onnx

    proto = onnx.load(str(order.model))
    spec = read_spec(order.model)
    outputs = spec.outputs
    if spec.output_names == ("candidates",):
        # The GPU suppresses overlapping boxes faster than the candidates are copied to the processor. The ONNX file
        # itself stays without, because on the processor suppression is faster outside of the graph (decision 0012).
        append_suppression(proto)
        outputs = (TensorSpec(name="boxes", shape=("B", MOST_BOXES, 6), dtype="float32"),)
    lower_graph(proto, key.precision)
    onnx.checker.check_model(proto)
    onnx.save(proto, str(graph))
    return dataclasses.replace(spec, precision=key.precision, outputs=outputs, graph_version=GRAPH_VERSION)


def _check(order: EngineOrder, trt: Any, device: Gpu | None, file: Path, notify: Callable[[str], None]) -> None:
    """Run the parity gate on a new engine if this machine has one of its GPUs, and record the result."""
    from engine.backends.trt_runtime import TensorRtBackend
    from engine.build import parity_gate

    spec, record = read_engine(file)
    if device is None or device.target not in record.key.targets:
        notify("this machine has no GPU of its kind: stored unchecked, the parity gate runs when it is first loaded")
        return
    notify("comparing with float32 PyTorch")
    photos = None if order.photos is None else parity_gate.photos_of(order.photos)
    plan = file.read_bytes()
    with TensorRtBackend(trt, RUNTIMES[order.runtime], plan, spec, open_memory("cuda")) as backend:
        checked = parity_gate.check(backend, order.model, photos)
    notify(checked.report)
    write_record(file, dataclasses.replace(record, state=checked.state, report=checked.report))


@contextlib.contextmanager
def _locked(folder: Path, notify: Callable[[str], None]) -> Iterator[None]:
    lock = engine_cache.lock_path(folder)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    except OSError as error:
        raise unwritable_cache(lock.parent, error) from error
    with file_lock(lock, lambda: notify("another process is building this engine; waiting for it")):
        yield
