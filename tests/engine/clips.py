"""Clips and photos for tests, made by PyAV and OpenCV, and what is read back from a written video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from engine.errors import SourceError
from engine.output.export import ExportSummary, export
from engine.output.files import ExportOptions
from engine.pipeline.pose_pipeline import PosePipeline
from engine.skeleton import COCO17
from engine.sources.frame_source import FrameSource
from engine.sources.opening import open_source
from engine.types import Detections, Frame, FrameResult, Poses, UInt8Array

NTSC = Fraction(30000, 1001)


def picture(width: int, height: int, number: int = 0) -> UInt8Array:
    """(height, width, 3) uint8 BGR: grey that changes with the number, the upper left quarter red."""
    image = np.full((height, width, 3), 60 + (number * 5) % 120, np.uint8)
    image[: height // 2, : width // 2] = (30, 30, 220)
    return image


@dataclass(frozen=True, kw_only=True)
class ClipSpec:
    """What a clip is made of; see `make_clip`."""

    frames: int = 20
    size_wh: tuple[int, int] = (160, 120)
    rate: Fraction = Fraction(25)
    time_base: Fraction | None = None
    pts: Sequence[int] | None = None
    audio: str | None = None
    audio_tracks: int = 1
    audio_s: float | None = None
    rotation: int = 0
    codec: str = "libx264"
    pix_fmt: str | None = None
    options: dict[str, str] | None = None


def make_clip(path: Path, spec: ClipSpec) -> Path:
    """Write a clip of `picture`s with a tone; its format follows from the suffix."""
    time_base = spec.time_base or 1 / spec.rate
    pts = list(spec.pts) if spec.pts is not None else [round(i / spec.rate / time_base) for i in range(spec.frames)]
    odd = spec.size_wh[0] % 2 or spec.size_wh[1] % 2
    with av.open(str(path), "w", options=spec.options or {}) as output:
        video: Any = output.add_stream(spec.codec, rate=spec.rate, time_base=time_base)
        video.width, video.height = spec.size_wh
        video.pix_fmt = spec.pix_fmt or ("yuv444p" if odd else "yuv420p")
        if spec.rotation:
            video.set_display_rotation(spec.rotation)
        sounds: list[Any] = []
        for _ in range(spec.audio_tracks if spec.audio else 0):
            sound: Any = output.add_stream(spec.audio or "", rate=48_000)
            sound.codec_context.layout = "mono"
            sounds.append(sound)
        for number, stamp in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(picture(*spec.size_wh, number), format="bgr24")
            frame.pts, frame.time_base = stamp, time_base
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        length_s = spec.audio_s or float((pts[-1] + 1) * time_base)
        for number, sound in enumerate(sounds):
            _add_tone(output, sound, length_s, 440.0 * (number + 1))
    return path


def _add_tone(output: Any, stream: Any, length_s: float, hertz: float) -> None:
    """A sine tone in packets of 20 ms."""
    context = stream.codec_context
    resampler = av.AudioResampler(
        format=context.format, layout="mono", rate=48_000, frame_size=context.frame_size or 960
    )
    samples = np.sin(np.arange(int(length_s * 48_000)) * (2 * np.pi * hertz / 48_000)).astype(np.float32) * 0.4
    frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
    for part in (*resampler.resample(frame), *resampler.resample(None)):
        output.mux(stream.encode(part))
    output.mux(stream.encode(None))


@dataclass(frozen=True, kw_only=True)
class ReadBack:
    """A video as a player sees it."""

    times: list[Fraction]
    rate: Fraction
    size_wh: tuple[int, int]
    rotation: int
    first_bgr: UInt8Array
    audio_codec: str | None
    audio_packets: list[bytes]
    audio_end_s: float
    listed_frames: int
    codec: str
    pix_fmt: str
    audio_streams: int
    colors: tuple[int, int, int]


def read_back(path: Path) -> ReadBack:
    """Read all of a video with PyAV."""
    with av.open(str(path)) as container:
        video: Any = container.streams.video[0]
        frames = list(container.decode(video))
        times = [frame.pts * Fraction(frame.time_base) for frame in frames]
        context = video.codec_context
        facts: dict[str, Any] = {
            "rate": video.average_rate,
            "size_wh": (frames[0].width, frames[0].height),
            "rotation": frames[0].rotation,
            "first_bgr": frames[0].to_ndarray(format="bgr24"),
            "listed_frames": video.frames,
            "codec": context.name,
            "pix_fmt": context.pix_fmt,
            "colors": (context.colorspace, context.color_primaries, context.color_trc),
        }
    with av.open(str(path)) as container:
        sounds = container.streams.audio
        packets = [p for p in container.demux(sounds[0]) if p.size] if sounds else []
        return ReadBack(
            times=times,
            audio_codec=sounds[0].codec_context.codec.canonical_name if sounds else None,
            audio_packets=[bytes(packet) for packet in packets],
            audio_end_s=max((float(((p.pts or 0) + (p.duration or 0)) * p.time_base) for p in packets), default=0.0),
            audio_streams=len(sounds),
            **facts,
        )


class ConstantPipeline(PosePipeline):
    """In place of the networks: the same person in every frame except the given empty ones."""

    def __init__(self, *, empty: Sequence[int] = (), fail_at: int | None = None, error: BaseException | None = None):
        self._empty, self._fail_at, self._error = set(empty), fail_at, error
        self.seen: list[Frame] = []
        self.skeleton = COCO17
        self.detect_every = "auto"  # each frame after the one before

    def describe(self) -> dict[str, Any]:
        """No real network."""
        return {"backend": "none"}

    def process(self, frame: Frame) -> FrameResult:
        """One person in the middle of the frame, or nobody."""
        self.seen.append(frame)
        if frame.index == self._fail_at and self._error is not None:
            raise self._error
        poses = Poses.empty(17) if frame.index in self._empty else one_person(frame.image_bgr)
        return FrameResult(frame=frame, detections=Detections.empty(), poses=poses)


def one_person(image: UInt8Array) -> Poses:
    """A person whose keypoints lie on the diagonal of the lower right quarter."""
    height, width = image.shape[:2]
    along = np.linspace(0.6, 0.9, 17, dtype=np.float32)[:, None] * np.array([width, height], np.float32)
    return Poses(
        keypoints_xy=along[None].astype(np.float32),
        scores=np.linspace(0.1, 0.9, 17, dtype=np.float32)[None],
        boxes_xyxy=np.array([[width * 0.55, height * 0.55, width * 0.95, height * 0.95]], np.float32),
        box_scores=np.array([0.75], np.float32),
        person_scores=np.array([0.75], np.float32),
    )


def save_photo(path: Path, image: Any, options: Sequence[int] = ()) -> Path:
    """Write a picture in the format of its suffix, under any name."""
    done, data = cv2.imencode(path.suffix, image, list(options))
    assert done
    path.write_bytes(data.tobytes())
    return path


def frames_of(source: FrameSource) -> list[Frame]:
    with source:
        return list(source)


def refusal(text: str | Path) -> str:
    with pytest.raises(SourceError) as caught:
        frames_of(open_source(str(text)))
    message = str(caught.value)
    assert "\n" not in message
    return message


def run_export(
    source: str | Path, output: Path, pipeline: ConstantPipeline | None = None, **options: Any
) -> ExportSummary:
    with open_source(str(source)) as opened:
        chosen = ExportOptions(output=output, quiet=True, **options)
        return export(opened, pipeline or ConstantPipeline(), chosen)


def left_in(folder: Path, *known: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path not in known)
