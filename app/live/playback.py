"""The capture thread: reads one source and offers its frames when they are due.

Files play in real time: frames that the networks are too slow for are dropped and counted (an export drops none). Live
sources give frames as they come, and are opened again when the signal is lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from app.live.shots import PlaybackChanged, Shot, SignalBack, SignalLost, SourceFailed, SourceOpened, Unexpected
from engine.errors import EngineError, SourceError
from engine.sources.addresses import shown
from engine.sources.frame_source import FrameSource, SignalLoss, SourceInfo
from engine.sources.reconnect import ReconnectingSource, Retry
from engine.types import Frame

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)
_MOST_LAG_S = 0.5
_JUMP_S = 1.0


def duration_of(info: SourceInfo) -> float | None:
    """Length of a file in seconds; None for live sources and if it is unknown."""
    if info.is_live or info.frame_count is None:
        return None
    return float(info.frame_count / (info.frame_rate or 1))


class Playback:
    """One source in a thread of its own. All methods may be called from any thread and return at once."""

    def __init__(
        self,
        text: str,
        *,
        serial: int,
        put: Callable[[Shot], None],
        emit: Callable[[Any], None],
        open_source: Callable[[str], FrameSource],
        loop: bool = True,
        speed: float = 1.0,
    ) -> None:
        """Start opening the source; it plays once it is open.

        Args:
            text: what `engine.sources.opening.open_source` takes.
            serial: number of this source, in its shots and events.
            put: takes each shot, in the capture thread.
            emit: takes events (app.live.shots), in the capture thread.
            speed: of a file, 1 for real time.
        """
        self.text, self.serial = text, serial
        self._put, self._emit, self._open = put, emit, open_source
        self._changed = threading.Condition()
        self._stopped = False
        self.is_playing, self._loop, self._speed = True, loop, speed
        self._steps = 0
        self._seek_s: float | None = None
        self._back_from_s: float | None = None  # a step back from there must end before it
        self._clock: tuple[float, float] | None = None  # (monotonic, media) seconds that belong together
        self._source: FrameSource | None = None
        self._index = self._epoch = 0
        self._time_s = 0.0
        self._last_s: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"capture {serial}", daemon=True)
        self._thread.start()

    @property
    def dropped_frames(self) -> int:
        """Frames that a live source captured faster than they could be passed on."""
        source = self._source
        return 0 if source is None else source.dropped_frames

    def set_playing(self, playing: bool) -> None:
        """Play or pause; a paused live source is still read, so that it does not fall behind."""
        with self._changed:
            self.is_playing, self._clock = playing, None
            self._changed.notify_all()

    def step(self, frames: int) -> None:
        """Pause and go this many frames forward, or back."""
        with self._changed:
            self.is_playing = False
            if frames > 0:
                self._steps += frames
            else:
                rate = float((self._source.info.frame_rate if self._source is not None else None) or 1)
                here = self._last_s or 0.0
                self._seek_s, self._back_from_s = max(0.0, here + (frames - 0.5) / rate), here
            self._changed.notify_all()

    def seek(self, position_s: float) -> None:
        """Go to a position in the file; of several calls the last one counts."""
        with self._changed:
            self._seek_s, self._back_from_s = max(0.0, position_s), None
            self._changed.notify_all()

    def set_loop(self, loop: bool) -> None:
        """Play again from the start at the end of a file, or stop there."""
        self._loop = loop

    def set_speed(self, speed: float) -> None:
        """Set the speed of a file, 1 for real time."""
        with self._changed:
            self._speed, self._clock = speed, None
            self._changed.notify_all()

    def stop(self) -> None:
        """Stop the thread; does not wait."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if isinstance(self._source, ReconnectingSource):
            self._source.end()

    def join(self, limit_s: float) -> bool:
        """Wait for the end of the thread; False if it did not come in time (a driver that hangs)."""
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            source = self._source = self._open(self.text)
            info = source.info
            self._emit(SourceOpened(serial=self.serial, text=self.text, info=info, duration_s=duration_of(info)))
            try:
                if info.is_live:
                    self._run_live()
                else:
                    self._run_file()
            finally:
                self._source.close()
        except EngineError as error:
            self._emit(SourceFailed(serial=self.serial, text=self.text, message=str(error)))
        except Exception as error:
            self._emit(Unexpected(error=error, where="the capture thread"))
            self._emit(
                SourceFailed(
                    serial=self.serial,
                    text=self.text,
                    message=f"{shown(self.text)} cannot be read because of an internal error; the log has the details",
                )
            )

    # --- live -----------------------------------------------------------------------------------------------------

    def _run_live(self) -> None:
        opened = self._source
        assert opened is not None  # noqa: S101 - opened before
        source = (
            opened
            if isinstance(opened, ReconnectingSource)
            else ReconnectingSource(opened, lambda: self._open(self.text))
        )
        source.retry = Retry(give_up_s=None)  # until the user opens something else
        source.watch(self._report_signal)
        self._source = source
        for frame in source:
            if self._stopped:
                return
            if self.is_playing or self._steps:
                self._steps = max(0, self._steps - 1)
                self._offer(frame, frame.timestamp_s, live=True)
        if not self._stopped:
            raise SourceError(f"{source.info.name} ended")

    def _report_signal(self, loss: SignalLoss | None) -> None:
        if loss is None:
            self._emit(SignalBack(serial=self.serial))
        else:
            self._emit(SignalLost(serial=self.serial, message=loss.message, retry_in_s=loss.retry_in_s))

    # --- files ----------------------------------------------------------------------------------------------------

    def _run_file(self) -> None:
        assert self._source is not None  # noqa: S101 - opened before
        frames = iter(self._source)
        at_end = False
        if self._source.info.kind == "photos":
            self.is_playing, self._seek_s = False, 0.0  # the first one; the next when the person asks for it
        self._emit(PlaybackChanged(serial=self.serial, playing=self.is_playing))
        while self._wait_for_work(at_end):
            with self._changed:
                seek_s, self._seek_s = self._seek_s, None
                back_from_s, self._back_from_s = self._back_from_s, None
                if seek_s is None and at_end:
                    if not self.is_playing and not self._loops:  # no step leads over the end
                        self._steps = 0
                        continue
                    seek_s = 0.0
            shown_at_once = seek_s is not None
            if seek_s is not None:
                frames, at_end = self._go_to(seek_s), False
            frame = next(frames, None)
            if seek_s is not None and back_from_s is not None:
                frames, frame = self._before(back_from_s, seek_s, frames, frame)
            if frame is None:
                at_end = True
                self._meet_end()
                continue
            if self._steps:
                self._steps -= 1
            elif not shown_at_once and not self._wait_until_due(frame.timestamp_s):
                # Paused, sought or stopped meanwhile; the frame is shown first, so that none is skipped.
                self._clock = None
            self._offer(frame, time.monotonic(), live=False)

    def _wait_for_work(self, at_end: bool) -> bool:
        """Wait until a frame is to be read; False at the end of the thread."""
        was_playing = self.is_playing
        with self._changed:
            if at_end and self._loops and self.is_playing:
                return not self._stopped
            if at_end and self.is_playing:
                self.is_playing = False
                was_playing = True
            if was_playing and not self.is_playing:
                self._emit(PlaybackChanged(serial=self.serial, playing=False))
            while not (self._stopped or self.is_playing or self._steps or self._seek_s is not None):
                self._changed.wait()
            return not self._stopped

    @property
    def _loops(self) -> bool:
        """Whether it plays again at its end; a pipe cannot."""
        return self._loop and self._source is not None and not self._source.info.read_once

    def _meet_end(self) -> None:
        """The end of the file. One photo, or a file without frames, is not read in a loop."""
        with self._changed:
            self._clock, self._steps = None, 0
            if self._last_s in (None, 0.0) and self._loops:
                self.is_playing = False
                self._emit(PlaybackChanged(serial=self.serial, playing=False))

    def _go_to(self, position_s: float) -> Iterator[Frame]:
        """Frames from a position on: by the source's own seek, or by reading up to it."""
        assert self._source is not None  # noqa: S101 - opened before
        self._clock = None
        seek = getattr(self._source, "seek", None)
        if seek is not None:
            seek(position_s)
            return iter(self._source)
        self._source.close()
        self._source = self._open(self.text)
        return self._skipping_to(iter(self._source), position_s)

    def _before(
        self, limit_s: float, sought_s: float, frames: Iterator[Frame], frame: Frame | None
    ) -> tuple[Iterator[Frame], Frame | None]:
        """The frame before a time, further back than sought if there is none: a long frame, or an unreadable photo."""
        assert self._source is not None  # noqa: S101 - opened before
        step_s = float(1 / (self._source.info.frame_rate or 1))
        while frame is not None and frame.timestamp_s >= limit_s and sought_s > 0:
            sought_s, step_s = max(0.0, sought_s - step_s), step_s * 2
            frames = self._go_to(sought_s)
            frame = next(frames, None)
        return frames, frame

    def _skipping_to(self, frames: Iterator[Frame], position_s: float) -> Iterator[Frame]:
        """Frames from a position on; if there is none, the last one."""
        last: Frame | None = None
        for frame in frames:
            last = frame
            if frame.timestamp_s >= position_s:
                yield frame
                yield from frames
                return
            if self._stopped or self._seek_s is not None:
                break
        if last is not None:
            yield last

    def _wait_until_due(self, media_s: float) -> bool:
        """Wait until a frame is due; False if playback is paused, sought or stopped before."""
        now_s = time.monotonic()
        if self._clock is None:
            self._clock = (now_s, media_s)
        due_s = self._clock[0] + (media_s - self._clock[1]) / self._speed
        if now_s - due_s > _MOST_LAG_S:  # reading is too slow: play slower instead of catching up
            self._clock = (now_s, media_s)
            return True
        with self._changed:
            while due_s > (now_s := time.monotonic()):
                if self._stopped or not self.is_playing or self._seek_s is not None or self._clock is None:
                    return False
                self._changed.wait(due_s - now_s)
        return True

    def _offer(self, frame: Frame, captured_s: float, *, live: bool) -> None:
        """Pass a frame on, with an index and a time stamp that only increase, also after a seek."""
        assert self._source is not None  # noqa: S101 - it gave the frame
        position_s = frame.timestamp_s
        since_s = position_s - self._last_s if self._last_s is not None else 0.0
        if self._last_s is not None and not 0 < since_s < _JUMP_S:
            self._epoch += 1
            since_s = float(1 / (self._source.info.frame_rate or 1))
        self._last_s = position_s
        self._time_s += since_s
        photo = self._source.frame_path(frame.index)
        restamped = replace(frame, index=self._index, timestamp_s=self._time_s)
        self._index += 1
        self._put(
            Shot(
                frame=restamped,
                captured_s=captured_s,
                position_s=0.0 if live else position_s,
                serial=self.serial,
                number=0 if live else frame.index,
                name=photo.name if photo is not None else "",
                epoch=self._epoch,
                is_live=live,
            )
        )
