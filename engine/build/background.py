"""Building while another backend serves, and the change-over when the engine is ready.

The build runs in a child process, waited for by a thread of its own; the change-over happens in the thread that runs
the network, between two frames, because a backend belongs to the thread that opened it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from engine.artifacts.compiler import end_builds_of, run_build
from engine.artifacts.model_spec import ModelSpec
from engine.backends.contract import Array, Backend, Closing
from engine.errors import BackendError, EngineError


class BackgroundBuild:
    """One `python -m engine build`, running meanwhile.

    Args:
        arguments: of the build, e.g. ["--pose-model", "kcam_resnet18", "--runtime", "tensorrt"].
        say: told each line of progress, in the thread of the build.
    """

    def __init__(self, arguments: Sequence[str], say: Callable[[str], None] = lambda _line: None) -> None:
        self._arguments = list(arguments)
        self._say = say
        self._file: Path | None = None
        self._error: EngineError | None = None
        self._cancelled = False
        self._thread = threading.Thread(target=self._run, name="engine build", daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether it is not over yet."""
        return self._thread.is_alive()

    def result(self) -> Path:
        """The file that was built; waits for it.

        Raises:
            EngineError: the build failed or was cancelled.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        if self._file is None:
            raise BackendError("the build ended without a file")
        return self._file

    def cancel(self) -> None:
        """End it; what it had written vanishes with it."""
        self._cancelled = True
        while self._thread.is_alive():
            # The child may not be there yet, or be just over.
            end_builds_of(self._thread.ident)
            self._thread.join(timeout=0.1)

    def _run(self) -> None:
        try:
            if not self._cancelled:
                self._file = run_build(self._arguments, self._say)
        except EngineError as error:
            self._error = BackendError("the build was cancelled") if self._cancelled else error
        except Exception as error:  # a thread hands on whatever ended it
            self._error = BackendError(f"the build ended with {type(error).__name__}: {error}")


class SwappingBackend(Closing):
    """A backend that serves until its successor has been built. See `Backend`.

    Args:
        serving: what runs until then; closed at the change-over.
        build: the build to wait for.
        open_successor: opens what was built; called in the thread that infers.
        say: told in one line of the change-over, or why it did not come.
    """

    def __init__(
        self,
        serving: Backend,
        build: BackgroundBuild,
        open_successor: Callable[[Path], Backend],
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._serving = serving
        self._build: BackgroundBuild | None = build
        self._open_successor = open_successor
        self._say = say

    @property
    def name(self) -> str:
        """Of the backend that serves now."""
        return self._serving.name

    @property
    def spec(self) -> ModelSpec:
        """Of the backend that serves now."""
        return self._serving.spec

    @property
    def device(self) -> str:
        """Of the backend that serves now."""
        return self._serving.device

    @property
    def precision(self) -> str:
        """Of the backend that serves now."""
        return self._serving.precision

    def infer(self, inputs: Mapping[str, Array], want: Sequence[str]) -> dict[str, Array]:
        """See `Backend.infer`; a successor that is ready takes over first."""
        if self._build is not None and not self._build.is_running:
            self._swap(self._build)
        return self._serving.infer(inputs, want)

    def close(self) -> None:
        """Cancel what is still being built, and close what serves."""
        if self._build is not None:
            self._build.cancel()
            self._build = None
        self._serving.close()

    def _swap(self, build: BackgroundBuild) -> None:
        self._build = None
        before = self._serving
        try:
            successor = self._open_successor(build.result())
        except EngineError as error:
            self._say(f"{before.name} goes on: {error}")
            return
        if [tensor.name for tensor in successor.spec.inputs] != [tensor.name for tensor in before.spec.inputs]:
            successor.close()
            self._say(f"{before.name} goes on: the new engine takes other inputs")
            return
        self._serving = successor
        before.close()
        self._say(f"{successor.name} ({successor.precision}) has taken over from {before.name}")
