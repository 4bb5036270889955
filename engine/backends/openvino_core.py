"""The single `openvino.Core` of a process."""

from __future__ import annotations

import threading
from typing import Any

from engine.system.openvino_env import silence_openvino

_LOCK = threading.Lock()
_CORES: list[Any] = []


def openvino_core() -> Any:
    """The single `openvino.Core` of this process; several threads may use it, and it is never freed.

    A core's CPU plugin installs an alternate signal stack in the thread that creates it and unmaps that stack at its
    end, possibly while the thread still uses it: of two cores that are destroyed in the order of their creation, the
    second restores the unmapped stack of the first. The next signal, e.g. Ctrl-C, then crashes the process.

    Raises:
        ImportError: the package is missing or damaged.
        RuntimeError: OpenVINO cannot be started.
    """
    silence_openvino()
    import openvino

    with _LOCK:
        if not _CORES:
            _CORES.append(openvino.Core())
        return _CORES[0]
