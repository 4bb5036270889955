"""The sound of a source, for the written video: copied where MP4 can hold it, else encoded as AAC."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from engine.errors import SourceError
from engine.sources.container import open_container, reason

_COPIED = {"aac": "aac", "mp3": "mp3", "mp3float": "mp3", "opus": "opus", "libopus": "opus"}
_AAC_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000)
_AAC_LAYOUTS = ("mono", "stereo", "2.1", "3.0", "quad", "4.0", "5.0", "5.0(side)", "5.1", "5.1(side)")
_AAC_BITS_PER_CHANNEL = 96_000
_AAC_FRAME = 1024
_TRIED_PACKETS = 8


def _is_usable(stream: Any) -> bool:
    """Whether the parameters of an audio stream are known; in a file that is cut off early they may not be."""
    context = stream.codec_context
    return context is not None and bool(context.sample_rate) and context.channels > 0


def _unwrapped(packets: Iterator[Any], stream: Any) -> Iterator[Any]:
    """Packets in MP4's form: AAC from MPEG-TS has a header in each packet instead of one per stream."""
    if str(stream.codec_context.name) != "aac" or stream.codec_context.extradata:
        yield from packets
        return
    unwrap = BitStreamFilterContext("aac_adtstoasc", stream)
    for packet in packets:
        yield from unwrap.filter(packet)


class AudioTrack:
    """The first audio stream of a source, read from its own container and written in sync with the video.

    Attributes:
        note: one line for the user about the sound in the output.
    """

    def __init__(self, media: str, start_s: Fraction, output: Any, *, cut: bool = False) -> None:
        """Open the audio and add its stream to the output; call before the first packet is written.

        Args:
            media: what PyAV opens.
            start_s: time of `media` in seconds that becomes time 0 of the output.
            cut: leave out the sound before that time; else a part of a second that a codec puts there is kept.

        Raises:
            SourceError: the source cannot be opened again, or its sound cannot be decoded.
        """
        self._input = open_container(media, "the sound of the source")
        try:
            tracks = self._input.streams.audio
            if not tracks or not _is_usable(tracks[0]):
                raise SourceError("the sound of the source cannot be decoded and is omitted")
            self._stream = tracks[0]
            for stream in self._input.streams:
                if stream.index != self._stream.index:
                    stream.discard = av.stream.Discard.all
            self._start_s, self._cut = start_s, cut
            name = str(self._stream.codec_context.name)
            self._copy = name in _COPIED and self._can_be_copied(media)
            if self._copy:
                self._target = output.add_stream_from_template(self._stream)
                self.note = f"audio: {_COPIED[name]} copied"
            else:
                self._target = self._add_aac(output)
                self.note = f"audio: {name} converted to AAC"
        except BaseException as error:
            self._input.close()
            if isinstance(error, av.error.FFmpegError | ValueError):
                raise SourceError(f"the sound of the source is omitted: {reason(error)}") from None
            raise
        if len(tracks) > 1:
            self.note += f" (the first of {len(tracks)} tracks)"
        self._output = output
        self._packets = self._in_order(self._copied() if self._copy else self._encoded())
        self._next: Any = None
        self._done = False
        self._end_s: Fraction | None = None

    def _can_be_copied(self, media: str) -> bool:
        """Whether MP4 accepts this codec unchanged; tested first: a late refusal would lose the video, too."""
        source = open_container(media, "the sound of the source")
        try:
            with av.open(io.BytesIO(), "w", format="mp4") as trial:
                stream = source.streams[self._stream.index]
                target = trial.add_stream_from_template(stream)
                for packet in itertools.islice(_unwrapped(source.demux(stream), stream), _TRIED_PACKETS):
                    packet.stream = target
                    trial.mux(packet)
        except (av.error.FFmpegError, ValueError):
            return False
        finally:
            source.close()
        return True

    def _add_aac(self, output: Any) -> Any:
        context = self._stream.codec_context
        rate = int(context.sample_rate)
        layout = str(context.layout.name)
        if rate not in _AAC_RATES:
            rate = next((known for known in reversed(_AAC_RATES) if known >= rate), _AAC_RATES[0])
        if layout not in _AAC_LAYOUTS:
            layout = "mono" if context.channels == 1 else "stereo"
        target = output.add_stream("aac", rate=rate)
        target.codec_context.layout = layout
        target.codec_context.bit_rate = _AAC_BITS_PER_CHANNEL * target.codec_context.channels
        target.codec_context.time_base = Fraction(1, rate)
        return target

    def _demux(self) -> Iterator[Any]:
        """Audio packets up to the first read error, which `note` reports."""
        packets = self._input.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                self.note += f", ends early ({reason(error)})"
                return
            if packet is None or packet.size == 0:
                return
            yield packet

    def _in_order(self, packets: Iterator[Any]) -> Iterator[Any]:
        """Packets with increasing times; errors in a damaged file end the audio or leave gaps, not the video."""
        last_dts: int | None = None
        misplaced = 0
        try:
            for packet in packets:
                # Packets without a time stamp, or with one that does not increase, cannot be muxed.
                if packet.dts is None or packet.pts is None or (last_dts is not None and packet.dts <= last_dts):
                    misplaced += 1
                    continue
                last_dts = packet.dts
                yield packet
        except (av.error.FFmpegError, ValueError) as error:
            self.note += f", ends early ({reason(error)})"
        if misplaced:
            self.note += f", {misplaced} packet(s) with invalid times omitted"

    def _copied(self) -> Iterator[Any]:
        shift = round(self._start_s / self._stream.time_base)
        for packet in _unwrapped(self._demux(), self._stream):
            packet.stream = self._target
            if not self._cut or packet.pts is None or packet.pts >= shift:
                yield self._shifted(packet, shift)

    def _encoded(self) -> Iterator[Any]:
        context = self._target.codec_context
        resampler = av.AudioResampler(
            format=context.format, layout=context.layout, rate=context.sample_rate, frame_size=_AAC_FRAME
        )
        shift = round(self._start_s * context.sample_rate)
        for frame in self._resampled(resampler):
            if self._cut and frame.pts is not None and frame.pts < shift:
                continue
            if (
                frame.pts is not None
                and self._end_s is not None
                and Fraction(frame.pts - shift, context.sample_rate) >= self._end_s
            ):
                break
            for packet in self._target.encode(frame):
                yield self._shifted(packet, shift)
        for packet in self._target.encode(None):
            yield self._shifted(packet, shift)

    def _resampled(self, resampler: Any) -> Iterator[Any]:
        damaged = 0
        for packet in self._demux():
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                damaged += 1
                continue
            for frame in frames:
                yield from resampler.resample(frame)
        if damaged:
            self.note += f", {damaged} damaged packet(s) omitted"
        yield from resampler.resample(None)

    @staticmethod
    def _shifted(packet: Any, shift: int) -> Any:
        if packet.pts is not None and packet.dts is not None:
            packet.pts -= shift
            packet.dts -= shift
        return packet

    def write_until(self, time_s: Fraction) -> None:
        """Write the audio that starts before a time of the output, in seconds."""
        while not self._done:
            if self._next is None:
                self._next = next(self._packets, None)
            if self._next is None:
                self._done = True
                return
            if self._next.pts * Fraction(self._next.time_base) >= time_s:
                return
            packet, self._next = self._next, None
            self._output.mux(packet)

    def finish(self, end_s: Fraction) -> None:
        """Write the remaining audio up to the end of the video, in seconds."""
        self._end_s = end_s
        self.write_until(end_s)

    def close(self) -> None:
        """Close the input container."""
        self._input.close()
