"""Configures the ultralytics package: no network, no installs, no telemetry, no pickles.

Only the standard library is imported here, because the variables must be set before `import ultralytics`.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# Each is read by ultralytics once, at import.
_SETTINGS = {
    "YOLO_OFFLINE": "true",
    "YOLO_AUTOINSTALL": "false",
    "YOLO_VERBOSE": "false",
    "ULTRALYTICS_SAFE_LOAD": "true",
}


def prepare_ultralytics(verbose: bool = False) -> None:
    """Set the environment for `import ultralytics`; call it before the first import in a process.

    Its settings file (which holds `sync`, its telemetry) is kept in a separate folder, so that the user's own
    ultralytics settings are neither read nor changed.
    """
    for name, value in _SETTINGS.items():
        os.environ[name] = value
    if verbose:
        os.environ["YOLO_VERBOSE"] = "true"
    # ultralytics sets OMP_NUM_THREADS=1 for the whole process when it is unset; that would slow every other runtime.
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    folder = Path(tempfile.gettempdir()) / f"kcam-ultralytics-{user}"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["YOLO_CONFIG_DIR"] = str(folder)


def disable_telemetry() -> None:
    """Switch the package's event reporting off; call it right after `import ultralytics`."""
    from ultralytics.utils import SETTINGS

    if SETTINGS.get("sync", False):
        SETTINGS["sync"] = False
