"""From boxes to poses: crops of all people in one batch, the pose network, keypoints mapped back to frame px."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.backends import Backend
from engine.errors import BackendError, ModelError
from engine.geometry import apply_affines, boxes_to_affines, evenly_spanned, invert_affines, warp_crops
from engine.skeleton import Skeleton
from engine.types import (
    AttentionMaps,
    Detections,
    Float32Array,
    Frame,
    Poses,
    StageTimings,
    UInt8Array,
    mean_visible_scores,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class PendingFrame:
    """A frame between the steps of the pipeline.

    Attributes:
        frame: the frame.
        detections: boxes of the people; at most `max_people`, except in photos.
        detected: True if the detector ran on this frame, False if the boxes were propagated.
        chosen: those of the detections that go through the pose network; None for all.
        followed: id of the only person who goes through it; None for everybody.
        poses: of these people; empty until the pose network has run.
        attention: their maps, if wanted.
        timings: of the steps so far; `detect_ms` is that of the detection or propagation.
    """

    frame: Frame
    detections: Detections
    detected: bool
    chosen: Detections | None = None
    followed: int | None = None
    poses: Poses = field(default_factory=lambda: Poses.empty(0))
    attention: AttentionMaps | None = None
    timings: StageTimings = field(default_factory=StageTimings)

    @property
    def to_pose(self) -> Detections:
        """The boxes that go through the pose network."""
        return self.detections if self.chosen is None else self.chosen


class PoseStage:
    """Runs the pose network on the people of one frame or several."""

    def __init__(self, backend: Backend, *, want_areas: bool, want_attention: bool, max_people: int) -> None:
        """Take a pose network, to be called with at most `max_people` crops; the caller closes it.

        Raises:
            ModelError: it is not a pose network, or lacks the wanted maps.
        """
        spec = backend.spec
        if spec.skeleton is None:
            raise ModelError(f"{spec.name} is a {spec.kind}, not a pose network")
        wanted_maps = [name for name, on in (("areas", want_areas), ("attention", want_attention)) if on]
        for name in wanted_maps:
            if name not in spec.output_names:
                raise ModelError(
                    f"pose model '{spec.name}' has no {name} maps, because it has no KCAM head; choose a kcam_ model"
                )
        self.skeleton: Skeleton = spec.skeleton
        self._backend = backend
        self._max_people = max_people
        self._input_size_wh = spec.input_size_wh
        self._udp = spec.udp
        self._want = ("keypoints", *wanted_maps)
        self._takes_frames = "frame" in {tensor.name for tensor in spec.inputs}
        self.maps_shown = True
        """Whether the maps are shown; while they are not, none are copied."""
        self._crops = np.empty((0, self._input_size_wh[1], self._input_size_wh[0], 3), np.uint8)

    def run(self, pending: Sequence[PendingFrame]) -> list[PendingFrame]:
        """The frames with the poses of their people, in as few calls of the network as it takes.

        The durations of a shared call are divided among the frames by their people.

        Raises:
            BackendError: the runtime failed, or gave outputs that do not fit its spec.
        """
        images = [one.frame.image_bgr for one in pending]
        counts = [len(one.to_pose) for one in pending]
        people = sum(counts)
        if people == 0:
            poses = Poses.empty(self.skeleton.num_keypoints)
            # Maps of zero people, so that drawing needs no check for an empty frame.
            empty = np.zeros((0, self.skeleton.num_keypoints, 1, 1), np.float32)
            maps = self._maps(dict.fromkeys(self._want, empty), np.zeros((0, 2, 3), np.float32))
            return [dataclasses.replace(one, poses=poses, attention=maps) for one in pending]
        started = time.perf_counter()
        boxes = np.concatenate([one.to_pose.boxes_xyxy for one in pending])
        frame_to_crop = boxes_to_affines(boxes, self._input_size_wh, udp=self._udp)
        crop_to_frame = invert_affines(frame_to_crop)
        ends = np.cumsum(counts).tolist()
        parts = [slice(end - count, end) for count, end in zip(counts, ends, strict=True)]
        want = self._want if self.maps_shown else self._want[:1]
        if self._takes_frames:
            cropped = time.perf_counter()
            outputs = self._infer_frames(images, crop_to_frame, parts, want)
        else:
            crops = self._crop_buffer(people)
            for image, part in zip(images, parts, strict=True):
                warp_crops(image, frame_to_crop[part], self._input_size_wh, out=crops[part])
            cropped = time.perf_counter()
            outputs = self._infer_crops(crops[:people], max(counts), want)
        self._check(outputs, people)
        crop_ms, pose_ms = (cropped - started) * 1000, (time.perf_counter() - cropped) * 1000
        return [
            dataclasses.replace(
                one,
                poses=self._poses(outputs["keypoints"][part], one.to_pose, crop_to_frame[part]),
                attention=self._maps({name: maps[part] for name, maps in outputs.items()}, crop_to_frame[part]),
                timings=dataclasses.replace(
                    one.timings, crop_ms=crop_ms * count / people, pose_ms=pose_ms * count / people
                ),
            )
            for one, count, part in zip(pending, counts, parts, strict=True)
        ]

    def _infer_frames(
        self, images: Sequence[UInt8Array], crop_to_frame: Float32Array, parts: Sequence[slice], want: Sequence[str]
    ) -> Mapping[str, np.ndarray]:
        """Outputs for all people, from a network that crops them from the whole frame itself; one call per frame."""
        return _joined(
            self._backend.infer({"frame": image, "crop_to_frame": crop_to_frame[part][some]}, want)
            for image, part in zip(images, parts, strict=True)
            for some in _batches(part.stop - part.start, self._max_people)
        )

    def _infer_crops(self, crops: UInt8Array, most: int, want: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Outputs for all crops; in one call, unless one photo alone has more people (`most`) than a call takes."""
        if most <= self._max_people:
            return self._backend.infer({"crops": crops}, want)
        return _joined(
            self._backend.infer({"crops": crops[some]}, want) for some in _batches(len(crops), self._max_people)
        )

    def _crop_buffer(self, people: int) -> UInt8Array:
        """A buffer for the crops of so many people; reused, so that a stream allocates nothing per frame."""
        if len(self._crops) < people:
            # Growth by doubling, so that a slowly growing crowd does not allocate on each frame.
            room = max(people, min(2 * len(self._crops), self._max_people))
            self._crops = np.empty((room, *self._crops.shape[1:]), np.uint8)
        return self._crops

    def _check(self, outputs: Mapping[str, np.ndarray], people: int) -> None:
        for name in outputs:
            shape, expected = outputs[name].shape, (people, self.skeleton.num_keypoints)
            fits = shape[2:] == (3,) if name == "keypoints" else len(shape) == 4
            if shape[:2] != expected or not fits:
                rest = "3" if name == "keypoints" else "h, w"
                raise BackendError(
                    f"the pose network gave {name} of shape {shape}, expected ({people}, {expected[1]}, {rest})"
                )

    def _poses(self, keypoints: Float32Array, detections: Detections, crop_to_frame: Float32Array) -> Poses:
        """Poses in frame px from keypoints (N, K, 3) in crop px."""
        # A keypoint that is no number (float16 that overflowed in one crop) is one that was not found.
        keypoints = np.where(np.isfinite(keypoints).all(axis=2, keepdims=True), keypoints, 0)
        scores = np.ascontiguousarray(keypoints[:, :, 2], np.float32)
        return Poses(
            keypoints_xy=apply_affines(crop_to_frame, keypoints[:, :, :2]),
            scores=scores,
            boxes_xyxy=detections.boxes_xyxy,
            box_scores=detections.scores,
            person_scores=(detections.scores * mean_visible_scores(scores)).astype(np.float32),
        )

    def _maps(self, outputs: Mapping[str, np.ndarray], crop_to_frame: Float32Array) -> AttentionMaps | None:
        if len(outputs) == 1:
            return None
        height, width = next(outputs[n] for n in self._want[1:]).shape[2:]
        return AttentionMaps(
            areas=outputs.get("areas"),
            attention=outputs.get("attention"),
            crop_to_frame=evenly_spanned(crop_to_frame, self._input_size_wh, (width, height), udp=self._udp),
            input_size_wh=self._input_size_wh,
        )


def _batches(count: int, most: int) -> Iterator[slice]:
    """Consecutive parts of `count` people, of at most `most`."""
    return (slice(start, min(start + most, count)) for start in range(0, count, most))


def _joined(called: Iterable[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The outputs of several calls, one behind the other."""
    outputs = list(called)
    return {name: np.concatenate([one[name] for one in outputs]) for name in outputs[0]}
