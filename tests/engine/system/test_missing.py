"""Failed imports and their advice."""

from __future__ import annotations

import re
import sys

import pytest

from engine.system import installation, missing
from engine.system.installation import ROOT, install_command
from engine.system.missing import explain_import_error


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("libGL.so.1: cannot open shared object file: No such file or directory", "libgl1"),
        ("libgthread-2.0.so.0: cannot open shared object file: No such file or directory", "libglib2.0-0"),
        ("libodd.so.7: cannot open shared object file: No such file or directory", "libodd.so.7"),
    ],
)
def test_a_missing_system_library_is_named(message: str, expected: str) -> None:
    line = explain_import_error(ImportError(message, name="cv2"))
    assert line is not None
    assert line.endswith(expected) or expected in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("cv2", "the package opencv-python is not installed; python -m pip install -r requirements-run.txt"),
        ("torch", "requirements.txt"),
        ("tensorrt", "requirements-tensorrt.txt"),
        ("tensorrt_rtx", "requirements-rtx.txt"),
        ("openvino.runtime", "the package openvino is"),
    ],
)
def test_a_missing_package_is_named(module: str, expected: str) -> None:
    line = explain_import_error(ModuleNotFoundError(f"No module named '{module}'", name=module))
    assert line is not None
    assert expected in line


def test_every_package_of_training_is_known_as_such() -> None:
    named = re.findall(r"^[A-Za-z][\w.-]*", (ROOT / "requirements-train.txt").read_text(encoding="utf-8"), re.MULTILINE)
    modules = {name for name, extra in missing.EXTRA_OF_MODULE.items() if extra == "train"}
    assert {"yaml" if name == "PyYAML" else name for name in named} == modules


def test_an_installed_program_names_its_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "is_checkout", lambda: False)
    assert install_command("train") == 'python -m pip install "kcam-pose[train]"'
    assert install_command("run") == "python -m pip install kcam-pose"


def test_other_import_errors_are_not_explained() -> None:
    assert explain_import_error(ImportError("cannot import name 'foo' from 'bar'", name="bar")) is None
    assert explain_import_error(ModuleNotFoundError("No module named 'engine.nope'", name="engine.nope")) is None


def test_a_real_import_error_is_explained() -> None:
    assert "no_such_package_here" not in sys.modules
    with pytest.raises(ModuleNotFoundError) as caught:
        __import__("no_such_package_here")
    assert "no_such_package_here is not installed" in str(explain_import_error(caught.value))
