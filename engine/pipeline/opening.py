"""Opens what the options name: the pose network, the detector, and the pipeline of both."""

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


def open_pipeline(options: PipelineOptions, *, notify: Callable[[str], None] = lambda _line: None) -> PosePipeline:
    """Open the pose network and the detector that the options name.

    Args:
        options: what to run and where.
        notify: called with one line before anything that takes long.

    Raises:
        OptionError: unknown class.
        ModelError: a model does not exist or cannot be used, or lacks the wanted maps.
        BackendError: no runtime can run it as asked.
    """
    precision = options.precision
    if options.pose_model is None and precision == "auto":
        precision = default_models().precision
    # If a later step fails, what was opened before is closed.
    with contextlib.ExitStack() as opened_so_far:
        pose = open_pose_backend(
            options.pose_model,
            backend=options.backend,
            precision=precision,
            device=options.device,
            threads=options.threads,
            with_crop=True,
            notify=notify,
            gate=parity_gate.check,
        )
        opened_so_far.enter_context(pose.backend)
        detector, opened = _open_detector(options, pose.backend.spec.class_names, notify)
        opened_so_far.enter_context(detector)
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
            description={**_description(pose, "pose_model", ""), **_description(opened, "detector", "detector_")},
        )
        opened_so_far.pop_all()
    return pipeline


def _open_detector(
    options: PipelineOptions, posed_classes: tuple[str, ...], notify: Callable[[str], None]
) -> tuple[PersonDetector, OpenedBackend]:
    """The detector, on the pose network's backend where that runs detectors, else on the best one that does.

    Detectors are ONNX files: with a pose network in PyTorch on a GPU, the detector may run under OpenVINO. A low
    precision applies to the pose network only; fp32 is chosen for exact numbers, so it applies to the detector, too.
    """
    same_backend = options.backend in ONNX_BACKENDS
    classes = options.classes
    if classes is None and "person" not in posed_classes:
        classes = ",".join(posed_classes)
    return open_detector(
        options.detector,
        backend=options.backend if same_backend else "auto",
        precision="fp32" if options.precision == "fp32" else "auto",
        device=options.device if same_backend or options.device == "cpu" else "auto",
        # While other steps run in parallel, one thread is enough, and saves the synchronisation with a second.
        threads=1 if options.overlapping and options.detect_every == 1 else options.threads,
        download=options.download,
        classes=classes,
        score_threshold=options.score_threshold,
        max_people=options.max_people,
        notify=notify,
        gate=parity_gate.check,
    )


def _description(opened: OpenedBackend, what: str, prefix: str) -> dict[str, Any]:
    """Name, backend, device, precision, and the name and reason of each backend that was skipped."""
    backend = opened.backend
    return {
        what: backend.spec.name,
        f"{prefix}backend": backend.name,
        f"{prefix}device": backend.device,
        f"{prefix}precision": backend.precision,
        f"{prefix}passed_over": [list(reason) for reason in opened.skipped],
    }
