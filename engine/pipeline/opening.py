"""Opens what the options name: the pose network, the detector or given boxes, and the pipeline of both."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.artifacts.model_files import default_models
from engine.artifacts.model_spec import ModelSpec
from engine.backends import Backend, OpenedBackend, open_pose_backend
from engine.build import parity_gate
from engine.detection.detector import PersonDetector, open_detector
from engine.detection.given_boxes import NO_DETECTOR, WholePicture, read_boxes
from engine.errors import OptionError
from engine.pipeline.options import PipelineOptions
from engine.pipeline.pose_pipeline import Detector, PosePipeline

ONNX_BACKENDS = ("openvino", "onnxruntime")  # those that run detectors


@dataclass(frozen=True, kw_only=True)
class Networks:
    """A detector and a pose network that are open.

    Attributes:
        detector: finds boxes.
        pose: finds keypoints.
        description: what runs and where, see `PosePipeline.describe`.
    """

    detector: Detector
    pose: Backend
    description: Mapping[str, Any]

    def pipeline(self, options: PipelineOptions) -> PosePipeline:
        """A pipeline of these networks, which it closes when it is closed.

        Raises:
            ModelError: the pose network lacks the wanted maps.
        """
        return PosePipeline(self.detector, self.pose, options, self.description)

    def close(self) -> None:
        """Close both."""
        try:
            self.pose.close()
        finally:
            self.detector.close()


def open_pipeline(options: PipelineOptions, *, notify: Callable[[str], None] = lambda _line: None) -> PosePipeline:
    """Open the pose network and the detector that the options name, as a pipeline; raises as `open_networks`."""
    networks = open_networks(options, notify=notify)
    try:
        return networks.pipeline(options)
    except BaseException:
        networks.close()
        raise


def open_networks(options: PipelineOptions, *, notify: Callable[[str], None] = lambda _line: None) -> Networks:
    """Open the pose network and the detector that the options name.

    Args:
        notify: called with one line before anything that takes long.

    Raises:
        OptionError: unknown class.
        ModelError: a model does not exist or cannot be used, or lacks the wanted maps.
        BackendError: no runtime can run it as asked.
    """
    precision = options.precision
    if options.pose_model is None and precision == "auto":
        precision = default_models().precision
    given = _given_boxes(options)
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
        if given is not None:
            detector, running = given
        else:
            detector, opened = _open_detector(options, pose.backend.spec, notify)
            running = _description(opened, "detector", "detector_")
        description = {**_description(pose, "pose_model", ""), **running}
        opened_so_far.pop_all()
    return Networks(detector=detector, pose=pose.backend, description=description)


def _given_boxes(options: PipelineOptions) -> tuple[Detector, dict[str, Any]] | None:
    """What gives the boxes in place of a detector, a file or the whole picture, and its description; None for neither.

    Raises:
        SourceError: the file cannot be used.
    """
    if options.boxes is not None:
        return read_boxes(options.boxes), _no_detector(f"boxes of {options.boxes.name}")
    return (WholePicture(), _no_detector("the whole picture")) if options.detector == NO_DETECTOR else None


def _no_detector(what: str) -> dict[str, Any]:
    fields = dict.fromkeys(("detector_backend", "detector_device", "detector_precision"), "none")
    return {"detector": what, **fields, "detector_skipped": []}


def _open_detector(
    options: PipelineOptions, posed: ModelSpec, notify: Callable[[str], None]
) -> tuple[PersonDetector, OpenedBackend]:
    """The detector, on the pose network's backend where that runs detectors, else on the best one that does.

    Detectors are ONNX files: with a pose network in PyTorch on a GPU, the detector may run under OpenVINO. A low
    precision applies to the pose network only; fp32 is chosen for exact numbers, so it applies to the detector, too.
    """
    same_backend = options.backend in ONNX_BACKENDS
    classes = options.classes
    own = classes is None and "person" not in posed.class_names
    if own:
        classes = ",".join(posed.class_names)
    with _advice_on_classes(posed if own else None):
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
            notify=notify,
            gate=parity_gate.check,
        )


@contextlib.contextmanager
def _advice_on_classes(posed: ModelSpec | None) -> Iterator[None]:
    """Add to the error of an unknown class how to make a detector for it.

    Args:
        posed: the pose network whose class it is; None where the user named it.
    """
    try:
        yield
    except OptionError as error:
        if not str(error).startswith("unknown class") or (posed is None and "Did you mean" in str(error)):
            raise
        why = f"{posed.name} poses {','.join(posed.class_names)}, which this detector does not find: " if posed else ""
        raise OptionError(
            f"{why}{error} Train a detector for it (python -m train.detector --data DIR --output runs/mine) and give it"
            " with --detector runs/mine/mine.onnx, or use --detector none for the whole picture, or --boxes FILE"
        ) from error


def _description(opened: OpenedBackend, what: str, prefix: str) -> dict[str, Any]:
    """Name, backend, device, precision, and the name and reason of each backend that was skipped."""
    backend = opened.backend
    return {
        what: backend.spec.name,
        f"{prefix}backend": backend.name,
        f"{prefix}device": backend.device,
        f"{prefix}precision": backend.precision,
        f"{prefix}skipped": [list(reason) for reason in opened.skipped],
    }
