"""Runs the pipeline over many frames: each step in a thread of its own, so that the steps overlap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.pipeline.pose_pipeline import PendingFrame, PosePipeline
from engine.pipeline.prefetch import Steps
from engine.types import Frame, FrameResult

DECODED_FRAMES = 4
FOUND_FRAMES = 6
DONE_FRAMES = 4
"""Queue length after each step: enough to even out the steps' speeds, small enough for little memory."""

BATCH_FRAMES = 4
BATCH_PEOPLE = 8
"""Limits of a batch for the pose network: larger ones gain nothing on a CPU."""


def results(
    pipeline: PosePipeline, frames: Iterable[Frame], steps: Steps, *, live: bool, overlap: bool = True
) -> Iterator[FrameResult]:
    """The results of all frames in their order; frames are prefetched and processed in threads of `steps`.

    The caller only waits for results, so it can stop at any time, even while a step takes long. A live source is not
    prefetched, because a frame that waits in a queue adds delay: one frame is processed while the one before is drawn
    and written.

    Args:
        pipeline: used in these threads until `steps` is closed.
        overlap: False runs one step after another; a frame is read when its result is requested.

    Raises:
        Whatever a step raises, in place of the result of the frame that it failed on.
    """
    if live or not overlap:
        process = map(pipeline.process, steps.until_closed(frames))
        return steps.prefetch(process, room=int(overlap), name="pose", reads_source=live)
    decoded = steps.prefetch(frames, room=DECODED_FRAMES, name="decode", reads_source=True)
    if pipeline.detect_every != 1:  # propagation needs the poses of the frame before, so detection cannot be prefetched
        return steps.prefetch(map(pipeline.process, decoded), room=DONE_FRAMES, name="pose")
    found = steps.prefetch(map(pipeline.find, decoded), room=FOUND_FRAMES, name="detect")
    return steps.prefetch(_posed(pipeline, found), room=DONE_FRAMES, name="pose")


def _posed(pipeline: PosePipeline, found: Iterable[PendingFrame]) -> Iterator[FrameResult]:
    """Results of frames with detections; several frames share a call of the pose network."""
    for batch in batches(found, 1 if pipeline.follows else None):
        yield from map(pipeline.finish, pipeline.pose(batch))


def batches(found: Iterable[PendingFrame], most: int | None = None) -> Iterator[list[PendingFrame]]:
    """Frames in batches for the pose network; the batches depend on the frames alone, not on timing.

    An error of the source is raised after the batch of the frames before it.

    Args:
        most: people posed in a frame, however many were detected; None for all of them.
    """
    batch: list[PendingFrame] = []
    people = 0
    upstream = iter(found)
    error: BaseException | None = None
    while error is None:
        try:
            one = next(upstream)
        except BaseException as caught:  # StopIteration, too: both end the last batch
            error = caught
        else:
            batch.append(one)
            people += len(one.detections) if most is None else min(most, len(one.detections))
            del one
        if batch and (error is not None or len(batch) == BATCH_FRAMES or people >= BATCH_PEOPLE):
            full, batch, people = batch, [], 0
            yield full
            del full
    if not isinstance(error, StopIteration):
        raise error
