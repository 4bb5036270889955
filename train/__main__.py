"""`python -m train`: train a pose network."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence

from engine.errors import EngineError
from engine.system.entry import run_command
from models.checkpoints import CheckpointError
from train.options import config_from, parse_options


def main(argv: Sequence[str] | None = None) -> int:
    """Train; exit code 2 and one line where the input does not serve."""
    try:
        options = parse_options(argv)
        config = config_from(options)
        if options.get("profile"):
            from train.profile import profile

            profile(config)
            return 0
        from train.processes import process_rank
        from train.run import train

        first = process_rank(config) == 0
        with contextlib.nullcontext() if first else contextlib.redirect_stdout(io.StringIO()):
            weights = train(config, resume=bool(options.get("resume")))
            print(f"weights: {weights}")
    except (EngineError, CheckpointError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a folder that may not be written
        print(f"train: {error.filename or 'the run'} cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
