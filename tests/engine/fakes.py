"""A fake detector and a fake pose network with known results."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.artifacts.model_spec import ModelSpec, TensorSpec
from engine.backends import Backend
from engine.errors import BackendError
from engine.pipeline.options import PipelineOptions
from engine.pipeline.pose_pipeline import Detector, PosePipeline
from engine.skeleton import Skeleton
from engine.system.closing import Closing
from engine.types import Detections, Float32Array, UInt8Array

THREE = Skeleton(
    keypoint_names=("head", "left_hand", "right_hand"),
    edges=((0, 1), (0, 2)),
    flip_pairs=((1, 2),),
    oks_sigmas=(0.05, 0.05, 0.05),
)


def pose_spec(
    skeleton: Skeleton | None = THREE, maps: tuple[str, ...] = ("areas", "attention"), kind: str = "pose"
) -> ModelSpec:
    count = 1 if skeleton is None else skeleton.num_keypoints
    return ModelSpec(
        kind=kind,
        name="some_model",
        precision="fp32",
        input_size_wh=(96, 128),
        inputs=(TensorSpec(name="crops", shape=("n", 128, 96, 3), dtype="uint8"),),
        outputs=(
            TensorSpec(name="keypoints", shape=("n", count, 3), dtype="float32"),
            *(TensorSpec(name=name, shape=("n", count, 32, 24), dtype="float32") for name in maps),
        ),
        skeleton=skeleton,
        class_names=("person",),
        file_sha256="0" * 64,
        weights_sha256="0" * 64,
        graph_version=1,
        made_with={},
    )


def plain_options(**fields: Any) -> PipelineOptions:
    """Options of a pipeline whose detector runs on each frame, whose people have no ids, and that drops nobody."""
    plain = {"tracking": False, "smoothing": False, "detect_every": 1, "person_threshold": 0.0}
    return PipelineOptions(**{**plain, **fields})


def plain_pipeline(
    detector: Detector, backend: Backend, description: Mapping[str, Any] | None = None, **fields: Any
) -> PosePipeline:
    """A pipeline with `plain_options`."""
    return PosePipeline(detector, backend, plain_options(**fields), description)


@dataclass
class FixedDetector(Closing):
    """Returns the same boxes for every frame."""

    boxes_xyxy: Float32Array
    scores: Float32Array
    closed: bool = False

    def detect(self, image_bgr: UInt8Array) -> Detections:
        return Detections(
            boxes_xyxy=self.boxes_xyxy, scores=self.scores, class_ids=np.zeros(len(self.scores), np.int64)
        )

    def close(self) -> None:
        self.closed = True


@dataclass
class BrightestPixel(Closing):
    """A fake pose network: keypoint k is where colour channel k of the crop is brightest."""

    spec: ModelSpec = field(default_factory=pose_spec)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    buffers: list[int] = field(default_factory=list)
    closed: bool = False
    fail_on_close: bool = False
    name: str = "brightest"
    device: str = "cpu"
    precision: str = "fp32"

    def infer(self, inputs: Mapping[str, np.ndarray], want: Sequence[str]) -> dict[str, np.ndarray]:
        crops = inputs["crops"]
        assert crops.dtype == np.uint8
        assert crops.flags["C_CONTIGUOUS"]
        self.calls.append(tuple(want))
        self.buffers.append(crops.__array_interface__["data"][0])
        people, height, width, channels = crops.shape
        flat = crops.reshape(people, height * width, channels)
        index = flat.argmax(axis=1)  # (N, K)
        peak = flat.max(axis=1) / 255
        keypoints = np.stack([index % width, index // width, peak], axis=-1).astype(np.float32)
        maps = np.full((people, channels, height // 4, width // 4), 0.5, np.float32)
        return {name: keypoints if name == "keypoints" else maps.copy() for name in want}

    def close(self) -> None:
        self.closed = True
        if self.fail_on_close:
            raise BackendError("cannot close")


def boxes(*rows: tuple[float, float, float, float]) -> Float32Array:
    return np.array(rows, np.float32).reshape(-1, 4)


def weights_header(folder: Path) -> Path:
    """Weights that are a valid header without a network, and a detector that nothing reads either."""
    values = {
        "config": {"name": "kcam_resnet18", "input_size_wh": [96, 128]},
        "skeleton": THREE.to_dict(),
        "class_names": ["person"],
    }
    header = json.dumps({"__metadata__": {"kcam": json.dumps(values)}}).encode()
    path = folder / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    (folder / "detector.onnx").write_bytes(b"never read")
    return path
