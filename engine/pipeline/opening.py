"""What the options of a pipeline name, opened: the pose network, the detector, and the pipeline that joins them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from engine.artifacts.model_files import default_models
from engine.backends import OpenedBackend, open_pose_backend
from engine.build import parity_gate
from engine.detection.detector import PersonDetector, open_detector
from engine.pipeline.options import PipelineOptions
from engine.pipeline.pose_pipeline import PosePipeline

ONNX_BACKENDS = ("openvino", "onnxruntime")  # those that run detectors


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
            gate=parity_gate.check,
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
            tracker=options.tracker,
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
        gate=parity_gate.check,
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
