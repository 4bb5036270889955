"""The inference thread: opens one pipeline, feeds it the newest frames and closes it, all in one thread.

Another model or backend gets another thread; the old one runs until the new one is ready.
"""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from app.live.kept_results import KeptResults, LastIds
from app.live.shots import PersonLost, PipelineFailed, PipelineProgress, PipelineReady, Shot, Shown, Unexpected
from engine.artifacts.compiler import end_builds_of
from engine.artifacts.model_files import resolve_pose_model
from engine.artifacts.weights_info import read_weights_info
from engine.errors import EngineError
from engine.pipeline.opening import open_networks
from engine.pipeline.pose_pipeline import PipelineOptions, PosePipeline
from engine.system.latest_slot import LatestSlot
from engine.types import Float32Array, Poses

_WAIT_S = 0.25
_EXIT_LIMIT_S = 20.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """A pipeline.

    Attributes:
        pipeline: as it was asked for.
        has_attention: whether its results have attention maps.
        another: makes one of the same networks for another source, in the same thread; the last one is closed.
    """

    pipeline: PosePipeline
    has_attention: bool
    another: Callable[[PipelineOptions], PosePipeline]


class OpenPipeline(Protocol):
    """The signature of `open_with_maps`."""

    def __call__(self, options: PipelineOptions, *, notify: Callable[[str], None]) -> Opened:
        """Open a pipeline."""


def open_with_maps(options: PipelineOptions, *, notify: Callable[[str], None]) -> Opened:
    """Open a pipeline whose results have the attention maps, if the network has any.

    Raises:
        EngineError: it cannot be opened.
    """
    has_attention = read_weights_info(resolve_pose_model(options.pose_model)).has_attention

    def with_maps(options: PipelineOptions) -> PipelineOptions:
        return replace(options, want_areas=has_attention, want_attention=has_attention)

    networks = open_networks(with_maps(options), notify=notify)

    def another(options: PipelineOptions) -> PosePipeline:
        return networks.pipeline(with_maps(options))

    try:
        return Opened(pipeline=another(options), has_attention=has_attention, another=another)
    except BaseException:
        networks.close()
        raise


@dataclass(frozen=True, kw_only=True, eq=False)
class Follow:
    """A person to follow: their box (4,) in frame px and their shown id; nobody where the box is None."""

    box_xyxy: Float32Array | None = None
    number: int = 0

    @classmethod
    def of(cls, poses: Poses, person: int) -> Follow:
        """The person with this index."""
        number = 1 if poses.track_ids is None else int(poses.track_ids[person])
        return cls(box_xyxy=poses.boxes_xyxy[person], number=number)


class OpeningCancelled(EngineError):
    """The user cancelled the opening of this pipeline."""


class Inference:
    """One pipeline in a thread of its own."""

    def __init__(
        self,
        options: PipelineOptions,
        *,
        serial: int,
        shots: LatestSlot[Shot],
        put: Callable[[int, Shown], None],
        emit: Callable[[Any], None],
        open_pipeline: OpenPipeline,
        wants_attention: Callable[[], bool],
        newest_shot: Callable[[], Shot | None],
    ) -> None:
        """Start opening the pipeline; no result is put before `begin`.

        Args:
            serial: number of this pipeline, in its results and events.
            put: takes the serial and each result, in the inference thread.
            emit: takes events (app.live.shots), in the inference thread.
            wants_attention: whether attention maps are shown; called before each frame.
            newest_shot: what the window shows, if anything; the pipeline tries itself on it before it is ready.
        """
        self.options, self.serial = options, serial
        self._shots, self._put, self._emit, self._open = shots, put, emit, open_pipeline
        self._wants_attention, self._newest_shot = wants_attention, newest_shot
        self._begun, self._stopped = threading.Event(), threading.Event()
        self._follow: LatestSlot[Follow] = LatestSlot()
        self._results = KeptResults()
        self.followed: Follow | None = None
        """Who is followed, and where they were last."""
        self._thread = threading.Thread(target=self._run, name=f"inference {serial}", daemon=True)
        _RUNNING.add(self)
        self._thread.start()

    def begin(self, after: LastIds | None = None) -> None:
        """Start processing frames; `after`: the ids that another pipeline has given, which go on."""
        self._results.last_ids = after
        self._begun.set()

    @property
    def last_ids(self) -> LastIds | None:
        """The ids that it has given, for the pipeline that takes over."""
        return self._results.last_ids

    def follow(self, follow: Follow) -> None:
        """Follow somebody, or let go, from the next frame on."""
        self._follow.put(follow)

    def stop(self) -> None:
        """Stop the thread and a child process that builds for it; does not wait."""
        self._stopped.set()
        self._begun.set()
        self._shots.wake()
        end_builds_of(self._thread.ident)

    def join(self, limit_s: float) -> bool:
        """Wait for the end of the thread; False if it did not come in time."""
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def _notify(self, line: str) -> None:
        if self._stopped.is_set():
            raise OpeningCancelled("opening was cancelled")
        self._emit(PipelineProgress(serial=self.serial, message=line))

    def _run(self) -> None:
        try:
            opened = self._open(self.options, notify=self._notify)
            pipeline = opened.pipeline
            try:
                self._warm_up(pipeline, has_attention=opened.has_attention)
                self._emit(
                    PipelineReady(
                        serial=self.serial,
                        skeleton=pipeline.skeleton,
                        has_attention=opened.has_attention,
                        description=pipeline.describe(),
                    )
                )
                self._begun.wait()
                self._process(pipeline, has_attention=opened.has_attention)
            finally:
                pipeline.close()
        except EngineError as error:
            if not self._stopped.is_set():
                self._emit(PipelineFailed(serial=self.serial, message=str(error)))
        except Exception as error:
            self._emit(Unexpected(error=error, where="the inference thread"))
            message = f"poses stopped because of an internal error ({type(error).__name__}); the log has the details"
            self._emit(PipelineFailed(serial=self.serial, message=message))

    def _warm_up(self, pipeline: PosePipeline, *, has_attention: bool) -> None:
        """Runtimes compile for the source's frames while the window still plays without them, and drops none."""
        shot = self._newest_shot()
        if shot is not None and not self._stopped.is_set():
            pipeline.fetch_attention(has_attention and self._wants_attention())
            pipeline.warm_up(shot.frame)

    def _process(self, pipeline: PosePipeline, *, has_attention: bool) -> None:
        results = self._results
        place: tuple[int, int] | None = None
        is_told = True  # whether the pipeline knows who is followed
        while not self._stopped.is_set():
            shot = self._shots.take(_WAIT_S)
            if shot is None:
                continue
            if self._stopped.is_set():
                self._shots.give_back(shot)  # for the pipeline that comes after this one: it may be the last frame
                return
            with_maps = has_attention and self._wants_attention()
            follow = self._follow.take(0)
            if follow is not None:
                self.followed, is_told = (None if follow.box_xyxy is None else follow), False
            if place is not None and place[0] != shot.serial:
                self.followed = None
            followed = self.followed
            result = results.of(shot, with_maps=with_maps, followed=None if followed is None else followed.number)
            if result is None:
                if not results.follows(shot, again=not is_told):
                    pipeline.restart()
                    is_told = followed is None
                    # Without a place another pipeline followed them here; in the same one it is slow, and not a jump.
                    if followed is not None and place not in (None, (shot.serial, shot.epoch)):
                        followed = self._after_jump(shot, results, followed)
                if not is_told:
                    is_told, now = True, followed or Follow()
                    number = 0 if followed is None else results.own_id(now.number)
                    pipeline.follow(now.box_xyxy, number, shot.frame.timestamp_s)
                pipeline.fetch_attention(with_maps)
                result = results.add(shot, pipeline.process(shot.frame))
            self._note_followed(result.poses)
            place = (shot.serial, shot.epoch)
            shown = Shown(shot=shot, result=result, skeleton=pipeline.skeleton, pipeline=self.serial)
            self._put(self.serial, shown)

    def _after_jump(self, shot: Shot, results: KeptResults, followed: Follow) -> Follow | None:
        """The followed person where the nearest known frame has them; None, and nobody is followed, if it has not."""
        box_xyxy = results.box_near(shot, followed.number)
        if box_xyxy is None:
            self._lose()
            return None
        return replace(followed, box_xyxy=box_xyxy)

    def _lose(self) -> None:
        """Follow nobody any more, and say so."""
        if self.followed is not None:
            self._emit(PersonLost(serial=self.serial))
            self.followed = None

    def _note_followed(self, poses: Poses) -> None:
        """Remember where the followed person is, or that the pipeline has given them up."""
        if poses.followed is None:
            self._lose()
        elif len(poses):
            self.followed = Follow.of(poses, 0)


_RUNNING: weakref.WeakSet[Inference] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """Wait for threads that are still inside a runtime, which may compile for seconds.

    A daemon thread that returns to Python after the interpreter has ended has its stack unwound, and the C++ of a
    runtime aborts the process then.
    """
    running = list(_RUNNING)
    for inference in running:
        inference.stop()
    until_s = time.monotonic() + _EXIT_LIMIT_S
    for inference in running:
        inference.join(max(0.0, until_s - time.monotonic()))
