"""Returns freed memory to the operating system (docs/decisions/0017-memory-between-models.md)."""

from __future__ import annotations

import ctypes
import sys


def give_back_free_memory() -> None:
    """Return free memory now; does nothing where the C library is not glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None
    if trim is not None:
        trim(ctypes.c_size_t(0))
