"""The packages underneath download and send nothing, whatever their defaults."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.artifacts.folders import CACHE_VARIABLE, OFFLINE_VARIABLE
from tests.engine.small_pose_model import write_small_model
from tests.faults.no_sockets import no_sockets

pytestmark = pytest.mark.fault("downloads")


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


EXPORT = """
import sys
from pathlib import Path
from engine.system.ultralytics_env import prepare_ultralytics
prepare_ultralytics()
import ultralytics
from ultralytics.utils import SETTINGS, events
from engine.system.ultralytics_env import disable_telemetry
disable_telemetry()
assert SETTINGS["sync"] is False
assert not getattr(events, "events", events.Events()).enabled
model = ultralytics.YOLO("yolo26n.yaml", task="detect")
model.save(sys.argv[1])
from engine.build.detector_export import export_detector
export_detector(Path(sys.argv[1]), Path(sys.argv[1]).with_suffix(".onnx"), input_size=160)
"""


RUNTIMES = """
import sys, time
import numpy as np
from engine.backends import open_pose_backend
from engine.backends.openvino import silence_openvino
from engine.tracking.tracker import PersonTracker
for name in ("openvino", "onnxruntime", "torch"):
    with open_pose_backend(sys.argv[1], backend=name, device="cpu", threads=1).backend as backend:
        backend.infer({"crops": np.zeros((1, 96, 64, 3), np.uint8)}, ("keypoints",))
tracker = PersonTracker()
for _ in range(2):
    tracker.update(np.float32([[10, 10, 60, 90]]), 0.0)
silence_openvino()
import nncf
assert type(nncf.telemetry.telemetry).__name__ != "NNCFTelemetry"
time.sleep(1)  # what is sent is sent by other threads and processes
"""


@pytest.mark.slow
@pytest.mark.timeout(290)  # imports of torch, openvino and nncf take minutes on a busy machine
@pytest.mark.parametrize("what", ["ultralytics", "runtimes"])
def test_no_package_opens_a_socket_installs_something_or_sends_telemetry(what: str, tmp_path: Path) -> None:
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
    # Packages often send nothing on a build server, which they detect by CI.
    loud = ("YOLO_", "ULTRALYTICS_", "PYTEST", "CI")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(loud)}
    requested = (EXPORT, str(tmp_path / "random.pt"))
    if what == "runtimes":
        requested = (RUNTIMES, str(write_small_model(tmp_path / "small.safetensors")))
    before = installed()
    done = subprocess.run(
        [sys.executable, "-c", *requested],
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


def test_the_socket_trap_works(tmp_path: Path) -> None:
    """The check above can fail: a child that uses the network is detected."""
    log = tmp_path / "sockets.log"
    env = {**os.environ, "PYTHONPATH": str(no_sockets(tmp_path)), "SOCKETS_LOG": str(log)}
    code = "import urllib.request\ntry: urllib.request.urlopen('http://127.0.0.1:9/')\nexcept OSError: pass"
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=60)
    assert log.read_text()
