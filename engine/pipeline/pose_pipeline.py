"""The pipeline of a frame: frame -> detections -> crops -> pose network -> poses (and attention maps) -> result."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.backends import Backend
from engine.detection.given_boxes import BoxesOfFile
from engine.detection.propagation import BoxPropagator
from engine.detection.schedule import DetectSchedule
from engine.pipeline.options import PipelineOptions
from engine.pipeline.pose_stage import PendingFrame, PoseStage
from engine.skeleton import Skeleton
from engine.system.closing import Closing
from engine.system.free_memory import give_back_free_memory
from engine.tracking.false_positives import FalsePositiveFilter, confidences, people_of
from engine.tracking.following import PersonFollower
from engine.tracking.rejected_detections import RejectedDetections
from engine.tracking.repetitions import JointAngles
from engine.tracking.smoothing import PoseSmoother
from engine.tracking.tracker import PersonTracker
from engine.types import Detections, Float32Array, Frame, FrameResult, Poses, StageTimings, UInt8Array

__all__ = ["Detector", "PendingFrame", "PipelineOptions", "PosePipeline"]


class Detector(Protocol):
    """What the pipeline needs of a detector; `engine.detection.detector.PersonDetector` is one."""

    def detect(self, image_bgr: UInt8Array) -> Detections:
        """Boxes of one frame (H, W, 3) uint8, in frame px."""
        ...

    def close(self) -> None:
        """Free its resources."""
        ...


class PosePipeline(Closing):
    """Finds people and their keypoints. Create and close it in one thread; use it in one at a time."""

    def __init__(
        self,
        detector: Detector,
        pose_backend: Backend,
        options: PipelineOptions,
        description: Mapping[str, Any] | None = None,
    ) -> None:
        """Take a detector and a pose network; the pipeline closes both when it is closed.

        Args:
            pose_backend: a pose network with input `crops` and outputs `keypoints` and, if wanted, the maps.
            options: what is done with both. `max_people` is of one frame: of a video, as many boxes are posed, those
                with the highest scores; of a photo all, of which the people with the highest confidence are kept.

        Raises:
            ModelError: the network is not a pose network, or lacks the wanted maps.
            OptionError: the skeleton names no angle, or not the one that is counted.
        """
        self._options = options
        self._posing = PoseStage(
            pose_backend,
            want_areas=options.want_areas,
            want_attention=options.want_attention,
            max_people=options.max_people,
        )
        self.skeleton: Skeleton = self._posing.skeleton
        self._rejected = RejectedDetections(options.person_threshold)
        self._filter = FalsePositiveFilter(threshold=options.person_threshold, oks_sigmas=self.skeleton.oks_sigmas)
        self.detect_every = options.detect_every
        self._detector = detector
        self._backend = pose_backend
        self._description = dict(description or {})
        self._tracker = PersonTracker(options.tracker) if options.tracking else None
        self._smoother = PoseSmoother() if options.tracking and options.smoothing else None
        self._angles = JointAngles(options, self.skeleton)
        self._follower: PersonFollower | None = None
        if options.follow is not None:
            self._follower = PersonFollower(options.follow, tracker=options.tracker)
        self._propagator = BoxPropagator()
        self._schedule = DetectSchedule(options.detect_every)

    def process(self, frame: Frame) -> FrameResult:
        """Boxes, poses, ids and wanted maps of one frame; all people go through the pose network in one call.

        A frame without people gives empty poses; the pose network is not called.

        Raises:
            BackendError: a runtime failed, or gave outputs that do not fit its spec.
            ModelError: the tracker cannot be loaded.
        """
        return self.finish(*self.pose([self.find(frame)]))

    def warm_up(self, frame: Frame) -> None:
        """Compile and import all that the first frames of this size need, which takes a second; raises as `process`.

        The next frame does not follow it, and ids are as if it had not been there.
        """
        with ThreadPoolExecutor(1) as pool:
            tracker = None if self._tracker is None else pool.submit(self._tracker.load)
            found = self.find(frame)
            height, width = frame.image_bgr.shape[:2]
            for people in (1, 2):  # runtimes have a program for one person and another for several
                boxes = np.tile(np.array([0, 0, width, height], np.float32), (people, 1))
                scores, classes = np.ones(people, np.float32), np.zeros(people, np.int64)
                whole = Detections(boxes_xyxy=boxes, scores=scores, class_ids=classes)
                self._posing.run([dataclasses.replace(found, detections=whole)])
            if tracker is not None:
                tracker.result()
        self.restart()

    def find(self, frame: Frame) -> PendingFrame:
        """Boxes of the people of a frame, by the detector or propagated from the last frame.

        With `detect_every` 1 this depends on no other frame, and may run in a prefetching thread.
        """
        started = time.perf_counter()
        detected, detections = True, Detections.empty()
        if self.detect_every != 1:
            height, width = frame.image_bgr.shape[:2]
            detections = self._propagator.predict(frame.timestamp_s, (width, height))
            detected = self._schedule.due(frame.image_bgr, frame.timestamp_s, detections.boxes_xyxy)
        if detected:
            if isinstance(self._detector, BoxesOfFile):
                detections = self._detector.of_frame(frame.index)
            else:
                detections = self._detector.detect(frame.image_bgr)
            if not frame.is_still:
                detections = self._at_most(detections)
        timings = StageTimings(detect_ms=(time.perf_counter() - started) * 1000)
        return PendingFrame(frame=frame, detections=detections, detected=detected, timings=timings)

    def detect(self, image_bgr: UInt8Array) -> Detections:
        """The boxes of a video's frame (H, W, 3): at most `max_people`, those with the highest scores."""
        return self._at_most(self._detector.detect(image_bgr))

    def _at_most(self, detections: Detections) -> Detections:
        best = self._best(detections.scores)
        return detections if best is None else detections.take(best)

    def _best(self, scores: Float32Array) -> npt.NDArray[np.intp] | None:
        """Indices of the `max_people` highest scores (N,), in their order; None for all."""
        if len(scores) <= self._options.max_people:
            return None
        return np.sort(np.argsort(-scores, kind="stable")[: self._options.max_people])

    def pose(self, pending: Sequence[PendingFrame]) -> list[PendingFrame]:
        """Poses of the people of several frames, given in their order; one call of the network if it takes batches."""
        return self._posing.run([self._to_follow(self._without_rejected(one)) for one in pending])

    def finish(self, pending: PendingFrame) -> FrameResult:
        """Filtering, ids and smoothing for the poses of the next frame; frames must come in their order."""
        started = time.perf_counter()
        frame, poses, attention = pending.frame, pending.poses, pending.attention
        detections = pending.to_pose
        if not pending.detected:  # unfiltered: the propagator needs its boxes in its order
            self._update_propagation(pending, detections, poses)
        kept = self._passing(pending, detections, poses)
        if kept is not None:
            detections, poses = detections.take(kept), poses.take(kept)
            attention = None if attention is None else attention.take(kept)
        if pending.detected and self.detect_every != 1:
            self._update_propagation(pending, detections, poses)
        if self._follower is None:
            poses = self._with_ids(poses, frame.timestamp_s)
        else:
            who, number = self._followed(pending, poses, self._follower)
            poses = dataclasses.replace(poses.take(who), followed=np.ones(len(who), np.bool_))
            attention = None if attention is None else attention.take(who)
            if self._tracker is not None:
                poses = dataclasses.replace(poses, track_ids=np.full(len(who), number or 0, np.int64))
        if self._smoother is not None:
            poses = self._smoother.smooth(poses, frame.timestamp_s)
        poses = self._angles.add(poses, frame.timestamp_s)
        # The peak of a heatmap may exceed 1 a little. Filtering and the ranking of people see the peaks as they are.
        poses = dataclasses.replace(
            poses, scores=np.minimum(poses.scores, 1), person_scores=np.minimum(poses.person_scores, 1)
        )
        timings = dataclasses.replace(pending.timings, track_ms=(time.perf_counter() - started) * 1000)
        return FrameResult(
            frame=frame,
            detections=pending.detections,
            poses=poses,
            attention=attention,
            timings=timings,
            skeleton=self.skeleton,
        )

    def _with_ids(self, poses: Poses, time_s: float) -> Poses:
        if self._tracker is None:
            return poses
        return dataclasses.replace(poses, track_ids=self._tracker.update(poses.boxes_xyxy, time_s))

    @property
    def follows(self) -> bool:
        """Whether one person is posed alone."""
        return self._follower is not None

    def follow(self, box_xyxy: Float32Array | None, number: int = 0, time_s: float = 0.0) -> None:
        """Pose only the person in this box (4,) of the last frame, who has this id; None lets go: everybody again."""
        self._follower = None
        if box_xyxy is not None:
            self._follower = PersonFollower(None, tracker=self._options.tracker)
            self._follower.lock(box_xyxy, number, time_s)
        self._detect_next()

    def _detect_next(self) -> None:
        """Carry no boxes on to the next frame: who is posed changes."""
        self._propagator.reset()
        self._schedule.reset()

    def _to_follow(self, pending: PendingFrame) -> PendingFrame:
        """The frame with the followed person alone to be posed."""
        follower, frame = self._follower, pending.frame
        if follower is not None and follower.is_over(frame.timestamp_s):
            follower = self._follower = None
        if follower is None:
            return pending
        if not pending.detected:  # propagated: these are the boxes of the people posed before
            return dataclasses.replace(pending, followed=follower.number)
        if frame.is_still:  # in each photo the person is chosen anew
            follower.reset()
        height, width = frame.image_bgr.shape[:2]
        choice = follower.choose(pending.to_pose, frame.timestamp_s, (width, height))
        if isinstance(choice, str):
            return pending
        return dataclasses.replace(pending, chosen=pending.to_pose.take(choice), followed=follower.number)

    def _followed(
        self, pending: PendingFrame, poses: Poses, follower: PersonFollower
    ) -> tuple[npt.NDArray[np.intp], int | None]:
        """Index array of the followed person among those posed, with one entry or none, and their id."""
        time_s, nobody = pending.frame.timestamp_s, np.zeros(0, np.intp)
        if pending.followed is not None:
            if len(pending.to_pose):
                follower.judged(len(poses) > 0)
            if not pending.detected and len(poses):
                follower.moved(poses.boxes_xyxy[0], time_s)
            return np.arange(min(len(poses), 1)), pending.followed
        if follower.is_waiting:
            ids = self._with_ids(poses, time_s).track_ids
            found = nobody if ids is None else np.flatnonzero(ids == follower.follow)
            if ids is not None and len(found):
                follower.lock(poses.boxes_xyxy[found[0]], int(ids[found[0]]), time_s)
                self._detect_next()
            return found, follower.number
        # Posed with everybody else, in one call with the frame in which the wanted id appeared.
        index = follower.pick(poses.boxes_xyxy, time_s)
        return nobody if index is None else np.array([index], np.intp), follower.number

    def restart(self) -> None:
        """Forget all people: the next frame does not follow the last one (a seek in a video)."""
        if self._follower is not None:
            if self._follower.follow is None:
                self._follower = None
            else:
                self._follower.reset()
        self._angles.reset()
        self._propagator.reset()
        self._schedule.reset()
        self._rejected.reset()
        if self._tracker is not None:
            self._tracker.reset()
        if self._smoother is not None:
            self._smoother.reset()

    def fetch_attention(self, wanted: bool) -> None:
        """Whether the maps are shown; while they are not, none are copied and results have none."""
        self._posing.maps_shown = wanted

    def describe(self) -> dict[str, Any]:
        """What really runs, in plain values, for the console and for reports."""
        return dict(self._description)

    def close(self) -> None:
        """Close the pose network and the detector."""
        try:
            self._backend.close()
        finally:
            self._detector.close()
            give_back_free_memory()

    def _without_rejected(self, pending: PendingFrame) -> PendingFrame:
        """The frame without boxes that the pose network has recently rejected."""
        if not pending.detected or pending.frame.is_still:
            return pending
        frame = pending.frame
        to_pose = self._rejected.not_rejected(frame.image_bgr, pending.detections.boxes_xyxy, frame.timestamp_s)
        return pending if to_pose is None else dataclasses.replace(pending, chosen=pending.detections.take(to_pose))

    def _passing(self, pending: PendingFrame, posed: Detections, poses: Poses) -> npt.NDArray[np.intp] | None:
        """Index array of the people that pass the false-positive filter, None for all; rejected ones are remembered.

        Of a photo with too many people, those with the highest confidence: which of its boxes have the highest scores
        changes with the size in which it is stored, and some are second boxes of one person.
        """
        confidence, frame = confidences(poses), pending.frame
        owners = self._filter.owners(poses, confidence)
        if pending.detected and not frame.is_still:
            self._rejected.learn(frame.image_bgr, posed.boxes_xyxy, confidence, owners, frame.timestamp_s)
        kept = people_of(owners)
        best = self._best(confidence if kept is None else confidence[kept])
        if best is None:
            return kept
        return best if kept is None else kept[best]

    def _update_propagation(self, pending: PendingFrame, detections: Detections, poses: Poses) -> None:
        """Update propagator and schedule with the people of this frame."""
        image, time_s = pending.frame.image_bgr, pending.frame.timestamp_s
        if pending.detected:
            known = len(self._propagator)
            self._schedule.detected(image, time_s, known=known, found_xyxy=detections.boxes_xyxy)
            self._propagator.detected(detections, poses, time_s)
        elif self._propagator.propagated(poses, time_s):
            self._schedule.lost()
