"""`python -m train.detector`, see training.py."""

from __future__ import annotations

from engine.system.entry import run_command
from train.detector.training import main

if __name__ == "__main__":
    raise SystemExit(run_command(main))
