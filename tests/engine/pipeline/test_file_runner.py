"""Many frames in overlapping steps: the same results as one by one, in order, in bounded memory, with every error."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BackendError, SourceError
from engine.output.export import export
from engine.output.files import ExportOptions
from engine.pipeline.file_runner import (
    BATCH_FRAMES,
    BATCH_PEOPLE,
    DECODED_FRAMES,
    DONE_FRAMES,
    FOUND_FRAMES,
    batches,
    results,
)
from engine.pipeline.pose_pipeline import PendingFrame, PosePipeline
from engine.pipeline.prefetch import Steps
from engine.sources.frame_source import FrameSource, SourceInfo
from engine.types import Detections, Float32Array, Frame, FrameResult, UInt8Array
from tests.engine.fakes import BrightestPixel, boxes, plain_options, plain_pipeline
from tests.signals import arriving

ROOT = Path(__file__).resolve().parents[3]


class NumberedDetector:
    """Detects as many people as the value of the frame's first pixel, at positions that depend on it."""

    def __init__(self, fail_at: int | None = None, error: BaseException | None = None) -> None:
        self._fail_at, self._error = fail_at, error
        self.calls = 0

    def detect(self, image_bgr: UInt8Array) -> Detections:
        number, people = int(image_bgr[0, 0, 0]), int(image_bgr[0, 0, 1])
        if number == self._fail_at and self._error is not None:
            raise self._error
        self.calls += 1
        found: Float32Array = boxes(*[(10 + 3 * i + number, 5 + i, 60 + 3 * i + number, 100) for i in range(people)])
        return Detections(
            boxes_xyxy=found,
            scores=np.linspace(0.9, 0.5, people, dtype=np.float32),
            class_ids=np.zeros(people, np.int64),
        )

    def close(self) -> None:
        """There are no resources to release."""


def frames(people: Sequence[int], fail_at: int | None = None) -> Iterator[Frame]:
    noise = np.random.default_rng(0)
    for number, count in enumerate(people):
        if number == fail_at:
            raise SourceError("the disk is gone")
        image = noise.integers(0, 255, (120, 160, 3), np.uint8)
        image[0, 0] = (number % 200, count, 0)
        yield Frame(image_bgr=image, index=number, timestamp_s=number / 30)


def alike(one: FrameResult, other: FrameResult) -> bool:
    ids = [result.poses.track_ids for result in (one, other)]
    return (
        one.frame.index == other.frame.index
        and np.array_equal(one.poses.keypoints_xy, other.poses.keypoints_xy)
        and np.array_equal(one.poses.scores, other.poses.scores)
        and np.array_equal(one.poses.boxes_xyxy, other.poses.boxes_xyxy)
        and (ids[0] is None) == (ids[1] is None)
        and (ids[0] is None or ids[1] is None or np.array_equal(ids[0], ids[1]))
    )


@pytest.mark.parametrize("options", [{}, {"tracking": True, "smoothing": True}, {"detect_every": 3}])
def test_the_same_as_one_frame_after_another(options: dict[str, Any]) -> None:
    people = [2, 0, 1, 3, 0, 0, 9, 1, 2, 1, 1, 0, 4] * 3
    one_by_one = plain_pipeline(NumberedDetector(), BrightestPixel(), **options)
    expected = [one_by_one.process(frame) for frame in frames(people)]
    backend = BrightestPixel()
    with Steps() as steps:
        pipeline = plain_pipeline(NumberedDetector(), backend, **options)
        got = list(results(pipeline, frames(people), steps, live=False))
    assert len(got) == len(people)
    assert all(alike(one, other) for one, other in zip(expected, got, strict=True))
    if "detect_every" not in options:
        assert len(backend.calls) < sum(count > 0 for count in people), "frames share calls of the network"


def test_frames_with_one_person_followed_share_calls_as_if_nobody_else_were_there() -> None:
    calls = []
    for people, follow in ((5, "largest"), (1, None)):
        backend = BrightestPixel()
        with Steps() as steps:
            pipeline = plain_pipeline(NumberedDetector(), backend, follow=follow)
            got = list(results(pipeline, frames([people] * 12), steps, live=False))
        assert [len(one.poses) for one in got] == [1] * 12
        calls.append(backend.calls)
    assert calls[0] == calls[1]
    assert len(calls[0]) == 12 / BATCH_FRAMES


@settings(max_examples=40, deadline=None)
@given(people=st.lists(st.integers(0, 20), max_size=30), fail_at=st.none() | st.integers(0, 30))
def test_batches_keep_every_frame_and_depend_on_the_frames_alone(people: list[int], fail_at: int | None) -> None:
    def found() -> Iterator[PendingFrame]:
        detector = NumberedDetector()
        for frame in frames(people, fail_at):
            detections = detector.detect(frame.image_bgr)
            yield PendingFrame(frame=frame, detections=detections, detected=True)

    got: list[list[int]] = []
    try:
        for batch in batches(found()):
            counts = [len(one.detections) for one in batch]
            assert len(batch) <= BATCH_FRAMES
            assert sum(counts[:-1]) < BATCH_PEOPLE
            got.append([one.frame.index for one in batch])
    except SourceError:
        assert fail_at is not None
    expected = len(people) if fail_at is None else min(fail_at, len(people))
    assert [index for batch in got for index in batch] == list(range(expected))


@dataclass
class Failing(BrightestPixel):
    """A pose network that fails after some calls."""

    calls_before: int = 1

    def infer(self, inputs: Mapping[str, np.ndarray], want: Sequence[str]) -> dict[str, np.ndarray]:
        if len(self.calls) == self.calls_before:
            raise BackendError("the device was lost")
        return super().infer(inputs, want)


@pytest.mark.parametrize(
    ("stage", "message", "before"),
    [("decode", "the disk is gone", 10), ("detect", "no memory left", 10), ("pose", "the device was lost", 4)],
)
def test_an_error_of_any_step_is_raised_after_the_previous_frames(stage: str, message: str, before: int) -> None:
    broken = NumberedDetector(10, BackendError("no memory left")) if stage == "detect" else NumberedDetector()
    pipeline = plain_pipeline(broken, Failing() if stage == "pose" else BrightestPixel())
    got = []
    threads = threading.active_count()
    with Steps() as steps, pytest.raises((SourceError, BackendError), match=message):
        for result in results(pipeline, frames([1] * 40, 10 if stage == "decode" else None), steps, live=False):
            got.append(result.frame.index)
    assert got == list(range(before))
    assert threading.active_count() == threads


class Census:
    """Frames of a source, and how many of them are alive at most."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._alive: weakref.WeakSet[Frame] = weakref.WeakSet()
        self.most = 0

    def __iter__(self) -> Iterator[Frame]:
        for number in range(self._count):
            frame = Frame(image_bgr=np.full((60, 80, 3), 1, np.uint8), index=number, timestamp_s=number / 30)
            self._alive.add(frame)
            self.most = max(self.most, len(self._alive))
            yield frame
            del frame


@pytest.mark.parametrize("slow", ["detect", "pose", "write"])
def test_a_slow_step_does_not_accumulate_frames(slow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    census = Census(150)
    pipeline = plain_pipeline(NumberedDetector(), BrightestPixel())

    def slowed(step: Any) -> Any:
        def wrapper(*arguments: Any) -> Any:
            time.sleep(0.002)
            return step(*arguments)

        return wrapper

    if slow != "write":
        name = "find" if slow == "detect" else "finish"
        monkeypatch.setattr(pipeline, name, slowed(getattr(pipeline, name)))
    seen = 0
    with Steps() as steps:
        for result in results(pipeline, census, steps, live=False):
            assert result.frame.index == seen
            seen += 1
            if slow == "write":
                time.sleep(0.002)
            del result
    assert seen == 150
    # Queued frames, a batch, and one per worker.
    assert census.most <= DECODED_FRAMES + FOUND_FRAMES + DONE_FRAMES + BATCH_FRAMES + 5


def test_a_live_source_has_few_frames_in_flight() -> None:
    census = Census(100)
    pipeline = plain_pipeline(NumberedDetector(), BrightestPixel())
    with Steps() as steps:
        for result in results(pipeline, census, steps, live=True):
            time.sleep(0.001)
            del result
    assert census.most <= 4  # one being read, one posed, one queued, one being written


def test_without_overlap_steps_run_one_at_a_time() -> None:
    """No frame is started before the previous one is finished, and only one thread works."""
    threads = set()
    done_with = 0

    class Watching(PosePipeline):
        def process(self, frame: Frame) -> FrameResult:
            threads.add(threading.get_ident())
            time.sleep(0.005)  # time enough for a prefetch
            assert frame.index == done_with
            return super().process(frame)

    pipeline = Watching(NumberedDetector(), BrightestPixel(), plain_options())
    with Steps() as steps:
        for _ in results(pipeline, frames([1] * 8), steps, live=False, overlap=False):
            time.sleep(0.005)
            done_with += 1
    assert done_with == 8
    assert len(threads) == 1


class Listed(FrameSource):
    """Frames as a source."""

    def __init__(self, people: Sequence[int]) -> None:
        super().__init__(SourceInfo(name="listed", kind="video", size_wh=(160, 120), frame_rate=Fraction(30)))
        self._people = people

    def __iter__(self) -> Iterator[Frame]:
        return frames(self._people)


@pytest.mark.parametrize("stage", ["detect", "pose"])
def test_a_failed_export_keeps_its_frames_and_reports_the_path(stage: str, tmp_path: Path) -> None:
    lost = BackendError("the device was lost")
    pipeline = plain_pipeline(
        NumberedDetector(8, lost) if stage == "detect" else NumberedDetector(),
        Failing(calls_before=2) if stage == "pose" else BrightestPixel(),
    )
    options = ExportOptions(output=tmp_path / "o.mp4", poses=[tmp_path / "o.jsonl"], quiet=True)
    with Listed([1] * 30) as source, pytest.raises(BackendError, match=r"the device was lost \(the 8 frame.*are kept"):
        export(source, pipeline, options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.part.jsonl", "o.part.mp4"]
    assert len((tmp_path / "o.part.jsonl").read_text().splitlines()) == 8


def test_an_export_is_the_same_file_with_and_without_overlap(tmp_path: Path) -> None:
    people = [2, 0, 1, 3, 0, 0, 9, 1, 2, 1, 1, 0, 4]
    for name, overlap in (("a", True), ("b", False)):
        options = ExportOptions(
            output=tmp_path / f"{name}.mp4",
            poses=[tmp_path / f"{name}.jsonl"],
            quiet=True,
            overlap=overlap,
            max_frames=11,
        )
        with Listed(people) as source:
            pipeline = plain_pipeline(NumberedDetector(), BrightestPixel(), tracking=True, smoothing=True)
            summary = export(source, pipeline, options)
        assert (summary.frames, summary.frames_with_people) == (11, 8)
    assert (tmp_path / "a.jsonl").read_text() == (tmp_path / "b.jsonl").read_text()
    ids = [
        person["id"]
        for line in (tmp_path / "a.jsonl").read_text().splitlines()
        for person in json.loads(line)["people"]
    ]
    assert None not in ids


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to a child")
def test_ctrl_c_ends_overlapping_steps_with_complete_files(tmp_path: Path) -> None:
    number = arriving("SIGINT")
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from engine.output.files import ExportOptions\n"
        "from engine.output.export import export\n"
        "from engine.pipeline.pose_pipeline import PosePipeline\n"
        "from tests.engine.fakes import BrightestPixel, plain_options\n"
        "from tests.engine.pipeline.test_file_runner import Listed, NumberedDetector\n"
        "class Slow(PosePipeline):\n"
        "    def finish(self, pending):\n"
        "        if pending.frame.index == 12: print('go', flush=True)\n"
        "        time.sleep(0.02)\n"
        "        return super().finish(pending)\n"
        "with Listed([1] * 2000) as source:\n"
        "    options = ExportOptions(output=Path(sys.argv[1]), poses=[Path(sys.argv[2])], quiet=True)\n"
        "    done = export(source, Slow(NumberedDetector(), BrightestPixel(), plain_options()), options)\n"
        "print(done.frames, done.interrupted)\n"
    )
    out, poses = tmp_path / "o.mp4", tmp_path / "o.jsonl"
    child = subprocess.Popen([sys.executable, "-c", code, out, poses], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline().strip() == "go"
    child.send_signal(number)
    reported = child.communicate(timeout=60)[0].split()
    assert child.returncode == 0
    assert reported[1] == "True"
    assert 0 < int(reported[0]) < 2000
    assert len(poses.read_text().splitlines()) == int(reported[0])
    with av.open(str(out)) as container:
        assert sum(1 for _ in container.decode(video=0)) == int(reported[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.jsonl", "o.mp4"]
