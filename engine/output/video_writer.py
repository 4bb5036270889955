"""Writes BGR frames as H.264 in MP4, with the exact time stamps of the source and its sound."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.video.frame import PictureType

from engine.artifacts.part_file import PartFile
from engine.errors import OutputError, SourceError
from engine.output.audio_track import AudioTrack
from engine.output.part_writer import PartWriter, WholeWrites, playable_frames
from engine.sources.container import reason
from engine.sources.decoded_picture import fitted
from engine.sources.frame_source import BT709, SourceInfo
from engine.types import UInt8Array

CRF = 20
"""Constant rate factor of x264, 0 (lossless) to 51."""
_FALLBACK_RATE = Fraction(25)
# While it grows the file is fragmented, so that a killed run leaves a playable video; on close FFmpeg (7.1 and newer)
# turns it into an ordinary MP4 with an index of all frames. The header is delayed to the first fragment (delay_moov),
# because only then are the stream delays known that an exact time 0 needs.
_MUXER_OPTIONS = {
    "movflags": "hybrid_fragmented+frag_keyframe+delay_moov+default_base_moof",
    "flush_packets": "1",
    "max_interleave_delta": "200000",  # microseconds of wait for an ended stream; the default is 10 s
}
_MPEG_RANGE = 1
_FINEST_CLOCK = 1_000_000
_LARGEST_PX = 16_384  # limit of x264
# A killed run loses less than two seconds: frames buffered by x264 or not yet in a fragment. Fragments end only before
# key frames: if one ends between B-frames, FFmpeg computes the track one frame too short.
_HELD_BACK_S = _KEY_EVERY_S = Fraction(3, 4)
_LEAST_ROOM, _MOST_THREADS = 8, 8
# swscale's bilinear | accurate rounding | full chroma: without the last two, pixels become 1 to 2 levels darker.
_EXACT_COLORS = 2 | 0x40000 | 0x2000


def _common_base(base: Fraction, period: Fraction) -> Fraction:
    """Greatest common divisor of a source's time base and its frame period.

    The source's own time base where the result would be finer than players support.
    """
    numerator = math.gcd(base.numerator * period.denominator, period.numerator * base.denominator)
    common = Fraction(numerator, base.denominator * period.denominator)
    return common if common.numerator == 1 and common.denominator <= _FINEST_CLOCK else base


def _check_size(size_wh: tuple[int, int]) -> None:
    if max(size_wh) > _LARGEST_PX:
        raise OutputError(
            f"pictures of {size_wh[0]}x{size_wh[1]} px cannot be written as a video: at most {_LARGEST_PX} px on a side"
        )


def _held_back(rate: Fraction, live: bool) -> dict[str, str]:
    """Options of x264 that bound the number of frames it buffers."""
    room = int(rate * _HELD_BACK_S)
    if live or room < _LEAST_ROOM:  # live frames may arrive much more slowly than the nominal rate
        return {"tune": "zerolatency"}
    lookahead = min(10, room // 2)
    # x264 buffers its lookahead, a frame per further thread, and five more for B-frames and their threads.
    threads = max(1, min(os.cpu_count() or 1, _MOST_THREADS, room - lookahead - 4))
    return {"rc-lookahead": str(lookahead), "threads": str(threads)}


class VideoWriter(PartWriter):
    """Writes one video."""

    def __init__(
        self,
        part: PartFile,
        info: SourceInfo,
        *,
        keep_audio: bool = True,
        from_zero: bool = False,
    ) -> None:
        """Prepare; the file is opened at the first frame, with that frame's size.

        Args:
            info: the source: rate, time base, tags and sound.
            keep_audio: whether to include the source's audio.
            from_zero: the time of the first frame becomes 0, and the sound before it is left out.

        Raises:
            OutputError: the pictures are too large for the format.
        """
        if info.size_wh is not None:
            _check_size(info.size_wh)
        super().__init__(part)
        self._info = info
        self._rate = info.frame_rate or _FALLBACK_RATE
        self._source_base = info.time_base or 1 / self._rate
        self._time_base = _common_base(self._source_base, 1 / self._rate)
        self._ticks = int(self._source_base / self._time_base)
        self._step = max(1, round(1 / (self._rate * self._time_base)))
        self._x264 = {"crf": str(CRF), "preset": "veryfast", "forced-idr": "1", **_held_back(self._rate, info.is_live)}
        self._keep_audio, self._from_zero = keep_audio, from_zero
        self._origin = 0
        self._output: Any = None
        self._stream: Any = None
        self._audio: AudioTrack | None = None
        self._audio_note: str | None = None
        self._size_wh = (0, 0)
        self._first_pts = self._first_dts = 0
        self._last_pts: int | None = None
        self._key_pts: int | None = None
        self._packets = 0
        self._file: WholeWrites | None = None
        self._broken = False  # a write failed: FFmpeg's muxer must not be called again, or it may crash the process

    @property
    def audio_note(self) -> str | None:
        """One line about the audio; None where the source has none."""
        return self._audio.note if self._audio is not None else self._audio_note

    def write(self, image_bgr: UInt8Array, pts: int) -> None:
        """Add a frame.

        Args:
            image_bgr: (H, W, 3) uint8; letterboxed if its size differs from the first frame's.
            pts: time stamp in the time base of the source, strictly increasing.

        Raises:
            OutputError: the file cannot be written.
        """
        pts *= self._ticks
        try:
            if self._output is None:
                self._origin = pts if self._from_zero else 0
                self._begin(image_bgr)
                self._first_pts = pts - self._origin
            pts -= self._origin
            frame = self._to_yuv(image_bgr)
            frame.pts, frame.time_base = pts, self._time_base
            if self._key_pts is None or (pts + self._step - self._key_pts) * self._time_base > _KEY_EVERY_S:
                frame.pict_type, self._key_pts = PictureType.I, pts
            self._mux(self._stream.encode(frame))
        except BaseException as error:
            self._broken = True
            if isinstance(error, av.error.FFmpegError | OSError):
                raise OutputError(f"cannot write {self._part.path}: {reason(error)}") from error
            raise
        self._last_pts = pts
        self.frames += 1
        self._part.sync_soon()

    def _begin(self, image_bgr: UInt8Array) -> None:
        height, width = image_bgr.shape[:2]
        self._size_wh = (width, height)
        _check_size(self._size_wh)
        # The movie's time scale must not be coarser than the track's time base.
        options = {**_MUXER_OPTIONS, "movie_timescale": str(max(1000, self._time_base.denominator))}
        self._file = WholeWrites(self._part.path)
        self._output = av.open(self._file, "w", format="mp4", options=options)
        tags = self._info.tags
        self._stream = self._output.add_stream(
            "libx264", rate=self._rate, time_base=self._time_base, options=self._x264
        )
        context = self._stream.codec_context
        context.width, context.height = width + width % 2, height + height % 2
        context.pix_fmt = "yuv420p"
        context.time_base = self._time_base
        context.color_range = _MPEG_RANGE
        context.colorspace, context.color_primaries, context.color_trc = tags.matrix, tags.primaries, tags.transfer
        if tags.sample_aspect != 1:
            context.sample_aspect_ratio = tags.sample_aspect
        if self._keep_audio and self._info.media is not None:
            try:
                start_s = self._info.media_start_s + self._origin * self._time_base
                self._audio = AudioTrack(self._info.media, start_s, self._output, cut=self._from_zero)
            except SourceError as error:
                self._audio_note = f"audio: {error}"

    def _to_yuv(self, image_bgr: UInt8Array) -> Any:
        """The frame for the encoder: yuv420p, sides made even by repeating the last row and column."""
        width, height = self._size_wh
        image: Any = image_bgr
        if image.shape[:2] != (height, width):
            image = fitted(image, self._size_wh)
        if width % 2 or height % 2:
            image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
        matrix = "ITU709" if self._info.tags.matrix == BT709 else "ITU601"
        return frame.reformat(
            format="yuv420p", dst_colorspace=matrix, dst_color_range="MPEG", interpolation=_EXACT_COLORS
        )

    def _last_duration(self, last_dts: int) -> int:
        """Duration of the last frame, in units of the time base.

        For a constant rate with a coarse time base (MKV: milliseconds), this makes the total duration the number of
        frames over the exact rate, so that players derive that rate again.
        """
        unevenness = abs((self._last_pts or 0) - self._first_pts - (self.frames - 1) / (self._rate * self._time_base))
        whole = self.frames / (self._rate * self._time_base)
        rest = whole - (last_dts - self._first_dts)
        return int(rest) if unevenness <= self._ticks and rest.denominator == 1 and rest >= 1 else self._step

    def _mux(self, packets: list[Any], final_count: int | None = None) -> None:
        for packet in packets:
            if not self._packets:
                self._first_dts = packet.dts
            self._packets += 1
            if self._packets == final_count:
                packet.duration = self._last_duration(packet.dts)
            elif not packet.duration:
                packet.duration = self._step
            if self._audio is not None:
                self._audio.write_until(packet.dts * Fraction(packet.time_base))
            self._output.mux(packet)

    def finish(self) -> None:
        """Write the buffered frames and close the file."""
        if self._output is None or self._last_pts is None or self._broken:
            self._release()
            return
        self._broken = True  # reset on success
        try:
            self._mux(self._stream.encode(None), final_count=self.frames)
            if self._audio is not None:
                self._audio.finish((self._last_pts + self._step) * self._time_base)
            self._output.close()
            self._broken = False
        except (av.error.FFmpegError, OSError) as error:
            raise OutputError(f"cannot write {self._part.path}: {reason(error)}") from error
        finally:
            self._release()

    def _keep_whole_frames(self) -> int:
        return playable_frames(self._part.path) if self._broken else self.frames

    def _release(self) -> None:
        if self._file is not None:
            self._file.close()  # before the container closes, so that it writes nothing more
        self._output = self._stream = None
        if self._audio is not None:
            self._audio.close()
