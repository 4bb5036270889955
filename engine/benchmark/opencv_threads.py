"""Protects OpenCV's number of threads from other packages."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import cv2

_ONE_AT_A_TIME = threading.Lock()


@contextlib.contextmanager
def opencv_threads_kept() -> Iterator[None]:
    """Context in which `cv2.setNumThreads` has no effect when called by this thread.

    ultralytics calls it with 0 at import. Restoring the number afterwards is too late: OpenCV divides by it in work
    that other threads have started, and the process ends with SIGFPE.
    """
    opencv: Any = cv2
    here = threading.get_ident()
    with _ONE_AT_A_TIME:
        real = opencv.setNumThreads

        def kept(nthreads: int) -> None:
            if threading.get_ident() != here:
                real(nthreads)

        opencv.setNumThreads = kept
        try:
            yield
        finally:
            opencv.setNumThreads = real
