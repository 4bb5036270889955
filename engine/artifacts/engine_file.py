"""A compiled engine: three files side by side, and the checks before a runtime loads it.

`<name>.engine` is the runtime's own format, `<name>.engine.spec.json` the contract (model_spec.py), and
`<name>.engine.build.json` records what it was built for and whether it passed the parity gate.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.artifacts.atomic import replacing
from engine.artifacts.model_spec import WRONG_VALUES, ModelSpec, read_json, read_spec, spec_path
from engine.errors import ModelError

RECORD_FORMAT = 1
STATES = ("passed", "unchecked", "failed")


def this_platform() -> str:
    """Operating system and processor, e.g. "linux-x86_64"; an engine runs only on the platform it was built on."""
    return f"{sys.platform}-{platform.machine().lower()}"


@dataclass(frozen=True, kw_only=True)
class EngineKey:
    """What an engine was built from and for; engines that differ in any field are different engines.

    Attributes:
        weights_sha256: of the weights file.
        graph_version: of the exported graph.
        runtime: "tensorrt", "tensorrt_rtx" or "torch2trt".
        runtime_version: of the runtime that compiled it, which is the only one that runs it.
        targets: compute capabilities ("sm89"), in order; TensorRT builds for the one it runs on.
        gpu: name of the GPU it was tuned on; empty for engines built ahead of time.
        system: see `this_platform`.
        precision: fp16 or fp32.
        max_people: length of the largest batch.
        with_crop: whether its input is the whole frame.
        max_side: longest side in px of its input frame or letterboxed picture; 0 where the size is fixed.
    """

    weights_sha256: str
    graph_version: int
    runtime: str
    runtime_version: str
    targets: tuple[str, ...]
    gpu: str
    system: str = field(default_factory=this_platform)
    precision: str
    max_people: int
    with_crop: bool
    max_side: int = 0

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> EngineKey:
        """The inverse of `dataclasses.asdict`; raises KeyError, TypeError or ValueError."""
        kinds: dict[str, Callable[[Any], Any]] = {"graph_version": int, "max_people": int, "max_side": int}
        kinds |= {"with_crop": bool, "targets": lambda targets: tuple(map(str, targets))}
        names = [item.name for item in dataclasses.fields(EngineKey)]
        return EngineKey(**{name: kinds.get(name, str)(values[name]) for name in names})

    def difference(self, other: EngineKey) -> str | None:
        """Why this engine does not serve where `other` is wanted, in a few words; None where it does.

        An engine for several targets fits each of them, and one for larger batches or frames fits smaller ones.
        """
        reasons = (
            ("weights_sha256", "the weights have changed"),
            ("graph_version", "this version of the program makes another graph"),
            ("runtime", f"it is for {self.runtime}, {other.runtime} is wanted"),
            ("runtime_version", f"it was built by {self.runtime} {self.runtime_version}, {other.runtime_version} runs"),
            ("system", f"it was built on {self.system}, this is {other.system}"),
            ("precision", f"it computes in {self.precision}, {other.precision} is wanted"),
            ("with_crop", "it takes whole frames" if self.with_crop else "it takes crops, not whole frames"),
        )
        for name, reason in reasons:
            if getattr(self, name) != getattr(other, name):
                return reason
        if not set(other.targets) <= set(self.targets):
            return f"it was built for {', '.join(self.targets)}, not for {', '.join(other.targets)}"
        if self.gpu and other.gpu and self.gpu != other.gpu:
            return f"it was built for {self.gpu}, this is {other.gpu}"
        if self.max_people < other.max_people:
            return f"it takes at most {self.max_people} people, {other.max_people} are wanted"
        if self.max_side < other.max_side:
            return f"it takes pictures up to {self.max_side} px, {other.max_side} are wanted"
        return None


@dataclass(frozen=True, kw_only=True)
class EngineRecord:
    """What is known of an engine besides its spec.

    Attributes:
        key: what it was built from and for.
        state: one of STATES: the result of the parity gate.
        report: what the gate measured, in one line.
        weights: path of the weights at the time of the build.
        built_s: seconds that the build took.
    """

    key: EngineKey
    state: str
    report: str
    weights: str
    built_s: float


def record_path(engine_file: Path) -> Path:
    """The path of an engine's record."""
    return engine_file.with_name(engine_file.name + ".build.json")


def parts_of(engine_file: Path) -> tuple[Path, Path, Path]:
    """The three files of an engine."""
    return engine_file, spec_path(engine_file), record_path(engine_file)


def write_record(engine_file: Path, record: EngineRecord) -> None:
    """Write the record of an engine beside it, atomically."""
    target = record_path(engine_file)
    text = json.dumps({"format": RECORD_FORMAT, **dataclasses.asdict(record)}, indent=1) + "\n"
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_record(engine_file: Path) -> EngineRecord:
    """Read the record of an engine.

    Raises:
        ModelError: it is missing or not of the expected form.
    """
    beside = record_path(engine_file)
    if not beside.is_file():
        raise ModelError(f"{engine_file} has no record of its build beside it ({beside.name}); build it again")
    try:
        values = read_json(beside)
        if values["format"] != RECORD_FORMAT or values["state"] not in STATES:
            raise ValueError("another format")
        return EngineRecord(
            key=EngineKey.from_dict(values["key"]),
            state=values["state"],
            report=str(values["report"]),
            weights=str(values["weights"]),
            built_s=float(values["built_s"]),
        )
    except WRONG_VALUES as error:
        raise ModelError(f"{beside} cannot be read ({error!r}); build the engine again") from error


def read_engine(engine_file: Path) -> tuple[ModelSpec, EngineRecord]:
    """Spec and record of an engine, after the check that they belong to its file.

    Raises:
        ModelError: a part is missing or damaged, or they do not belong together.
    """
    spec = read_spec(engine_file)
    record = read_record(engine_file)
    key = record.key
    if (spec.weights_sha256, spec.graph_version) != (key.weights_sha256, key.graph_version):
        raise ModelError(f"{engine_file}: its spec and the record of its build do not belong together; build it again")
    return spec, record


def failure_of(engine_file: Path, record: EngineRecord) -> str:
    """The message for the user about an engine that failed the parity gate."""
    offer = "; --precision fp32 builds one that keeps to it" if record.key.precision != "fp32" else ""
    return f"{engine_file.name} is not used, because it deviates from float32: {record.report}{offer}"
