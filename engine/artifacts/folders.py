"""The folders of shipped weights, cache and downloads; and whether downloads are allowed."""

from __future__ import annotations

import os
import re
from pathlib import Path

from engine.system.paths import path_from

WEIGHTS_DIR = Path(__file__).resolve().parents[2] / "models" / "weights"
CACHE_VARIABLE = "KCAM_CACHE_DIR"
OFFLINE_VARIABLE = "KCAM_OFFLINE"
"""Set to 1 by `--offline`; child processes inherit it."""
_ENTRY = r".+-(?:[0-9a-f]{32}-g\d+(?:-int8-[0-9a-f]{8})?|[0-9a-f]{24}\.built)"
_UNFINISHED = rf"{_ENTRY}-\w+\.(?:part|stale)"


def cache_dir() -> Path:
    """The folder for compiled files: $KCAM_CACHE_DIR, else the user's cache folder. It may not exist yet."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return path_from(chosen).resolve()
    import platformdirs

    return Path(platformdirs.user_cache_dir("kcam-pose", appauthor=False))


def is_offline() -> bool:
    """Whether downloads are forbidden, regardless of other options."""
    return os.environ.get(OFFLINE_VARIABLE, "") not in ("", "0")


def is_entry(folder: Path) -> bool:
    """Whether a folder of the cache is a compiled file's own: the cache may be in a folder that holds other things."""
    return re.fullmatch(_ENTRY, folder.name) is not None and folder.is_dir() and not folder.is_symlink()


def is_unfinished(folder: Path) -> bool:
    """Whether a folder of the cache is one that is being filled, or deleted, or was left in that state."""
    return re.fullmatch(_UNFINISHED, folder.name) is not None and folder.is_dir() and not folder.is_symlink()


def downloads_dir() -> Path:
    """The folder of fetched detector files."""
    return cache_dir() / "downloads"
