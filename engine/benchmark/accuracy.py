"""Accuracy of what is measured: AP on a data set, by `train.end_to_end` in a child process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import OptionError
from engine.option_table import Place, words_of
from engine.pipeline.options import PipelineOptions
from engine.system.installation import install_command

_ROOT = Path(__file__).resolve().parents[2]


def measured_accuracy(options: PipelineOptions, data: Path) -> dict[str, Any]:
    """The report of `train.end_to_end` for the networks, backend, precision and thresholds of these options.

    Raises:
        OptionError: the data set cannot be used, or the packages of training are missing.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "accuracy.json"
        command = [sys.executable, "-m", "train.end_to_end", "--data", str(data.resolve()), "--report", str(report)]
        command += words_of(options, Place.BENCHMARK)
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=_ROOT)
        if done.returncode == 0 and report.is_file():
            found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
            return {**found, "data": str(data)}
        lines = done.stderr.strip().splitlines()
        why = lines[-1].removeprefix("train.end_to_end: ") if lines else f"exit code {done.returncode}"
        if why.startswith("ModuleNotFoundError"):
            why = f"{why.partition(': ')[2]}; {install_command('train')}"
        raise OptionError(f"--data {data}: AP cannot be measured: {why}")


def accuracy_text(one: Mapping[str, Any]) -> str:
    """AP of one measured backend for a line beside its speed: as measured, or as the network's card states it."""
    found = one.get("accuracy")
    if found is None:
        return str(one["ap"] or "no AP stated")
    return (
        f"AP {found['metrics']['AP']:.1f} on {found['data']} ({found['pictures']} pictures, {found['people']} people, "
        "with this detector)"
    )
