"""The table is counted: each way in which a test can end has its column."""

from __future__ import annotations

import subprocess

import pytest

from tests.faults.ledger import Fault, Hung, Ledger, TracebackShown, outcome_of


def test_each_way_to_fail_has_its_column() -> None:
    fault = Fault("any")
    with pytest.raises(AssertionError) as lost:
        fault.keeps(False, "a recording is gone")
    with pytest.raises(TracebackShown) as shown:
        fault.refused(1, "error: ZeroDivisionError: division by zero (a fault of the program)")
    with pytest.raises(AssertionError, match="exit code 0") as wrong:
        fault.refused(0, "")
    with pytest.raises(Hung) as hung:
        fault.run("-c", "import time; time.sleep(60)", limit_s=0.2)
    with pytest.raises(TracebackShown) as printed:
        fault.run("-c", "1 / 0")
    ledger = Ledger()
    for kind, error in (
        ("files", lost.value), ("files", wrong.value), ("files", None), ("files", ZeroDivisionError()),
        ("runs", shown.value), ("runs", printed.value), ("runs", hung.value),
        ("runs", subprocess.TimeoutExpired("python", 1)),
    ):  # fmt: skip
        ledger.add(Fault(kind), error)
    many = Fault("runs")
    many.more(10)
    ledger.add(many, None)
    _head, files, runs, total = ledger.table()
    assert files.split() == ["files", "4", "1", "1", "1", "0"]
    assert runs.split() == ["runs", "14", "10", "0", "2", "2"]
    assert total.split() == ["all", "faults", "18", "11", "1", "3", "2"]
    assert (ledger.passed, ledger.failed) == (2, 7)


def test_a_timeout_of_the_runner_is_a_hang() -> None:
    with pytest.raises(pytest.fail.Exception) as timed_out:
        pytest.fail("Timeout (>150.0s) from pytest-timeout.")
    assert outcome_of(timed_out.value) == "hangs"


def test_the_last_line_is_the_sum() -> None:
    done = Fault("any").run("-m", "pytest", "tests/faults/test_ledger.py", "-k", "timeout_of_the_runner")
    assert done.out.strip().splitlines()[-1] == "1 passed, 0 failed"
