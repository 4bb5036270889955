"""A program that is killed during a build: the build ends with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from engine.artifacts.folders import CACHE_VARIABLE
from tests.engine.clips import left_in
from tests.faults.ledger import LIMIT_S, ROOT, Fault, Hung

pytestmark = pytest.mark.fault("interrupted work")

# For every Python that starts below the test: where it is to export, it takes a lock and as long as it is let.
SLOW_EXPORT = """
import os, signal, sys, tempfile, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.SIG_IGN if "SIGINT_IGNORED" in os.environ else signal.default_int_handler)
if "build" in sys.orig_argv:
    from engine.build import onnx_export
    from engine.artifacts.atomic import file_lock

    def export_pose(weights, output, **options):
        folder = Path(os.environ["BUILD_FOLDER"])
        with file_lock(folder / "lock"), tempfile.TemporaryDirectory(dir=folder):
            (folder / "started").touch()
            for _ in range(6000):  # not for ever, should the test fail
                time.sleep(0.05)

    onnx_export.export_pose = export_pose
"""

WANTS_AN_EXPORT = """
import sys
from pathlib import Path
from engine.artifacts.compiler import ensure_onnx
ensure_onnx(Path(sys.argv[1]))
"""

HEEDS_NOTHING = """
import signal, sys, time
from engine.system.parent_watch import end_with_stdin
signal.signal(signal.SIGINT, lambda *_: print("not now", flush=True))
end_with_stdin(limit_s=0.5)
assert sys.stdin.read() == "", "packages that read it find nothing"
print("there", flush=True)
while True:
    time.sleep(0.05)
"""


def wait_for(come: Callable[[], bool], otherwise: str) -> None:
    """Wait until a file exists."""
    give_up_s = time.monotonic() + LIMIT_S
    while not come():
        if time.monotonic() > give_up_s:
            raise Hung(otherwise)
        time.sleep(0.05)


@pytest.mark.parametrize("ignored", [False, True])
def test_a_build_ends_with_the_program_that_waits_for_it(ignored: bool, tmp_path: Path, fault: Fault) -> None:
    """The system releases its lock when it has ended, after its temporary folder was removed.

    Also where nohup or a script has left SIGINT ignored.
    """
    site, folder = tmp_path / "site", tmp_path / "build"
    site.mkdir()
    folder.mkdir()
    (site / "sitecustomize.py").write_text(SLOW_EXPORT)
    weights = tmp_path / "some.safetensors"
    weights.write_bytes(b"this export does not look at them")
    env = {"PYTHONPATH": f"{site}{os.pathsep}{ROOT}", "BUILD_FOLDER": str(folder), CACHE_VARIABLE: str(tmp_path / "c")}
    env |= {"SIGINT_IGNORED": "yes"} if ignored else {}
    parent = fault.start("-c", WANTS_AN_EXPORT, weights, env=env)
    wait_for(lambda: (folder / "started").exists() or parent.poll() is not None, "the build did not begin")
    assert parent.poll() is None, fault.end(parent).err
    with pytest.raises(Timeout):  # a build is running
        FileLock(folder / "lock", timeout=0).acquire()
    parent.kill()
    fault.end(parent)
    with FileLock(folder / "lock", timeout=LIMIT_S):
        pass
    assert left_in(folder) == ["lock", "started"]


def test_a_build_that_ignores_signals_is_ended(fault: Fault) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", HEEDS_NOTHING], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None and child.stdout is not None
    assert child.stdout.readline() == "there\n"
    child.stdin.close()
    child.stdin = None
    ended = fault.end(child)
    assert (ended.code, ended.out) == (1, "not now\n")
