"""The inference thread: opens one pipeline, feeds it the newest frames and closes it, all in the same thread.

Another model or backend is another thread: the old one goes on until the new one is ready.
"""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from app.live.shots import PipelineFailed, PipelineProgress, PipelineReady, Shot, Shown, Unexpected
from app.live.slots import LatestSlot
from engine.artifacts.model_files import resolve_pose_model
from engine.artifacts.weights_info import read_weights_info
from engine.errors import EngineError
from engine.pipeline.opening import open_pipeline
from engine.pipeline.pose_pipeline import PipelineOptions
from engine.skeleton import Skeleton
from engine.types import Frame, FrameResult

_WAIT_S = 0.25
_EXIT_LIMIT_S = 20.0


class Pipeline(Protocol):
    """What the window needs of `engine.pipeline.pose_pipeline.PosePipeline`."""

    @property
    def skeleton(self) -> Skeleton:
        """Keypoints of the poses."""

    def process(self, frame: Frame) -> FrameResult:
        """People, poses and maps of one frame."""

    def restart(self) -> None:
        """The next frame does not go on from the one before."""

    def look(self, looking: bool) -> None:
        """Whether somebody looks at attention maps; while nobody does, results carry none."""

    def describe(self) -> dict[str, Any]:
        """What really runs."""

    def close(self) -> None:
        """Give back what it holds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """A pipeline, and whether its results carry attention maps."""

    pipeline: Pipeline
    has_attention: bool


class OpenPipeline(Protocol):
    """`open_with_maps`, or what stands for it in a test."""

    def __call__(self, options: PipelineOptions, *, say: Callable[[str], None]) -> Opened:
        """Open what the options name."""


def open_with_maps(options: PipelineOptions, *, say: Callable[[str], None]) -> Opened:
    """Open a pipeline whose results carry the attention maps, where the network has any.

    Raises:
        EngineError: it cannot be opened; the message says why.
    """
    has_attention = read_weights_info(resolve_pose_model(options.pose_model)).has_attention
    wanted = replace(options, want_areas=has_attention, want_attention=has_attention)
    return Opened(pipeline=open_pipeline(wanted, say=say), has_attention=has_attention)


class OpeningCancelled(EngineError):
    """The person does not want to wait for this pipeline any more."""


class Inference:
    """One pipeline in a thread of its own."""

    def __init__(
        self,
        options: PipelineOptions,
        *,
        serial: int,
        shots: LatestSlot[Shot],
        put: Callable[[int, Shown], None],
        tell: Callable[[Any], None],
        open_pipeline: OpenPipeline,
        is_looked_at: Callable[[], bool],
    ) -> None:
        """Start to open the pipeline; nothing is processed before `begin`.

        Args:
            options: what to open.
            serial: number that its results and events carry.
            shots: where frames come from.
            put: takes the serial and each result, in the inference thread.
            tell: takes events (app.live.shots), in the inference thread.
            open_pipeline: opens the options.
            is_looked_at: whether somebody looks at attention maps; asked before each frame.
        """
        self.options, self.serial = options, serial
        self._shots, self._put, self._tell, self._open = shots, put, tell, open_pipeline
        self._is_looked_at = is_looked_at
        self._begun, self._stopped = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"inference {serial}", daemon=True)
        _RUNNING.add(self)
        self._thread.start()

    def begin(self) -> None:
        """From now on frames are taken."""
        self._begun.set()

    def stop(self) -> None:
        """Ask the thread to end, also while a child process builds; does not wait."""
        self._stopped.set()
        self._begun.set()
        self._shots.wake()
        cancel_build(self._thread)

    def join(self, limit_s: float) -> bool:
        """Wait for the end of the thread; False where it did not come in time."""
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def _say(self, line: str) -> None:
        if self._stopped.is_set():
            raise OpeningCancelled("opening was cancelled")
        self._tell(PipelineProgress(serial=self.serial, message=line))

    def _run(self) -> None:
        running = False
        try:
            opened = self._open(self.options, say=self._say)
            pipeline = opened.pipeline
            try:
                self._tell(
                    PipelineReady(
                        serial=self.serial,
                        skeleton=pipeline.skeleton,
                        has_attention=opened.has_attention,
                        description=pipeline.describe(),
                    )
                )
                self._begun.wait()
                running = True
                self._process(pipeline)
            finally:
                pipeline.close()
        except EngineError as error:
            if not self._stopped.is_set():
                self._tell(PipelineFailed(serial=self.serial, message=str(error), was_running=running))
        except Exception as error:
            self._tell(Unexpected(error=error, where="the inference thread"))
            message = f"poses stopped: {type(error).__name__}: {error}"
            self._tell(PipelineFailed(serial=self.serial, message=message, was_running=running))

    def _process(self, pipeline: Pipeline) -> None:
        place: tuple[int, int] | None = None
        while not self._stopped.is_set():
            shot = self._shots.take(_WAIT_S)
            if shot is None or self._stopped.is_set():
                continue
            if place not in (None, (shot.serial, shot.epoch)):
                pipeline.restart()
            place = (shot.serial, shot.epoch)
            pipeline.look(self._is_looked_at())
            result = pipeline.process(shot.frame)
            shown = Shown(shot=shot, result=result, skeleton=pipeline.skeleton, pipeline=self.serial)
            self._put(self.serial, shown)


_RUNNING: weakref.WeakSet[Inference] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """Wait for threads that were left behind in a runtime, which compiles for seconds on a busy machine.

    Python ends a thread that comes back to it after its own end by unwinding the thread's stack, and the C++ of a
    runtime answers that by aborting the process.
    """
    running = list(_RUNNING)
    for inference in running:
        inference.stop()
    until_s = time.monotonic() + _EXIT_LIMIT_S
    for inference in running:
        inference.join(max(0.0, until_s - time.monotonic()))


def cancel_build(thread: threading.Thread) -> None:
    """End the child process that builds a model for a thread, if there is one."""
    from engine.artifacts.compiler import end_builds_of

    end_builds_of(thread.ident)
