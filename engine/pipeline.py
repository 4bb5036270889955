"""The way of a frame: frame -> detections -> crops -> pose network -> poses (and attention maps) -> result."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np

from engine.backends import Backend, OpenedBackend, open_pose_backend
from engine.detect_schedule import DetectSchedule
from engine.detector import PersonDetector, open_detector
from engine.errors import OptionError
from engine.following import PeopleFollower
from engine.model_files import default_models
from engine.person_filter import PersonFilter
from engine.pipeline_options import DetectEvery, PipelineOptions, check_detect_every
from engine.pose_stage import PosedFrame, PoseStage, person_scores
from engine.skeleton import Skeleton
from engine.smoothing import PoseSmoother
from engine.tracking import PersonTracker
from engine.types import Detections, Frame, FrameResult, Poses, StageTimings, UInt8Array

__all__ = ["Detector", "Found", "PipelineOptions", "PosePipeline", "open_pipeline", "person_scores"]

ONNX_BACKENDS = ("openvino", "onnxruntime")  # those that run detectors


class Detector(Protocol):
    """What the pipeline needs of a detector; `engine.detector.PersonDetector` is one."""

    def detect(self, image_bgr: UInt8Array) -> Detections:
        """Boxes of one frame (H, W, 3) uint8, in frame px."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """A frame and where its people are.

    Attributes:
        frame: the frame.
        detections: boxes of the people, at most so many as are posed.
        looked: whether the detector has looked, or the boxes were carried on from the frame before.
        detect_ms: how long it took.
    """

    frame: Frame
    detections: Detections
    looked: bool
    detect_ms: float


class PosePipeline:
    """Finds the people of a frame and their keypoints. Made and closed in one thread, used by one at a time."""

    def __init__(
        self,
        detector: Detector,
        pose_backend: Backend,
        *,
        max_people: int = 16,
        want_areas: bool = False,
        want_attention: bool = False,
        tracking: bool = False,
        smoothing: bool = False,
        detect_every: DetectEvery = 1,
        person_threshold: float | None = None,
        description: Mapping[str, Any] | None = None,
    ) -> None:
        """Join a detector and a pose network; the pipeline closes both when it is closed.

        Args:
            detector: finds boxes.
            pose_backend: a pose network with input `crops` and outputs `keypoints` and, if wanted, the maps.
            max_people: boxes that are posed in one frame, those with the highest scores.
            want_areas, want_attention: whether results carry these maps.
            tracking, smoothing, detect_every: see PipelineOptions.
            person_threshold: see PipelineOptions; None keeps whatever the detector finds.
            description: what runs, for `describe`.

        Raises:
            ModelError: the network is not a pose network, or does not give the maps that are wanted.
            OptionError: a value makes no sense.
        """
        if max_people < 1:
            raise OptionError(f"at most {max_people} people in a frame makes no sense; 1 or more fits")
        check_detect_every(detect_every)
        self._posing = PoseStage(
            pose_backend, want_areas=want_areas, want_attention=want_attention, max_people=max_people
        )
        self.skeleton: Skeleton = self._posing.skeleton
        self._filter: PersonFilter | None = None
        if person_threshold is not None:
            self._filter = PersonFilter(threshold=person_threshold, oks_sigmas=self.skeleton.oks_sigmas)
        self.detect_every = detect_every
        self._detector = detector
        self._backend = pose_backend
        self._max_people = max_people
        self._description = dict(description or {})
        self._tracker = PersonTracker() if tracking else None
        self._smoother = PoseSmoother() if tracking and smoothing else None
        self._follower = PeopleFollower()
        self._schedule = DetectSchedule(detect_every)

    def process(self, frame: Frame) -> FrameResult:
        """Boxes, poses, ids and wanted maps of one frame; all people go through the pose network in one call.

        A frame without anyone gives empty poses, and the pose network is not called. The tracker is loaded after the
        first frames and not waited for: results until then have no ids (see `wait_until_ready`).

        Raises:
            BackendError: a runtime failed, or gave outputs that do not fit its spec.
            ModelError: the tracker cannot be loaded.
        """
        return self.finish(*self.pose([self.find(frame)]))

    def find(self, frame: Frame) -> Found:
        """Where the people of a frame are: the detector looks, or the boxes go on with the people of the last frame.

        With `detect_every` 1 this depends on no other frame, and may run ahead of the rest in a thread of its own.
        """
        started = time.perf_counter()
        looked, detections = True, Detections.empty()
        if self.detect_every != 1:
            height, width = frame.image_bgr.shape[:2]
            detections = self._follower.predict(frame.timestamp_s, (width, height))
            looked = self._schedule.due(frame.image_bgr, frame.timestamp_s, detections.boxes_xyxy)
        if looked:
            detections = self.detect(frame.image_bgr)
        elapsed_ms = (time.perf_counter() - started) * 1000
        return Found(frame=frame, detections=detections, looked=looked, detect_ms=elapsed_ms)

    def detect(self, image_bgr: UInt8Array) -> Detections:
        """The people whom the detector finds in a picture (H, W, 3): at most `max_people`, the highest scores."""
        detections = self._detector.detect(image_bgr)
        if len(detections) <= self._max_people:
            return detections
        best = np.argsort(-detections.scores, kind="stable")[: self._max_people]
        return detections.take(np.sort(best))  # their order stays

    def pose(self, found: Sequence[Found]) -> list[tuple[Found, PosedFrame]]:
        """Poses of the people of one or more frames, in one call of the network where they fit."""
        posed = self._posing.run([(one.frame.image_bgr, one.detections) for one in found])
        return list(zip(found, posed, strict=True))

    def finish(self, posed: tuple[Found, PosedFrame]) -> FrameResult:
        """Ids and calm keypoints for the poses of the next frame; frames come in their order."""
        started = time.perf_counter()
        found, found_poses = posed
        frame = found.frame
        if not found.looked:  # the follower knows whom it has sent, and itself lets go of the lost
            self._follow(found, found_poses.poses)
        detections, found_poses = self._without_doubtful(found.detections, found_poses)
        poses = found_poses.poses
        if found.looked and self.detect_every != 1:
            self._follow(dataclasses.replace(found, detections=detections), poses)
        if self._tracker is not None and self._tracker.is_ready:
            poses = dataclasses.replace(poses, track_ids=self._tracker.update(poses.boxes_xyxy, frame.timestamp_s))
            if self._smoother is not None:
                poses = self._smoother.smooth(poses, frame.timestamp_s)
        elif self._tracker is not None:
            self._tracker.passed(len(poses))
        return FrameResult(
            frame=frame,
            detections=found.detections,
            poses=poses,
            attention=found_poses.attention,
            timings=StageTimings(
                detect_ms=found.detect_ms,
                crop_ms=found_poses.crop_ms,
                pose_ms=found_poses.pose_ms,
                track_ms=(time.perf_counter() - started) * 1000,
            ),
        )

    def wait_until_ready(self) -> None:
        """Load the tracker now and wait for it: from now on every result has ids."""
        if self._tracker is not None:
            self._tracker.wait()

    def restart(self) -> None:
        """What comes next does not go on from here (another place in a video): forget who was where."""
        self._follower.reset()
        self._schedule.reset()
        if self._smoother is not None:
            self._smoother.reset()

    def look(self, looking: bool) -> None:
        """Whether somebody looks at the maps; while nobody does, those that lie on a device stay there."""
        self._posing.looking = looking

    def describe(self) -> dict[str, Any]:
        """What really runs, in plain values, for people and for reports."""
        return dict(self._description)

    def close(self) -> None:
        """Close the pose network and the detector."""
        try:
            self._backend.close()
        finally:
            self._detector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _without_doubtful(self, detections: Detections, posed: PosedFrame) -> tuple[Detections, PosedFrame]:
        """The people of a frame who are people, see person_filter.py."""
        kept = None if self._filter is None else self._filter.kept(posed.poses)
        if kept is None:
            return detections, posed
        maps = None if posed.attention is None else posed.attention.take(kept)
        return detections.take(kept), dataclasses.replace(posed, poses=posed.poses.take(kept), attention=maps)

    def _follow(self, found: Found, poses: Poses) -> None:
        """Remember where the people are now, for the boxes of the next frame."""
        time_s = found.frame.timestamp_s
        if found.looked:
            boxes, known = found.detections.boxes_xyxy, len(self._follower)
            self._schedule.looked(found.frame.image_bgr, time_s, known=known, found_xyxy=boxes)
            self._follower.looked(found.detections, poses, time_s)
        elif self._follower.followed(poses, time_s):
            self._schedule.lost()


def open_pipeline(options: PipelineOptions, *, say: Callable[[str], None] = lambda _line: None) -> PosePipeline:
    """Open the pose network and the detector that the options name.

    Args:
        options: what to run and where.
        say: told in one line of anything that takes long.

    Raises:
        OptionError: a class is not known.
        ModelError: a model does not exist or cannot be used, or does not give the maps that are wanted.
        BackendError: no runtime can run it as asked.
    """
    precision = options.precision
    if options.pose_model is None and precision == "auto":
        precision = default_models().precision
    # What was opened is closed again if what comes after it fails.
    with contextlib.ExitStack() as undo:
        pose = open_pose_backend(
            options.pose_model,
            backend=options.backend,
            precision=precision,
            device=options.device,
            threads=options.threads,
            with_crop=True,
            say=say,
        )
        undo.enter_context(pose.backend)
        detector, opened = _open_detector(options, pose.backend.spec.class_names, say)
        undo.enter_context(detector)
        pipeline = PosePipeline(
            detector,
            pose.backend,
            max_people=options.max_people,
            want_areas=options.want_areas,
            want_attention=options.want_attention,
            tracking=options.tracking,
            smoothing=options.smoothing,
            detect_every=options.detect_every,
            person_threshold=options.person_threshold,
            description={**_told(pose, "pose_model", ""), **_told(opened, "detector", "detector_")},
        )
        undo.pop_all()
    return pipeline


def _open_detector(
    options: PipelineOptions, posed_classes: tuple[str, ...], say: Callable[[str], None]
) -> tuple[PersonDetector, OpenedBackend]:
    """The detector on the backend of the pose network where that runs detectors, else on the best that does.

    Detectors are ONNX files: the pose network may run in PyTorch on a GPU, and the detector beside it under OpenVINO.
    Low precision is a promise about the pose network; float32 is one about all numbers, so the detector keeps it, too.
    """
    follows = options.backend in ONNX_BACKENDS
    classes = options.classes
    if classes is None and "person" not in posed_classes:
        classes = ",".join(posed_classes)
    return open_detector(
        options.detector,
        backend=options.backend if follows else "auto",
        precision="fp32" if options.precision == "fp32" else "auto",
        device=options.device if follows or options.device == "cpu" else "auto",
        # Beside the other steps of a run one thread is enough for it, and wastes no time in waiting for a second.
        threads=1 if options.overlapping and options.detect_every == 1 else options.threads,
        download=options.download,
        classes=classes,
        score_threshold=options.score_threshold,
        max_people=options.max_people,
        say=say,
    )


def _told(opened: OpenedBackend, what: str, prefix: str) -> dict[str, Any]:
    """Name, backend, device, precision, and the name and reason of each backend that was passed over."""
    backend = opened.backend
    return {
        what: backend.spec.name,
        f"{prefix}backend": backend.name,
        f"{prefix}device": backend.device,
        f"{prefix}precision": backend.precision,
        f"{prefix}passed_over": [list(passed) for passed in opened.passed_over],
    }
