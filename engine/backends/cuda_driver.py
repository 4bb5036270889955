"""Whether an NVIDIA driver with a device is here, asked of the driver: importing torch takes seconds."""

from __future__ import annotations

import ctypes
import functools
import sys


@functools.cache
def cuda_device_count() -> int:
    """Number of CUDA devices that the driver shows; 0 without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int(0)
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
    except (OSError, AttributeError):
        return 0
    return count.value


def why_no_cuda() -> str | None:
    """The reason why nothing can run on CUDA here, or None."""
    if sys.platform == "darwin":
        return "there is no CUDA on macOS"
    if cuda_device_count() == 0:
        return "no NVIDIA GPU with a working driver was found"
    return None
