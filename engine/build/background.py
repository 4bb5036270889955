"""Builds in the background of the window: the child process, and the thread that waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from engine.artifacts.compiler import end_builds_of, run_build
from engine.errors import BackendError, EngineError


class BackgroundBuild:
    """One `python -m engine build` in the background.

    Args:
        arguments: of the build, e.g. ["--pose-model", "kcam_resnet18", "--runtime", "tensorrt"].
        notify: receives each line of progress, in the thread of the build.
    """

    def __init__(self, arguments: Sequence[str], notify: Callable[[str], None] = lambda _line: None) -> None:
        self._arguments, self._notify = list(arguments), notify
        self._cancelled = False
        self._file: Future[Path] = Future()
        self._thread = threading.Thread(target=self._run, name="engine build", daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether the build is still running."""
        return self._thread.is_alive()

    def result(self) -> Path:
        """Wait for the build and return its file.

        Raises:
            EngineError: the build failed or was cancelled.
        """
        return self._file.result()

    def cancel(self) -> None:
        """Terminate the build; its incomplete files are removed."""
        self._cancelled = True
        while self._thread.is_alive():
            # The child may not have started yet, or may have just ended.
            end_builds_of(self._thread.ident)
            self._thread.join(timeout=0.1)

    def _run(self) -> None:
        try:
            if self._cancelled:
                raise BackendError("the build was cancelled")
            self._file.set_result(run_build(self._arguments, self._notify))
        except EngineError as error:
            self._file.set_exception(BackendError("the build was cancelled") if self._cancelled else error)
        except Exception as error:  # `result` raises it in the caller's thread
            self._file.set_exception(BackendError(f"the build ended with {type(error).__name__}: {error}"))
