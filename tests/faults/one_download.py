"""A server with one file, a manifest that names it, and the downloads folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.artifacts import download
from engine.artifacts.download import fetch
from engine.artifacts.folders import CACHE_VARIABLE, OFFLINE_VARIABLE
from engine.errors import ModelError
from tests.faults.loopback_https import Publisher, publisher

CONTENT = bytes(range(256)) * 2000  # longer than one chunk
NAME = "yolo26n.pt"
PATH = f"/releases/{NAME}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The downloads folder."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(OFFLINE_VARIABLE, raising=False)
    return tmp_path / "cache" / "downloads"


@pytest.fixture
def server(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    """A server with one file, and a manifest that names it."""
    entry = {
        "url": f"https://files.example{PATH}",
        "size_bytes": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
    }
    write_manifest(tmp_path, monkeypatch, entry)
    with publisher() as state:
        state.files[PATH] = CONTENT
        yield state


def write_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: dict[str, object]) -> None:
    manifest = tmp_path / "downloads.json"
    manifest.write_text(json.dumps({"files": {NAME: entry}}))
    monkeypatch.setattr(download, "MANIFEST", manifest)


def no_wait(_seconds: float) -> None:
    """Do not wait between attempts."""


def refused(server: Publisher, sha256: str | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        fetch(NAME, sha256=sha256, opener=server.opener, wait=no_wait)
    line = str(caught.value)
    assert "\n" not in line
    assert NAME in line
    return line


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.part"))
