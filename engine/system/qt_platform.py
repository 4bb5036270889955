"""Whether Qt's plugin for X11 can load: where it cannot, Qt aborts the process instead of raising an error."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import sys
from pathlib import Path

XCB_PACKAGES = "libxcb-xinerama0 libxcb-icccm4 libxcb-keysyms1 libxcb-image0 libxcb-render-util0 libxkbcommon-x11-0"
XCB_ADVICE = f"on Debian or Ubuntu: apt-get install {XCB_PACKAGES}"
_PLUGIN = Path("Qt5", "plugins", "platforms", "libqxcb.so")


def why_no_xcb() -> str | None:
    """Why the xcb plugin of PyQt5 cannot load, such as the system library that is missing; None where it can.

    None as well where there is no such plugin: on other systems, and with a Qt of the distribution.
    """
    if not sys.platform.startswith("linux"):
        return None
    spec = importlib.util.find_spec("PyQt5")
    plugins = [Path(folder, _PLUGIN) for folder in (spec.submodule_search_locations or ())] if spec is not None else []
    for plugin in filter(Path.is_file, plugins):
        try:
            ctypes.CDLL(str(plugin))
        except OSError as error:
            library = re.match(r"([\w.+-]+): cannot open shared object file", str(error))
            return f"the system library {library[1]} is missing" if library else str(error)
    return None
