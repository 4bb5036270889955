"""ONNX Runtime's choice of a provider on a Mac, with a stand-in for CoreML: it is used only where it agrees."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from engine.backends import open_detector_backend, open_pose_backend, probe_backends
from engine.backends.contract import OpenOptions
from engine.build import parity_gate
from engine.errors import BackendError

COREML, CPU = "CoreMLExecutionProvider", "CPUExecutionProvider"
Mac = Callable[..., None]


class Session:
    """A session on the processor that says it is on what it was asked for, and there moves every keypoint."""

    moved_px = 0.0
    real = onnxruntime.InferenceSession

    def __init__(self, file: str, settings: Any, providers: list[Any]) -> None:
        self.asked = [name if isinstance(name, str) else name[0] for name in providers]
        self.session = Session.real(file, settings, providers=[CPU])

    def get_providers(self) -> list[str]:
        return self.asked

    def run(self, want: list[str], arrays: dict[str, Any], options: Any) -> list[Any]:
        outputs = self.session.run(want, arrays, options)
        if self.asked[0] == COREML:
            outputs[want.index("keypoints")] += np.array([self.moved_px, 0, 0], np.float32)
        return list(outputs)


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> Mac:
    def become(*, moved_px: float = 0.0, providers: tuple[str, ...] = (COREML, CPU)) -> None:
        monkeypatch.setattr(sys, "platform", "darwin")
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(providers))
        monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
        monkeypatch.setattr(Session, "moved_px", moved_px)

    return become


pytestmark = pytest.mark.usefixtures("short_gate", "photo_paths")


def test_it_is_used_where_it_agrees(mac: Mac, small_onnx: Path) -> None:
    mac()
    told: list[str] = []
    opened = open_pose_backend(small_onnx, backend="onnxruntime", notify=told.append, gate=parity_gate.check)
    with opened.backend as backend:
        assert (backend.device, backend.precision, opened.skipped) == ("coreml", "fp16", ())
    assert "CoreML, CPU" in told[0]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"moved_px": 9.0}, "deviates from the processor"),
        ({"providers": (CPU,)}, "without coreml; it has CPU"),
    ],
)
def test_the_processor_runs_where_it_does_not_and_the_reason_is_told(
    given: dict[str, Any], reason: str, mac: Mac, small_onnx: Path
) -> None:
    mac(**given)
    opened = open_pose_backend(small_onnx, backend="onnxruntime", gate=parity_gate.check)
    with opened.backend as backend:
        assert (backend.device, backend.precision) == ("cpu", "fp32")
    ((name, why),) = opened.skipped
    assert name == "onnxruntime (coreml)" and reason in why
    with pytest.raises(BackendError, match=reason):
        open_pose_backend(small_onnx, backend="onnxruntime", device="coreml", gate=parity_gate.check)


def test_it_is_not_used_unchecked_or_where_float32_is_asked_for(mac: Mac, small_onnx: Path) -> None:
    mac()
    for precision, reason in (("auto", "nothing compares it"), ("fp32", "computes in fp16")):
        opened = open_pose_backend(small_onnx, backend="onnxruntime", precision=precision)
        with opened.backend as backend:
            assert backend.device == "cpu"
        assert reason in opened.skipped[0][1]


def test_detectors_run_on_the_processor(mac: Mac, small_onnx: Path) -> None:
    mac()
    opened = open_detector_backend(small_onnx, backend="onnxruntime", options=OpenOptions(device="coreml"))
    with opened.backend as backend:
        assert backend.device == "cpu"


def test_elsewhere_it_is_said_to_be_part_of_macos(monkeypatch: pytest.MonkeyPatch, small_onnx: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert ("onnxruntime (coreml)", False, "CoreML is part of macOS") in probe_backends()
    with pytest.raises(BackendError, match="part of macOS"):
        open_pose_backend(small_onnx, backend="onnxruntime", device="coreml")
