"""`python -m engine cost`: cost of KCAM over its bare backbone, in the exported (folded) form and in the paper's.

The three networks alternate in one process, so that other load on the machine affects all alike; ratios are taken
within single rounds. docs/decisions/0007-folded-attention.md has the results.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.artifacts.model_files import bundled_pose_models, resolve_pose_model
from engine.artifacts.write_guard import check_targets
from engine.backends import Backend, OpenOptions, open_pose_backend
from engine.benchmark.report import machine, table, write_json
from engine.benchmark.selection import CostOptions, people_of
from engine.build.onnx_export import export_pose
from engine.errors import BackendError, ModelError, OptionError, nearest_hint
from engine.output.run_video import print_error
from engine.skeleton import COCO17
from engine.types import UInt8Array

if TYPE_CHECKING:
    from models.checkpoints import PoseCheckpoint

FORMS = ("bare", "unfolded", "folded")
RATIOS = (("unfolded", "bare"), ("folded", "bare"), ("folded", "unfolded"))
_WARM_UP_ROUNDS = 12  # OpenVINO compiles for a shape at its eighth occurrence


def run_cost(options: CostOptions) -> Iterator[str]:
    """Measure, write the report if a path is given, and yield the table line by line.

    Raises:
        EngineError: the measurement failed.
    """
    check_targets([options.report], inputs=[options.pose_model], overwrite=options.overwrite)
    found = {"command": " ".join(["python -m engine", *sys.argv[1:]]), **measure_cost(options, print_error)}
    yield report_text(found)
    if options.report is not None:
        write_json(options.report, found)
        yield str(options.report)


def measure_cost(options: CostOptions, notify: Callable[[str], None]) -> dict[str, Any]:
    """The report: model, machine, and one row per runtime, precision and batch size.

    Raises:
        OptionError, ModelError: the network cannot be built with these options.
        BackendError: no runtime could run it.
    """
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="kcam-cost-") as folder:
        notify("exporting the three forms")
        model = write_forms(options, Path(folder))
        for runtime, precision in options.rows():
            notify(f"{runtime}, {precision}")
            try:
                with open_forms(runtime, precision, options, Path(folder)) as backends:
                    rows += [_row(backends, count, options.rounds) for count in people_of(options.people)]
            except BackendError as error:
                rows.append({"runtime": runtime, "precision": precision, "error": str(error)})
    if all("error" in row for row in rows):
        raise BackendError("; ".join(f"{row['runtime']}, {row['precision']}: {row['error']}" for row in rows))
    settings = {"rounds": options.rounds, "threads": options.threads}
    return {"machine": machine(), "model": model, **settings, "rows": rows}


def _row(backends: Mapping[str, Backend], people: int, rounds: int) -> dict[str, Any]:
    """One batch size: medians in ms, and medians and quartiles of the ratios within single rounds."""
    backend = backends["folded"]
    width, height = backend.spec.input_size_wh
    crops: UInt8Array = np.random.default_rng(0).integers(0, 256, (people, height, width, 3), np.uint8)
    calls = {form: partial(backends[form].infer, {"crops": crops}, ("keypoints",)) for form in FORMS}
    wall, processor = interleaved(calls, rounds)
    row: dict[str, Any] = {"runtime": backend.name, "precision": backend.precision, "device": backend.device}
    row["people"] = people
    for clock, times in (("wall", wall), ("processor", processor)):
        row[clock] = {
            "ms": {form: round(float(np.median(values)) * 1000, 3) for form, values in times.items()},
            "ratios": {f"{over}/{under}": _quartiles(times[over], times[under]) for over, under in RATIOS},
        }
    return row


def interleaved(
    calls: Mapping[str, Callable[[], object]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Wall and processor seconds of each call in each round.

    The order changes from round to round, so that no call always follows the same one.
    """
    wall: dict[str, list[float]] = {name: [] for name in calls}
    processor: dict[str, list[float]] = {name: [] for name in calls}
    orders = itertools.cycle(itertools.permutations(calls))
    for number, order in zip(range(_WARM_UP_ROUNDS + rounds), orders, strict=False):
        for name in order:
            started, used = time.perf_counter(), time.process_time()
            calls[name]()
            ended, used_then = time.perf_counter(), time.process_time()
            if number >= _WARM_UP_ROUNDS:
                wall[name].append(ended - started)
                processor[name].append(used_then - used)
    return wall, processor


def _quartiles(over: Sequence[float], under: Sequence[float]) -> dict[str, float]:
    low, middle, high = np.percentile(np.divide(over, np.maximum(under, 1e-9)), (25, 50, 75)).round(4).tolist()
    return {"median": middle, "p25": low, "p75": high}


def report_text(report: Mapping[str, Any]) -> str:
    """The report as text."""
    model, host = report["model"], report["machine"]
    wide = "" if model["deconv_channels"] is None else f", {model['deconv_channels']} deconvolution channels"
    lines = [
        f"{model['name']} ({model['weights']}), {model['input_size']}{wide}; {report['rounds']} alternating rounds, "
        f"{report['threads']} thread(s); {host['processor']}, load {host['load_before']}",
        "wall-clock ms; ratios of wall-clock time, in brackets of processor time",
    ]
    rows = []
    for row in report["rows"]:
        if "error" in row:
            lines.append(f"{row['runtime']}, {row['precision']}: {row['error']}")
            continue
        cells = [f"{row['runtime']} {row['precision']}", row["people"], *(row["wall"]["ms"][form] for form in FORMS)]
        for over, under in RATIOS:
            wall, processor = (row[clock]["ratios"][f"{over}/{under}"]["median"] for clock in ("wall", "processor"))
            cells.append(f"{wall:.3f} ({processor:.3f})")
        rows.append(cells)
    head = ("runtime", "people", *(f"{form} ms" for form in FORMS), *(f"{over}/{under}" for over, under in RATIOS))
    return "\n".join([*lines, "", table(rows, head)])


def write_forms(options: CostOptions, folder: Path) -> dict[str, Any]:
    """Write the weights with and without KCAM and the three graphs; returns a description of the network.

    Raises:
        OptionError, ModelError: the network cannot be built with these options.
    """
    from models.build import build_from_config
    from models.checkpoints import save_pose_model

    checkpoint, source = _network(options)
    config = checkpoint.config
    if not config.has_kcam:
        raise OptionError(f"{config.name} has no KCAM to measure; kcam_{config.name} does")
    bare = build_from_config(dataclasses.replace(config, name=config.backbone_name))
    own = checkpoint.model.state_dict()
    bare.load_state_dict({name: own[name] for name in bare.state_dict()})
    fields: dict[str, Any] = {"skeleton": checkpoint.skeleton, "mean": checkpoint.mean, "std": checkpoint.std}
    weights, bare_weights = folder / "kcam.safetensors", folder / "bare.safetensors"
    save_pose_model(weights, checkpoint.model, **fields, half=False)
    save_pose_model(bare_weights, bare.eval(), **fields, half=False)
    if set(options.runtimes) != {"torch"}:
        export_pose(bare_weights, folder / "bare.onnx")
        export_pose(weights, folder / "unfolded.onnx", fold=False)
        export_pose(weights, folder / "folded.onnx")
    width, height = config.input_size_wh
    return {
        "name": config.name,
        "weights": source,
        "input_size": f"{height}x{width}",
        "deconv_channels": config.deconv_channels if "resnet" in config.name else None,
    }


def _network(options: CostOptions) -> tuple[PoseCheckpoint, str]:
    """The requested network at the requested size, and the origin of its weights."""
    import torch

    from engine.backends.pose_graph import load_pose
    from models.build import build_from_config
    from models.checkpoints import IMAGENET_MEAN, IMAGENET_STD, PoseCheckpoint
    from models.pose_model import MODEL_NAMES, PoseModelConfig, parse_size

    name = options.pose_model
    try:
        changed: dict[str, Any] = {"input_size_wh": parse_size(options.input_size)} if options.input_size else {}
        if name in MODEL_NAMES and name not in bundled_pose_models():
            if options.deconv_channels is not None:
                changed["deconv_channels"] = options.deconv_channels
            config = PoseModelConfig(name=name, num_keypoints=COCO17.num_keypoints, **changed)
            torch.manual_seed(0)
            model = build_from_config(config).eval()
            fields: dict[str, Any] = {"skeleton": COCO17.to_dict(), "class_names": ("person",), "notes": {}}
            return PoseCheckpoint(model=model, mean=IMAGENET_MEAN, std=IMAGENET_STD, **fields), "random weights"
        if options.deconv_channels is not None:
            raise OptionError("--deconv-channels is for networks with random weights; here the weights define it")
        shipped = bundled_pose_models()
        if name is not None and not Path(name).suffix and name not in shipped:
            raise ModelError(f"unknown pose model '{name}'.{nearest_hint(name, {*shipped, *MODEL_NAMES})}")
        file = resolve_pose_model(name)
        if file.suffix.lower() != ".safetensors":
            raise ModelError(f"{file} is an exported form; expected the .safetensors file it was exported from")
        checkpoint, _ = load_pose(file)
        model = build_from_config(dataclasses.replace(checkpoint.config, **changed))
    except ValueError as error:
        raise OptionError(f"{name or 'the default model'}: {error}") from error
    model.load_state_dict(checkpoint.model.state_dict())
    return dataclasses.replace(checkpoint, model=model.eval()), file.name


@contextlib.contextmanager
def open_forms(runtime: str, precision: str, options: CostOptions, folder: Path) -> Iterator[dict[str, Backend]]:
    """The three forms on a runtime.

    Raises:
        BackendError: it cannot run here, or not in that precision.
    """
    with contextlib.ExitStack() as opened:
        found: dict[str, Backend] = {}
        for form in FORMS:
            if runtime == "torch":
                backend = _open_torch(form, precision, options, folder)
            else:
                backend = open_pose_backend(
                    folder / f"{form}.onnx",
                    backend=runtime,
                    precision=precision,
                    device=options.device,
                    threads=options.threads,
                ).backend
            found[form] = opened.enter_context(backend)
        yield found


def _open_torch(form: str, precision: str, options: CostOptions, folder: Path) -> Backend:
    from engine.backends import torch as torch_backend

    weights = folder / ("bare.safetensors" if form == "bare" else "kcam.safetensors")
    requested = OpenOptions(precision=precision, device=options.device, threads=options.threads)
    probe = torch_backend.probe(options.device.partition(":")[0])
    if not probe.usable:
        raise BackendError(f"torch cannot run here: {probe.detail}")
    return torch_backend.TorchBackend(weights, requested, fold=form == "folded")
