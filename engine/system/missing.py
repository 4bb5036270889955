"""Turns a failed import into a line of advice; standard library only."""

from __future__ import annotations

import re

# Packages whose name differs from their module's.
PACKAGE_OF_MODULE = {
    "cv2": "opencv-python",
    "cv2_enumerate_cameras": "cv2-enumerate-cameras",
    "tensorrt_rtx": "tensorrt-rtx-cu13",
}
# Packages with their own requirements file.
REQUIREMENTS_OF_MODULE = {
    "tensorrt": "requirements-tensorrt.txt",
    "torch2trt": "requirements-tensorrt.txt",
    "tensorrt_rtx": "requirements-rtx.txt",
}
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
    requirements = REQUIREMENTS_OF_MODULE.get(module, "requirements.txt")
    package = PACKAGE_OF_MODULE.get(module, module)
    return f"the package {package} is not installed; python -m pip install -r {requirements}"
