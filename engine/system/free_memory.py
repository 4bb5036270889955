"""Returns freed memory to the operating system (docs/decisions/0017-memory-between-models.md)."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable


def give_back_free_memory() -> None:
    """Return free memory now; does nothing where the C library is not glibc."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return None
    trim.argtypes, trim.restype = (ctypes.c_size_t,), ctypes.c_int
    return trim  # type: ignore[no-any-return]
