"""Counts the faults that the tests of this package try, and prints the table at the end of the run.

A module states the kind of its faults: `pytestmark = pytest.mark.fault("bad files")`. Tests without that mark are tests
of the count itself and stand in no line of the table.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.faults.ledger import LIMIT_S, Fault, Ledger

HERE = Path(__file__).resolve().parent
LEDGER = pytest.StashKey[Ledger]()
FAULT = pytest.StashKey[Fault]()
ONLY_FAULTS = pytest.StashKey[bool]()


def is_ours(item: pytest.Item) -> bool:
    return HERE in item.path.parents


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[LEDGER] = Ledger()
    config.stash[ONLY_FAULTS] = all(is_ours(item) for item in items)
    for item in filter(is_ours, items):
        marker = item.get_closest_marker("fault")
        if marker is not None:
            item.stash[FAULT] = Fault(str(marker.args[0]))
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LIMIT_S + 30))


@pytest.fixture
def fault(request: pytest.FixtureRequest) -> Fault:
    """The fault that this test tries."""
    found: Fault = request.node.stash[FAULT]
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped:
        return report
    # A test counts when it is called, or when its setup or teardown fails.
    if report.when == "call" or report.failed:
        error = call.excinfo.value if report.failed and call.excinfo is not None else None
        item.config.stash[LEDGER].add(item.stash.get(FAULT, None), error)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    ledger = config.stash.get(LEDGER, None)
    if ledger is None or not ledger.tried:
        return
    terminalreporter.section("faults")
    for line in ledger.table():
        terminalreporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line of a run of these tests alone; with other tests, pytest's own line is the last."""
    ledger = config.stash.get(LEDGER, None)
    if ledger is not None and ledger.passed + ledger.failed and config.stash[ONLY_FAULTS]:
        print(f"{ledger.passed} passed, {ledger.failed} failed")
