"""Training and evaluation of the networks; needs the packages of requirements-train.txt."""

import importlib.util as _util
import sys as _sys

from engine.system.entry import quiet_interrupts as _quiet_interrupts
from engine.system.missing import EXTRA_OF_MODULE as _EXTRA_OF_MODULE
from engine.system.missing import not_installed as _not_installed

_quiet_interrupts()
# Here, because every program of this package comes by: one line instead of a traceback.
for _module, _extra in _EXTRA_OF_MODULE.items():
    if _extra == "train" and _util.find_spec(_module) is None:
        print(f"train: {_not_installed(_module)}", file=_sys.stderr)
        raise SystemExit(2)
