"""Refused downloads: offline, unknown hashes, other addresses, the manifest."""

from __future__ import annotations

import hashlib
import http.server
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from engine.artifacts.download import downloads, fetch
from engine.artifacts.folders import CACHE_VARIABLE, OFFLINE_VARIABLE
from engine.artifacts.model_files import find_detector, official_detector_file
from engine.errors import EngineError, ModelError, OptionError
from tests.faults.ledger import Fault
from tests.faults.loopback_https import Publisher
from tests.faults.no_sockets import no_sockets
from tests.faults.one_download import CONTENT, NAME, PATH, folder, no_wait, refused, server, write_manifest

__all__ = ["folder", "server"]

pytestmark = pytest.mark.fault("downloads")


def test_a_redirect_stays_within_https(server: Publisher, fault: Fault) -> None:
    fault.more(4)
    server.files["/cdn/x"] = CONTENT
    for address in (f"http://127.0.0.1:{server.port}/cdn/x", "ftp://files.example/x", "file:///etc/passwd"):
        server.redirect[PATH] = address
        assert "not https" in refused(server)
    server.redirect[PATH] = "https://cdn.example/cdn/x"
    assert fetch(NAME, opener=server.opener).read_bytes() == CONTENT


def test_offline_sends_no_request(server: Publisher, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OFFLINE_VARIABLE, "1")
    line = refused(server)
    assert f"https://files.example{PATH}" in line
    assert str(folder / NAME) in line
    assert server.requests == []


def test_a_manually_placed_file_works_offline(server: Publisher, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OFFLINE_VARIABLE, "1")
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(b"from a stick")
    assert fetch(NAME, opener=server.opener) == folder / NAME


def test_an_unknown_hash_must_be_named(
    server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    fault.more(4)
    write_manifest(tmp_path, monkeypatch, {"url": f"https://f.example{PATH}", "size_bytes": None, "sha256": None})
    assert "--sha256 HEX" in refused(server)
    assert server.requests == []
    with pytest.raises(OptionError, match="64 hexadecimal digits"):
        fetch(NAME, opener=server.opener, sha256="abc")
    assert "another file" in refused(server, sha256="0" * 64)
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert fetch(NAME, opener=server.opener, sha256=digest.upper()).read_bytes() == CONTENT


def test_a_known_hash_cannot_be_overridden(server: Publisher) -> None:
    with pytest.raises(OptionError, match="is not that of"):
        fetch(NAME, opener=server.opener, sha256="0" * 64)
    assert server.requests == []


@pytest.mark.parametrize(
    "entry",
    [
        {"url": "http://files.example/x", "size_bytes": 1, "sha256": None},
        {"url": "file:///etc/passwd", "size_bytes": 1, "sha256": None},
        {"url": "https://user:word@files.example/x", "size_bytes": 1, "sha256": None},
        {"url": "https://files.example/x", "size_bytes": 1, "sha256": "zz"},
        {"url": "https://files.example/x"},
        "text",
    ],
)
def test_a_damaged_manifest_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: dict[str, object]
) -> None:
    write_manifest(tmp_path, monkeypatch, entry)
    with pytest.raises(ModelError):
        fetch(NAME, opener=lambda _request, _timeout_s: pytest.fail("no request is allowed"))


def test_an_untrusted_certificate_is_refused(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real opener against a real TLS server whose certificate no authority has signed."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
               "-keyout", str(key), "-out", str(certificate)]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("the openssl command is not installed")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_arguments: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        address = f"https://127.0.0.1:{server.server_address[1]}/x"
        write_manifest(tmp_path, monkeypatch, {"url": address, "size_bytes": 1, "sha256": "0" * 64})
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with pytest.raises(ModelError, match="certificate is not valid"):
            fetch(NAME, wait=no_wait)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_manifest_knows_every_official_detector() -> None:
    known = downloads()
    names = [f"yolo{family}{size}" for family in ("26", "12", "11", "v8") for size in "nsmlx"]
    for name in names:
        file = official_detector_file(name)
        assert file is not None
        entry = known[file]
        assert entry.sha256 is not None and entry.size_bytes is not None
        assert entry.url.startswith("https://github.com/ultralytics/assets/releases/download/")
    for size in "nsmblx":
        file = official_detector_file(f"yolov10{size}")
        assert file is not None
        assert known[file].sha256 is None, "not known, and reported"
    assert len({entry.sha256 for entry in known.values() if entry.sha256}) == len(names)


def test_the_command_line_prints_name_address_and_folder(folder: Path, tmp_path: Path, fault: Fault) -> None:
    """`--download --offline`, and a name without `--download`: one line, and no socket is opened for it."""
    fault.more(2)
    env = {CACHE_VARIABLE: str(folder.parent), "PYTHONPATH": str(no_sockets(tmp_path))}
    for given in (("--download", "--offline"), ()):
        ended = fault.run(
            "main.py", "--video", "demo", "--output", tmp_path / "out.mp4", "--detector", "yolo11s", *given, env=env
        )
        line = fault.refused(ended.code, ended.err)
        assert "yolo11s.pt is not here" in line
        assert "https://github.com/ultralytics/assets/releases/download/v8.4.0/yolo11s.pt" in line
        assert str(folder / "yolo11s.pt") in line
        assert ("--offline" in line) == bool(given)


def test_find_detector_names_the_nearest(folder: Path) -> None:
    with pytest.raises(EngineError, match="--download fetches it"):
        find_detector("yolo12x")
