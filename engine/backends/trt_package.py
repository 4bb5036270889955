"""The packages `tensorrt` and `tensorrt_rtx`, which have the same interface: detection, loading, and their log."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from engine.errors import BackendError
from engine.system import installation
from engine.system.missing import not_installed

_DISTRIBUTIONS = {
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt_rtx": ("tensorrt-rtx-cu13", "tensorrt-rtx-cu12", "tensorrt-rtx"),
}
_OLDEST_TENSORRT = (10, 12)


def why_not_installed(package: str) -> str | None:
    """The reason why a package cannot be loaded and what to install, or None; imports nothing."""
    if importlib.util.find_spec(package) is None:
        return not_installed(package)
    return None


def installed_version(package: str) -> str:
    """Version from the package's metadata; imports nothing."""
    return next(filter(None, map(installation.installed_version, _DISTRIBUTIONS[package])), "unknown version")


def load_package(package: str) -> Any:
    """The module.

    Raises:
        BackendError: it is missing, does not load, or is too old.
    """
    missing = why_not_installed(package)
    if missing is not None:
        raise BackendError(missing)
    try:
        module = importlib.import_module(package)
    except (ImportError, OSError, RuntimeError) as error:
        # The wheel from the default index is a stub, which installs but finds no libraries.
        raise BackendError(f"the {package} package is installed but does not load: {one_line(str(error))}") from error
    if package == "tensorrt" and version_numbers(module.__version__) < _OLDEST_TENSORRT:
        raise BackendError(f"tensorrt {module.__version__} is too old; 10.12 or newer takes strongly typed networks")
    return module


def version_numbers(version: str) -> tuple[int, ...]:
    """(10, 12, 0) from "10.12.0.36.rc1"."""
    numbers = []
    for part in version.split(".")[:3]:
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def make_logger(module: Any) -> Any:
    """A logger of the package that collects errors in `.errors` instead of printing them."""

    class Logger(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (module.ILogger.INTERNAL_ERROR, module.ILogger.ERROR):
                self.errors.append(one_line(message))

    return Logger()


def one_line(text: str) -> str:
    """A message without line breaks, of at most 400 characters."""
    line = " ".join(text.split())
    return line if len(line) <= 400 else line[:397] + "..."
