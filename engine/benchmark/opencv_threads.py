"""OpenCV's threads, which another package must not take away."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import cv2

_ONE_AT_A_TIME = threading.Lock()


@contextlib.contextmanager
def opencv_threads_kept() -> Iterator[None]:
    """Within it `cv2.setNumThreads` does nothing when this thread calls it; for other threads it is what it was.

    ultralytics calls it with 0 when it is imported. To set the number back afterwards is too late: OpenCV divides by it
    in work that other threads have begun, and the process ends with SIGFPE.
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
