"""Pose networks in INT8: where `auto` takes them, and maps that the eight bits do not touch.

Keypoints come from the INT8 graph alone, whatever else is requested, so that looking at the attention changes no
keypoint. Areas and attention come from the float graph of the same weights, which is opened when they are first
requested: they are what the user looks at, and single pixels of an INT8 attention are off by half of the scale
(docs/decisions/0013-int8.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.artifacts.compiler import ensure_onnx
from engine.artifacts.int8_files import find_int8, shipped_int8
from engine.artifacts.model_spec import read_spec
from engine.backends.contract import Array, Backend, OpenOptions
from engine.errors import BackendError, ModelError
from engine.system.closing import Closing
from engine.system.processor import processor

_MAPS = ("areas", "attention")
_LEAST_GAIN = 1.2


@dataclass(frozen=True, kw_only=True)
class Gain:
    """How many times as fast as the float graph the shipped INT8 graph was on processors of a kind.

    Attributes:
        runtime: that was measured.
        has, lacks: features of the processor, see `engine.system.processor.CPU_FEATURES`.
        one, three, eight: the gain with so many people.
    """

    runtime: str
    has: frozenset[str]
    lacks: frozenset[str]
    one: float
    three: float
    eight: float


GAINS = (
    # kcam_mobilenet_v2 against float32, docs/results.md ("INT8 against float").
    Gain(
        runtime="openvino",
        has=frozenset({"avx512_vnni"}),
        lacks=frozenset({"avx512_bf16", "amx_bf16", "amx_int8"}),
        one=1.8,
        three=1.9,
        eight=2.0,
    ),
    Gain(
        runtime="onnxruntime",
        has=frozenset({"avx512_vnni"}),
        lacks=frozenset({"avx512_bf16", "amx_bf16", "amx_int8"}),
        one=0.4,
        three=0.4,
        eight=0.4,
    ),
)
"""What was measured; processors that are not here compute in float."""


def int8_pays(runtime: str, features: Sequence[str]) -> bool:
    """Whether INT8 was measured to be clearly faster on a runtime and a processor with these features."""
    known = set(features)
    return any(
        gain.runtime == runtime
        and gain.has <= known
        and not gain.lacks & known
        and min(gain.one, gain.three, gain.eight) >= _LEAST_GAIN
        for gain in GAINS
    )


def is_int8_graph(model: Path) -> bool:
    """Whether a pose model is itself a graph in INT8, which computes in nothing else.

    Raises:
        ModelError: the graph has no spec that can be read.
    """
    return model.suffix.lower() == ".onnx" and read_spec(model).precision == "int8"


def open_graph(
    model: Path, options: OpenOptions, runtime: str, open_file: Callable[[Path, OpenOptions], Backend]
) -> Backend:
    """Open a pose model's graph on a processor runtime, in INT8 where it is requested, or where `auto` should.

    Args:
        model: a `.safetensors` file, or an `.onnx` file with its spec.
        options: how to open it.
        runtime: name of the runtime.
        open_file: opens an `.onnx` file on it.

    Raises:
        ModelError: the model cannot be used.
        BackendError: the runtime cannot run it with these options, or there is no INT8 graph of it.
    """
    file: Path | None = None
    if options.precision == "int8":
        file = find_int8(model)
    elif options.precision == "auto" and int8_pays(runtime, processor()[1]):
        file = shipped_int8(model)
    if file is None:
        return open_file(ensure_onnx(model, notify=options.notify), options)
    keypoints = open_file(file, dataclasses.replace(options, precision="int8"))
    if file == model or not set(_MAPS) & set(keypoints.spec.output_names):
        return keypoints  # there is no float graph of it, or nothing that would come from one

    def open_maps() -> Backend:
        return open_file(
            ensure_onnx(model, notify=options.notify), dataclasses.replace(options, precision="auto", gate=None)
        )

    return Int8WithMaps(keypoints, open_maps, options.notify)


class Int8WithMaps(Closing):
    """An INT8 graph whose areas and attention come from the float graph of the same weights, see `Backend`.

    Args:
        keypoints: the INT8 graph; closed with this.
        open_maps: opens the float graph.
        notify: receives one line if the float graph cannot be opened; the maps are those of the INT8 graph then.
    """

    def __init__(self, keypoints: Backend, open_maps: Callable[[], Backend], notify: Callable[[str], None]) -> None:
        self._keypoints = keypoints
        self._open_maps = open_maps
        self._notify = notify
        self._maps: Backend | None = None
        self.name, self.spec = keypoints.name, keypoints.spec
        self.device, self.precision = keypoints.device, keypoints.precision

    def infer(self, inputs: Mapping[str, Array], want: Sequence[str]) -> dict[str, Array]:
        """See `Backend.infer`."""
        maps = [name for name in want if name in _MAPS]
        found = self._keypoints.infer(inputs, [name for name in want if name not in _MAPS])
        return {**found, **self._for_maps().infer(inputs, maps)} if maps else found

    def _for_maps(self) -> Backend:
        if self._maps is None:
            try:
                self._maps = self._open_maps()
            except (BackendError, ModelError) as error:
                self._notify(f"attention is computed in INT8, less exactly: {error}")
                self._maps = self._keypoints
        return self._maps

    def close(self) -> None:
        """Close both."""
        self._keypoints.close()
        if self._maps is not None:
            self._maps.close()
