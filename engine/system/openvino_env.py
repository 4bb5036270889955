"""Switches off the telemetry of the openvino and nncf packages; standard library only.

Both report each import and more to Google Analytics through the package openvino_telemetry, without asking. They work
without that package, so it is hidden from them.
"""

from __future__ import annotations

import sys

_TELEMETRY = "openvino_telemetry"


def silence_openvino() -> None:
    """Hide the telemetry package; call it before the first `import openvino` or `import nncf` in a process."""
    # None makes Python answer every import of the name with ModuleNotFoundError.
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
