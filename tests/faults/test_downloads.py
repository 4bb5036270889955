"""Interrupted or wrong downloads: the file is complete and unchanged, or missing."""

from __future__ import annotations

import errno
import threading
import urllib.error
from pathlib import Path

import pytest

from engine.artifacts.download import fetch
from engine.errors import ModelError, OutputError
from tests.faults.ledger import Fault
from tests.faults.loopback_https import Publisher
from tests.faults.one_download import CONTENT, NAME, PATH, folder, no_wait, parts, refused, server

__all__ = ["folder", "server"]

pytestmark = pytest.mark.fault("downloads")


def test_a_file_is_downloaded_completely_and_only_once(server: Publisher, folder: Path) -> None:
    assert fetch(NAME, opener=server.opener).read_bytes() == CONTENT
    assert fetch(NAME, opener=server.opener) == folder / NAME
    assert len(server.requests) == 1
    assert parts(folder) == []


def test_a_broken_download_is_resumed(server: Publisher, folder: Path, fault: Fault) -> None:
    fault.more(3)
    server.cut = [100_000, 0, 50_000]
    printed: list[str] = []
    assert fetch(NAME, opener=server.opener, notify=printed.append, wait=no_wait).read_bytes() == CONTENT
    assert [requested for _, requested in server.requests] == [None, "bytes=100000-", "bytes=100000-", "bytes=150000-"]
    assert len(printed) == 3
    assert "ended after 100000 of 512000 bytes" in printed[0]


def test_a_partial_download_is_kept_for_the_next_run(server: Publisher, folder: Path) -> None:
    server.cut = [1000] * 4
    line = refused(server)
    assert "4000 bytes are kept" in line
    assert str(folder / NAME) in line
    assert [part.stat().st_size for part in parts(folder)] == [4000]
    assert not (folder / NAME).exists()
    assert fetch(NAME, opener=server.opener, wait=no_wait).read_bytes() == CONTENT
    assert server.requests[-1][1] == "bytes=4000-"
    assert parts(folder) == []


@pytest.mark.parametrize("ranges", [True, False])
def test_a_part_that_does_not_match_is_downloaded_again(server: Publisher, folder: Path, ranges: bool) -> None:
    """The part is of another file: the hash differs, it is deleted, and the next run succeeds."""
    server.cut = [1000] * 4
    refused(server)
    (part,) = parts(folder)
    part.write_bytes(b"\0" * 5000)
    server.ranges = ranges
    if ranges:
        assert "another file" in refused(server)
        assert parts(folder) == []
    assert fetch(NAME, opener=server.opener, wait=no_wait).read_bytes() == CONTENT


def test_a_server_without_ranges_restarts_the_download(server: Publisher) -> None:
    server.cut, server.ranges = [1000], False
    assert fetch(NAME, opener=server.opener, wait=no_wait).read_bytes() == CONTENT


def test_a_busy_server_is_retried(server: Publisher, fault: Fault) -> None:
    fault.more(3)
    server.codes = [503, 500, 429]
    assert fetch(NAME, opener=server.opener, wait=no_wait).read_bytes() == CONTENT


def test_a_changed_file_is_refused(server: Publisher, folder: Path) -> None:
    server.files[PATH] = CONTENT[:-1] + b"!"
    assert "SHA-256" in refused(server)
    assert [path.name for path in folder.iterdir() if path.suffix != ".lock"] == []


@pytest.mark.parametrize("send_length", [True, False])
def test_an_oversized_file_is_refused(server: Publisher, folder: Path, send_length: bool) -> None:
    server.send_length = send_length
    server.files[PATH] = CONTENT * 3
    assert f"{len(CONTENT)}" in refused(server)
    assert all(part.stat().st_size == 0 for part in parts(folder))
    assert not (folder / NAME).exists()


def test_a_missing_file_is_reported_at_once(server: Publisher) -> None:
    server.files.clear()
    assert "404" in refused(server)
    assert len(server.requests) == 1


def test_without_a_network_the_error_is_one_line_with_advice(server: Publisher, folder: Path) -> None:
    def no_network(request: object, _timeout_s: float) -> None:
        raise urllib.error.URLError(OSError(-3, "Temporary failure in name resolution"))

    with pytest.raises(ModelError) as caught:
        fetch(NAME, opener=no_network, wait=no_wait)
    line = str(caught.value)
    assert "Temporary failure in name resolution" in line
    assert f"get https://files.example{PATH} on another machine and put it at {folder / NAME}" in line


def test_a_network_that_goes_away_is_not_taken_for_the_disk(server: Publisher, folder: Path) -> None:
    def gone(_request: object, _timeout_s: float) -> None:
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    with pytest.raises(ModelError, match="No route to host"):
        fetch(NAME, opener=gone, wait=no_wait)


def test_a_folder_that_cannot_be_written_is_named(server: Publisher, folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where the folder would have to be")
    with pytest.raises(OutputError, match="downloads cannot be written"):
        fetch(NAME, opener=server.opener)


def test_concurrent_downloads_download_once(server: Publisher, folder: Path) -> None:
    results: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: results.append(fetch(NAME, opener=server.opener).read_bytes()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert results == [CONTENT] * 4
    assert len(server.requests) == 1
