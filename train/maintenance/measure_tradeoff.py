"""Points of AP against latency: each network at each size, precision, with flip test or without."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.artifacts.model_files import resolve_pose_model
from engine.backends import Backend, open_pose_backend
from engine.build import parity_gate
from engine.errors import OptionError
from engine.heatmap import decoder_for
from engine.option_table import AT_LEAST_1, NOT_NEGATIVE, check_options, option
from engine.types import UInt8Array
from models.checkpoints import load_pose_model, save_pose_model
from models.pose_model import parse_size
from train.data.boxes import PersonBoxes, labelled_boxes
from train.data.dataset import ImageStore
from train.data.people import PeopleSet
from train.data.reading import read_people
from train.evaluate import heatmaps_of, predict_keypoints, results_of
from train.evaluation.breakdown import halves
from train.evaluation.coco_eval import keypoint_ap
from train.evaluation.prediction import flip_averaged, iterate_crops

_ROUNDS = 10
"""Latency is measured in so many turns over all networks, so that a machine that slows down slows all alike."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TradeoffOptions:
    """The options of `python -m train.tradeoff`."""

    weights: Sequence[str] = option((), "[LABEL=]FILE or a shipped name, one or more", many=True)
    data: Path | None = option(None, "data set, as python -m train takes it", Path)
    split: str = option("val")
    input_sizes: str | None = option(None, "height x width, such as 128x96,192x128 (the weights' own)")
    flip: str = option("both", "flip test: without, with or both ({default})", choices=("without", "with", "both"))
    backend: str = option("auto", "torch, openvino, onnxruntime, ... ({default})")
    precision: str = option("auto", "auto, fp32, fp16, bf16 or int8, one or more with commas between ({default})")
    people: int = option(0, "measure AP on pictures with about so many ({default}: all)", int, within=NOT_NEGATIVE)
    repeats: int = option(300, "timed runs of each, after warming up ({default})", int, within=AT_LEAST_1)
    add: Sequence[Path] = option((), "reports of earlier calls to draw along", Path, many=True)
    report: Path | None = option(None, "write the numbers as JSON", Path)
    output: Path | None = option(None, "PNG to draw", Path)
    overwrite: bool = option(False, "replace files that exist")

    def __post_init__(self) -> None:
        check_options(self)
        if not self.weights and not self.add:
            raise OptionError("nothing to draw; give --weights, or reports of earlier calls with --add")
        if self.output is not None and self.output.suffix.lower() != ".png":
            raise OptionError(f"--output is {self.output}; expected a name that ends in .png")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """A network that is open at one size: what it is called, the hash of its weights, and its backend."""

    label: str
    sha256: str
    own_size: bool
    backend: Backend


def label_and_file(text: str) -> tuple[str, Path]:
    """What a network is called in the plot, and its file.

    Raises:
        ModelError: no such file or shipped name.
    """
    label, equals, name = text.partition("=")
    if equals and not Path(text).exists():
        return label, resolve_pose_model(name)
    file = resolve_pose_model(text)
    return file.stem, file


@contextlib.contextmanager
def at_size(file: Path, size_wh: tuple[int, int] | None, folder: Path) -> Iterator[Path]:
    """The weights file, or a copy of it for another input size (None: its own) while it is needed.

    Raises:
        OptionError: the size does not fit, or the file is no longer a network that can be resized.
    """
    if size_wh is None:
        yield file
        return
    if file.suffix != ".safetensors":
        raise OptionError(f"{file} is a compiled graph of one size; --input-sizes wants .safetensors files")
    checkpoint = load_pose_model(file)
    model = checkpoint.model
    try:
        model.config = dataclasses.replace(model.config, input_size_wh=size_wh)
    except ValueError as error:
        raise OptionError(f"--input-sizes: {error}") from error
    copy = folder / f"{file.stem}-{size_wh[1]}x{size_wh[0]}.safetensors"
    save_pose_model(
        copy,
        model,
        skeleton=checkpoint.skeleton,
        class_names=checkpoint.class_names,
        mean=checkpoint.mean,
        std=checkpoint.std,
        notes=checkpoint.notes,
        half=False,  # float16 values come back as they were, float32 ones stay whole
    )
    yield copy


def thinned(people: PeopleSet, most: int) -> PeopleSet:
    """About so many of the people: all of evenly picked pictures; everybody where `most` is 0."""
    images = sorted({person.image for person in people.people})
    if most == 0 or most >= len(people.people):
        return people
    count = max(1, round(len(images) * most / len(people.people)))
    chosen = {images[i] for i in np.unique(np.linspace(0, len(images) - 1, count).astype(int))}
    left = tuple(person for person in people.people if person.image in chosen)
    ids = {person.image_id for person in left}
    truth = people.ground_truth
    annotations = [label for label in truth["annotations"] if label["image_id"] in ids]
    listed = [image for image in truth["images"] if image["id"] in ids]
    return dataclasses.replace(
        people, people=left, ground_truth={**truth, "annotations": annotations, "images": listed}
    )


def one_person(backend: Backend, crop: UInt8Array, people: PeopleSet, flip: bool) -> Callable[[], object]:
    """What finds the keypoints of one crop (1, H, W, 3), as the program does it, or with the flip test around it."""
    if not flip:
        return lambda: backend.infer({"crops": crop}, ("keypoints",))
    spec = backend.spec
    predict = flip_averaged(heatmaps_of(backend), people.skeleton.flip_order, udp=spec.udp)
    decode = decoder_for(spec.decode, sigma=spec.sigma, udp=spec.udp)
    return lambda: decode(predict(crop), spec.input_size_wh)


def accuracy(backend: Backend, people: PeopleSet, images: ImageStore, boxes: PersonBoxes, flip: bool) -> dict[str, Any]:
    """AP and its kin of all pictures, and AP of those with even and odd ids, in percent."""
    keypoints = predict_keypoints(backend, people, images, boxes, flip_test=flip and people.mirrors)
    results, _ = results_of(keypoints, people, images, boxes, backend.spec.input_size_wh)
    sigmas = people.skeleton.oks_sigmas
    parts = halves(people.ground_truth, results, sigmas)
    whole = keypoint_ap(people.ground_truth, results, sigmas)
    return {"metrics": whole, "AP_even": parts["even"]["AP"], "AP_odd": parts["odd"]["AP"]}


def latencies(runs: Sequence[Callable[[], object]], repeats: int) -> list[dict[str, float]]:
    """Median and 95th percentile of the milliseconds of each, all taken in turns after warming up."""
    times: list[list[float]] = [[] for _ in runs]
    for turn in range(_ROUNDS + 1):
        for run, taken in zip(runs, times, strict=True):
            for _ in range(max(1, -(-repeats // _ROUNDS))):
                start = time.perf_counter()
                run()
                if turn:  # the first turn warms up
                    taken.append((time.perf_counter() - start) * 1e3)
    return [{"p50": float(np.median(taken)), "p95": float(np.percentile(taken, 95))} for taken in times]


def measure(options: TradeoffOptions) -> list[dict[str, Any]]:
    """A point for each network, size, precision and flip test.

    Raises:
        EngineError, CheckpointError: data, weights, options or backend cannot be used.
    """
    if options.data is None:
        raise OptionError("--data is missing; AP needs labelled people")
    people = thinned(read_people(options.data, options.split), options.people)
    images, boxes = ImageStore(people, keep=False), labelled_boxes(people)
    flips = {"without": [False], "with": [True], "both": [False, True]}[options.flip]
    with contextlib.ExitStack() as stack:
        candidates = _open_all(options, people, stack)
        pairs = list(itertools.product(candidates, flips))
        points = []
        runs = []
        for candidate, flip in pairs:
            backend = candidate.backend
            size = backend.spec.input_size_wh
            point = {
                "label": candidate.label,
                "model": backend.spec.name,
                "sha256": candidate.sha256,
                "own_size": candidate.own_size,
                "input_size": f"{size[1]}x{size[0]}",
                "flip_test": flip,
                "backend": backend.name,
                "device": backend.device,
                "precision": backend.precision,
                "people": len(people.people),
                **accuracy(backend, people, images, boxes, flip),
            }
            print(f"{candidate.label} {point['input_size']}{' flip' if flip else ''}: AP {point['metrics']['AP']:.2f}")
            points.append(point)
            crop = next(iterate_crops(boxes, images, size, 1, udp=backend.spec.udp)).crops
            runs.append(one_person(backend, crop, people, flip))
        for point, taken in zip(points, latencies(runs, options.repeats), strict=True):
            point["latency_ms"] = taken
    return points


def _open_all(options: TradeoffOptions, people: PeopleSet, stack: contextlib.ExitStack) -> list[Candidate]:
    """Every network at every size and precision, open until the stack is left."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kcam-")))
    candidates = []
    for number, text in enumerate(options.weights):
        label, file = label_and_file(text)
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        below = folder / str(number)
        for size, precision in itertools.product(_sizes(options.input_sizes), options.precision.split(",")):
            weights = stack.enter_context(at_size(file, size, below))
            opened = open_pose_backend(
                weights, backend=options.backend, precision=precision, notify=print, gate=parity_gate.check
            )
            backend = stack.enter_context(opened.backend)
            skeleton = backend.spec.skeleton
            if skeleton is None or skeleton.keypoint_names != people.skeleton.keypoint_names:
                raise OptionError(f"{file} and {people.origin} name different keypoints")
            own = size is None or (file.suffix == ".safetensors" and load_pose_model(file).config.input_size_wh == size)
            candidates.append(Candidate(label=label, sha256=sha256, own_size=own, backend=backend))
    return candidates


def _sizes(text: str | None) -> list[tuple[int, int] | None]:
    if text is None:
        return [None]
    try:
        return [parse_size(word) for word in text.split(",")]
    except ValueError as error:
        raise OptionError(f"--input-sizes: {error}") from error
