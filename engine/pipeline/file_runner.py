"""The way of many frames: the same steps as for one, each in a thread of its own, so that they overlap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from engine.pipeline.pose_pipeline import Found, PosePipeline
from engine.pipeline.prefetch import Steps
from engine.types import Frame, FrameResult

DECODED_FRAMES = 4
FOUND_FRAMES = 6
DONE_FRAMES = 4
"""How many frames may wait after each step: enough to even out their pace, few enough for a small memory."""

BATCH_FRAMES = 4
BATCH_PEOPLE = 8
"""Frames share a call of the pose network until one of these is reached: more gains nothing on a processor."""


class OneAtATime(Protocol):
    """A pipeline that takes frames one after another."""

    def process(self, frame: Frame) -> FrameResult:
        """Everything about one frame."""


def results(
    pipeline: PosePipeline | OneAtATime, frames: Iterable[Frame], steps: Steps, *, live: bool, overlap: bool = True
) -> Iterator[FrameResult]:
    """The results of frames in their order, none left out; frames are taken and worked on ahead, in threads of `steps`.

    The caller only waits, and so can end at any time; what it waits for may take long. A live source is not read ahead,
    because a frame that waits grows old: one frame is worked on while the one before is drawn and written.

    Args:
        pipeline: used in these threads until `steps` is closed.
        frames: of one source.
        steps: owns the threads.
        live: whether frames come when they come.
        overlap: False to do one thing after another: a frame is begun when it is asked for.

    Raises:
        Whatever a step raises, in the place of the frame that it failed on.
    """
    if not isinstance(pipeline, PosePipeline):
        if overlap and not live:
            frames = _decoded(frames, steps)
        return steps.prefetch(map(pipeline.process, frames), room=0, name="pose", reads_source=live)
    if live or not overlap:
        process = map(pipeline.process, steps.until_closed(frames))
        return steps.prefetch(process, room=int(overlap), name="pose", reads_source=live)
    decoded = _decoded(frames, steps)
    if pipeline.detect_every != 1:  # boxes go on with the keypoints of the frame before: nothing can run ahead of them
        return steps.prefetch(map(pipeline.process, decoded), room=DONE_FRAMES, name="pose")
    found = steps.prefetch(map(pipeline.find, decoded), room=FOUND_FRAMES, name="detect")
    return steps.prefetch(_posed(pipeline, found), room=DONE_FRAMES, name="pose")


def _decoded(frames: Iterable[Frame], steps: Steps) -> Iterator[Frame]:
    return steps.prefetch(frames, room=DECODED_FRAMES, name="decode", reads_source=True)


def _posed(pipeline: PosePipeline, found: Iterable[Found]) -> Iterator[FrameResult]:
    """Poses of frames whose people are found; those of several frames share a call of the network."""
    for batch in batches(found):
        for posed in pipeline.pose(batch):
            yield pipeline.finish(posed)


def batches(found: Iterable[Found]) -> Iterator[list[Found]]:
    """Frames in groups with enough people for one call; which ones depends on the frames alone, not on the pace.

    What fails is raised after the frames before it.
    """
    batch: list[Found] = []
    people = 0
    upstream = iter(found)
    error: BaseException | None = None
    while error is None:
        try:
            one = next(upstream)
        except BaseException as caught:  # StopIteration among them: both end the last batch
            error = caught
        else:
            batch.append(one)
            people += len(one.detections)
            del one
        if batch and (error is not None or len(batch) == BATCH_FRAMES or people >= BATCH_PEOPLE):
            full, batch, people = batch, [], 0
            yield full
            del full
    if not isinstance(error, StopIteration):
        raise error
