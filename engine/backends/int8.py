"""Networks in INT8: where `auto` takes them, and maps that the eight bits do not touch.

Keypoints come from the INT8 graph alone, whatever else is requested, so that looking at the attention changes no
keypoint. Areas and attention come from the float graph of the same weights, which is opened when they are first
requested: they are what the user looks at, and single pixels of an INT8 attention are off by half of the scale
(docs/decisions/0013-int8.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from engine.artifacts.compiler import ensure_onnx
from engine.artifacts.int8_files import existing_int8, find_int8, shipped_int8
from engine.artifacts.model_spec import read_spec
from engine.backends.contract import Array, Backend, OpenOptions
from engine.errors import EngineError
from engine.system.closing import Closing
from engine.system.processor import processor

_MAPS = ("areas", "attention")
_PAYS = {"openvino": ({"avx512_vnni"}, {"amx_bf16", "amx_int8"})}
"""Runtimes, and the features (`engine.system.processor.CPU_FEATURES`) that a processor must have and must lack, where
the shipped INT8 graph was measured to be clearly faster than what `auto` would otherwise take: with one to eight people
1.8 to 2.0 times as fast as float32, and 1.4 to 2.0 times as bfloat16 where the processor has that, see docs/results.md
("INT8 against float"). ONNX Runtime was slower (0.3 to 0.6 times). What is not here computes in float."""


def int8_pays(runtime: str, features: Sequence[str]) -> bool:
    """Whether INT8 was measured to be clearly faster on a runtime and a processor with these features."""
    if runtime not in _PAYS:
        return False
    has, lacks = _PAYS[runtime]
    return has <= set(features) and not lacks & set(features)


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
        open_file: opens an `.onnx` file on it.

    Raises:
        ModelError: the model cannot be used.
        BackendError: the runtime cannot run it with these options, or there is no INT8 graph of it.
    """
    file = _int8_to_take(model, options, runtime, shipped_int8)
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


def open_detector_graph(
    detector: Path, options: OpenOptions, runtime: str, open_file: Callable[[Path, OpenOptions], Backend]
) -> Backend:
    """Open a detector's graph on a processor runtime, in INT8 as `open_graph` does for pose models.

    `auto` also takes a graph that was built here: who builds one of a detector wants it used.

    Raises:
        ModelError: the file is not the one that its spec describes.
        BackendError: the runtime cannot run it with these options, or there is no INT8 graph of it.
    """
    file = _int8_to_take(detector, options, runtime, existing_int8)
    if file is None or file == detector:
        return open_file(detector, options)
    return open_file(file, dataclasses.replace(options, precision="int8"))


def _int8_to_take(
    model: Path, options: OpenOptions, runtime: str, for_auto: Callable[[Path], Path | None]
) -> Path | None:
    """The INT8 graph that is requested, or that `auto` takes here; None for the graph in float."""
    if options.precision == "int8":
        return find_int8(model)
    if options.precision == "auto" and int8_pays(runtime, processor()[1]):
        return for_auto(model)
    return None


class Int8WithMaps(Closing):
    """An INT8 graph whose areas and attention come from the float graph of the same weights, see `Backend`.

    Args:
        keypoints: the INT8 graph; closed with this.
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
            except EngineError as error:
                self._notify(f"attention is computed in INT8, less exactly: {error}")
                self._maps = self._keypoints
        return self._maps

    def close(self) -> None:
        """Close both."""
        self._keypoints.close()
        if self._maps is not None:
            self._maps.close()
