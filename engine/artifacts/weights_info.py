"""The description in a weights file's header: read in milliseconds, without the tensors and without torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.artifacts.model_spec import WRONG_VALUES, ModelSpec, check_names, read_json, spec_path
from engine.errors import ModelError
from engine.skeleton import Skeleton

METADATA_KEY = "kcam"


@dataclass(frozen=True, kw_only=True)
class WeightsInfo:
    """The description of a pose network, available before it is loaded.

    Attributes:
        name: of the model, such as `kcam_resnet18`.
        input_size_wh: width and height of the crop in px.
        skeleton: of its keypoints.
        class_names: the classes that it poses.
        has_attention: whether it outputs areas and attention maps.
        notes: free text values, such as the measured AP.
    """

    name: str
    input_size_wh: tuple[int, int]
    skeleton: Skeleton
    class_names: tuple[str, ...]
    has_attention: bool
    notes: Mapping[str, str]


def read_weights_info(path: Path) -> WeightsInfo:
    """Read the header of a `.safetensors` file, or the spec beside an `.onnx` file.

    Raises:
        ModelError: the file cannot be read, or is not a pose network of this program.
    """
    return _from_safetensors(path) if path.suffix.lower() == ".safetensors" else _from_spec(path)


def _from_safetensors(path: Path) -> WeightsInfo:
    metadata = _metadata_of(path)
    try:
        values: Mapping[str, Any] = json.loads(metadata[METADATA_KEY])
        config = values["config"]
        name = str(config["name"])
        width, height = (int(length) for length in config["input_size_wh"])
        skeleton = Skeleton.from_dict(values["skeleton"])
        class_names = tuple(str(known) for known in values["class_names"])
        check_names((name, *class_names, *skeleton.keypoint_names))
        return WeightsInfo(
            name=name,
            input_size_wh=(width, height),
            skeleton=skeleton,
            class_names=class_names,
            has_attention=name.startswith("kcam_"),
            notes={str(key): str(value) for key, value in dict(values.get("notes", {})).items()},
        )
    except WRONG_VALUES as error:
        raise ModelError(f"{path} is a safetensors file, but not a pose model of this program") from error
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _metadata_of(path: Path) -> Mapping[str, str]:
    """The metadata in the header of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        path.open("rb").close()  # Python reports why a file cannot be read, safetensors does not
        with safe_open(path, "numpy") as opened:
            return opened.metadata() or {}
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise ModelError(f"{path} is not a safetensors file, or it is damaged") from error


def _from_spec(path: Path) -> WeightsInfo:
    """From the spec alone; the code that runs the file checks that the two belong together."""
    beside = spec_path(path)
    if not beside.is_file():
        raise ModelError(f"{path} has no readable spec beside it ({beside.name})")
    spec = ModelSpec.from_dict(read_json(beside))
    if spec.skeleton is None:
        raise ModelError(f"{path} is a {spec.kind}, not a pose model")
    return WeightsInfo(
        name=spec.name,
        input_size_wh=spec.input_size_wh,
        skeleton=spec.skeleton,
        class_names=spec.class_names,
        has_attention="attention" in spec.output_names,
        notes={},
    )


def stated_ap(card: Path) -> str | None:
    """The first line of a model card that states an average precision or a recall, without markup."""
    if not card.is_file():
        return None
    for line in card.read_text(encoding="utf-8").splitlines():
        plain = " ".join(re.sub(r"[|*`#]", " ", line).split())
        if re.search(r"\b(AP|mAP|recall)\b\D*\d", plain):
            return plain
    return None
