"""Folders that are being filled: no other process removes them, and those of killed processes are removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.artifacts.atomic import filling
from engine.artifacts.engine_cache import removable
from engine.artifacts.folders import CACHE_VARIABLE
from engine.errors import OutputError

NAME = "net-" + "0" * 24 + ".built"
FILLS = """
import sys, time
from pathlib import Path
from engine.artifacts.atomic import filling
with filling(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_a_folder_that_a_process_fills_is_left_alone_and_removed_when_it_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    engines = tmp_path / "engines"
    with subprocess.Popen(
        [sys.executable, "-c", FILLS, str(engines / NAME)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        other = Path(process.stdout.readline().strip())
        os.utime(other, (0, 0))  # however long it takes, or the clock jumps
        assert removable() == []
        with filling(engines / NAME.replace("net", "other")) as mine:
            assert {path.name for path in engines.glob("*.part")} == {mine.name, other.name}
        assert (other / "half").exists() and removable() == [engines / NAME.replace("net", "other")]
        process.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        process.wait()
    deadline = time.monotonic() + 10
    while other not in removable() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert other in removable()
    with filling(engines / NAME):
        assert not other.exists()
    assert sorted(path.name for path in engines.iterdir()) == [NAME, NAME.replace("net", "other")]


def test_a_failed_block_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "onnx" / NAME
    with pytest.raises(RuntimeError), filling(folder) as temporary:
        (temporary / "half").write_text("x")
        raise RuntimeError
    with pytest.raises(BrokenPipeError), filling(folder):
        raise BrokenPipeError  # of the console, and not of the cache
    assert not list(folder.parent.iterdir())
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match="cannot be written"), filling(tmp_path / "file" / NAME):
        pass
