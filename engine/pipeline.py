"""The way of a frame: frame -> detections -> crops -> pose network -> poses (and attention maps) -> result."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from engine.errors import BackendError, ModelError, OptionError
from engine.geometry import apply_affines, boxes_to_affines, invert_affines, warp_crops
from engine.model_spec import ModelSpec
from engine.skeleton import Skeleton
from engine.types import (
    AttentionMaps,
    Detections,
    Float32Array,
    Frame,
    FrameResult,
    Poses,
    StageTimings,
    UInt8Array,
)

SEEN_SCORE = 0.2
"""Keypoints with a score above this count as seen, when a person is scored (as in COCO evaluation of the paper)."""


class Detector(Protocol):
    """What the pipeline needs of a detector; `engine.detector.PersonDetector` is one."""

    def detect(self, image_bgr: UInt8Array) -> Detections:
        """Boxes of one frame (H, W, 3) uint8, in frame px."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class PoseBackend(Protocol):
    """What the pipeline needs of a pose network; every `engine.backends.Backend` is one."""

    @property
    def spec(self) -> ModelSpec:
        """Inputs, outputs and skeleton."""
        ...

    def infer(self, inputs: Mapping[str, np.ndarray], want: Sequence[str]) -> dict[str, np.ndarray]:
        """Run the network once; only the outputs in `want` are computed and copied."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class PosePipeline:
    """Finds the people of a frame and their keypoints. Made, used and closed in one thread."""

    def __init__(
        self,
        detector: Detector,
        pose_backend: PoseBackend,
        *,
        max_people: int = 16,
        want_areas: bool = False,
        want_attention: bool = False,
        description: Mapping[str, str] | None = None,
    ) -> None:
        """Join a detector and a pose network; the pipeline closes both when it is closed.

        Args:
            detector: finds boxes.
            pose_backend: a pose network with input `crops` and outputs `keypoints` and, if wanted, the maps.
            max_people: boxes that are posed in one frame, those with the highest scores.
            want_areas, want_attention: whether results carry these maps.
            description: what runs, for `describe`.

        Raises:
            ModelError: the network is not a pose network, or does not give the maps that are wanted.
            OptionError: `max_people` is below 1.
        """
        if max_people < 1:
            raise OptionError(f"at most {max_people} people in a frame makes no sense; 1 or more fits")
        spec = pose_backend.spec
        if spec.skeleton is None:
            raise ModelError(f"{spec.name} is a {spec.kind}, not a pose network")
        wanted_maps = [name for name, on in (("areas", want_areas), ("attention", want_attention)) if on]
        for name in wanted_maps:
            if name not in spec.output_names:
                raise ModelError(
                    f"pose model '{spec.name}' has no {name} maps, because it has no KCAM head; choose a kcam_ model"
                )
        self.skeleton: Skeleton = spec.skeleton
        self._detector = detector
        self._backend = pose_backend
        self._max_people = max_people
        self._input_size_wh = spec.input_size_wh
        self._want = ("keypoints", *wanted_maps)
        self._description = dict(description or {})
        self._crops = np.empty((0, self._input_size_wh[1], self._input_size_wh[0], 3), np.uint8)

    def process(self, frame: Frame) -> FrameResult:
        """Detections, poses and wanted maps of one frame; all people go through the pose network in one call.

        A frame without anyone gives empty poses, and the pose network is not called.

        Raises:
            BackendError: a runtime failed, or gave outputs that do not fit its spec.
        """
        started = time.perf_counter()
        detections = self._strongest(self._detector.detect(frame.image_bgr))
        detected = time.perf_counter()
        if len(detections) == 0:
            return FrameResult(
                frame=frame,
                detections=detections,
                poses=Poses.empty(self.skeleton.num_keypoints),
                attention=self._no_maps(),
                timings=StageTimings(detect_ms=(detected - started) * 1000),
            )
        frame_to_crop = boxes_to_affines(detections.boxes_xyxy, self._input_size_wh)
        crop_to_frame = invert_affines(frame_to_crop)
        crops = warp_crops(frame.image_bgr, frame_to_crop, self._input_size_wh, out=self._crop_buffer(len(detections)))
        cropped = time.perf_counter()
        outputs = self._backend.infer({"crops": crops}, self._want)
        poses = self._poses(outputs["keypoints"], detections, crop_to_frame)
        attention = self._maps(outputs, crop_to_frame)
        posed = time.perf_counter()
        return FrameResult(
            frame=frame,
            detections=detections,
            poses=poses,
            attention=attention,
            timings=StageTimings(
                detect_ms=(detected - started) * 1000,
                crop_ms=(cropped - detected) * 1000,
                pose_ms=(posed - cropped) * 1000,
            ),
        )

    def describe(self) -> dict[str, str]:
        """What really runs, by name, for people and for reports."""
        return dict(self._description)

    def close(self) -> None:
        """Close the pose network and the detector."""
        try:
            self._backend.close()
        finally:
            self._detector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _strongest(self, detections: Detections) -> Detections:
        """At most `max_people` detections, the highest scores; the order stays."""
        if len(detections) <= self._max_people:
            return detections
        best = np.argsort(-detections.scores, kind="stable")[: self._max_people]
        return detections.take(np.sort(best))

    def _crop_buffer(self, people: int) -> UInt8Array:
        """Room for the crops of so many people; kept from frame to frame, so that a stream allocates nothing."""
        if len(self._crops) < people:
            # Doubling, so that a slowly growing crowd does not mean a new array a frame.
            room = min(max(people, 2 * len(self._crops)), self._max_people)
            self._crops = np.empty((room, *self._crops.shape[1:]), np.uint8)
        return self._crops

    def _poses(self, keypoints: Float32Array, detections: Detections, crop_to_frame: Float32Array) -> Poses:
        """Poses in frame px from keypoints (N, K, 3) in crop px."""
        expected = (len(detections), self.skeleton.num_keypoints, 3)
        if keypoints.shape != expected:
            raise BackendError(f"the pose network gave keypoints of shape {keypoints.shape}, expected {expected}")
        scores = np.ascontiguousarray(keypoints[:, :, 2], np.float32)
        return Poses(
            keypoints_xy=apply_affines(crop_to_frame, keypoints[:, :, :2]),
            scores=scores,
            boxes_xyxy=detections.boxes_xyxy,
            person_scores=person_scores(detections.scores, scores),
        )

    def _maps(self, outputs: Mapping[str, np.ndarray], crop_to_frame: Float32Array) -> AttentionMaps | None:
        if len(self._want) == 1:
            return None
        return AttentionMaps(
            areas=outputs.get("areas"),
            attention=outputs.get("attention"),
            crop_to_frame=crop_to_frame,
            input_size_wh=self._input_size_wh,
        )

    def _no_maps(self) -> AttentionMaps | None:
        """The maps of nobody: those who draw need not ask whether a frame was empty."""
        empty = np.zeros((0, self.skeleton.num_keypoints, 1, 1), np.float32)
        return self._maps(dict.fromkeys(self._want, empty), np.zeros((0, 2, 3), np.float32))


def person_scores(box_scores: Float32Array, keypoint_scores: Float32Array) -> Float32Array:
    """(N,) float32: box score (N,) x mean of the keypoint scores (N, K) above 0.2; 0 where no keypoint is."""
    seen = keypoint_scores > SEEN_SCORE
    total = np.where(seen, keypoint_scores, 0).sum(axis=1)
    scores: Float32Array = (box_scores * total / np.maximum(seen.sum(axis=1), 1)).astype(np.float32)
    return scores


@dataclass(frozen=True, kw_only=True)
class PipelineOptions:
    """What to run and where; the values are checked here, the names where they are looked up.

    Attributes:
        pose_model: name or file of the pose network; None for the one in `models/weights/default.json`.
        detector: name or file of the detector; None for the default one.
        backend, precision, device: as on the command line; "auto" chooses.
        score_threshold: boxes with a lower score are left out.
        max_people: most people that are posed in a frame.
        classes: names of the classes to detect; empty for those that the pose network poses.
        want_areas, want_attention: whether results carry these maps.
        download: whether a missing detector may be fetched.
    """

    pose_model: str | None = None
    detector: str | None = None
    backend: str = "auto"
    precision: str = "auto"
    device: str = "auto"
    score_threshold: float = 0.3
    max_people: int = 16
    classes: tuple[str, ...] = ()
    want_areas: bool = False
    want_attention: bool = False
    download: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.score_threshold <= 1:
            raise OptionError(f"the score threshold {self.score_threshold} is not between 0 and 1")
        if self.max_people < 1:
            raise OptionError(f"at most {self.max_people} people in a frame makes no sense; 1 or more fits")
