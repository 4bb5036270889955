"""Failed imports and their advice."""

from __future__ import annotations

import sys

import pytest

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
        ("cv2", "opencv-python"),
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


def test_other_import_errors_are_not_explained() -> None:
    assert explain_import_error(ImportError("cannot import name 'foo' from 'bar'", name="bar")) is None
    assert explain_import_error(ModuleNotFoundError("No module named 'engine.nope'", name="engine.nope")) is None


def test_a_real_import_error_is_explained() -> None:
    assert "no_such_package_here" not in sys.modules
    with pytest.raises(ModuleNotFoundError) as caught:
        __import__("no_such_package_here")
    assert "no_such_package_here is not installed" in str(explain_import_error(caught.value))
