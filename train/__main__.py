"""`python -m train`: train a pose network."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

from engine.system.entry import run_command
from train.command import reports_errors
from train.options import config_from, parse_options


@reports_errors("train")
def main(argv: Sequence[str] | None = None) -> int:
    """Train; exit code 2 and one line where the input cannot be used."""
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
    return 0


def command() -> int:
    """The installed command `kcam-pose-train`; ends as `python -m train` does."""
    return run_command(main)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
