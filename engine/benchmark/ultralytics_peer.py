"""`--compare ultralytics`: the same frames through yolo26n-pose, alternating in the same process."""

from __future__ import annotations

import contextlib
import importlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engine.artifacts.folders import downloads_dir
from engine.errors import ModelError
from engine.system.ultralytics_env import disable_telemetry, prepare_ultralytics
from engine.types import UInt8Array

NAME = "yolo26n-pose"
_STATED = "its authors state AP 57.2 on COCO val2017 (docs.ultralytics.com/datasets/pose/coco, read 2026-11-28)"
_TURNS = 5
_FRAMES_A_TURN = 20
_WARM_UP = 3

Runner = Callable[[UInt8Array], object]


@dataclass(frozen=True, kw_only=True)
class OtherPrograms:
    """Programs to compare with, ready to run.

    Attributes:
        pytorch, openvino: take an image (H, W, 3) uint8.
        note: origin of their weights.
        accuracy: what is known of their accuracy.
        openvino_precision: of the OpenVINO one, read from it after a first run.
    """

    pytorch: Runner
    openvino: Runner
    note: str
    accuracy: str
    openvino_precision: Callable[[], str]


@contextlib.contextmanager
def opencv_threads_kept() -> Iterator[None]:
    """Context in which `cv2.setNumThreads` has no effect; ultralytics calls it with 0 at import.

    Restoring the number afterwards is too late: OpenCV divides by it in work that other threads have started, and the
    process ends with SIGFPE.
    """
    opencv: Any = cv2
    real, opencv.setNumThreads = opencv.setNumThreads, lambda _count: None
    try:
        yield
    finally:
        opencv.setNumThreads = real


@contextlib.contextmanager
def other_programs() -> Iterator[OtherPrograms]:
    """yolo26n-pose in PyTorch and as its OpenVINO export, both at the usual 640 px.

    Raises:
        ModelError: ultralytics cannot be loaded, or the export failed.
    """
    prepare_ultralytics()
    try:
        with opencv_threads_kept():
            make: Any = importlib.import_module("ultralytics").YOLO
    except ImportError as error:
        raise ModelError(f"--compare ultralytics needs the packages ultralytics and torch ({error})") from error
    disable_telemetry()
    with tempfile.TemporaryDirectory() as folder:
        weights, note, accuracy = _weights(make, Path(folder))
        try:
            exported = make(str(weights)).export(format="openvino", verbose=False)
            pytorch, openvino = make(str(weights)), make(str(exported), task="pose")
        except Exception as error:
            raise ModelError(f"ultralytics cannot prepare {NAME}: {type(error).__name__}: {error}") from error

        yield OtherPrograms(
            pytorch=lambda image: pytorch.predict(image, verbose=False),
            openvino=lambda image: openvino.predict(image, verbose=False),
            note=note,
            accuracy=accuracy,
            openvino_precision=lambda: _precision_of(openvino),
        )


def _precision_of(model: Any) -> str:
    """Precision of a model under OpenVINO, where ultralytics exposes it."""
    try:
        program = model.predictor.model.backend.ov_compiled_model
        name = str(program.get_property("INFERENCE_PRECISION_HINT").get_type_name())
    except AttributeError:
        return "unknown"
    return {"f32": "fp32", "f16": "fp16"}.get(name, name)


def _weights(make: Any, folder: Path) -> tuple[Path, str, str]:
    """A copy of the official weights if this machine has them, else the same network with random weights.

    Returns:
        The file, its origin, and what is known of its accuracy.
    """
    target = folder / f"{NAME}.pt"
    for file in (Path(f"{NAME}.pt"), downloads_dir() / f"{NAME}.pt"):
        if file.is_file():
            target.write_bytes(file.read_bytes())
            return target, f"{NAME} with the official weights ({file})", f"not measured here; {_STATED}"
    make(f"{NAME}.yaml").save(str(target))
    note = f"{NAME} with random weights: the official ones are not on this machine, and speed does not depend on them"
    return target, note, f"not known: random weights find nobody; of the official ones, {_STATED}"


def compare(ours: Mapping[str, Runner], theirs: OtherPrograms, images: Sequence[UInt8Array]) -> dict[str, Any]:
    """Frames per second of each, and ratios; runs alternate, so that other load affects all alike.

    Args:
        ours: "auto" and "every_frame".
        images: consecutive frames (H, W, 3) uint8.
    """
    runners = {**ours, "pytorch": theirs.pytorch, "openvino": theirs.openvino}
    for runner in runners.values():
        for image in images[:_WARM_UP]:
            runner(image)
    fps: dict[str, list[float]] = {name: [] for name in runners}
    for turn in range(_TURNS):
        part = [images[(turn * _FRAMES_A_TURN + number) % len(images)] for number in range(_FRAMES_A_TURN)]
        for name, runner in runners.items():
            started = time.perf_counter()
            for image in part:
                runner(image)
            fps[name].append(len(part) / (time.perf_counter() - started))

    def ratio(one: str, other: str) -> float:
        return round(float(np.median(np.divide(fps[one], fps[other]))), 3)

    return {
        "fps_ratio": ratio("auto", "pytorch"),
        "fps_ratio_detect_every_frame": ratio("every_frame", "pytorch"),
        "openvino_fps_ratio": ratio("auto", "openvino"),
        "openvino_fps_ratio_detect_every_frame": ratio("every_frame", "openvino"),
        "note": theirs.note,
        "accuracy": theirs.accuracy,
        "openvino_precision": theirs.openvino_precision(),
        "fps": {name: round(float(np.median(values)), 2) for name, values in fps.items()},
    }
