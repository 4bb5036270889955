"""Where files are kept: the shipped weights, the cache, what was fetched; and whether anything may be fetched."""

from __future__ import annotations

import os
from pathlib import Path

WEIGHTS_DIR = Path(__file__).resolve().parents[2] / "models" / "weights"
CACHE_VARIABLE = "KCAM_CACHE_DIR"
OFFLINE_VARIABLE = "KCAM_OFFLINE"
"""Set to 1 by `--offline`, and so handed on to child processes."""


def cache_dir() -> Path:
    """The folder for compiled files: $KCAM_CACHE_DIR, else the user's cache folder. It may not exist yet."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().resolve()
    import platformdirs

    return Path(platformdirs.user_cache_dir("kcam-pose", appauthor=False))


def is_offline() -> bool:
    """Whether nothing may be fetched, whatever else was asked."""
    return os.environ.get(OFFLINE_VARIABLE, "") not in ("", "0")


def downloads_dir() -> Path:
    """Where fetched detector files are kept."""
    return cache_dir() / "downloads"
