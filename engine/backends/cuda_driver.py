"""Detection of CUDA devices through the NVIDIA driver itself, because importing torch takes seconds."""

from __future__ import annotations

import ctypes
import functools
import sys
from dataclasses import dataclass

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """The properties that decide which compiled files a GPU can run."""

    name: str
    compute_capability: tuple[int, int]

    @property
    def target(self) -> str:
        """Compute capability in the form that builds use, e.g. "sm89"."""
        return f"sm{self.compute_capability[0]}{self.compute_capability[1]}"


def _driver() -> ctypes.CDLL | None:
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        return driver if driver.cuInit(0) == 0 else None
    except (OSError, AttributeError):
        return None


@functools.cache
def cuda_device_count() -> int:
    """Number of CUDA devices that the driver reports; 0 without a driver."""
    driver = _driver()
    count = ctypes.c_int(0)
    if driver is None or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


@functools.cache
def gpu(index: int = 0) -> Gpu | None:
    """The CUDA device with that index, or None if there is none."""
    if index >= cuda_device_count():
        return None
    driver = _driver()
    if driver is None:
        return None
    device, major, minor = ctypes.c_int(0), ctypes.c_int(0), ctypes.c_int(0)
    name = ctypes.create_string_buffer(256)
    failed = (
        driver.cuDeviceGet(ctypes.byref(device), index)
        or driver.cuDeviceGetName(name, len(name), device)
        or driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
        or driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    )
    if failed:
        return None
    return Gpu(name=name.value.decode("utf-8", "replace"), compute_capability=(major.value, minor.value))


def why_no_cuda() -> str | None:
    """The reason why nothing can run on CUDA here, or None."""
    if sys.platform == "darwin":
        return "there is no CUDA on macOS"
    if cuda_device_count() == 0:
        return "no NVIDIA GPU with a working driver was found"
    return None
