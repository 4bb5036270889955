"""The one OpenVINO of a process."""

from __future__ import annotations

import threading
from typing import Any

from engine.system.openvino_env import silence_openvino

_LOCK = threading.Lock()
_CORES: list[Any] = []


def openvino_core() -> Any:
    """The one `openvino.Core` of this process, which several threads may use and nothing frees.

    A core's processor plugin gives the thread that makes it a stack for signals of its own, and its end unmaps that
    stack, by then perhaps while the thread still has it: of two cores that end in the order they began in, the second
    puts back the stack of the first. The next signal, be it Ctrl-C, is then a crash.

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
