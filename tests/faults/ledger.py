"""Checks of the tests of faults, and the count of their outcomes.

A test of this package is one fault: `fault.more(n)` where it tries several. Its outcome follows from how
the test fails: the helpers raise `DataLost`, `TracebackShown` and `Hung`; whatever else the program lets through is a
traceback, and a test that does not end in its time has hung.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 120.0
"""How long a fault may take before it counts as a hang; the usual time is far below."""

OUTCOMES = ("survived", "data lost", "tracebacks", "hangs")


class DataLost(AssertionError):
    """User data was lost."""


class TracebackShown(AssertionError):
    """The user saw a traceback, or the program reported an internal error."""


class Hung(AssertionError):
    """A process did not end in time."""


@dataclass(frozen=True)
class Ended:
    """How a child process ended; a negative code is the signal that ended it."""

    code: int
    out: str
    err: str


class Fault:
    """One fault that is tried."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.count = 1

    def more(self, count: int) -> None:
        """This test tries this many faults in total."""
        self.count = count

    def keeps(self, condition: object, what: str) -> None:
        """Fail as a loss of data unless the condition holds."""
        if not condition:
            raise DataLost(what)

    def quiet(self, text: str) -> None:
        """Fail if a text for the user contains a traceback."""
        if "Traceback (most recent call last)" in text:
            raise TracebackShown(text)

    def refused(self, code: int, err: str) -> str:
        """The one line on stderr of a run that ended with exit code 2."""
        self.quiet(err)
        if code == 1:
            raise TracebackShown(f"the program calls itself at fault: {err}")
        lines = err.strip().splitlines()
        assert code == 2, f"exit code {code}: {err}"
        assert len(lines) == 1, f"one line was expected: {err}"
        assert lines[0].startswith("error: ")
        return lines[0]

    def start(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Python in a child process, at the root of the checkout; end it with `end`."""
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, process: subprocess.Popen[str], limit_s: float = LIMIT_S) -> Ended:
        """Wait for a process, which must end in time and without a traceback."""
        try:
            out, err = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise Hung(f"no end after {limit_s} s: {out}{err}") from None
        done = Ended(process.returncode, out or "", err or "")
        self.quiet(done.out + done.err)
        return done

    def run(self, *arguments: str | Path, env: Mapping[str, str] | None = None, limit_s: float = LIMIT_S) -> Ended:
        """Python in a child process, from start to end."""
        return self.end(self.start(*arguments, env=env), limit_s)


def outcome_of(error: BaseException | None) -> str:
    """The column of the table for a test that ended with an error; empty for none."""
    if error is None:
        return "survived"
    if isinstance(error, DataLost):
        return "data lost"
    if isinstance(error, Hung | subprocess.TimeoutExpired | TimeoutError) or str(error).startswith("Timeout"):
        return "hangs"
    plain = isinstance(error, AssertionError) or type(error).__name__ == "Failed"  # of pytest.fail and pytest.raises
    return "" if plain and not isinstance(error, TracebackShown) else "tracebacks"


@dataclass
class Ledger:
    """Counts the outcomes of the faults of a run, by kind."""

    tried: Counter[str] = field(default_factory=Counter)
    ended: dict[str, Counter[str]] = field(default_factory=dict)
    passed: int = 0
    failed: int = 0

    def add(self, fault: Fault | None, error: BaseException | None) -> None:
        """A test has ended, of a fault or of the count itself (None)."""
        self.passed += error is None
        self.failed += error is not None
        if fault is None:
            return
        column = outcome_of(error)
        self.tried[fault.kind] += fault.count
        # If a test of many faults fails, one counts as failed and none as survived.
        self.ended.setdefault(fault.kind, Counter())[column] += fault.count if error is None else 1

    def table(self) -> list[str]:
        """The lines of the table, one per kind and their sum."""
        columns = ("tried", *OUTCOMES)
        rows = {
            kind: [self.tried[kind], *(self.ended[kind][column] for column in OUTCOMES)] for kind in sorted(self.tried)
        }
        rows["all faults"] = [sum(column) for column in zip(*rows.values(), strict=True)]
        width = max(len(kind) for kind in rows)
        head = f"{'':{width}}" + "".join(f"{column:>12}" for column in columns)
        return [head, *(f"{kind:{width}}" + "".join(f"{n:>12}" for n in counts) for kind, counts in rows.items())]
