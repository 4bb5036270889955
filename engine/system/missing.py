"""Turns a missing package, or a missing library of Qt, into a line of advice; standard library only."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

from engine.system.installation import install_command

# Packages whose name differs from their module's.
PACKAGE_OF_MODULE = {
    "cv2": "opencv-python",
    "cv2_enumerate_cameras": "cv2-enumerate-cameras",
    "pythonosc": "python-osc",
    "tensorrt_rtx": "tensorrt-rtx-cu13",
}
# The extra that brings a module; all others belong to the set that every run needs.
EXTRA_OF_MODULE = {
    "tensorrt": "tensorrt",
    "torch2trt": "tensorrt",
    "tensorrt_rtx": "rtx",
    **dict.fromkeys(
        (
            "torch", "torchvision", "timm", "lightning", "tensorboard", "pycocotools", "matplotlib", "psutil", "yaml",
            "ultralytics", "onnx", "onnxslim", "nncf",
        ),
        "train",
    ),
}  # fmt: skip
DEBIAN_PACKAGE_OF_LIBRARY = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libgobject-2.0.so.0": "libglib2.0-0",
    "libfontconfig.so.1": "libfontconfig1",
    "libxcb.so.1": "libxcb1",
    "libX11.so.6": "libx11-6",
    "libXext.so.6": "libxext6",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libXrender.so.1": "libxrender1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libgomp.so.1": "libgomp1",
}
XCB_PACKAGES = "libxcb-xinerama0 libxcb-icccm4 libxcb-keysyms1 libxcb-image0 libxcb-render-util0 libxkbcommon-x11-0"
XCB_ADVICE = f"on Debian or Ubuntu: apt-get install {XCB_PACKAGES}"
_PLUGIN = Path("Qt5", "plugins", "platforms", "libqxcb.so")
OWN_PACKAGES = ("app", "engine", "models", "train")


def explain_import_error(error: ImportError) -> str | None:
    """One line that names what to install, or None where a missing package is not the cause."""
    library = re.search(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object file", str(error))
    if library is not None:
        name = library.group(1)
        package = DEBIAN_PACKAGE_OF_LIBRARY.get(name)
        if package is None:
            return f"the system library {name} is missing; install the system package that provides it"
        return f"the system library {name} is missing; on Debian or Ubuntu: apt-get install {package}"
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    module = error.name.partition(".")[0]
    if module in OWN_PACKAGES:
        return None
    return not_installed(module)


def not_installed(module: str) -> str:
    """The line for a module whose package is missing, with the command that installs it."""
    package = PACKAGE_OF_MODULE.get(module, module)
    return f"the package {package} is not installed; {install_command(EXTRA_OF_MODULE.get(module, 'run'))}"


def why_no_xcb() -> str | None:
    """Why the xcb plugin of PyQt5 cannot load, such as the system library that is missing; None where it can.

    Where it cannot, Qt aborts the process instead of raising an error. None as well where there is no such plugin: on
    other systems, and with a Qt of the distribution.
    """
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    spec = importlib.util.find_spec("PyQt5")
    plugins = [Path(folder, _PLUGIN) for folder in (spec.submodule_search_locations or ())] if spec is not None else []
    for plugin in filter(Path.is_file, plugins):
        try:
            ctypes.CDLL(str(plugin))
        except OSError as error:
            library = re.match(r"([\w.+-]+): cannot open shared object file", str(error))
            return f"the system library {library[1]} is missing" if library else str(error)
    return None
