"""The Python API, see docs/python.md: networks that are opened once, for pictures, videos and cameras."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from engine.backends import Array, Backend
from engine.detection.given_boxes import WholePicture
from engine.errors import OptionError, nearest_hint
from engine.option_table import options_of
from engine.options import PoseOptions
from engine.overlay import drawing
from engine.overlay.attention import AttentionSheet, AttentionView, parse_attention
from engine.overlay.contact_sheet import contact_sheet
from engine.overlay.drawing import OverlayOptions
from engine.pipeline.file_runner import results
from engine.pipeline.opening import Networks, open_networks
from engine.pipeline.options import PipelineOptions
from engine.pipeline.pose_pipeline import Detector, PosePipeline
from engine.pipeline.prefetch import Steps
from engine.skeleton import Skeleton
from engine.sources.opening import open_source
from engine.system.closing import Closing
from engine.types import Detections, Frame, FrameResult, UInt8Array

T = TypeVar("T", bound=PoseOptions)


class Pipeline(Closing):
    """A person detector and a pose network, open until it is closed; a context manager made by `open_pipeline`.

    It may be used from several threads and by several streams at once, which then wait for each other at each network.
    """

    def __init__(self, networks: Networks, options: PoseOptions, maps: Mapping[str, bool]) -> None:
        self._networks = networks
        # Boxes without a detector are data, which several threads may read at once.
        given = isinstance(networks.detector, WholePicture)
        detector = networks.detector if given else _SharedDetector(networks.detector)
        self._shared = dataclasses.replace(networks, detector=detector, pose=_SharedBackend(networks.pose))
        self._options, self._maps = options, maps
        self._still = self._pipeline(still=True)
        self._sequence = self._pipeline(still=False)
        self._lock = threading.RLock()
        self._count = 0

    def _pipeline(self, *, still: bool, live: bool = False) -> PosePipeline:
        return self._shared.pipeline(PipelineOptions.of(self._options, live=live, still=still, **self._maps))

    @property
    def skeleton(self) -> Skeleton:
        """Names, lines and left-right pairs of the keypoints."""
        return self._still.skeleton

    def describe(self) -> dict[str, Any]:
        """What really runs: names of the networks, backends, devices, precisions, and the backends skipped and why."""
        return self._still.describe()

    def __call__(self, image_bgr: UInt8Array, *, time_s: float | None = None) -> FrameResult:
        """The people in a picture.

        Without a time the picture stands for itself: people have no ids, and nothing is smoothed. With a time it is the
        next of a sequence, such as the frames of a camera that the caller reads: people keep their ids, and keypoints
        are smoothed. `restart` begins another sequence.

        Args:
            image_bgr: (H, W, 3) uint8, BGR as OpenCV reads it.
            time_s: when it was taken, in seconds; rising.

        Raises:
            OptionError: it is no such array.
            BackendError: a runtime failed, or the pipeline is closed.
        """
        with self._lock:
            pipeline = self._still if time_s is None else self._sequence
            if time_s is None:
                pipeline.restart()
            frame = _frame(image_bgr, index=0 if time_s is None else self._count, timestamp_s=time_s or 0.0)
            frame = dataclasses.replace(frame, is_still=time_s is None)
            result = pipeline.process(frame)
            self._count += time_s is not None
            return result

    def restart(self) -> None:
        """The next picture with a time begins a new sequence: ids begin anew, and nothing is smoothed across."""
        with self._lock:
            self._sequence.restart()
            self._count = 0

    def stream(self, source: str | Path | int) -> Iterator[FrameResult]:
        """The results of a source, in order; reading and networks work ahead in threads, in bounded queues.

        A file gives every frame; a camera or stream the newest, and frames in between are dropped. The source is opened
        at the first result, and closed at the end or when the generator is closed (a `break` out of the loop does it).
        People have ids, except in photos.

        Args:
            source: as `--video` takes it: a video, a photo or folder, a camera's number, an address, or "demo".

        Raises:
            SourceError: it cannot be opened, or reading failed.
            BackendError: a runtime failed, or the pipeline is closed.
        """
        with open_source(str(source)) as opened:
            live = opened.info.is_live
            pipeline = self._pipeline(still=opened.info.kind == "photos", live=live)
            with Steps() as steps:
                yield from results(pipeline, opened, steps, live=live, overlap=self._options.threads != 1)

    def close(self) -> None:
        """Free both networks; may be called more than once."""
        self._networks.close()


def open_pipeline(
    *,
    want_attention: bool = False,
    want_areas: bool = False,
    notify: Callable[[str], None] = lambda _line: None,
    **options: Any,
) -> Pipeline:
    """Open a person detector and a pose network.

    Args:
        want_attention, want_areas: whether results carry the maps S and G in `result.attention`.
        notify: receives one line before anything that takes long, such as an export.
        **options: as on the command line, by name, such as `backend="openvino"`, `max_people=4` or `tracking=False`:
            the fields of `engine.options.PoseOptions`. Text is read as on the command line.

    Raises:
        OptionError: an option does not exist, or its value does not fit.
        ModelError: a network does not exist or cannot be used, or lacks the maps.
        BackendError: no runtime can run it as asked.
    """
    chosen = _named(PoseOptions, options)
    maps = {"want_attention": want_attention, "want_areas": want_areas}
    networks = open_networks(PipelineOptions.of(chosen, live=False, overlapping=False, **maps), notify=notify)
    try:
        return Pipeline(networks, chosen, maps)
    except BaseException:
        networks.close()
        raise


def draw(image_bgr: UInt8Array, result: FrameResult, **options: Any) -> UInt8Array:
    """Draw a result into a copy of its picture.

    Args:
        image_bgr: (H, W, 3) uint8, BGR, of the size of the picture that the result is of.
        result: from a pipeline.
        **options: fields of `engine.OverlayOptions`, such as `boxes=True` or `line_width=4`; `attention="left_wrist"`
            or `"areas:left_wrist"` tints people by that map, where the result carries it; `"all"` or `"areas:all"`
            gives a sheet of all keypoints.

    Returns:
        (H, W, 3) uint8, BGR; a sheet has a size of its own.

    Raises:
        OptionError: an option does not exist or does not fit, or the picture has another size.
    """
    if result.skeleton is None:
        raise OptionError(
            "this result names no keypoints, because no pipeline made it; results of a pipeline can be drawn"
        )
    frame = _frame(image_bgr, index=result.frame.index, timestamp_s=result.frame.timestamp_s)
    if image_bgr.shape != result.frame.image_bgr.shape:
        raise OptionError(
            f"the picture has shape {image_bgr.shape}, the result is of one of {result.frame.image_bgr.shape}"
        )
    sheet: AttentionSheet | None = None
    if isinstance(options.get("attention"), str):
        view = parse_attention(options["attention"], result.skeleton)
        if result.attention is None or getattr(result.attention, view.kind) is None:
            raise OptionError(f"the result has no {view.kind} maps; open_pipeline(want_{view.kind}=True) gives them")
        if isinstance(view, AttentionView):
            options["attention"] = view
        else:
            sheet, options["attention"] = view, None
    known = [field.name for field in dataclasses.fields(OverlayOptions)]
    for name in options:
        _check_name(name, known)
    skeleton, overlay = result.skeleton, OverlayOptions(**options)
    result = dataclasses.replace(result, frame=frame)
    if sheet is not None:
        return contact_sheet(result, skeleton, sheet, overlay)
    return drawing.draw(result, skeleton, overlay)


def _named(table: type[T], values: Mapping[str, Any]) -> T:
    """A table of options with these values, which are read as on the command line."""
    known = {item.name: item for item in options_of(table)}
    read: dict[str, Any] = {}
    for name, value in values.items():
        _check_name(name, known)
        item = known[name]
        if item.is_switch and not isinstance(value, bool):
            raise OptionError(f"{name} is {value!r}; True or False was expected")
        try:
            read[name] = value if value is None or item.is_switch else item.read(str(value))
        except ValueError as error:
            raise OptionError(f"{name}: {error}") from error
    return table(**read)


def _check_name(name: str, known: Sequence[str] | Mapping[str, Any]) -> None:
    if name not in known:
        raise OptionError(f"unknown option '{name}'.{nearest_hint(name, known)}")


def _frame(image_bgr: UInt8Array, *, index: int, timestamp_s: float) -> Frame:
    try:
        return Frame(image_bgr=image_bgr, index=index, timestamp_s=timestamp_s)
    except ValueError as error:
        raise OptionError(f"a picture is an array (H, W, 3) uint8 in BGR: {error}") from error


class _SharedDetector:
    """A detector for several pipelines and threads, one call at a time; closed by its owner."""

    def __init__(self, detector: Detector) -> None:
        self._detector, self._lock = detector, threading.Lock()

    def detect(self, image_bgr: UInt8Array) -> Detections:
        with self._lock:
            return self._detector.detect(image_bgr)

    def close(self) -> None:
        pass


class _SharedBackend(Closing):
    """A pose network for several pipelines and threads, one call at a time; closed by its owner."""

    def __init__(self, backend: Backend) -> None:
        self._backend, self._lock = backend, threading.Lock()
        self.name, self.spec = backend.name, backend.spec
        self.device, self.precision = backend.device, backend.precision

    def infer(self, inputs: Mapping[str, Array], want: Sequence[str]) -> dict[str, Array]:
        with self._lock:
            return self._backend.infer(inputs, want)

    def close(self) -> None:
        pass
