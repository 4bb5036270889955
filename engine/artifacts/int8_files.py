"""INT8 graphs of networks: built on request from pictures of people, cached, found by their weights."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path

from engine.artifacts.compiler import Notify, discard_notice, ensure_entry, entry_of, why_unusable
from engine.artifacts.folders import is_entry
from engine.artifacts.model_files import INT8_SUFFIX, shipped_export
from engine.artifacts.model_spec import digest_of, read_spec
from engine.errors import BackendError, ModelError
from engine.system.paths import path_from

_MARK = "-int8-"


def ensure_int8(weights: Path, calibrate: str, *, force: bool = False, notify: Notify = discard_notice) -> Path:
    """The INT8 graph of a model, calibrated with a video, photos or a data set (see quantize.py).

    The cache keeps one graph per model, the latest.

    Args:
        weights: a `.safetensors` file, or a detector's `.onnx` file with its spec.
        calibrate: a video, a folder of photos, or the folder of a data set.
        force: build it even if the cache has it.

    Raises:
        EngineError: it cannot be built; the message states why.
    """
    is_detector = _is_detector(weights)
    if weights.suffix.lower() != ".safetensors" and not is_detector:
        raise ModelError(f"{weights.name} cannot be quantised; a .safetensors file was expected")
    source = path_from(calibrate)
    named = str(source.resolve()) if source.exists() else calibrate
    digest = digest_of(weights)
    plain = entry_of(weights, digest)
    # Another source, or `force`, makes another entry, so that the old graph stays in use until the new one is complete.
    token = hashlib.sha256(f"{named}{time.time_ns() if force else ''}".encode()).hexdigest()[:8]
    entry = plain.with_name(f"{plain.name}{_MARK}{token}")
    model = "--detector" if is_detector else "--pose-model"
    arguments = [model, str(weights.resolve()), "--precision", "int8", "--calibrate", named]
    task = f"making an INT8 graph with {'pictures' if is_detector else 'people'} of {source.name}"
    file = ensure_entry(entry / f"{weights.stem}.onnx", digest, arguments, notify, task=task)
    for other in _made(weights, digest):
        if other != file:
            shutil.rmtree(other.parent, ignore_errors=True)
    return file


def find_int8(weights: Path) -> Path:
    """The INT8 graph of a model: in the cache, beside its file as NAME.int8.onnx, or the file itself.

    Args:
        weights: a pose model, or a detector's `.onnx` file with its spec.

    Raises:
        ModelError: the file cannot be read or is damaged.
        BackendError: there is none; the message states how to build one.
    """
    is_detector = _is_detector(weights)
    if weights.suffix.lower() == ".onnx":
        precision = read_spec(weights).precision
        if precision == "int8":
            return weights
        if not is_detector:
            raise BackendError(f"{weights.name} is a graph in {precision}; for int8 name its .safetensors file")
    file = existing_int8(weights)
    if file is not None:
        return file
    raise BackendError(
        f"{weights.stem} has not been made into an INT8 graph here; python -m engine build "
        f"{'--detector' if is_detector else '--pose-model'} {weights} --runtime openvino --precision int8 "
        "--calibrate VIDEO|FOLDER does that"
    )


def existing_int8(weights: Path) -> Path | None:
    """The INT8 graph of exactly these weights in the cache or beside them; None where there is none."""
    digest = digest_of(weights)
    for file in (*_made(weights, digest), weights.with_name(weights.stem + INT8_SUFFIX)):
        if file.is_file() and why_unusable(file, digest) is None:
            return file
    return None


def _is_detector(file: Path) -> bool:
    return file.suffix.lower() == ".onnx" and read_spec(file).kind == "detector"


def shipped_int8(weights: Path) -> Path | None:
    """The INT8 graph that ships beside shipped weights; None where none does, or it is not of these weights."""
    file = shipped_export(weights, int8=True)
    return file if file is not None and file.is_file() and why_unusable(file, digest_of(weights)) is None else None


def _made(weights: Path, digest: str) -> list[Path]:
    """INT8 graphs of these weights in the cache."""
    plain = entry_of(weights, digest)
    folders = sorted(plain.parent.glob(f"{plain.name}{_MARK}*"))
    return [folder / f"{weights.stem}.onnx" for folder in folders if is_entry(folder)]
