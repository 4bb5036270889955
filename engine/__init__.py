"""Human poses in pictures, videos and camera streams: the public Python API, see docs/python.md.

Everything is imported at first use, so that `import engine` costs nothing and no package needs to be there for it.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.api import Pipeline, draw, open_pipeline
    from engine.errors import BackendError, EngineError, ModelError, OptionError, OutputError, SourceError
    from engine.overlay.drawing import OverlayOptions
    from engine.skeleton import Skeleton
    from engine.types import AttentionMaps, Detections, Frame, FrameResult, Poses

if sys.argv[:1] == ["-m"]:  # only where a command of a package is started, such as python -m engine
    from engine.system.entry import quiet_interrupts

    quiet_interrupts()

__all__ = [
    "AttentionMaps",
    "BackendError",
    "Detections",
    "EngineError",
    "Frame",
    "FrameResult",
    "ModelError",
    "OptionError",
    "OutputError",
    "OverlayOptions",
    "Pipeline",
    "Poses",
    "Skeleton",
    "SourceError",
    "draw",
    "open_pipeline",
]

_HOMES = {
    "engine.api": ("Pipeline", "draw", "open_pipeline"),
    "engine.errors": ("BackendError", "EngineError", "ModelError", "OptionError", "OutputError", "SourceError"),
    "engine.overlay.drawing": ("OverlayOptions",),
    "engine.skeleton": ("Skeleton",),
    "engine.types": ("AttentionMaps", "Detections", "Frame", "FrameResult", "Poses"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'engine' has no attribute '{name}'")
    value = globals()[name] = getattr(importlib.import_module(_HOME_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
