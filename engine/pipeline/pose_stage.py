"""From boxes to poses: crops of all people in one batch, the pose network, keypoints mapped back to frame px."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.backends import Backend
from engine.errors import BackendError, ModelError
from engine.geometry import apply_affines, boxes_to_affines, heatmap_stride, invert_affines, warp_crops
from engine.skeleton import Skeleton
from engine.types import AttentionMaps, Detections, Float32Array, Poses, UInt8Array, mean_visible_scores


@dataclass(frozen=True, kw_only=True, eq=False)
class PosedFrame:
    """Poses of one frame, the maps if wanted, and the durations in ms (of a shared batch, this frame's share)."""

    poses: Poses
    attention: AttentionMaps | None
    crop_ms: float = 0.0
    pose_ms: float = 0.0


class PoseStage:
    """Runs the pose network on the people of one frame or several."""

    def __init__(self, backend: Backend, *, want_areas: bool, want_attention: bool, max_people: int) -> None:
        """Take a pose network; the caller closes it.

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

    def run(self, frames: Sequence[tuple[UInt8Array, Detections]]) -> list[PosedFrame]:
        """Poses of the people of each frame, in one call of the network; no call when there are none.

        Args:
            frames: image (H, W, 3) uint8 BGR, and the boxes of its people in frame px.

        Raises:
            BackendError: the runtime failed, or gave outputs that do not fit its spec.
        """
        counts = [len(detections) for _, detections in frames]
        people = sum(counts)
        if people == 0:
            return [PosedFrame(poses=Poses.empty(self.skeleton.num_keypoints), attention=self._no_maps())] * len(frames)
        started = time.perf_counter()
        boxes = np.concatenate([d.boxes_xyxy for _, d in frames])
        frame_to_crop = boxes_to_affines(boxes, self._input_size_wh, udp=self._udp)
        crop_to_frame = invert_affines(frame_to_crop)
        ends = np.cumsum(counts).tolist()
        parts = [slice(end - count, end) for count, end in zip(counts, ends, strict=True)]
        want = self._want if self.maps_shown else self._want[:1]
        if self._takes_frames:
            cropped = time.perf_counter()
            outputs = self._infer_frames([image for image, _ in frames], crop_to_frame, parts, want)
        else:
            crops = self._crop_buffer(people)
            for (image, _), part in zip(frames, parts, strict=True):
                warp_crops(image, frame_to_crop[part], self._input_size_wh, out=crops[part])
            cropped = time.perf_counter()
            outputs = self._backend.infer({"crops": crops[:people]}, want)
        self._check(outputs, people)
        posed = time.perf_counter()
        results = []
        for (_, detections), count, own in zip(frames, counts, parts, strict=True):
            share = count / people * 1000
            results.append(
                PosedFrame(
                    poses=self._poses(outputs["keypoints"][own], detections, crop_to_frame[own]),
                    attention=self._maps({name: maps[own] for name, maps in outputs.items()}, crop_to_frame[own]),
                    crop_ms=(cropped - started) * share,
                    pose_ms=(posed - cropped) * share,
                )
            )
        return results

    def _infer_frames(
        self, images: Sequence[UInt8Array], crop_to_frame: Float32Array, parts: Sequence[slice], want: Sequence[str]
    ) -> Mapping[str, np.ndarray]:
        """Outputs for all people, from a network that crops them from the whole frame itself; one call per frame."""
        called = [
            self._backend.infer({"frame": image, "crop_to_frame": crop_to_frame[part]}, want)
            for image, part in zip(images, parts, strict=True)
            if part.stop > part.start
        ]
        return {name: np.concatenate([outputs[name] for outputs in called]) for name in want}

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
        return AttentionMaps(
            areas=outputs.get("areas"),
            attention=outputs.get("attention"),
            crop_to_frame=self._evenly_spanned(crop_to_frame, next(outputs[n] for n in self._want[1:]).shape),
            input_size_wh=self._input_size_wh,
        )

    def _evenly_spanned(self, crop_to_frame: Float32Array, shape: tuple[int, ...]) -> Float32Array:
        """Affines (N, 2, 3) for code that assumes that maps of this shape span the crop evenly; UDP maps do not."""
        if not self._udp or shape[3] < 2:
            return crop_to_frame
        grid = (shape[3], shape[2])
        real, even = (heatmap_stride(self._input_size_wh, grid, udp=udp) for udp in (True, False))
        factors = np.array([real[0] / even[0], real[1] / even[1], 1], np.float32)
        return np.asarray(crop_to_frame * factors, np.float32)

    def _no_maps(self) -> AttentionMaps | None:
        """Maps of zero people, so that drawing needs no check for an empty frame."""
        empty = np.zeros((0, self.skeleton.num_keypoints, 1, 1), np.float32)
        return self._maps(dict.fromkeys(self._want, empty), np.zeros((0, 2, 3), np.float32))
