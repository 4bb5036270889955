"""What runs behind the window: one source, one pipeline, the drawing thread, and the slots between them.

capture thread -> newest-frame slot -> inference thread -> newest-result slot -> drawing thread -> newest-picture slot
-> the GUI thread, which gets a signal without payload and then takes the newest picture.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from PyQt5.QtCore import QObject, pyqtSignal

from app.live.composer import Composer, Picture
from app.live.inference import Follow, Inference, OpenPipeline, open_with_maps
from app.live.kept_results import LastIds
from app.live.playback import Playback
from app.live.shots import PipelineFailed, PipelineReady, Shot, Shown, SourceFailed, SourceOpened
from engine.pipeline.pose_pipeline import PipelineOptions
from engine.sources.frame_source import FrameSource
from engine.sources.opening import open_source
from engine.system.latest_slot import LatestSlot

_JOIN_LIMIT_S = 2.5


class Session(QObject):
    """Owns all threads of the window. Its methods are called in the GUI thread; only `close` blocks.

    Signals:
        picture_ready: `take_picture` has a picture, after it had none.
        happened: an event of app.live.shots, after the session has handled it.
    """

    picture_ready = pyqtSignal()
    happened = pyqtSignal(object)
    _event = pyqtSignal(object)

    def __init__(
        self,
        *,
        open_source: Callable[[str], FrameSource] = open_source,
        open_pipeline: OpenPipeline = open_with_maps,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._open_source, self._open_pipeline = open_source, open_pipeline
        self._event.connect(self._act)
        self._serial = 0
        self._shots: LatestSlot[Shot] = LatestSlot()
        self._last_shot: Shot | None = None
        self.playback: Playback | None = None
        self._next_playback: Playback | None = None
        self._inference: Inference | None = None
        self._next_inference: Inference | None = None
        self._last_ids: LastIds | None = None  # of the pipeline before
        self._retired: list[Playback | Inference] = []
        self._closed = self._wants_attention = False
        self.loop, self.speed = True, 1.0
        self.source: SourceOpened | None = None
        self.ready: PipelineReady | None = None
        self.on_shown: Callable[[Shown], None] | None = None  # a recorder; called in the thread that delivers results
        self.composer = Composer(picture_ready=self.picture_ready.emit, emit=self._event.emit)

    # --- source ---------------------------------------------------------------------------------------------------

    def open(self, text: str) -> None:
        """Open a source; the current one plays until the new one is open."""
        if self._closed:
            return
        self._retire(self._next_playback)
        self._next_playback = Playback(
            text,
            serial=self._next_serial(),
            put=self._take_shot,
            emit=self._event.emit,
            open_source=self._open_source,
            loop=self.loop,
            speed=self.speed,
        )

    @property
    def dropped_frames(self) -> int:
        """Frames that arrived faster than they were processed."""
        return self._shots.dropped + (0 if self.playback is None else self.playback.dropped_frames)

    @property
    def is_opening_source(self) -> bool:
        """Whether a source is being opened."""
        return self._next_playback is not None

    def set_loop(self, loop: bool) -> None:
        """Play files again at their end, or stop there."""
        self.loop = loop
        for playback in self._playbacks:
            playback.set_loop(loop)

    def set_speed(self, speed: float) -> None:
        """Playback speed of files, 1 for real time."""
        self.speed = speed
        for playback in self._playbacks:
            playback.set_speed(speed)

    # --- pipeline -------------------------------------------------------------------------------------------------

    def set_options(self, options: PipelineOptions) -> None:
        """Open another pipeline; the current one runs until the new one is ready."""
        if self._closed or (self._next_inference is not None and self._next_inference.options == options):
            return
        self.cancel_opening()
        if self.options == options:
            return
        self._next_inference = Inference(
            options,
            serial=self._next_serial(),
            shots=self._shots,
            put=self._take_result,
            emit=self._event.emit,
            open_pipeline=self._open_pipeline,
            wants_attention=lambda: self._wants_attention,
            newest_shot=lambda: self._last_shot,
        )

    def follow(self, follow: Follow) -> None:
        """Pose one person only, or everybody again; a paused video shows it now."""
        if self._inference is not None:
            self._inference.follow(follow)
            self._process_again()

    def want_attention(self, wanted: bool) -> None:
        """Fetch attention maps or leave them on the device; a paused video gets those of its frame now."""
        begins, self._wants_attention = wanted and not self._wants_attention, wanted
        if begins:
            self._process_again()

    def _process_again(self) -> None:
        last = self._last_shot
        if last is not None:  # due now: the time on the screen is not latency
            self._shots.put(replace(last, captured_s=time.monotonic()))

    @property
    def description(self) -> dict[str, Any]:
        """Description of the running pipeline; empty without one."""
        return {} if self.ready is None else self.ready.description

    @property
    def options(self) -> PipelineOptions | None:
        """Options of the running pipeline."""
        return None if self._inference is None else self._inference.options

    @property
    def is_opening(self) -> bool:
        """Whether a pipeline is being opened."""
        return self._next_inference is not None

    def cancel_opening(self) -> None:
        """Stop opening the pipeline; a build in a child process is ended."""
        self._retire(self._next_inference)
        self._next_inference = None

    # --- pictures -------------------------------------------------------------------------------------------------

    def take_picture(self) -> Picture | None:
        """The newest picture, if it was not taken yet."""
        return self.composer.pictures.take()

    def close(self) -> None:
        """End all threads; one that does not end in time is abandoned."""
        self._closed = True
        workers = [*self._workers, *self._retired, self.composer]
        for worker in workers:
            worker.stop()
        until_s = time.monotonic() + _JOIN_LIMIT_S
        for worker in workers:
            worker.join(max(0.0, until_s - time.monotonic()))
        self.playback = self._next_playback = self._inference = self._next_inference = None
        self._retired = []

    # --- in the threads -------------------------------------------------------------------------------------------

    def _take_shot(self, shot: Shot) -> None:
        """In the capture thread. The first frame of a new source replaces the source before."""
        last = self._last_shot
        if last is not None and shot.serial < last.serial:
            return
        self._last_shot = shot
        if self._inference is None:
            self._deliver(Shown(shot=shot))
        else:
            self._shots.put(shot)

    def _take_result(self, serial: int, shown: Shown) -> None:
        """In an inference thread."""
        inference, last = self._inference, self._last_shot
        if inference is None or serial != inference.serial or last is None or shown.shot.serial < last.serial:
            return
        self._deliver(shown)

    def _deliver(self, shown: Shown) -> None:
        self.composer.show(shown)
        if self.on_shown is not None:
            self.on_shown(shown)

    # --- in the GUI thread ----------------------------------------------------------------------------------------

    def _next_serial(self) -> int:
        self._serial += 1
        return self._serial

    @property
    def _playbacks(self) -> list[Playback]:
        return [playback for playback in (self.playback, self._next_playback) if playback is not None]

    @property
    def _workers(self) -> list[Playback | Inference]:
        inferences = (self._inference, self._next_inference)
        return [*self._playbacks, *(inference for inference in inferences if inference is not None)]

    def _retire(self, worker: Playback | Inference | None) -> None:
        if worker is not None:
            worker.stop()
            self._retired = [*(other for other in self._retired if not other.join(0)), worker]

    def _act(self, event: Any) -> None:
        serial = getattr(event, "serial", None)
        if self._closed or (serial is not None and all(worker.serial != serial for worker in self._workers)):
            return  # the worker was replaced meanwhile
        match event:
            case SourceOpened():
                self._source_opened(event)
            case SourceFailed():
                self._source_failed(event)
            case PipelineReady():
                self._pipeline_ready(event)
            case PipelineFailed():
                self._pipeline_failed(event)
        self.happened.emit(event)

    def _source_opened(self, event: SourceOpened) -> None:
        self._retire(self.playback)
        self.playback, self._next_playback = self._next_playback, None
        self.source = event

    def _source_failed(self, event: SourceFailed) -> None:
        if self._next_playback is not None and self._next_playback.serial == event.serial:
            self._retire(self._next_playback)
            self._next_playback = None
        else:
            self._retire(self.playback)
            self.playback = None

    def _pipeline_ready(self, event: PipelineReady) -> None:
        before, self._inference, self._next_inference = self._inference, self._next_inference, None
        self._retire(before)
        self.ready = event
        if before is not None:
            self._last_ids = before.last_ids
        if self._inference is not None:
            if before is not None and before.followed is not None:
                self._inference.follow(before.followed)
            self._inference.begin(self._last_ids)
        self._process_again()  # the frame of a paused file gets the poses of the new pipeline

    def _pipeline_failed(self, event: PipelineFailed) -> None:
        if self._next_inference is not None and self._next_inference.serial == event.serial:
            self.cancel_opening()
        else:
            self._last_ids = None if self._inference is None else self._inference.last_ids
            self._retire(self._inference)
            self._inference = self.ready = None
