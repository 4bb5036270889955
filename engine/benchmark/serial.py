"""`--compare serial`: the same export on one core and one thread, one stage at a time, against the default."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import BackendError, OptionError
from engine.system.installation import ROOT

PAIRS = 5


def compare_serial(arguments: Sequence[str], pairs: int = PAIRS) -> dict[str, Any]:
    """Medians over pairs of runs of the ratios of frames per second and of processor time.

    Args:
        arguments: of `main.py --video ...`, without those that differ between the two.

    Raises:
        OptionError: this system cannot restrict a process to one core.
        BackendError: a run failed.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise OptionError("--compare serial needs Linux: only there can a process be restricted to one core")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(pairs):
            serial = _run([*arguments, "--threads", "1"], Path(folder), cores=1)
            usual = _run(arguments, Path(folder), cores=None)
            rows.append({"serial": serial, "usual": usual})
    fps = [row["usual"]["fps"] / row["serial"]["fps"] for row in rows]
    cpu = [row["usual"]["cpu_s"] / row["serial"]["cpu_s"] for row in rows]
    return {
        "fps_ratio": round(float(np.median(fps)), 3),
        "cpu_time_ratio": round(float(np.median(cpu)), 3),
        "cores": len(os.sched_getaffinity(0)),
        "pairs": rows,
    }


def _run(arguments: Sequence[str], folder: Path, cores: int | None) -> dict[str, float]:
    """Frames per second that a run reports, and its processor seconds over all threads."""
    allowed = os.sched_getaffinity(0)
    command = [sys.executable, str(ROOT / "main.py"), *arguments, "--output", str(folder / "out.mp4"), "--overwrite"]
    try:
        if cores is not None:
            os.sched_setaffinity(0, set(sorted(allowed)[:cores]))  # a child inherits it
        with (folder / "out.txt").open("w+") as out, (folder / "err.txt").open("w+") as err:
            child = subprocess.Popen(command, stdout=out, stderr=err)
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
    finally:
        os.sched_setaffinity(0, allowed)
    text = (folder / "out.txt").read_text(encoding="utf-8")
    reported = re.search(r"([0-9.]+) frames/s", text)
    if child.returncode != 0 or reported is None:
        problem = (folder / "err.txt").read_text(encoding="utf-8").strip().splitlines()
        raise BackendError(f"a run of the comparison failed: {problem[-1] if problem else child.returncode}")
    return {"fps": float(reported[1]), "cpu_s": round(used.ru_utime + used.ru_stime, 2)}
