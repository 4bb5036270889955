"""Person detection in one frame: letterbox, detector, and boxes mapped back to frame px."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from engine.artifacts.compiler import ensure_detector
from engine.artifacts.model_spec import ModelSpec
from engine.backends import Backend, Gate, OpenedBackend, OpenOptions, open_detector_backend
from engine.backends.box_suppression import NMS_OVERLAP
from engine.detection.letterbox import Letterbox
from engine.errors import BackendError, ModelError, OptionError, nearest_hint
from engine.system.closing import Closing
from engine.types import Detections, Float32Array, UInt8Array

DEFAULT_SCORE_THRESHOLD = 0.3
MOST_BOXES = 100
"""Boxes of a frame, as many as COCO's evaluation counts; how many people are posed is for the pipeline to choose."""
# Candidates beyond this many a frame are noise; the limit bounds the work of NMS.
_MOST_CANDIDATES = 1000
_FARTHEST_PX = 1e6
"""A candidate with a coordinate beyond this, or with NaN, is dropped as noise."""


class PersonDetector(Closing):
    """A detector that is ready to run; use it in the thread that opened its backend.

    Args:
        backend: runs a detector model; closed with this object.
        score_threshold: boxes below are dropped.
        class_ids: classes to keep; None keeps "person", or the only class there is.
        max_boxes: only this many boxes, those with the highest scores, are kept.
        input_size: long side of the letterboxed frame in px, where the network leaves it open; None: its spec's.

    Raises:
        ModelError: the backend does not run a detector.
        OptionError: a value does not fit.
    """

    def __init__(
        self,
        backend: Backend,
        score_threshold: float = DEFAULT_SCORE_THRESHOLD,
        class_ids: Sequence[int] | None = None,
        max_boxes: int = MOST_BOXES,
        input_size: int | None = None,
    ) -> None:
        spec = backend.spec
        if spec.kind != "detector" or not {"boxes", "candidates"} & set(spec.output_names):
            raise ModelError(f"{spec.name} is not a detector")
        if not 0 <= score_threshold <= 1:
            raise OptionError(f"the score threshold is {score_threshold}; expected 0 to 1")
        if max_boxes < 1:
            raise OptionError(f"the number of boxes is {max_boxes}; expected 1 or more")
        self.backend = backend
        self.score_threshold = score_threshold
        self.max_boxes = max_boxes
        self.class_ids = resolve_classes(None, spec.class_names) if class_ids is None else tuple(class_ids)
        for class_id in self.class_ids:
            if not 0 <= class_id < len(spec.class_names):
                raise OptionError(
                    f"class {class_id} does not exist; {spec.name} has {len(spec.class_names)} classes (from 0)"
                )
        self._output = "boxes" if "boxes" in spec.output_names else "candidates"
        self._letterbox = letterbox_of(spec, input_size)

    def detect(self, image_bgr: UInt8Array) -> Detections:
        """Boxes of one frame in frame px, highest score first; may be empty.

        Args:
            image_bgr: (H, W, 3) uint8.

        Raises:
            BackendError: the runtime failed.
        """
        height, width = image_bgr.shape[:2]
        if height == 0 or width == 0:
            return Detections.empty()
        image = self._letterbox.apply(image_bgr)
        output = self._checked(self.backend.infer({"images": image[None]}, [self._output])[self._output])
        rows = output if self._output == "boxes" else self._from_candidates(output)
        boxes = self._letterbox.to_frame(rows[:, :4], (width, height))
        return self._keep(boxes, rows[:, 4], rows[:, 5])

    def _checked(self, output: Float32Array) -> Float32Array:
        """The output for one picture, with its shape checked: boxes (M, 6), or candidates (4 + classes, A)."""
        classes = len(self.backend.spec.class_names)
        axis, length = (2, 6) if self._output == "boxes" else (1, 4 + classes)
        if output.ndim != 3 or len(output) != 1 or output.shape[axis] != length:
            raise BackendError(
                f"{self.backend.spec.name} gave {self._output} of shape {output.shape}; this model is not a detector"
            )
        checked: Float32Array = output[0]
        return checked

    def _keep(self, boxes: Float32Array, scores: Float32Array, classes: Float32Array) -> Detections:
        """Drop invalid boxes and those of other classes, then keep the `max_boxes` with the highest scores."""
        with np.errstate(invalid="ignore"):
            good = np.isfinite(boxes).all(axis=1) & (scores >= self.score_threshold) & (scores <= 1)
            good &= np.isin(classes, self.class_ids)
            good &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        best = np.flatnonzero(good)
        best = best[np.argsort(-scores[best], kind="stable")][: self.max_boxes]
        return Detections(
            boxes_xyxy=boxes[best].astype(np.float32),
            scores=scores[best].astype(np.float32),
            class_ids=classes[best].astype(np.int64),
        )

    def _from_candidates(self, output: Float32Array) -> Float32Array:
        """Rows (M, 6), as a network with NMS inside gives them, from candidates (4 + classes, A)."""
        wanted = np.array(self.class_ids)
        scores = output[4 + wanted]  # (wanted classes, A)
        best = scores.argmax(axis=0)
        peak = scores[best, np.arange(scores.shape[1])]
        with np.errstate(invalid="ignore"):
            chosen = np.flatnonzero((peak >= self.score_threshold) & (np.abs(output[:4]) < _FARTHEST_PX).all(axis=0))
        chosen = chosen[np.argsort(-peak[chosen], kind="stable")][:_MOST_CANDIDATES]
        centers, sizes = output[:2, chosen].T, output[2:4, chosen].T
        classes = wanted[best[chosen]]
        rows = np.concatenate(
            [centers - sizes / 2, centers + sizes / 2, peak[chosen, None], classes[:, None]], axis=1, dtype=np.float32
        )
        kept: Float32Array = rows[drop_overlapping(rows[:, :4], rows[:, 4], classes, NMS_OVERLAP)]
        return kept

    def close(self) -> None:
        """Free the backend."""
        self.backend.close()


def letterbox_of(spec: ModelSpec, input_size: int | None = None) -> Letterbox:
    """What brings frames to a detector's input; `input_size`: see `PersonDetector`.

    Raises:
        OptionError: the detector does not take that size.
    """
    height, width = spec.inputs[0].shape[1:3]
    fixed = isinstance(height, int) and isinstance(width, int)
    if input_size is None:
        return Letterbox(spec.input_size_wh, fixed=fixed)
    if fixed and input_size != max(spec.input_size_wh):
        raise OptionError(f"{spec.name} is fixed at {width}x{height} px; it cannot be run at {input_size}")
    # Below 160 px a wide, flat frame has fewer candidates than the graph's top-k takes.
    if input_size % 32 or not 160 <= input_size <= 4096:
        raise OptionError(f"the detector's input size is {input_size}; expected a multiple of 32 from 160 to 4096")
    return Letterbox(spec.input_size_wh if fixed else (input_size, input_size), fixed=fixed)


def drop_overlapping(boxes_xyxy: Float32Array, scores: Float32Array, classes: np.ndarray, overlap: float) -> np.ndarray:
    """NMS per class: indices of the boxes that do not overlap a better box of their class by more than `overlap`.

    Args:
        boxes_xyxy: (N, 4) float32, best first.
        scores: (N,) float32, descending.
        classes: (N,).
        overlap: intersection over union.
    """
    if len(boxes_xyxy) == 0:
        return np.zeros(0, np.int64)
    boxes = boxes_xyxy.astype(np.float64)
    # OpenCV separates classes by an offset of their boxes, which is right for positive coordinates only.
    boxes_xywh = np.concatenate([boxes[:, :2] - boxes.min(), boxes[:, 2:] - boxes[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxesBatched(boxes_xywh.tolist(), scores.tolist(), classes.tolist(), -1.0, overlap)
    return np.asarray(kept, np.int64)


def resolve_classes(text: str | None, class_names: Sequence[str]) -> tuple[int, ...]:
    """Class ids from names or numbers separated by commas; None means "person", or the only class there is.

    Raises:
        OptionError: unknown class; the message names the nearest.
    """
    if text is None:
        if "person" in class_names:
            return (list(class_names).index("person"),)
        if len(class_names) == 1:
            return (0,)
        raise OptionError(f"the detector has no class 'person'; name classes with --classes: {', '.join(class_names)}")
    by_name = {name.lower(): index for index, name in enumerate(class_names)}
    ids = []
    for part in (part.strip() for part in text.split(",")):
        if part.isascii() and part.isdigit() and int(part) < len(class_names):
            ids.append(int(part))
        elif part.lower() in by_name:
            ids.append(by_name[part.lower()])
        else:
            raise OptionError(f"unknown class '{part}'.{nearest_hint(part.lower(), by_name)}")
    return tuple(dict.fromkeys(ids))


def open_detector(
    detector: str | Path | None = None,
    *,
    backend: str = "auto",
    precision: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    input_size: int | None = None,
    download: bool = False,
    classes: str | None = None,
    score_threshold: float = DEFAULT_SCORE_THRESHOLD,
    notify: Callable[[str], None] = lambda _line: None,
    gate: Gate | None = None,
) -> tuple[PersonDetector, OpenedBackend]:
    """Find a detector, download or export it where needed, and open it.

    Args:
        detector: a shipped name, FILE.onnx, FILE.pt, the official name of an ultralytics detector, None: the default.
        backend, precision, device, threads, notify, gate: see `open_pose_backend`.
        input_size: see `PersonDetector`.
        download: download an official detector that is missing.
        classes: see `resolve_classes`.
        score_threshold: see `PersonDetector`.

    Raises:
        OptionError: a value is not valid.
        ModelError: the detector does not exist or cannot be used.
        BackendError: no runtime can run it as asked.
    """
    options = OpenOptions(precision=precision, device=device, threads=threads, notify=notify, gate=gate)
    file = ensure_detector(detector, download=download, notify=notify)
    opened = open_detector_backend(file, backend=backend, options=options)
    try:
        class_ids = resolve_classes(classes, opened.backend.spec.class_names)
        return PersonDetector(opened.backend, score_threshold, class_ids, input_size=input_size), opened
    except BaseException:
        opened.backend.close()
        raise
