"""The contract of a compiled file: its inputs, its outputs, and what it was made from.

It is stored as `<file>.spec.json` beside the file and contains the file's SHA-256. It is checked before a runtime loads
the file, because the parsers of the runtimes are not safe for untrusted bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.artifacts.other_files import names_other_files
from engine.errors import ModelError, nearest_hint
from engine.skeleton import Skeleton
from engine.system.json_file import parse_json
from engine.system.regular_file import read_regular

SPEC_FORMAT = 1
"""Incremented when a field changes its meaning; a file of another format is rebuilt."""

DTYPES = ("uint8", "float32", "float16", "int64")
Dimension = int | str

# Limits of a spec: far above the needs of any model here, far below what would exhaust the memory.
_MOST_JSON_BYTES = 4 * 1024 * 1024
_MOST_ELEMENTS = 2**28
_LONGEST_SIDE = 8192
_LONGEST_NAME = 200
_MOST_NAMES = 10_000

WRONG_VALUES = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""Exceptions that reading a value of the wrong type from untrusted JSON may raise."""

GRAPH_VERSION = 4
"""Incremented with every change of what the exported graphs compute; older files in the cache are then rebuilt."""

OPSET = 18


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """Name, shape (a string names a dimension known only at run time) and dtype of an input or output."""

    name: str
    shape: tuple[Dimension, ...]
    dtype: str

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ModelError(f"tensor '{self.name}' has dtype '{self.dtype}'.{nearest_hint(self.dtype, DTYPES)}")
        for length in self.shape:
            if isinstance(length, bool) or not isinstance(length, (int, str)) or (length in ("",) or length == 0):
                raise ModelError(f"tensor '{self.name}' has dimension {length!r}; expected a positive number or a name")
            if isinstance(length, int) and not 0 < length <= 65536:
                raise ModelError(f"tensor '{self.name}' has the dimension {length}; expected 1 to 65536")
        if math.prod(length for length in self.shape if isinstance(length, int)) > _MOST_ELEMENTS:
            raise ModelError(f"tensor '{self.name}' has the shape {self.shape}, which is too large")


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """The description of a pose network or a detector for the code that runs it.

    Attributes:
        kind: "pose" or "detector".
        name: model name, e.g. `kcam_resnet18` or `yolo_person`.
        precision: what the file computes in: fp32, fp16, bf16 or int8. (A runtime may be set to a lower precision.)
        input_size_wh: width and height of the crop or letterboxed frame in px.
        inputs, outputs: tensors by name.
        skeleton: of a pose network; None for a detector.
        class_names: of a detector: name of each class id; of a pose network: the classes it poses.
        file_sha256: of the compiled file itself.
        weights_sha256: of the weights the file was made from.
        graph_version: version of the code that made the graph; another version means another graph.
        made_with: packages and versions, and the file of the weights; informative only.
        mean, std: of a pose network, RGB on the 0..1 scale; informative only, the graph normalises by itself.
        udp: of a pose network: how its crops are to be cut, see geometry.py.
        sigma: of a pose network: of the Gaussians it learnt, in heatmap px, for DARK decoding; 0 for the recipe's.
        decode: of a pose network: how the graph decodes heatmaps to keypoints, see heatmap.py.
    """

    kind: str
    name: str
    precision: str = "fp32"
    input_size_wh: tuple[int, int]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    skeleton: Skeleton | None
    class_names: tuple[str, ...]
    file_sha256: str = ""
    weights_sha256: str = ""
    graph_version: int = GRAPH_VERSION
    made_with: Mapping[str, str] = field(default_factory=dict)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    udp: bool = False
    sigma: float = 0.0
    decode: str = "quarter"

    def __post_init__(self) -> None:
        if self.kind not in ("pose", "detector"):
            raise ModelError(f"a spec's kind is 'pose' or 'detector', not '{self.kind}'")
        if (self.kind == "pose") != (self.skeleton is not None):
            raise ModelError("a pose network's spec has a skeleton, a detector's has none")
        if not self.inputs or not self.outputs or not self.class_names:
            raise ModelError("a spec needs inputs, outputs and class names")
        if not all(map(math.isfinite, (self.sigma, *(self.mean or ()), *(self.std or ())))) or self.sigma < 0:
            raise ModelError("a spec's sigma, mean and std are finite numbers")
        if not all(0 < length <= _LONGEST_SIDE for length in self.input_size_wh):
            raise ModelError(f"a spec's input size is {self.input_size_wh}; 1 to {_LONGEST_SIDE} px fit")
        keypoints = () if self.skeleton is None else self.skeleton.keypoint_names
        check_names((self.name, *self.class_names, *keypoints, *(t.name for t in (*self.inputs, *self.outputs))))

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in the file's order."""
        return tuple(tensor.name for tensor in self.outputs)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        skeleton = None if self.skeleton is None else self.skeleton.to_dict()
        return {"format": SPEC_FORMAT, **dataclasses.asdict(self), "skeleton": skeleton}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> ModelSpec:
        """The inverse of `to_dict`.

        Raises:
            ModelError: the values are not those of a spec of this format.
        """
        if not isinstance(values, Mapping) or values.get("format") != SPEC_FORMAT:
            raise ModelError(f"the spec is not of format {SPEC_FORMAT}")
        try:
            width, height = (int(length) for length in values["input_size_wh"])
            skeleton = values["skeleton"]
            return ModelSpec(
                kind=_text(values["kind"]),
                name=_text(values["name"]),
                precision=_text(values["precision"]),
                input_size_wh=(width, height),
                inputs=tuple(_tensor(tensor) for tensor in values["inputs"]),
                outputs=tuple(_tensor(tensor) for tensor in values["outputs"]),
                skeleton=None if skeleton is None else Skeleton.from_dict(skeleton),
                class_names=tuple(_text(name) for name in values["class_names"]),
                file_sha256=_text(values["file_sha256"]),
                weights_sha256=_text(values["weights_sha256"]),
                graph_version=int(values["graph_version"]),
                made_with={str(key): str(value) for key, value in dict(values["made_with"]).items()},
                mean=_numbers(values.get("mean")),
                std=_numbers(values.get("std")),
                udp=bool(values.get("udp", False)),
                sigma=float(values.get("sigma", 0.0)),
                decode=_text(values.get("decode", "quarter")),
            )
        except WRONG_VALUES as error:
            raise ModelError(f"the spec cannot be read: {error!r}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} where text was expected")
    return value


def _numbers(values: Any) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(value) for value in values)


def _tensor(values: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(name=_text(values["name"]), shape=tuple(values["shape"]), dtype=_text(values["dtype"]))


def check_names(names: tuple[str, ...]) -> None:
    """Refuse names that are unsafe to display, in a terminal too.

    Raises:
        ModelError: there are too many, or one is empty, too long or contains unprintable characters.
    """
    if len(names) > _MOST_NAMES:
        raise ModelError(f"{len(names)} names are too many; {_MOST_NAMES} at most fit")
    for name in names:
        if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
            raise ModelError(f"{name[:40]!r} is not a name: 1 to {_LONGEST_NAME} printable characters fit")


def read_json(file: Path) -> Any:
    """The JSON of an untrusted file.

    Raises:
        ModelError: it cannot be read, is too large or too deep, or is not JSON.
    """
    try:
        return parse_json(read_regular(file, _MOST_JSON_BYTES))
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ModelError(f"{file} is not JSON, or it is damaged") from error


def refuse_external_data(file: Path) -> None:
    """Refuse an ONNX file that keeps weights in other files: it could name any file of this machine.

    Raises:
        ModelError: it names another file, or that cannot be ruled out.
    """
    with file.open("rb") as stream:
        if stream.seek(0, 2) == 0:
            return
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if names_other_files(content):
                raise ModelError(f"{file} keeps weights in other files, so it is not opened; export it as one file")


def spec_path(model_file: Path) -> Path:
    """The path of a compiled file's spec."""
    return model_file.with_name(model_file.name + ".spec.json")


def sha256_of(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of(file: Path) -> str:
    """SHA-256 of a model's file.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return sha256_of(file)
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error.strerror})") from error


def write_spec(model_file: Path, spec: ModelSpec) -> None:
    """Write the spec of a compiled file beside it."""
    spec_path(model_file).write_text(json.dumps(spec.to_dict(), indent=1) + "\n", encoding="utf-8")


def read_spec(model_file: Path) -> ModelSpec:
    """Read and check the spec of a compiled file.

    Raises:
        ModelError: the file or its spec is missing, cannot be read, or they do not belong together.
    """
    beside = spec_path(model_file)
    if not model_file.is_file():
        raise ModelError(f"{model_file} does not exist")
    if not beside.is_file():
        raise ModelError(f"{model_file} has no spec beside it ({beside.name}), so it is not run; build it again")
    values = read_json(beside)
    try:
        spec = ModelSpec.from_dict(values)
    except ModelError as error:
        raise ModelError(f"{beside}: {error}") from error
    if digest_of(model_file) != spec.file_sha256:
        raise ModelError(f"{model_file} is not the file that its spec describes (SHA-256 differs); build it again")
    if model_file.suffix.lower() == ".onnx":
        refuse_external_data(model_file)
    return spec
