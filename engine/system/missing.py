"""Turns a missing package into a line of advice; standard library only."""

from __future__ import annotations

import re

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
