"""`--status-json FILE`: the window's state, written once a second and replaced atomically."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from app.live.statistics import Snapshot, Spread
from engine.artifacts.atomic import replacing
from engine.errors import OutputError
from engine.option_table import Place, values_of
from engine.pipeline.options import PipelineOptions

_MOST_BYTES = 1_000_000


def _spread(value: Spread | None) -> dict[str, float] | None:
    return None if value is None else {"p50": round(value.p50, 2), "p95": round(value.p95, 2)}


def memory_mb() -> float | None:
    """Memory of this process that is in use, in MB; None where the system has no file for it."""
    if not sys.platform.startswith("linux"):
        return None
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def status_of(
    snapshot: Snapshot,
    *,
    source: str | None,
    options: PipelineOptions | None,
    description: dict[str, Any],
    dropped_frames: int,
    started_s: float,
) -> dict[str, Any]:
    """The values of the file; times in ms, memory in MB, None where there is no value."""
    running = ("pose_model", "backend", "device", "precision", "detector", "detector_backend", "skipped")
    return {
        "seconds": round(time.monotonic() - started_s, 2),
        "source": source,
        "options": None if options is None else values_of(options, Place.STATUS),
        "fps": round(snapshot.fps, 2),
        "latency_ms": _spread(snapshot.latency),
        "stages_ms": {name: _spread(value) for name, value in snapshot.stages.items()},
        "people": snapshot.people,
        "frames_painted": snapshot.frames_painted,
        "frames_painted_with_pipeline": snapshot.frames_painted_with_pipeline,
        "frames_painted_with_people": snapshot.frames_painted_with_people,
        "dropped_frames": dropped_frames,
        **{name: description.get(name) for name in running},
        "memory_mb": memory_mb(),
        "threads": threading.active_count(),
    }


def is_status(file: Path) -> bool:
    """Whether a file is the status that an earlier run wrote, which the next one may replace."""
    try:
        content = json.loads(file.read_bytes()[:_MOST_BYTES])
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"fps", "latency_ms", "stages_ms", "frames_painted"} <= set(content)


def write_status(file: Path, status: dict[str, Any]) -> None:
    """Replace the file atomically.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(status, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {file}: {error.strerror or error}") from error
