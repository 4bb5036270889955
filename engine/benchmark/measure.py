"""The measurements of `--benchmark` on one pipeline: each stage, whole files, live sources, and many people."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engine.artifacts.part_file import PartFile
from engine.errors import OptionError
from engine.output.export import export
from engine.output.files import ExportOptions
from engine.output.video_writer import VideoWriter
from engine.overlay.drawing import OverlayOptions, draw
from engine.pipeline.pose_pipeline import PendingFrame, PosePipeline
from engine.sources.frame_source import PictureTags, SourceInfo
from engine.sources.live import LiveSource
from engine.sources.opening import open_source
from engine.types import Detections, Float32Array, Frame, FrameResult, UInt8Array

WARM_UP_FRAMES = 15
_MOST_BYTES = 600 * 2**20  # of decoded frames
_TIMES_FASTER = 10  # frame rate of the live source over that of the pipeline
_LEAST_PERIOD_S = 0.0005
_BACKGROUND = 114

Times = dict[str, list[float]]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Frames of a video in memory, and how long each took to decode."""

    info: SourceInfo
    frames: tuple[Frame, ...]
    decode_ms: tuple[float, ...] = field(repr=False)

    def copies(self) -> Iterator[Frame]:
        """The frames, with images copied so that they may be drawn into."""
        for frame in self.frames:
            yield dataclasses.replace(frame, image_bgr=frame.image_bgr.copy())


def read_clip(video: str, count: int) -> Clip:
    """Decode the first frames of a video, up to a memory limit.

    Raises:
        SourceError: it cannot be read.
        OptionError: it is not a finite video.
    """
    frames: list[Frame] = []
    decode_ms: list[float] = []
    size = 0
    with open_source(video) as source:
        if source.info.is_live or source.info.kind == "photos":
            raise OptionError(f"{source.info.name} is not a video file: --benchmark needs a file or demo")
        pictures = iter(source)
        while len(frames) < count and size < _MOST_BYTES:
            started = time.perf_counter()
            frame = next(pictures, None)
            if frame is None:
                break
            decode_ms.append((time.perf_counter() - started) * 1000)
            frames.append(frame)
            size += frame.image_bgr.nbytes
        return Clip(info=source.info, frames=tuple(frames), decode_ms=tuple(decode_ms))


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95 and mean of a list of ms."""
    if not values:
        return {"p50": 0.0, "p95": 0.0, "mean": 0.0}
    p50, p95 = np.percentile(values, [50, 95])
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3), "mean": round(float(np.mean(values)), 3)}


def measure_steps(pipeline: PosePipeline, clip: Clip) -> dict[str, dict[str, float]]:
    """Milliseconds of each stage, run one after another, from decoding to encoding."""
    with tempfile.TemporaryDirectory() as folder:
        writer = _writer(Path(folder), clip.info)
        times: Times = defaultdict(list)
        for number, frame in enumerate(_around(clip, WARM_UP_FRAMES)):
            kept: Times = times if number >= WARM_UP_FRAMES else defaultdict(list)
            _add(kept, pipeline.process(frame), pipeline, writer, number)
        writer.abort()
    times["decode"] = list(clip.decode_ms[1:])  # the first frame was read when the file was opened
    order = ("decode", "detect", "crop", "pose", "track", "draw", "encode")
    return {name: percentiles(times[name]) for name in order}


def _around(clip: Clip, warm_up: int) -> Iterator[Frame]:
    """Warm-up frames, then all frames."""
    yield from itertools.islice(clip.copies(), warm_up)
    yield from clip.copies()


def _writer(folder: Path, info: SourceInfo) -> VideoWriter:
    plain = dataclasses.replace(info, frame_rate=Fraction(30), time_base=Fraction(1, 30), media=None)
    return VideoWriter(PartFile(folder / "benchmark.mp4"), plain, keep_audio=False)


def _add(times: Times, result: FrameResult, pipeline: PosePipeline, writer: VideoWriter, number: int) -> None:
    """Draw and encode a result, and record the times of all stages."""
    started = time.perf_counter()
    image = draw(result, pipeline.skeleton, OverlayOptions(), out=result.frame.image_bgr)
    drawn = time.perf_counter()
    writer.write(image, number)
    encoded = time.perf_counter()
    for name in ("detect", "crop", "pose", "track"):
        times[name].append(getattr(result.timings, f"{name}_ms"))
    times["draw"].append((drawn - started) * 1000)
    times["encode"].append((encoded - drawn) * 1000)


def measure_export(pipeline: PosePipeline, video: str, frames: int) -> dict[str, float]:
    """Frames per second of a whole file from reading to the finished video, after a short run to warm up."""
    with tempfile.TemporaryDirectory() as folder:
        for count in (min(WARM_UP_FRAMES, frames), frames):
            pipeline.restart()
            with open_source(video) as source:
                output = Path(folder) / f"{count}.mp4"
                options = ExportOptions(output=output, max_frames=count, quiet=True, overwrite=True)
                summary = export(source, pipeline, options)
    return {"fps": round(summary.fps, 2), "frames": summary.frames}


class ReplayCamera:
    """A camera that plays a clip at a fixed rate and advances only when a picture was taken.

    It is always faster than the pipeline, but skips no motion.
    """

    def __init__(self, clip: Clip, period_s: float) -> None:
        self._frames, self._period_s = clip.frames, period_s
        self.taken = 0
        self._next_s = time.monotonic()

    def open(self) -> tuple[Fraction | None, PictureTags]:
        """There is nothing to open."""
        return None, PictureTags()

    def read(self) -> UInt8Array:
        """The current picture, when it is due."""
        self._next_s = max(self._next_s + self._period_s, time.monotonic())
        time.sleep(max(0.0, self._next_s - time.monotonic()))
        return self._frames[self.taken % len(self._frames)].image_bgr

    def close(self) -> None:
        """There are no resources to release."""


def measure_live(pipeline: PosePipeline, clip: Clip, frames: int, *, parts: int = 2) -> dict[str, Any]:
    """Frames per second and delay from capture to result, with a source ten times faster than the pipeline.

    The delay is reported for the whole run, its median also for each of `parts` parts.
    """
    pipeline.restart()
    taken_s = []
    for frame in _around(dataclasses.replace(clip, frames=clip.frames[:WARM_UP_FRAMES]), WARM_UP_FRAMES):
        started = time.perf_counter()
        pipeline.process(frame)
        taken_s.append(time.perf_counter() - started)
    pipeline.restart()
    camera = ReplayCamera(clip, max(float(np.median(taken_s)) / _TIMES_FASTER, _LEAST_PERIOD_S))
    delays_ms: list[float] = []
    with LiveSource(camera, SourceInfo(name="replay", kind="camera")) as source:
        started = time.perf_counter()
        for frame in source:
            camera.taken += 1
            pipeline.process(frame)
            delays_ms.append((time.monotonic() - frame.timestamp_s) * 1000)
            if len(delays_ms) >= frames:
                break
        seconds = time.perf_counter() - started
        dropped = source.dropped_frames
    ends = [round(len(delays_ms) * part / parts) for part in range(parts + 1)]
    return {
        "fps": round(len(delays_ms) / seconds, 2),
        "latency_ms": percentiles(delays_ms),
        "latency_ms_parts_p50": [percentiles(delays_ms[a:b])["p50"] for a, b in itertools.pairwise(ends)],
        "frames": len(delays_ms),
        "dropped_frames": dropped,
    }


def measure_people(
    pipeline: PosePipeline, detect: Callable[[UInt8Array], Detections], clip: Clip, counts: Sequence[int]
) -> list[dict[str, Any]]:
    """Milliseconds of each stage for frames with these numbers of people, alternating; empty if nobody is detected.

    The people are cut out of the clip and placed side by side on frames of its size. The detector runs on each frame,
    but the pose network gets the known boxes of the placed people.
    """
    people = cut_out_people(detect, clip)
    if not people:
        return []
    height, width = clip.frames[0].image_bgr.shape[:2]
    decode = percentiles(clip.decode_ms[1:])["p50"]
    times: dict[int, Times] = {count: defaultdict(list) for count in counts}
    scenes = {count: tile(people, count, (width, height)) for count in counts}
    with tempfile.TemporaryDirectory() as folder:
        writer, number = _writer(Path(folder), clip.info), 0
        for turn in range(2 + 12):
            for count in counts:
                pipeline.restart()
                for _ in range(3):
                    image, boxes = scenes[count]
                    frame = Frame(image_bgr=image.copy(), index=number, timestamp_s=number / 30)
                    kept: Times = times[count] if turn >= 2 else defaultdict(list)
                    _add(kept, _with_boxes(pipeline, frame, boxes), pipeline, writer, number)
                    number += 1
        writer.abort()
    found = []
    for count in counts:
        steps = {name: percentiles(values) for name, values in times[count].items()}
        others = decode + sum(step["p50"] for name, step in steps.items() if name != "pose")
        watched = sum(steps[name]["p50"] for name in ("detect", "crop", "pose", "track"))
        row = {"people": count, "steps": steps, "others_ms": round(others, 3), "fps": round(1000 / watched, 2)}
        found.append(row)
    return found


def _with_boxes(pipeline: PosePipeline, frame: Frame, boxes: Float32Array) -> FrameResult:
    """The result of a frame with known boxes; the detector runs for its time only."""
    detected = pipeline.find(frame)
    known = Detections(
        boxes_xyxy=boxes, scores=np.ones(len(boxes), np.float32), class_ids=np.zeros(len(boxes), np.int64)
    )
    pending = PendingFrame(frame=frame, detections=known, detected=True, timings=detected.timings)
    return pipeline.finish(*pipeline.pose([pending]))


def cut_out_people(detect: Callable[[UInt8Array], Detections], clip: Clip, most: int = 16) -> list[UInt8Array]:
    """Crops of people from the clip, highest score first."""
    found: list[tuple[float, UInt8Array]] = []
    for frame in clip.frames[:: max(1, len(clip.frames) // 24)]:
        detections = detect(frame.image_bgr)
        for box, score in zip(detections.boxes_xyxy.round().astype(int), detections.scores, strict=True):
            x1, y1, x2, y2 = np.maximum(box, 0).tolist()
            picture = frame.image_bgr[y1:y2, x1:x2]
            if min(picture.shape[:2]) >= 24:
                found.append((float(score), picture))
    found.sort(key=lambda pair: -pair[0])
    return [picture for _, picture in found[:most]]


def tile(people: Sequence[UInt8Array], count: int, size_wh: tuple[int, int]) -> tuple[UInt8Array, Float32Array]:
    """A frame (H, W, 3) with `count` people side by side, and their boxes (count, 4) in frame px."""
    width, height = size_wh
    columns = max(1, min(count, round(np.sqrt(2 * count * width / height))))
    rows = -(-count // columns)
    cell_w, cell_h = width / columns, height / rows
    image = np.full((height, width, 3), _BACKGROUND, np.uint8)
    boxes = np.zeros((count, 4), np.float32)
    for number in range(count):
        person = people[number % len(people)]
        factor = 0.9 * min(cell_w / person.shape[1], cell_h / person.shape[0])
        w, h = max(1, int(person.shape[1] * factor)), max(1, int(person.shape[0] * factor))
        x = int((number % columns + 0.5) * cell_w - w / 2)
        y = int((number // columns + 0.5) * cell_h - h / 2)
        image[y : y + h, x : x + w] = cv2.resize(person, (w, h), interpolation=cv2.INTER_AREA)
        boxes[number] = (x, y, x + w, y + h)
    return image, boxes
