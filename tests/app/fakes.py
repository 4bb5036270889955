"""Fake sources and a fake pipeline with known results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.live.inference import Opened
from app.people import with_angles
from engine.errors import SourceError
from engine.geometry import overlaps
from engine.pipeline.pose_pipeline import PipelineOptions, PosePipeline
from engine.skeleton import COCO17, Skeleton
from engine.sources.frame_source import FrameSource, SourceInfo
from engine.types import AttentionMaps, Detections, Float32Array, Frame, FrameResult, Poses, StageTimings

SIZE_WH = (320, 180)
RATE = 50
PEOPLE = slice(None)  # which of the two are there; tests change it by `only`


def fake_result(frame: Frame, *, attention: bool = True, skeleton: Skeleton = COCO17) -> FrameResult:
    """Two people whose boxes move with the frame; keypoint k lies on a diagonal of the box."""
    count = skeleton.num_keypoints
    shift = frame.index % 20
    boxes = np.array([[40 + shift, 30, 120 + shift, 170], [200, 20, 280, 170]], np.float32)
    share = np.linspace(0.1, 0.9, count, dtype=np.float32)[None, :, None]
    points = (boxes[:, None, :2] + share * (boxes[:, None, 2:] - boxes[:, None, :2])).astype(np.float32)
    maps = None
    if attention:
        raw = np.ones((2, count, 12, 8), np.float32)
        raw[:, min(9, count - 1)] = 40.0  # everything attends to the left wrist
        maps = AttentionMaps(
            areas=np.full((2, count, 12, 8), 1 / 96, np.float32),
            attention=(raw / raw.sum(axis=1, keepdims=True)).astype(np.float32),
            crop_to_frame=np.array([[[1, 0, box[0]], [0, 1, box[1]]] for box in boxes], np.float32),
            input_size_wh=(80, 150),
        )
    return FrameResult(
        frame=frame,
        detections=Detections(boxes_xyxy=boxes, scores=np.ones(2, np.float32), class_ids=np.zeros(2, np.int64)),
        poses=Poses(
            keypoints_xy=points,
            scores=np.full((2, count), 0.9, np.float32),
            boxes_xyxy=boxes,
            box_scores=np.full(2, 0.9, np.float32),
            person_scores=np.full(2, 0.9, np.float32),
            track_ids=np.array([3, 7], np.int64),
        ),
        attention=maps,
        timings=StageTimings(detect_ms=1.0, pose_ms=2.0),
    )


def only(monkeypatch: pytest.MonkeyPatch, people: slice) -> None:
    """From now on only some of the two people are there."""
    real, index = fake_result, np.arange(2)[people]

    def some(frame: Frame, **arguments: Any) -> FrameResult:
        result = real(frame, **arguments)
        maps = None if result.attention is None else result.attention.take(index)
        return replace(result, poses=result.poses.take(index), attention=maps)

    monkeypatch.setattr("tests.app.fakes.fake_result", some)
    monkeypatch.setattr("tests.app.fakes.PEOPLE", people)


class FakePipeline(PosePipeline):
    """A fake pipeline, with optional delay or error."""

    def __init__(self, backstage: Backstage, options: PipelineOptions) -> None:
        self._backstage, self.options = backstage, options
        self.skeleton = backstage.skeleton
        self.detect_every = "auto"  # each frame after the one before
        self.restarts = 0
        self.followed: tuple[Float32Array, int] | None = None
        self.closed = False
        self.attention_wanted = True

    def warm_up(self, frame: Frame) -> None:
        self._backstage.while_warming_up()
        self._backstage.warmed_up.append(frame.index)

    def process(self, frame: Frame) -> FrameResult:
        if self._backstage.process_error is not None:
            raise self._backstage.process_error
        time.sleep(self._backstage.process_s)
        # As the real one: no maps unless they are wanted.
        attention = self._backstage.has_attention and self.attention_wanted
        result = fake_result(frame, attention=attention, skeleton=self.skeleton)
        # As the real one: other numbers after a restart, and no frame twice with the same keypoints.
        self._backstage.processed += 1
        poses = replace(
            result.poses,
            track_ids=np.array([3, 7], np.int64)[PEOPLE] + 10 * self.restarts,
            keypoints_xy=result.poses.keypoints_xy + np.float32(0.001 * self._backstage.processed),
        )
        if self.options.angles:
            poses = with_angles(poses, self.skeleton, 0.2)
        result = replace(result, poses=poses)
        return result if self.followed is None else self._of_followed(result, self.followed)

    def _of_followed(self, result: FrameResult, followed: tuple[Float32Array, int]) -> FrameResult:
        """As the real one: who is where the person was, with their number, and nobody else."""
        box_xyxy, number = followed
        poses = result.poses
        who = np.flatnonzero(overlaps(box_xyxy[None], poses.boxes_xyxy)[0] > 0.3)[:1]
        if len(who):
            self.followed = poses.boxes_xyxy[who[0]], number
        ids, mark = np.full(len(who), number, np.int64), np.ones(len(who), np.bool_)
        maps = None if result.attention is None else result.attention.take(who)
        return replace(result, poses=replace(poses.take(who), track_ids=ids, followed=mark), attention=maps)

    def follow(self, box_xyxy: Float32Array | None, number: int = 0, time_s: float = 0.0) -> None:
        self.followed = None if box_xyxy is None else (box_xyxy, number)

    def fetch_attention(self, wanted: bool) -> None:
        self.attention_wanted = wanted

    def restart(self) -> None:
        self.restarts += 1
        self.followed = None

    def describe(self) -> dict[str, Any]:
        name = self.options.pose_model or "kcam_fake"
        return {
            "pose_model": name, "backend": "openvino", "device": "cpu", "precision": "bf16", "detector": "fake",
            "detector_backend": "openvino", "detector_device": "cpu", "detector_precision": "bf16",
            "skipped": [["tensorrt", "no NVIDIA GPU"]],
        }  # fmt: skip

    def close(self) -> None:
        self.closed = True


class Clip(FrameSource):
    """A file of a hundred frames of 20 ms, each in a different grey."""

    def __init__(self, frames: int = 100, size_wh: tuple[int, int] = SIZE_WH, path: Path | None = None) -> None:
        super().__init__(
            SourceInfo(
                name="clip", kind="video", path=path, size_wh=size_wh, frame_rate=Fraction(RATE),
                time_base=Fraction(1, RATE), frame_count=frames,
            )
        )  # fmt: skip
        self._frames, self._size_wh, self._start = frames, size_wh, 0
        self.closed = False

    def seek(self, position_s: float) -> None:
        self._start = min(self._frames - 1, max(0, int(np.ceil(position_s * RATE - 1e-6))))

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._start, self._frames):
            image = np.full((self._size_wh[1], self._size_wh[0], 3), 50 + index, np.uint8)
            yield Frame(image_bgr=image, index=index, timestamp_s=index / RATE, pts=index)

    def close(self) -> None:
        self.closed = True


class FakeCamera(FrameSource):
    """Yields frames until it is unplugged."""

    def __init__(self, backstage: Backstage) -> None:
        super().__init__(SourceInfo(name="camera 0", kind="camera", size_wh=SIZE_WH, is_live=True))
        self._backstage = backstage

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while self._backstage.plugged_in:
            time.sleep(0.01)
            image = np.full((SIZE_WH[1], SIZE_WH[0], 3), 90, np.uint8)
            image[:, : SIZE_WH[0] // 2] = 20
            yield Frame(image_bgr=image, index=index, timestamp_s=time.monotonic())
            index += 1
        raise SourceError("camera 0 stopped sending pictures; was it unplugged?")


class Backstage:
    """Configures the fakes and records their calls."""

    def __init__(self) -> None:
        self.opened_options: list[PipelineOptions] = []
        self.pipelines: list[FakePipeline] = []
        self.opened_sources: list[str] = []
        self.reported: list[tuple[BaseException, str]] = []
        self.noted: list[str] = []
        self.skeleton = COCO17
        self.has_attention = True
        self.process_s = 0.001
        self.while_warming_up: Callable[[], object] = lambda: None
        self.warmed_up: list[int] = []
        self.processed = 0
        self.process_error: Exception | None = None
        self.open_error: Exception | None = None
        self.while_opening: Callable[[Callable[[str], None]], object] = lambda _notify: None
        self.plugged_in = True

    def open_pipeline(self, options: PipelineOptions, *, notify: Callable[[str], None]) -> Opened:
        self.opened_options.append(options)
        if self.open_error is not None:
            raise self.open_error
        self.while_opening(notify)

        def another(options: PipelineOptions) -> FakePipeline:
            self.pipelines.append(FakePipeline(self, options))
            return self.pipelines[-1]

        return Opened(pipeline=another(options), has_attention=self.has_attention, another=another)

    def open_source(self, text: str) -> FrameSource:
        self.opened_sources.append(text)
        if text == "0":
            if not self.plugged_in:
                raise SourceError("camera 0 cannot be opened: no such camera")
            return FakeCamera(self)
        if text.startswith("clip"):
            return Clip()
        raise SourceError(f"{text} does not exist")
