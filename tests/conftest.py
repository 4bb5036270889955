"""Shared fixtures."""

from __future__ import annotations

import importlib.util
import os
import signal
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Exports at first use are made once in a run of the tests, and leave nothing in the user's cache folder.
_CACHE = tempfile.TemporaryDirectory(prefix="kcam-pose-tests-", ignore_cleanup_errors=True)
os.environ["KCAM_CACHE_DIR"] = _CACHE.name


def pytest_unconfigure() -> None:
    """Remove the cache folder."""
    _CACHE.cleanup()


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts background jobs so, the programs under test would inherit it, and many tests send them Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def photo_paths() -> list[Path]:
    """The two photos of people that the ultralytics package ships (bus.jpg: 4 people, zidane.jpg: 2)."""
    spec = importlib.util.find_spec("ultralytics")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the ultralytics package, which ships the photos, is not installed")
    assets = Path(spec.submodule_search_locations[0]) / "assets"
    return [assets / "bus.jpg", assets / "zidane.jpg"]


@pytest.fixture(scope="session")
def videos_dir() -> Path:
    """Development clips, which some machines have beside the checkout."""
    folder = ROOT.parent / "shared" / "videos"
    if not folder.is_dir():
        pytest.skip("the development clips (../shared/videos) are not on this machine")
    return folder


@pytest.fixture(scope="session")
def people_data_dir() -> Path:
    """The small data set, unpacked into data/people17 (see CONTRIBUTING.md)."""
    folder = ROOT / "data" / "people17"
    if not (folder / "val.json").is_file():
        pytest.skip("data/people17 is not unpacked on this machine")
    return folder
