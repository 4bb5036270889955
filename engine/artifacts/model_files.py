"""The shipped models and their defaults, and the resolution of model names and paths to files."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from engine.artifacts.download import by_hand, downloads
from engine.artifacts.folders import WEIGHTS_DIR, downloads_dir, is_offline
from engine.errors import ModelError, nearest_hint
from engine.system.paths import path_from

INT8_SUFFIX = ".int8.onnx"
"""Ending of the file of an INT8 graph that lies beside the weights of its pose model."""
# The detectors that the ultralytics project publishes under these names.
_OFFICIAL_DETECTOR = re.compile(r"(yolo26[nsmlx]|yolo12[nsmlx]|yolo11[nsmlx]|yolov10[nsmblx]|yolov8[nsmlx])(\.pt)?")


@dataclass(frozen=True, kw_only=True)
class DefaultModels:
    """The defaults: names of the pose model and detector, precision, thresholds."""

    pose_model: str
    detector: str
    precision: str = "auto"
    score_threshold: float = 0.3
    person_threshold: float = 0.3


def default_models() -> DefaultModels:
    """The defaults in `models/weights/default.json`.

    Raises:
        ModelError: the file is missing or not of the expected form.
    """
    file = WEIGHTS_DIR / "default.json"
    try:
        found = DefaultModels(**json.loads(file.read_text(encoding="utf-8")))
        if not (0 <= found.score_threshold <= 1 and 0 <= found.person_threshold <= 1):  # NaN neither
            raise ValueError("thresholds lie from 0 to 1")
        return found
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error.strerror}); name a model with --pose-model") from error
    except (ValueError, TypeError) as error:
        raise ModelError(f"{file} is not of the expected form: {error}") from error


def default_score_threshold() -> float:
    """The box score below which the shipped detector is more often wrong than right; 0.3 where none ships."""
    try:
        return default_models().score_threshold
    except ModelError:
        return DefaultModels.score_threshold


def default_person_threshold() -> float:
    """The confidence (false_positives.py) below which a detection is mostly a false positive; 0.3 without weights."""
    try:
        return default_models().person_threshold
    except ModelError:
        return DefaultModels.person_threshold


def bundled_pose_models() -> tuple[str, ...]:
    """Names of the pose models that ship with the program."""
    return tuple(sorted(file.stem for file in WEIGHTS_DIR.glob("*.safetensors")))


def bundled_detectors() -> tuple[str, ...]:
    """Names of the detectors that ship with the program."""
    files = (file for file in WEIGHTS_DIR.glob("*.onnx") if not file.name.endswith(INT8_SUFFIX))
    return tuple(sorted({file.stem for file in files} - set(bundled_pose_models())))


def shipped_export(weights: Path, *, int8: bool = False) -> Path | None:
    """The path of the exported form that ships beside shipped weights, whether it exists or not; None for others.

    `python -m engine build --shipped` writes it, with `--precision int8 --calibrate DIR` the one in INT8.
    """
    if weights.parent != WEIGHTS_DIR or weights.suffix != ".safetensors":
        return None
    return weights.with_suffix(INT8_SUFFIX if int8 else ".onnx")


def resolve_pose_model(name_or_path: str | Path | None = None) -> Path:
    """The file of a pose model: a shipped name, a `.safetensors` file, or an `.onnx` file with its spec beside it.

    Raises:
        ModelError: there is no such name or file; the message suggests the nearest name.
    """
    text = str(name_or_path) if name_or_path is not None else default_models().pose_model
    shipped = WEIGHTS_DIR / f"{text}.safetensors"
    if text in bundled_pose_models():
        return shipped
    path = path_from(text)
    if path.suffix.lower() in (".safetensors", ".onnx"):
        return _existing_file(path)
    if path.suffix.lower() in (".pth", ".pt"):
        raise ModelError(f"{path} is a pickled file; convert it to safetensors first (docs/training.md)")
    if path.exists():
        raise ModelError(f"{path} is not a pose model; a .safetensors file was expected")
    raise ModelError(f"unknown pose model '{text}'.{nearest_hint(text, bundled_pose_models())}")


def find_detector(name_or_path: str | Path | None = None) -> Path:
    """The file of a detector: a shipped name, or an existing `.onnx` or `.pt` file.

    Raises:
        ModelError: there is no such name or file, or the file of an official name is missing.
    """
    text = str(name_or_path) if name_or_path is not None else default_models().detector
    if text in bundled_detectors():
        return WEIGHTS_DIR / f"{text}.onnx"
    path = path_from(text)
    official = official_detector_file(text)
    if official is not None:
        for candidate in (Path(official), downloads_dir() / official):
            if candidate.is_file():
                return candidate.resolve()
        raise ModelError(_not_here(official))
    if path.suffix.lower() in (".onnx", ".pt"):
        return _existing_file(path)
    if path.exists():
        raise ModelError(f"{path} is not a detector; an .onnx or .pt file was expected")
    raise ModelError(f"unknown detector '{text}'.{nearest_hint(text, (*bundled_detectors(), 'yolo26n'))}")


def _not_here(official: str) -> str:
    """The message for an official detector whose file is missing."""
    wanted = downloads().get(official)
    if wanted is None:
        return f"{official} is not here: put the file in the current folder and name it"
    advice = by_hand(wanted, downloads_dir() / official)
    if is_offline():
        return f"{official} is not here, and nothing is fetched with --offline: {advice}"
    return f"{official} is not here: --download fetches it, or {advice}"


def official_detector_file(text: str) -> str | None:
    """`yolo26n.pt` for "yolo26n" or "yolo26n.pt"; None for anything that is not the bare name of such a detector."""
    match = _OFFICIAL_DETECTOR.fullmatch(text.lower())
    return f"{match[1]}.pt" if match else None


def _existing_file(path: Path) -> Path:
    try:
        if not path.is_file():
            raise ModelError(f"{path} {'is a folder, a pipe or a device' if path.exists() else 'does not exist'}")
        if path.stat().st_size == 0:
            raise ModelError(f"{path} is empty")
        return path.resolve()
    except OSError as error:  # of a folder that may not be entered
        raise ModelError(f"{path} cannot be read ({error.strerror})") from error
