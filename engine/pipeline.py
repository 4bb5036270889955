"""The way of a frame: frame -> detections -> crops -> pose network -> poses (and attention maps) -> result."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np

from engine.backends import BACKENDS, Backend, OpenedBackend, OpenOptions, open_pose_backend
from engine.detector import DEFAULT_SCORE_THRESHOLD, PersonDetector, open_detector
from engine.errors import BackendError, ModelError, OptionError, nearest_hint
from engine.geometry import apply_affines, boxes_to_affines, invert_affines, warp_crops
from engine.model_files import default_models
from engine.skeleton import Skeleton
from engine.types import AttentionMaps, Detections, Float32Array, Frame, FrameResult, Poses, StageTimings, UInt8Array

SEEN_SCORE = 0.2
"""Keypoints with a score above this count as seen, when a person is scored (as in COCO evaluation of the paper)."""

ONNX_BACKENDS = ("openvino", "onnxruntime")  # those that run detectors


class Detector(Protocol):
    """What the pipeline needs of a detector; `engine.detector.PersonDetector` is one."""

    def detect(self, image_bgr: UInt8Array) -> Detections:
        """Boxes of one frame (H, W, 3) uint8, in frame px."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class PosePipeline:
    """Finds the people of a frame and their keypoints. Made, used and closed in one thread."""

    def __init__(
        self,
        detector: Detector,
        pose_backend: Backend,
        *,
        max_people: int = 16,
        want_areas: bool = False,
        want_attention: bool = False,
        description: Mapping[str, Any] | None = None,
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
        posed = time.perf_counter()
        return FrameResult(
            frame=frame,
            detections=detections,
            poses=poses,
            attention=self._maps(outputs, crop_to_frame),
            timings=StageTimings(
                detect_ms=(detected - started) * 1000,
                crop_ms=(cropped - detected) * 1000,
                pose_ms=(posed - cropped) * 1000,
            ),
        )

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
    """What to run and where; names of models and classes are looked up when the pipeline is opened.

    Attributes:
        pose_model: name or file of the pose network; None for the one in `models/weights/default.json`.
        detector: name or file of the detector; None for the default one.
        backend, precision, device: for the pose network, see `open_pose_backend`; the detector follows where it can.
        score_threshold: boxes with a lower score are left out.
        max_people: most people that are posed in a frame.
        classes: names or numbers of the classes to detect, with commas between them; None for those that the pose
            network poses.
        want_areas, want_attention: whether results carry these maps.
        download: whether a missing detector may be fetched.
    """

    pose_model: str | None = None
    detector: str | None = None
    backend: str = "auto"
    precision: str = "auto"
    device: str = "auto"
    score_threshold: float = DEFAULT_SCORE_THRESHOLD
    max_people: int = 16
    classes: str | None = None
    want_areas: bool = False
    want_attention: bool = False
    download: bool = False

    def __post_init__(self) -> None:
        if self.backend not in ("auto", *BACKENDS):
            raise OptionError(f"unknown backend '{self.backend}'.{nearest_hint(self.backend, ('auto', *BACKENDS))}")
        OpenOptions(precision=self.precision, device=self.device)  # checks both
        if not 0 <= self.score_threshold <= 1:
            raise OptionError(f"the score threshold {self.score_threshold} is not between 0 and 1")
        if self.max_people < 1:
            raise OptionError(f"at most {self.max_people} people in a frame makes no sense; 1 or more fits")


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
            options.pose_model, backend=options.backend, precision=precision, device=options.device, say=say
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
