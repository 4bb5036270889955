"""Ctrl-C while packages are imported."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends a signal to itself")
ROOT = Path(__file__).parents[3]

SWALLOWS = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)
except BaseException:  # as native packages do while they are imported
    raise ImportError("an interrupt became another error")
print("imported", flush=True)
"""


def _run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    start = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(folder)!r}]\n"
    command = [sys.executable, "-c", start + program]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, preexec_fn=_default_interrupts
    )


def _default_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_an_interrupt_inside_an_import_ends_the_command_after_it(tmp_path: Path) -> None:
    (tmp_path / "swallows.py").write_text(SWALLOWS)
    program = """
import time
from engine.system.entry import run_command
def main():
    import swallows
    time.sleep(30)
    return 0
sys.exit(run_command(main))
"""
    done = _run(program, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "imported\n", "stopped\n")


def test_an_interrupt_in_a_finaliser_is_not_lost(tmp_path: Path) -> None:
    program = """
import os, signal, time
from engine.system.entry import run_command
class Freed:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
def main():
    one = Freed()
    del one
    time.sleep(30)
    return 0
sys.exit(run_command(main))
"""
    done = _run(program, tmp_path)
    assert (done.returncode, done.stderr) == (130, "stopped\n")
