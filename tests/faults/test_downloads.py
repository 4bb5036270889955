"""Downloads that break, lie or are not wanted: the file comes whole and unchanged, or not at all."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import download
from engine.download import downloads, fetch
from engine.errors import EngineError, ModelError, OptionError, OutputError
from engine.model_files import CACHE_VARIABLE, OFFLINE_VARIABLE, find_detector, official_detector_file
from tests.engine.small_pose_model import write_small_model
from tests.faults.ledger import Fault
from tests.faults.loopback_https import Publisher, publisher

pytestmark = pytest.mark.fault("downloads")

CONTENT = bytes(range(256)) * 2000  # longer than one chunk
NAME = "yolo26n.pt"
PATH = f"/releases/{NAME}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where fetched files go."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(OFFLINE_VARIABLE, raising=False)
    return tmp_path / "cache" / "downloads"


@pytest.fixture
def server(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    """A publisher of one file, and a manifest that names it."""
    entry = {
        "url": f"https://files.example{PATH}",
        "size_bytes": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
    }
    write_manifest(tmp_path, monkeypatch, entry)
    with publisher() as state:
        state.files[PATH] = CONTENT
        yield state


def write_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: dict[str, object]) -> None:
    manifest = tmp_path / "downloads.json"
    manifest.write_text(json.dumps({"files": {NAME: entry}}))
    monkeypatch.setattr(download, "MANIFEST", manifest)


def no_wait(_seconds: float) -> None:
    """Do not wait between tries."""


def refused(server: Publisher, sha256: str | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        fetch(NAME, sha256=sha256, opener=server.opener, wait=no_wait)
    line = str(caught.value)
    assert "\n" not in line
    assert NAME in line
    return line


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.part"))


def test_a_file_comes_whole_and_is_not_fetched_twice(server: Publisher, folder: Path) -> None:
    assert fetch(NAME, opener=server.opener).read_bytes() == CONTENT
    assert fetch(NAME, opener=server.opener) == folder / NAME
    assert len(server.requests) == 1
    assert parts(folder) == []


def test_a_broken_connection_is_gone_on_with_where_it_broke(server: Publisher, folder: Path, fault: Fault) -> None:
    fault.more(3)
    server.cut = [100_000, 0, 50_000]
    said: list[str] = []
    assert fetch(NAME, opener=server.opener, say=said.append, wait=no_wait).read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None, "bytes=100000-", "bytes=100000-", "bytes=150000-"]
    assert len(said) == 3
    assert "ended after 100000 of 512000 bytes" in said[0]


def test_what_was_fetched_is_kept_for_the_next_run(server: Publisher, folder: Path) -> None:
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
def test_a_part_that_does_not_fit_is_begun_anew(server: Publisher, folder: Path, ranges: bool) -> None:
    """The part is of another file: the hash tells, it is dropped, and the next run has the right one."""
    server.cut = [1000] * 4
    refused(server)
    (part,) = parts(folder)
    part.write_bytes(b"\0" * 5000)
    server.ranges = ranges
    if ranges:
        assert "another file" in refused(server)
        assert parts(folder) == []
    assert fetch(NAME, opener=server.opener, wait=no_wait).read_bytes() == CONTENT


def test_a_server_without_ranges_begins_anew(server: Publisher) -> None:
    server.cut, server.ranges = [1000], False
    assert fetch(NAME, opener=server.opener, wait=no_wait).read_bytes() == CONTENT


def test_a_server_that_is_busy_is_asked_again(server: Publisher, fault: Fault) -> None:
    fault.more(3)
    server.codes = [503, 500, 429]
    assert fetch(NAME, opener=server.opener, wait=no_wait).read_bytes() == CONTENT


def test_a_file_that_was_changed_is_not_taken(server: Publisher, folder: Path) -> None:
    server.files[PATH] = CONTENT[:-1] + b"!"
    assert "SHA-256" in refused(server)
    assert [path.name for path in folder.iterdir() if path.suffix != ".lock"] == []


@pytest.mark.parametrize("tell_length", [True, False])
def test_too_much_is_not_taken(server: Publisher, folder: Path, tell_length: bool) -> None:
    server.tell_length = tell_length
    server.files[PATH] = CONTENT * 3
    assert f"{len(CONTENT)}" in refused(server)
    assert all(part.stat().st_size == 0 for part in parts(folder))
    assert not (folder / NAME).exists()


def test_a_redirect_stays_within_https(server: Publisher, fault: Fault) -> None:
    fault.more(4)
    server.files["/cdn/x"] = CONTENT
    for address in (f"http://127.0.0.1:{server.port}/cdn/x", "ftp://files.example/x", "file:///etc/passwd"):
        server.redirect[PATH] = address
        assert "not https" in refused(server)
    server.redirect[PATH] = "https://cdn.example/cdn/x"
    assert fetch(NAME, opener=server.opener).read_bytes() == CONTENT


def test_a_file_that_is_gone_is_told_at_once(server: Publisher) -> None:
    server.files.clear()
    assert "404" in refused(server)
    assert len(server.requests) == 1


def test_without_a_network_one_line_says_what_to_do(server: Publisher, folder: Path) -> None:
    def no_network(request: object, _timeout_s: float) -> None:
        raise urllib.error.URLError(OSError(-3, "Temporary failure in name resolution"))

    with pytest.raises(ModelError) as caught:
        fetch(NAME, opener=no_network, wait=no_wait)
    line = str(caught.value)
    assert "Temporary failure in name resolution" in line
    assert f"get https://files.example{PATH} on another machine and put it at {folder / NAME}" in line


def test_offline_nothing_is_asked(server: Publisher, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OFFLINE_VARIABLE, "1")
    line = refused(server)
    assert f"https://files.example{PATH}" in line
    assert str(folder / NAME) in line
    assert server.requests == []


def test_a_file_put_there_by_hand_serves_offline(
    server: Publisher, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_known_hash_cannot_be_overruled(server: Publisher) -> None:
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
        fetch(NAME, opener=lambda _request, _timeout_s: pytest.fail("nothing may be asked"))


def test_a_folder_that_cannot_be_written_is_named(server: Publisher, folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where the folder would have to be")
    with pytest.raises(OutputError, match="downloads cannot be written"):
        fetch(NAME, opener=server.opener)


def test_two_that_fetch_at_once_fetch_once(server: Publisher, folder: Path) -> None:
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


def test_a_certificate_of_nobody_is_not_trusted(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        with pytest.raises(ModelError, match="not whom it should be"):
            fetch(NAME, wait=no_wait)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# What is really shipped


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
        assert known[file].sha256 is None, "not known, and said so"
    assert len({entry.sha256 for entry in known.values() if entry.sha256}) == len(names)


def test_the_command_line_says_the_name_the_address_and_the_place(folder: Path, tmp_path: Path, fault: Fault) -> None:
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


def test_find_detector_names_the_nearest_place(folder: Path) -> None:
    with pytest.raises(EngineError, match="--download fetches it"):
        find_detector("yolo12x")


@pytest.mark.parametrize(
    ("backbone", "address"), [("resnet18", "https://download.pytorch.org/"), ("hrnet_w32", "timm/")]
)
def test_imagenet_weights_are_not_fetched_offline(
    backbone: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    from models.checkpoints import CheckpointError, imagenet_file

    monkeypatch.setenv(OFFLINE_VARIABLE, "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(socket.socket, "connect", lambda *_arguments: pytest.fail("a socket was opened"))
    with pytest.raises(CheckpointError, match=f"{backbone} are not on this machine") as caught:
        imagenet_file(backbone)
    assert address in str(caught.value)


def test_imagenet_weights_of_another_hash_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from models.checkpoints import CheckpointError, imagenet_file

    def wrong_hash(*_arguments: object, **_options: object) -> None:
        raise RuntimeError('invalid hash value (expected "f37072fd", got "00")')

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", wrong_hash)
    with pytest.raises(CheckpointError, match="put https://"):
        imagenet_file("resnet18")


NO_SOCKETS = """
import os, socket
def refuse(*arguments, **options):
    with open(os.environ.get("SOCKETS_LOG", os.devnull), "a") as log:
        log.write(f"{os.getpid()} {arguments[1:] if arguments else options}\\n")
    raise OSError("a socket was opened")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = socket.gethostbyname = socket.create_connection = refuse
"""


def no_sockets(folder: Path) -> Path:
    """A folder for PYTHONPATH: every Python that starts there, child processes too, opens no connection."""
    place = folder / "site"
    place.mkdir(exist_ok=True)
    (place / "sitecustomize.py").write_text(NO_SOCKETS)
    return place


EXPORT = """
import sys
from pathlib import Path
from engine.ultralytics_env import prepare_ultralytics
prepare_ultralytics()
import ultralytics
from ultralytics.utils import SETTINGS, events
from engine.ultralytics_env import disable_telemetry
disable_telemetry()
assert SETTINGS["sync"] is False
assert not getattr(events, "events", events.Events()).enabled
model = ultralytics.YOLO("yolo26n.yaml", task="detect")
model.save(sys.argv[1])
from engine.detector_export import export_detector
export_detector(Path(sys.argv[1]), Path(sys.argv[1]).with_suffix(".onnx"), input_size=160)
"""


RUNTIMES = """
import sys, time
import numpy as np
from engine.backends import open_pose_backend
from engine.openvino_env import silence_openvino
from engine.tracking import PersonTracker
for name in ("openvino", "onnxruntime", "torch"):
    with open_pose_backend(sys.argv[1], backend=name, device="cpu", threads=1).backend as backend:
        backend.infer({"crops": np.zeros((1, 96, 64, 3), np.uint8)}, ("keypoints",))
PersonTracker().wait()
silence_openvino()
import nncf
assert type(nncf.telemetry.telemetry).__name__ != "NNCFTelemetry"
time.sleep(1)  # what is sent is sent by other threads and processes
"""


@pytest.mark.slow
@pytest.mark.timeout(290)  # imports of torch, openvino and nncf take minutes on a busy machine
@pytest.mark.parametrize("what", ["ultralytics", "runtimes"])
def test_no_package_opens_a_socket_installs_something_or_tells_anybody(what: str, tmp_path: Path) -> None:
    """Import, load, export, run: all that the program does with them."""
    log = tmp_path / "sockets.log"
    env = {
        "PYTHONPATH": str(no_sockets(tmp_path)),
        "SOCKETS_LOG": str(log),
        "OMP_NUM_THREADS": "1",
        "PIP_NO_INDEX": "1",
        CACHE_VARIABLE: str(tmp_path / "cache"),
    }
    for name in ("YOLO_OFFLINE", "YOLO_AUTOINSTALL", "PYTEST_CURRENT_TEST"):
        assert name not in env
    # Packages are often quiet on a build server, which CI tells them.
    loud = ("YOLO_", "ULTRALYTICS_", "PYTEST", "CI")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(loud)}
    asked = (EXPORT, str(tmp_path / "random.pt"))
    if what == "runtimes":
        asked = (RUNTIMES, str(write_small_model(tmp_path / "small.safetensors")))
    before = installed()
    done = subprocess.run(
        [sys.executable, "-c", *asked],
        env={**clean, **env, "PYTHONPATH": f"{env['PYTHONPATH']}{os.pathsep}{Path(__file__).resolve().parents[2]}"},
        cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert what != "ultralytics" or (tmp_path / "random.onnx").is_file()
    assert not log.exists(), log.read_text()
    assert installed() == before


def installed() -> set[str]:
    import importlib.metadata

    return {f"{found.name} {found.version}" for found in importlib.metadata.distributions()}


def test_the_trap_for_sockets_catches(tmp_path: Path) -> None:
    """The check above can fail: a child that looks for the network is seen."""
    log = tmp_path / "sockets.log"
    env = {**os.environ, "PYTHONPATH": str(no_sockets(tmp_path)), "SOCKETS_LOG": str(log)}
    code = "import urllib.request\ntry: urllib.request.urlopen('http://127.0.0.1:9/')\nexcept OSError: pass"
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=60)
    assert log.read_text()
