"""Video files (and complete videos behind a URL) through PyAV: upright frames, exact time stamps, none dropped."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from engine.errors import SourceError
from engine.sources.container import first_video_stream, open_container, reason, stream_rate
from engine.sources.decoded_picture import frame_to_bgr, picture_tags, upright_size_wh
from engine.sources.frame_source import FrameSource, SourceInfo
from engine.sources.pipe import Pipe
from engine.sources.truncation import is_cut_off
from engine.sources.video_decoder import VideoDecoder
from engine.types import Frame

# libavformat's AVFMT_TS_DISCONT: broadcast formats, whose clock starts at any value.
_CLOCK_STARTS_ANYWHERE = 0x0200
_DAY_S = 86_400  # a clock with a later start does not count from the start of the video
_LATEST_S = 1_000_000_000  # no video is that long: a larger time stamp is damaged


def _tagged_duration_s(stream: Any) -> Fraction | None:
    """Duration in seconds that MKV writers put into a stream's tags, in the form `00:00:03.040000000`."""
    found = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", str(stream.metadata.get("DURATION", "")).strip())
    return None if found is None else int(found[1]) * 3600 + int(found[2]) * 60 + Fraction(found[3])


class _Steps:
    """Statistics of the steps between time stamps: how many frames are missing from an otherwise even rate."""

    def __init__(self, step: int) -> None:
        self._step = step
        self._all = self._even = self._uneven = self.jumped = 0
        self.first_jump: int | None = None

    def add(self, before: int, after: int) -> None:
        """Count the step between two consecutive time stamps, in units of the time base."""
        steps = round((after - before) / self._step)
        # A coarse clock rounds each time stamp by up to half a unit.
        fits = abs(after - before - steps * self._step) <= max(1, steps, self._step // 8)
        self._all += 1
        self._even += fits and steps == 1
        self._uneven += not fits or steps == 0
        if fits and steps > 1:
            self.jumped += steps - 1
            self.first_jump = before if self.first_jump is None else self.first_jump

    @property
    def steady(self) -> bool:
        """Whether all irregular steps are whole multiples of the usual step, and rare."""
        return self._uneven == 0 and 3 * self._even >= 2 * self._all


class VideoSource(FrameSource):
    """A finite video: every frame that can be decoded, in order."""

    def __init__(
        self,
        media: str,
        *,
        name: str,
        path: Path | None = None,
        shown: str | None = None,
        container: Any = None,
        pipe: Pipe | None = None,
    ) -> None:
        """Open the video and decode its first frame.

        Args:
            media: file or URL for PyAV.
            name: short name to display.
            shown: its name in messages.
            container: an already opened PyAV container of `media`; closed with the source.
            pipe: read in place of `media`; closed with the source.

        Raises:
            SourceError: it is not a video, or none of its frames can be read.
        """
        self._media, self._path, self._shown = media, path, shown or name
        self._pipe = pipe
        self._container = container if container is not None else self._opened(pipe or media)
        self._closed = self._sought = False
        self._unlisted = 0  # samples of an MP4 that are not in its index
        self._lock = threading.Lock()  # FFmpeg must not decode while another thread closes the container
        try:
            self._stream = first_video_stream(self._container, self._shown)
            self._stream.thread_type = "AUTO"
            rate = stream_rate(self._stream)
            self._time_base = Fraction(self._stream.time_base or 1 / (rate or Fraction(25)))
            self._step = max(1, round(1 / ((rate or Fraction(25)) * self._time_base)))
            self._stated = self._stated_length(rate)
            super().__init__(
                SourceInfo(
                    name=name,
                    kind="stream" if path is None else "video",
                    path=path,
                    frame_rate=rate,
                    time_base=self._time_base,
                    frame_count=self._estimate(rate),
                    read_once=pipe is not None,
                    media=media if self._container.streams.audio and pipe is None else None,
                )
            )
            # Only a file is read twice: a URL may return other data the second time, or none.
            self._decoder = VideoDecoder(
                self._container, self._stream, reopen=None if path is None or pipe is not None else self._open_again
            )
            self._pictures = iter(self._decoder)
            self._first = next(self._pictures, None)
            if self._first is None:
                raise SourceError(f"no frame of {self._shown} can be decoded: the file is damaged or cut off")
        except BaseException as error:
            self._container.close()
            if isinstance(error, SourceError) and self._is_cut_off() and "cut off" not in str(error):
                raise SourceError(f"{error} (the file is cut off)") from None
            raise self._of_pipe(error) from None
        self._shift = self._start_shift(self._first)
        # What only a decoded frame reveals.
        self._info = replace(
            self._info,
            size_wh=upright_size_wh(self._first),
            media_start_s=self._shift * self._time_base,
            tags=picture_tags(self._first, self._stream.sample_aspect_ratio),
        )

    def _opened(self, media: Pipe | str) -> Any:
        try:
            return open_container(media, self._shown)
        except SourceError as error:
            raise self._of_pipe(error) from None

    def _of_pipe(self, error: BaseException) -> BaseException:
        """An error of the opening; of a pipe, with what it takes to read one."""
        if self._pipe is not None and self._pipe.interrupted:
            return KeyboardInterrupt()
        if self._pipe is None or not isinstance(error, SourceError) or "gave nothing" in str(error):
            return error
        return SourceError(f"{error}; read from a pipe, an MP4 must begin with its index (ffmpeg -movflags faststart)")

    def _stated_length(self, rate: Fraction | None) -> tuple[int | None, int | None]:
        """What the container states: the number of its frames, and the time stamp at which the last one ends.

        The number is None where the container states only a duration: the frames may then be sparse.
        """
        stream, container = self._stream, self._container
        listed = len(stream.index_entries) if "mp4" in container.format.name else 0
        if listed and stream.frames:
            # MP4 and MOV list every sample; an edit list may legitimately hide some, which the index then omits.
            self._unlisted = max(0, stream.frames - listed)
            return min(listed, stream.frames), None
        if stream.frames:  # AVI counts time slots, some of which may legitimately be empty
            return None, stream.frames * self._step
        length_s = stream.duration * self._time_base if stream.duration else _tagged_duration_s(stream)
        # With sound, the container's duration may be that of a longer audio stream.
        if length_s is None and container.duration and not container.streams.audio:
            length_s = Fraction(container.duration, 1_000_000)
        return None, None if length_s is None or rate is None else round(length_s / self._time_base)

    def _estimate(self, rate: Fraction | None) -> int | None:
        """Estimated number of frames."""
        frames, end = self._stated
        if frames is not None:
            return frames
        if end is None and self._container.duration and rate is not None:
            return round(Fraction(self._container.duration, 1_000_000) * rate)
        return None if end is None else max(1, round(end / self._step))

    def _start_shift(self, first: Any) -> int:
        """Offset to subtract from each time stamp, in units of the time base, so that the video starts at time 0."""
        stamp = first.pts if first.pts is not None else (first.dts or 0)
        if not self._container.format.flags & _CLOCK_STARTS_ANYWHERE and abs(stamp * self._time_base) < _DAY_S:
            return 0  # MP4, MKV and others count from the start already, even where sound starts first
        starts = [Fraction(s.start_time) * s.time_base for s in self._container.streams.audio if s.start_time]
        near = [start for start in starts if abs(start - stamp * self._time_base) < _DAY_S]
        return min([stamp, *(int(sound / self._time_base) for sound in near)])

    def _open_again(self) -> tuple[Any, Any]:
        container = open_container(self._media, self._shown)
        return container, container.streams[self._stream.index]

    def seek(self, position_s: float) -> None:
        """The next iteration starts at the first frame at or after the position, else at the last frame.

        Call it between two frames, in the iterating thread. Afterwards frames are numbered by their time, and missing
        frames are no longer counted.

        Raises:
            SourceError: the video cannot be read from another position.
        """
        if self._pipe is not None:
            raise SourceError(f"{self._shown} is a pipe, which is read in its order only")
        target = max(0, round(position_s / self._time_base)) + self._shift
        with self._lock:
            try:
                self._container.seek(target, stream=self._stream, backward=True)
            except (av.error.FFmpegError, OSError) as error:
                raise SourceError(f"{self._shown} cannot be read from another position: {reason(error)}") from None
            self._first, self._sought = None, True
            self._pictures = self._decode_from(target)

    def _decode_from(self, target: int) -> Iterator[Any]:
        """PyAV frames at or after a time stamp; the last frame where there are none."""
        self._decoder = VideoDecoder(self._container, self._stream)
        last, pictures = None, iter(self._decoder)
        for last in pictures:
            stamp = last.pts if last.pts is not None else last.dts
            if stamp is None or stamp >= target:
                yield last
                yield from pictures
                return
        if last is not None:
            yield last

    def __iter__(self) -> Iterator[Frame]:
        first, self._first = self._first, None
        index, last_pts, steps = 0, None, _Steps(self._step)
        while not self._closed:
            with self._lock:
                decoded, first = (first if first is not None else next(self._pictures, None)), None
            if decoded is None:
                break
            if last_pts is None:
                if self._sought and self._info.frame_rate:
                    index = round(self._pts(decoded, None) * self._time_base * self._info.frame_rate)
            else:
                steps.add(last_pts, self._pts(decoded, last_pts))
            pts = last_pts = self._pts(decoded, last_pts)
            image = frame_to_bgr(decoded)
            yield Frame(image_bgr=image, index=index, timestamp_s=float(pts * self._time_base), pts=pts)
            index += 1
        if self._pipe is not None and self._container.streams.audio:
            self._notes.append(f"audio: left out, because {self._shown} can only be read once")
        if not self._closed and not self._sought:
            self._note_problems(index, last_pts, steps)

    def _pts(self, decoded: Any, last_pts: int | None) -> int:
        """Time stamp of a frame: its own, or one step after the previous where it has none; always increasing."""
        own = decoded.pts if decoded.pts is not None else decoded.dts
        if own is None or abs((own - self._shift) * self._time_base) > _LATEST_S:
            return 0 if last_pts is None else last_pts + self._step
        pts = int(own) - self._shift
        return pts if last_pts is None or pts > last_pts else last_pts + 1

    def _note_problems(self, read: int, last_pts: int | None, steps: _Steps) -> None:
        """At the end, count the frames that the container stated but did not yield, and note damage to the others."""
        decoder, (frames, end) = self._decoder, self._stated
        cut_off = self._is_cut_off()
        lost, about = decoder.lost, ""
        if frames is not None:
            # Packets are counted, not frames: samples hidden by an edit list are read but not shown.
            lost += max(0, frames - decoder.packets)
        elif end is not None and last_pts is not None:
            # Durations are imprecise: a gap below half a second is no loss, unless the clock counts frames (AVI), the
            # end of the file is known to be missing, or the duration is the stream's own and its frame rate is even.
            gap = end - (last_pts + self._step)
            own = _tagged_duration_s(self._stream) is not None and steps.steady
            exact = self._stream.frames or cut_off or own
            loose = self._step // 2 if exact else Fraction(1, 2) / self._time_base
            if gap > loose and round(gap / self._step) > lost:
                lost, about = round(gap / self._step), "about "
        self._unreadable = lost
        if decoder.ended_early is not None:
            self._notes.append(f"{self._shown}: reading ended early ({decoder.ended_early})")
        if cut_off:
            whole = ", but none of its frames is missing" if frames is not None else f": {read} frame(s) could be read"
            self._notes.append(f"{self._shown} is cut off{'' if lost else whole}")
        if lost:
            self._notes.append(f"{self._shown}: {about}{lost} frame(s) could not be read, {read} were")
        if self._unlisted:
            self._notes.append(
                f"{self._shown}: {self._unlisted} frame(s) are cut by an edit list, or the index is damaged"
            )
        if steps.steady and steps.jumped > lost and steps.first_jump is not None:
            at_s = float(steps.first_jump * self._time_base)
            self._notes.append(
                f"{self._shown}: the times of the frames jump over {steps.jumped}, first after {at_s:.2f} s:"
                " they were never recorded, or the file is damaged there"
            )
        if decoder.damaged:
            self._notes.append(f"{self._shown}: {decoder.damaged} of the {read} frame(s) read are damaged")

    def _is_cut_off(self) -> bool:
        try:
            return self._path is not None and self._pipe is None and is_cut_off(self._path)
        except OSError:  # deleted meanwhile
            return False

    def close(self) -> None:
        """Close the container."""
        self._closed = True
        self._decoder.close()
        if self._pipe is not None:
            self._pipe.close()
        with self._lock:
            self._container.close()
            # The generator and this object refer to each other. The cycle keeps decoded pictures alive, which would
            # accumulate in a clip that is looped for hours until the garbage collector runs.
            self._pictures = iter(())
            self._first = None
