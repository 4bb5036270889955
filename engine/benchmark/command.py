"""`python main.py --benchmark`: speed of this machine, stage by stage, and compared with other programs."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.artifacts.folders import CACHE_VARIABLE, cache_dir
from engine.artifacts.model_files import resolve_pose_model
from engine.artifacts.weights_info import stated_ap
from engine.artifacts.write_guard import check_targets
from engine.backends import BACKENDS, probe_backends
from engine.benchmark.measure import Clip, measure_export, measure_live, measure_people, measure_steps, read_clip
from engine.benchmark.report import machine, peak_memory_mib, people_ratios, report_text, write_json, write_plot
from engine.benchmark.selection import people_of, precisions_of, rows_of
from engine.benchmark.serial import compare_serial
from engine.benchmark.soak import soak, soak_frames
from engine.benchmark.ultralytics_peer import compare, other_programs
from engine.errors import BackendError, EngineError, OptionError, nearest_hint, one_line
from engine.option_table import Place, values_of, words_of
from engine.options import Options
from engine.output.run_video import print_error, run_inputs
from engine.pipeline.opening import open_pipeline
from engine.pipeline.options import PipelineOptions
from engine.pipeline.pose_pipeline import PosePipeline
from engine.sources.opening import path_of
from engine.system.installation import ROOT, install_command, program_command
from engine.system.paths import path_from
from engine.types import Frame, UInt8Array

COMPARISONS = ("ultralytics", "serial")


def run_benchmark(user_options: Options) -> int:
    """Measure, print a table, and write the report if a path is given.

    Returns:
        0; 1 where no backend could be measured.

    Raises:
        EngineError: the measurement failed.
    """
    comparisons = comparisons_of(user_options.compare)
    counts = people_of(user_options.people)
    precisions = precisions_of(user_options.precision)
    options = options_of(user_options)
    plot = plot_of(user_options)
    long_runs = None if user_options.soak is None else soak_frames(user_options.soak)
    inputs = run_inputs(user_options, path_of(user_options.one_video))
    check_targets((user_options.report, plot), overwrite=user_options.overwrite, inputs=inputs)
    report: dict[str, Any] = {"command": " ".join([program_command(), *sys.argv[1:]]), "machine": machine()}
    report["options"] = values_of(user_options, Place.BENCHMARK)
    clip = read_clip(user_options.one_video or "demo", user_options.frames)
    report["video"] = {"name": clip.info.name, "frames": len(clip.frames), "size_wh": clip.info.size_wh}
    if user_options.backend == "all" or len(precisions) != 1 or precisions == ("all",):
        names = usable_backends() if user_options.backend == "all" else [user_options.backend]
        rows = [(name, row) for name in names for row in rows_of(name, precisions)]
        report["backends"] = [_in_child(name, row, user_options, counts) for name, row in rows]
    else:
        data, video = user_options.data, user_options.one_video or "demo"
        # First: it says at once what cannot be used.
        accuracy = None if data is None else measured_accuracy(options, data)
        report["backends"] = [{**measure(options, clip, video, counts), "accuracy": accuracy}]
    report["compare"] = {}
    if "ultralytics" in comparisons:
        report["compare"]["ultralytics"] = against_ultralytics(options, clip)
    if "serial" in comparisons:
        print_error("running pairs of exports")
        report["compare"]["serial"] = compare_serial(serial_arguments(user_options))
    if long_runs is not None:

        def opened(**fields: Any) -> PosePipeline:
            return open_pipeline(dataclasses.replace(options, **fields))

        report["soak"] = soak(opened, clip, long_runs, print_error)
    print(report_text(report))
    _keep(report, user_options.report, plot)
    return 0 if any("error" not in one for one in report["backends"]) else 1


def plot_of(user_options: Options) -> Path | None:
    """Path of the plot: the one given, or beside the report.

    Raises:
        OptionError: its suffix is no picture format.
    """
    if user_options.plot is None:
        return None if user_options.report is None else user_options.report.with_suffix(".png")
    plot = user_options.plot
    if plot.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise OptionError(f"--plot {plot}: expected a name that ends in .png, .svg or .pdf")
    return plot


def comparisons_of(text: str | None) -> tuple[str, ...]:
    """Programs to compare with, from `ultralytics,serial`.

    Raises:
        OptionError: a name is unknown.
    """
    names = tuple(part.strip() for part in text.split(",")) if text else ()
    for name in names:
        if name not in COMPARISONS:
            raise OptionError(f"cannot compare with '{name}'.{nearest_hint(name, COMPARISONS)}")
    return names


def options_of(user_options: Options) -> PipelineOptions:
    """Pipeline options of the measured configuration."""
    precisions = precisions_of(user_options.precision)
    return PipelineOptions.of(
        user_options,
        backend="auto" if user_options.backend == "all" else user_options.backend,
        # With several precisions, comparisons and soak runs use auto.
        precision=precisions[0] if len(precisions) == 1 and precisions != ("all",) else "auto",
        max_people=max(user_options.max_people, *people_of(user_options.people)),
        detect_every="auto",  # each measurement sets its own
    )


def measured_accuracy(options: PipelineOptions, data: Path) -> dict[str, Any]:
    """The report of `train.end_to_end` for the networks, backend, precision and thresholds of these options.

    Raises:
        OptionError: the data set cannot be used, or the packages of training are missing.
    """
    print_error(f"AP on {data}")
    options = dataclasses.replace(
        options, pose_model=_from_anywhere(options.pose_model), detector=_from_anywhere(options.detector)
    )
    words = ["-m", "train.end_to_end", "--data", str(data.resolve()), *words_of(options, Place.BENCHMARK)]
    try:
        return {**_child_report(words, cwd=ROOT), "data": str(data)}
    except BackendError as error:
        why = str(error).removeprefix("train.end_to_end: ")
        if why.startswith("ModuleNotFoundError"):
            why = f"{why.partition(': ')[2]}; {install_command('train')}"
        raise OptionError(f"--data {data}: AP cannot be measured: {why}") from error


def _from_anywhere(model: str | None) -> str | None:
    """A model as a child in another folder finds it."""
    file = path_from(model or "")
    return str(file.resolve()) if file.suffix and file.is_file() else model


def measure(options: PipelineOptions, clip: Clip, video: str, counts: tuple[int, ...]) -> dict[str, Any]:
    """All measurements of one backend."""
    result: dict[str, Any] = {"requested": options.backend}
    with open_pipeline(dataclasses.replace(options, detect_every=1), notify=print_error) as pipeline:
        result["runs"] = pipeline.describe()
        result["ap"] = stated_ap(resolve_pose_model(options.pose_model).with_suffix(".md"))
        print_error(f"measuring on {result['runs']['backend']}: each stage")
        result["steps"] = measure_steps(pipeline, clip)
        print_error("live")
        every_frame = measure_live(pipeline, clip, len(clip.frames))
    # Rejected detections are posed, too, so that every frame has the stated number of people.
    with open_pipeline(dataclasses.replace(options, detect_every=1, person_threshold=0.0)) as pipeline:
        print_error(f"with {', '.join(map(str, counts))} people")
        result["people"] = measure_people(pipeline, pipeline.detect, clip, counts)
        result["people_ratios"] = people_ratios(result["people"])
    with open_pipeline(dataclasses.replace(options, detect_every="auto")) as pipeline:
        print_error("live, detection auto")
        result["live"] = {"auto": measure_live(pipeline, clip, len(clip.frames)), "1": every_frame}
    overlapping = options.threads != 1
    with open_pipeline(dataclasses.replace(options, detect_every=1, overlapping=overlapping)) as pipeline:
        print_error("file export")
        result["export"] = measure_export(pipeline, video, len(clip.frames))
    result["peak_memory_mib"] = peak_memory_mib()
    return result


def against_ultralytics(options: PipelineOptions, clip: Clip) -> dict[str, Any]:
    """Our live pipeline and yolo26n-pose on the same frames, alternating."""
    print_error("preparing yolo26n-pose")

    def opened(every: Any) -> PosePipeline:
        return open_pipeline(dataclasses.replace(options, detect_every=every))

    with opened("auto") as auto, opened(1) as every_frame, other_programs() as theirs:
        print_error("running alternately")
        ours = {"auto": _live_runner(auto), "every_frame": _live_runner(every_frame)}
        result = compare(ours, theirs, [frame.image_bgr for frame in clip.frames])
        return {**result, "precision": auto.describe()["precision"]}


def _live_runner(pipeline: PosePipeline) -> Callable[[UInt8Array], object]:
    """A pipeline run as on a camera: consecutive frames, time-stamped now."""
    numbers = itertools.count()

    def watch(image: UInt8Array) -> object:
        return pipeline.process(Frame(image_bgr=image, index=next(numbers), timestamp_s=time.monotonic()))

    return watch


def usable_backends() -> list[str]:
    """Names of the runtimes that can run on this machine."""
    ready = [label.partition(" ")[0] for label, usable, _ in probe_backends() if usable]
    return [name for name in BACKENDS if name in ready]


def serial_arguments(user_options: Options) -> list[str]:
    """Command line of an export with the benchmark's options."""
    backend = "auto" if user_options.backend == "all" else user_options.backend
    # The comparison sets the threads of each side itself.
    one = dataclasses.replace(
        user_options, backend=backend, precision=options_of(user_options).precision, threads=None, data=None
    )
    video = ["--video", user_options.one_video or "demo", "--max-frames", str(user_options.frames)]
    return [*video, *words_of(one, Place.BENCHMARK)]


def _in_child(name: str, precision: str, user_options: Options, counts: tuple[int, ...]) -> dict[str, Any]:
    """Measure one backend in its own process, so that memory and threads are separate."""
    print_error(f"{name}, {precision}:")
    words = ["--benchmark", "--video", user_options.one_video or "demo", "--frames", str(user_options.frames)]
    words += ["--people", ",".join(map(str, counts))]
    words += words_of(dataclasses.replace(user_options, backend=name, precision=precision), Place.BENCHMARK)
    try:
        result: dict[str, Any] = _child_report([str(ROOT / "main.py"), *words])["backends"][0]
        return result
    except BackendError as error:
        return {"requested": name, "precision": precision, "error": str(error).removeprefix("error: ")}


def _child_report(words: Sequence[str], cwd: Path | None = None) -> dict[str, Any]:
    """The report that a Python command writes, run in a child process.

    Raises:
        BackendError: it failed; the message is the last line that it printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.json"
        command = [sys.executable, *words, "--report", str(file)]
        environment = {**os.environ, CACHE_VARIABLE: str(cache_dir())}
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment)
        if done.returncode == 0 and file.is_file():
            report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            return report
        lines = done.stderr.strip().splitlines()
        raise BackendError(lines[-1] if lines else f"exit code {done.returncode}")


def _keep(report: dict[str, Any], path: Path | None, plot: Path | None) -> None:
    if path is not None:
        write_json(path, report)
        print(f"\n{one_line(path)}")
    if plot is None:
        return
    try:
        problem = write_plot(plot, report)
    except (EngineError, OSError) as error:
        raise BackendError(f"the plot {plot} cannot be written: {error}") from error
    print(one_line(plot if problem is None else problem))
