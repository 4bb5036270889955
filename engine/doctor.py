"""`--doctor`: what runs on this machine, and one line of advice for each missing part.

Works on machines on which nearly everything is missing: the checks are independent, and each imports what it needs
inside.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from engine.artifacts.folders import CACHE_VARIABLE, WEIGHTS_DIR, cache_dir
from engine.artifacts.model_files import INT8_SUFFIX
from engine.artifacts.weights_info import stated_ap
from engine.system.installation import DISTRIBUTION, ROOT, install_command, installed_version, is_checkout
from engine.system.missing import XCB_ADVICE, explain_import_error, why_no_xcb
from engine.system.processor import output_of, processor

PIP = "python -m pip install"


@dataclass(frozen=True)
class Finding:
    """One line of the report, with advice where something is missing."""

    name: str
    text: str
    advice: str | None = None


def run_doctor() -> int:
    """Print the report; exit code 0, also if parts are missing."""
    print(format_findings(examine()))
    return 0


def examine() -> dict[str, list[Finding]]:
    """The findings of all checks by section; a check that fails is a finding itself."""
    checks: dict[str, Callable[[], Iterable[Finding]]] = {
        "System": system,
        "Packages": packages,
        "Training and export": optional_packages,
        "NVIDIA GPU": gpus,
        "Backends": backends,
        "Weights": weights,
        "Window": window,
        "Cameras": cameras,
        "Video": encoders,
        "Cache": cache,
    }
    found: dict[str, list[Finding]] = {section: [] for section in checks}
    for section, check in checks.items():
        try:
            found[section] += check()
        except ImportError as error:
            found[section].append(Finding("unknown", f"not examined: {error}", explain_import_error(error)))
        except Exception as error:  # an incomplete report still helps
            found[section].append(Finding("unknown", f"not examined: {type(error).__name__}: {error}"))
    return found


def format_findings(findings: Mapping[str, Sequence[Finding]]) -> str:
    """The report as text: sections, two columns, advice under its line."""
    rows = [row for section in findings.values() for row in section]
    width = max((len(row.name) for row in rows), default=0)
    columns = max(60, shutil.get_terminal_size((100, 24)).columns)
    indent = " " * (width + 4)
    lines: list[str] = []
    for section, found in findings.items():
        lines += ["", section] if found else []
        for row in found:
            text, first = " ".join(row.text.split()), f"  {row.name:<{width}}  "
            lines += textwrap.wrap(
                text, columns, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False
            ) or [f"  {row.name}"]
            if row.advice:
                # Not wrapped, so that a command in it can be copied.
                lines.append(f"{indent}-> {' '.join(row.advice.split())}")
    advised = sum(row.advice is not None for row in rows)
    lines += ["", f"{advised} of {len(rows)} lines come with advice (->)." if advised else "Nothing is missing."]
    return "\n".join(lines).lstrip("\n")


def system() -> Iterator[Finding]:
    """Operating system, Python and processor."""
    yield Finding("system", f"{platform.platform()} ({platform.machine()})")
    version = platform.python_version()
    advice = None if sys.version_info >= (3, 11) else "install Python 3.11 or 3.12 and create the environment with it"
    yield Finding("python", f"{version}, {sys.executable}", advice=advice)
    name, features = processor()
    listed = f", {' '.join(features)}" if features else ""
    yield Finding("processor", f"{name}, {os.cpu_count()} logical cores{listed}")


def packages() -> Iterator[Finding]:
    """Every package that a run needs: its version, or that it is missing or too old."""
    for name, version, text, advice in _versions("run"):
        if name == "opencv-python" and version is not None:
            yield Finding(name, *_with_import_trouble("cv2", text, advice))
        else:
            yield Finding(name, text, advice)


def optional_packages() -> Iterator[Finding]:
    """The packages of training and export; without them a run on a processor lacks nothing."""
    missing = []
    for name, version, text, advice in _versions("train"):
        if version is None:
            missing.append(name)
        else:
            yield Finding(name, text, advice)
    if missing:
        text = f"{', '.join(missing)}; fine for videos, the window and Python: the shipped networks run without them"
        yield Finding("not installed", text)
        text = "training, weights of your own until they are exported, INT8, TensorRT, the torch backend"
        yield Finding("who needs them", text)
        yield Finding("to install them", install_command("train"))


def _versions(extra: str) -> Iterator[tuple[str, str | None, str, str | None]]:
    """Of each package of a set: name, installed version, text and advice."""
    install = install_command(extra)
    for name, lowest in required_packages(extra):
        version = installed_version(name)
        if version is None:
            yield name, None, "not installed", install
        elif version_key(version) < version_key(lowest):
            yield name, version, f"{version}, older than {lowest}", f"{install} --upgrade"
        else:
            yield name, version, version, None


def required_packages(extra: str) -> list[tuple[str, str]]:
    """Names and lower bounds of a set of packages ("run" or "train"): of its requirements file, or as installed."""
    if is_checkout():
        lines = (ROOT / f"requirements-{extra}.txt").read_text(encoding="utf-8").splitlines()
    else:
        mark = re.compile(r"extra == ['\"]([\w-]+)['\"]")
        marked = [(line, mark.search(line)) for line in metadata.requires(DISTRIBUTION) or ()]
        lines = [line for line, found in marked if (found.group(1) if found else "run") == extra]
    found = (re.match(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:>=\s*([\w.]+))?", line) for line in lines)
    return [(match.group(1), match.group(2) or "0") for match in found if match]


def version_key(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparing."""
    return tuple(int(part) for part in re.match(r"[\d.]*", version)[0].split(".") if part)  # type: ignore[index]


def _with_import_trouble(module: str, text: str, advice: str | None) -> tuple[str, str | None]:
    """Text and advice for an installed package, which may fail to load."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        return (
            f"{text}, but it does not load: {error}",
            explain_import_error(error) or f"{install_command('run')} --force-reinstall",
        )
    return text, advice


def gpus() -> Iterator[Finding]:
    """GPUs that NVIDIA's driver reports."""
    if shutil.which("nvidia-smi") is None:
        yield Finding("none", "no driver (nvidia-smi not found); the processor is used")
        return
    fields = "index,name,driver_version,memory.total,compute_cap"
    listing = output_of(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"])
    for line in listing.splitlines():
        index, _, rest = line.partition(",")
        yield Finding(index.strip(), rest.strip())
    if not listing.strip():
        yield Finding(
            "none",
            "nvidia-smi lists no GPU",
            advice="run nvidia-smi and read its output; a driver update often needs a restart of the machine",
        )


def backends() -> Iterator[Finding]:
    """Every runtime on each of its devices: its version, or why it cannot run here."""
    from engine.backends import BACKENDS, probe_backends
    from engine.backends.cuda_driver import why_no_cuda

    no_cuda = why_no_cuda()
    for label, usable, detail in probe_backends():
        reason, _, command = detail.partition(f"; {PIP} ")
        for_cuda = "(cuda)" in label or BACKENDS.get(label) == ("cuda",)
        # No advice to install GPU packages on a machine without a GPU.
        advice = f"{PIP} {command}" if command and not (for_cuda and no_cuda) else None
        if label == "torch (cpu)":
            advice = None  # the other runtimes are faster, and bring all that a run needs
        if for_cuda and no_cuda and no_cuda not in reason:
            reason += f", and {no_cuda}"
        yield Finding(label, f"{'ready' if usable else 'cannot run'}: {reason}", advice=advice)


def weights() -> Iterator[Finding]:
    """The shipped pose networks and detectors, the defaults, and the AP in their model cards."""
    choice = WEIGHTS_DIR / "default.json"
    default: dict[str, str] = json.loads(choice.read_text(encoding="utf-8")) if choice.is_file() else {}
    for kind, key, pattern in (("pose model", "pose_model", "*.safetensors"), ("detector", "detector", "*.onnx")):
        files = [file for file in sorted(WEIGHTS_DIR.glob(pattern)) if kind == "pose model" or _is_detector(file)]
        for file in files:
            marks = [kind, f"{file.stat().st_size / 2**20:.1f} MiB"]
            marks += ["the default"] if file.stem == default.get(key) else []
            if kind == "pose model" and file.with_suffix(".onnx").is_file():
                marks.append("also in exported form")
            marks.append(stated_ap(file.with_suffix(".md")) or "no AP stated")
            yield Finding(file.stem, ", ".join(marks))
        if default.get(key) not in [file.stem for file in files]:
            yield Finding(
                default.get(key, kind),
                f"the default {kind} is not in {WEIGHTS_DIR}",
                advice="fetch the whole repository again; its weights are part of it",
            )


def window() -> Iterator[Finding]:
    """Whether Qt can open a window under X11."""
    if not sys.platform.startswith("linux"):
        return
    reason = why_no_xcb()
    text = "ready" if reason is None else f"cannot load: {reason}"
    yield Finding("Qt xcb", text, advice=None if reason is None else XCB_ADVICE)


def _is_detector(file: Path) -> bool:
    return not file.name.endswith(INT8_SUFFIX) and not file.with_suffix(".safetensors").is_file()


def cameras() -> Iterator[Finding]:
    """Cameras with their numbers (for --video) and names."""
    from engine.sources.opening import list_cameras

    found = list_cameras()
    for camera in found:
        yield Finding(str(camera.index), camera.name)
    if not found:
        advice = "plug one in"
        if sys.platform.startswith("linux"):
            advice += "; if it is plugged in, ls /dev/video* must list it and your user must be in the group 'video'"
        yield Finding("none", "no camera found", advice=advice)


def encoders() -> Iterator[Finding]:
    """Whether H.264 can be written."""
    import av

    has_x264 = "libx264" in av.codecs_available
    yield Finding(
        "H.264",
        f"libx264, by av {av.__version__}" if has_x264 else "no libx264 encoder, so no video can be written",
        advice=None if has_x264 else "python -m pip install --force-reinstall av (its wheels carry libx264)",
    )


def cache() -> Iterator[Finding]:
    """Folder and size of the cache of compiled networks."""
    folder = cache_dir()
    if not folder.is_dir():
        yield Finding("folder", f"{folder} (made at first use; {CACHE_VARIABLE} moves it)")
        return
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    text = f"{folder}, {len(sizes)} files, {sum(sizes) / 2**20:.1f} MiB (may be deleted; {CACHE_VARIABLE} moves it)"
    yield Finding("folder", text)
