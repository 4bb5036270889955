"""`python -m tests.train.run_and_die LOG DIE_AT OPTIONS...`: `python -m train` that notes its steps and may be killed.

Each step appends to LOG a line: its number in the run, a fingerprint of its crops, its loss. When step number DIE_AT
(counted in this process, from 1) begins, the process ends as by kill -9; 0 for never.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

from train.__main__ import main
from train.module import PoseTraining

log, die_at = Path(sys.argv[1]), int(sys.argv[2])
steps = 0
plain_step = PoseTraining.training_step


def noting_step(self: PoseTraining, batch: Any, batch_idx: int) -> Any:
    global steps  # noqa: PLW0603
    steps += 1
    if steps == die_at:
        os._exit(9)
    step, fingerprint = self.global_step, hashlib.sha256(batch["crop"].numpy().tobytes()).hexdigest()
    loss = plain_step(self, batch, batch_idx)
    with log.open("a") as stream:
        stream.write(f"{step} {fingerprint} {loss.item()!r}\n")
    return loss


PoseTraining.training_step = noting_step  # type: ignore[method-assign]
raise SystemExit(main(sys.argv[3:]))
