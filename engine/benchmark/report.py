"""The output of `--benchmark`: text tables, JSON, and a plot."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.artifacts.atomic import replacing
from engine.artifacts.part_file import PartFile
from engine.errors import OutputError
from engine.system.installation import installed_version
from engine.system.missing import not_installed
from engine.system.processor import processor

MOST_LATER = 1.25
"""Ratio of a later to an earlier delay above which the delay is not flat."""
MOST_GROWTH_MIB = 16.0
"""Growth over a long run above which memory is not flat; the runtimes' memory pools vary by less."""

_RUNNERS = {
    "auto": "ours, detection auto",
    "every_frame": "ours, detection on every frame",
    "pytorch": "its PyTorch",
    "openvino": "its OpenVINO export",
}
_PACKAGES = ("numpy", "opencv-python", "av", "openvino", "onnxruntime", "nncf", "torch", "ultralytics")


def machine() -> dict[str, Any]:
    """Description of the machine."""
    name, features = processor()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "processor": name,
        "features": list(features),
        "logical_cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_before": None if load is None else round(load, 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: installed_version(name) for name in _PACKAGES},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def peak_memory_mib() -> float | None:
    """Peak memory of this process so far in MiB; None where the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def memory_mib() -> float | None:
    """Current memory of this process in MiB; None where the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def table(rows: Sequence[Sequence[object]], head: Sequence[str]) -> str:
    """An aligned text table: first column left, others right."""
    cells = [[f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def report_text(report: Mapping[str, Any]) -> str:
    """The whole report as text."""
    machine_values, video = report["machine"], report["video"]
    parts = [
        f"{machine_values['processor']}, {machine_values['usable_cores']} cores, load {machine_values['load_before']}; "
        f"Python {machine_values['python']}",
        f"{video['name']}: {video['frames']} frames of {video['size_wh'][0]}x{video['size_wh'][1]} px",
    ]
    parts += [_backend_text(one) for one in report["backends"]]
    if len(report["backends"]) > 1:
        parts.append(summary(report["backends"]))
    parts += [_comparison_text(name, values) for name, values in report.get("compare", {}).items()]
    if "soak" in report:
        parts.append(soak_text(report["soak"]))
    return "\n\n".join(parts)


def summary(backends: Sequence[Mapping[str, Any]]) -> str:
    """One row per measured runtime and precision."""
    counts = sorted({row["people"] for one in backends for row in one.get("people", [])})
    head = ("runtime", "precision", "AP", "pose ms", "export", "live", *(f"{n} people" for n in counts), "peak MiB")
    rows = []
    for one in backends:
        if "error" in one:
            continue
        runs, by_count = one["runs"], {row["people"]: f"{row['fps']:.1f}" for row in one["people"]}
        pose = one["steps"].get("pose", {}).get("p50")
        live = one["live"].get("auto", {}).get("fps")
        rows.append((
            f"{runs['backend']} ({runs['device']})", runs["precision"],
            f"{one['accuracy']['metrics']['AP']:.1f}" if one.get("accuracy") else "-",
            *("-" if value is None else f"{value:.1f}" for value in (pose, one["export"]["fps"], live)),
            *(by_count.get(count, "-") for count in counts),
            "-" if one["peak_memory_mib"] is None else f"{one['peak_memory_mib']:.0f}",
        ))  # fmt: skip
    if not rows:
        return "nothing could be measured"
    return "frames/s of file export, of a live source, and of a live source with N people:\n" + table(rows, head)


def _backend_text(one: Mapping[str, Any]) -> str:
    if "error" in one:
        precision = f", {one['precision']}" if one.get("precision", "auto") != "auto" else ""
        return f"{one['requested']}{precision}: {one['error']}"
    runs = one["runs"]
    lines = [
        f"poses on {runs['backend']} ({runs['device']}, {runs['precision']}): {runs['pose_model']}, "
        f"{accuracy_text(one)}",
        f"people on {runs['detector_backend']} ({runs['detector_device']}, {runs['detector_precision']}): "
        f"{runs['detector']}",
        table(
            [(name, step["p50"], step["p95"], step["mean"]) for name, step in one["steps"].items()],
            ("ms per frame, one at a time", "p50", "p95", "mean"),
        ),
        f"file export: {one['export']['fps']:.1f} frames/s{_at_ap(one)}",
    ]
    for every, live in one["live"].items():
        lines.append(
            f"live, detection {'auto' if every == 'auto' else 'on every frame'}: {live['fps']:.1f} frames/s"
            f"{_at_ap(one) if every == '1' else ''}, "
            f"delay p50 {live['latency_ms']['p50']:.1f} p95 {live['latency_ms']['p95']:.1f} ms "
            f"(in each half {' and '.join(f'{part:.1f}' for part in live['latency_ms_parts_p50'])}), "
            f"{live['dropped_frames']} of the source's frames dropped"
        )
    lines += _people_text(one)
    if one["peak_memory_mib"] is not None:
        lines.append(f"peak memory: {one['peak_memory_mib']:.0f} MiB")
    return "\n".join(lines)


def accuracy_text(one: Mapping[str, Any]) -> str:
    """AP of one measured backend for a line beside its speed: as measured, or as the network's card states it."""
    found = one.get("accuracy")
    if found is None:
        return str(one["ap"] or "no AP stated")
    return (
        f"AP {found['metrics']['AP']:.1f} on {found['data']} ({found['pictures']} pictures, {found['people']} people, "
        "with this detector)"
    )


def _at_ap(one: Mapping[str, Any]) -> str:
    """AP beside a number of frames a second, where it was measured: on photos, with the detector on each."""
    return f" at AP {one['accuracy']['metrics']['AP']:.1f}" if one.get("accuracy") else ""


def _people_text(one: Mapping[str, Any]) -> list[str]:
    if not one["people"]:
        return ["people: no person was detected in this video, so none could be placed on test frames"]
    rows = [(row["people"], row["steps"]["pose"]["p50"], row["others_ms"], row["fps"]) for row in one["people"]]
    text = table(rows, ("people", "pose ms", "other stages ms", "live frames/s"))
    return [text, *one["people_ratios"]]


def _comparison_text(name: str, values: Mapping[str, Any]) -> str:
    if name == "serial":
        return (
            f"file export against one core, one thread and one stage at a time ({len(values['pairs'])} pairs): "
            f"{values['fps_ratio']:.2f} times the frames/s, {values['cpu_time_ratio']:.2f} times the processor time; "
            "the networks are the same, and so is their accuracy"
        )
    lines = [
        f"against {name}: {values['note']}",
        f"its accuracy: {values['accuracy']}",
        f"precision: ours {values['precision']}, its OpenVINO export {values['openvino_precision']}",
        table([(_RUNNERS[key], fps) for key, fps in values["fps"].items()], ("alternating, same frames", "frames/s")),
    ]
    for ours, ending in (("auto", ""), ("every_frame", "_detect_every_frame")):
        lines.append(
            f"{_RUNNERS[ours]}: {values[f'fps_ratio{ending}']:.2f} times the frames/s of its PyTorch, "
            f"{values[f'openvino_fps_ratio{ending}']:.2f} times those of its OpenVINO export"
        )
    return "\n".join(lines)


def people_ratios(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Stage times relative to those with the fewest people."""
    if len(rows) < 2:
        return []
    first = rows[0]
    pose, others = max(first["steps"]["pose"]["p50"], 1e-6), max(first["others_ms"], 1e-6)
    return [
        f"{row['people']} people against {first['people']}: pose {row['steps']['pose']['p50'] / pose:.2f} times, "
        f"other stages {row['others_ms'] / others:.2f} times"
        for row in rows[1:]
    ]


def soak_text(found: Mapping[str, Any]) -> str:
    """The result of `soak` as text."""
    lines = []
    if "live" in found:
        live = found["live"]
        parts = ", ".join(f"{value:.1f}" for value in live["latency_ms_parts_p50"])
        lines.append(
            f"live over {live['frames']} frames, {live['dropped_frames']} dropped: delay p50 in each tenth {parts} ms, "
            f"p95 {live['latency_ms']['p95']:.1f} ms; {_word(live['flat'])} (at most {live['later_over_earlier']:.2f} "
            f"times an earlier tenth's, {MOST_LATER} allowed)"
        )
    if "export" in found:
        long = found["export"]
        memory = "this system does not report the memory of a process"
        if long["growth_mib"] is not None:
            held = ", ".join(f"{value:.0f}" for _, value in long["memory_mib"])
            memory = (
                f"memory over time {held} MiB; {_word(long['flat'])} ({long['growth_mib']:+.1f} MiB from the second to "
                f"the last fifth, {MOST_GROWTH_MIB:.0f} allowed)"
            )
        lines.append(f"export of {long['frames']} generated frames at {long['fps']:.1f} frames/s: {memory}")
    return "\n".join(lines)


def _word(flat: bool) -> str:
    return "flat" if flat else "NOT flat"


def write_json(path: Path, report: Mapping[str, Any]) -> None:
    """Write the report.

    Raises:
        OutputError: it cannot be written.
    """
    part = PartFile(path, overwrite=True)  # `check_targets` has let it pass before the measurement
    try:
        part.path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        part.discard()
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    part.commit()


def write_plot(path: Path, report: Mapping[str, Any]) -> str | None:
    """Draw frames per second against people, one line per backend; returns the reason if it cannot be drawn."""
    lines = [one for one in report["backends"] if one.get("people")]
    if not lines:
        return "no plot: no backend has been measured with people"
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return f"no plot: {not_installed('matplotlib')}"
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for one in lines:
        runs = one["runs"]
        label = f"{runs['backend']} ({runs['device']}, {runs['precision']})"
        axes.plot([row["people"] for row in one["people"]], [row["fps"] for row in one["people"]], "o-", label=label)
    axes.set(xlabel="people in the frame", ylabel="frames/s, detection on every frame", ylim=(0, None))
    axes.set_title(f"{lines[0]['runs']['pose_model']} on {report['machine']['processor']}", fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format=path.suffix[1:])
    return None
