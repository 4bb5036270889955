"""The table of options of the program: whoever adds one adds a field here.

`PoseOptions` say what runs; command line, window, settings, benchmark and status are made from them. `Options` add what
only the command line has. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.option_table import AT_LEAST_1, SHARE, Control, Place, option

DetectEvery = int | Literal["auto"]
"""Run the detector on every so many frames; "auto": as seldom as the scene allows."""

# Names as literals: the table imports no backend. A test compares them with `engine.backends`.
BACKENDS = ("tensorrt", "tensorrt_rtx", "torch", "openvino", "onnxruntime")
TRACKERS = ("bytetrack", "ocsort", "botsort", "cbiou", "sort")
PRECISIONS = ("auto", "fp32", "fp16", "bf16", "int8")

WHAT = "what to do (the window opens when none is given)"
WINDOW = ""
BENCHMARK = "benchmark (measures on --video FILE, or on demo)"
OUTPUT = "output"
NETWORKS = "networks and where they run"
TIME = "from frame to frame"
MESSAGES = "messages"
GROUPS = (WHAT, WINDOW, BENCHMARK, OUTPUT, NETWORKS, TIME, MESSAGES)
"""Groups of the command line, in the order of its help."""

_REPORTED = Place.COMMAND_LINE | Place.BENCHMARK | Place.STATUS
_EVERYWHERE = _REPORTED | Place.PANEL | Place.SETTINGS


def whole_number(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text) if text.strip().isdecimal() else 0
    if number < 1:
        raise ValueError(f"'{text}' is not a whole number of at least 1")
    return number


def frames_or_auto(text: str) -> DetectEvery:
    """A whole number of at least 1, or "auto"."""
    if text == "auto":
        return "auto"
    try:
        return whole_number(text)
    except ValueError:
        raise ValueError(f"'{text}' is neither a whole number of at least 1 nor auto") from None


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise ValueError(f"'{text}' is not a number from 0 to 1")
    return number


def seconds(text: str) -> float:
    """A number of seconds above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ValueError(f"'{text}' is not a number of seconds above 0")
    return number


def attention_scale(text: str) -> str:
    """How colours are spread over the values of an attention map: "unit" or "auto"."""
    if text not in ("unit", "auto"):
        raise ValueError(f"invalid choice: '{text}' (choose from 'unit', 'auto')")
    return text


@dataclass(frozen=True, kw_only=True)
class PoseOptions:
    """What runs and where. None leaves a value to the models that ship, or to the kind of the source."""

    pose_model: str | None = option(
        None,
        "pose network (the shipped one)",
        group=NETWORKS,
        metavar="NAME|FILE",
        places=_EVERYWHERE,
        control=Control(
            label="Pose model",
            section="Networks",
            files=("Open a pose network", "Pose networks (*.safetensors *.onnx)"),
        ),
    )
    detector: str | None = option(
        None,
        "person detector: name, .onnx or .pt; none: the whole picture is one box (the shipped one)",
        group=NETWORKS,
        metavar="NAME|FILE",
        places=_EVERYWHERE,
        control=Control(label="Detector", section="Networks", files=("Open a detector", "Detectors (*.onnx *.pt)")),
    )
    boxes: Path | None = option(
        None,
        "take the boxes of a file instead of a detector's: .jsonl as --poses writes it, or a JSON list of COCO results",
        Path,
        group=NETWORKS,
        metavar="FILE",
    )
    classes: str | None = option(
        None, "what to detect, with commas between (person)", group=NETWORKS, metavar="NAMES", places=_REPORTED
    )
    backend: str = option(
        "auto",
        "auto, openvino, onnxruntime, torch, ...",
        group=NETWORKS,
        metavar="NAME",
        places=_EVERYWHERE,
        control=Control(label="Backend", section="Networks", choices=("auto", *BACKENDS)),
    )
    precision: str = option(
        "auto",
        "auto, fp32, fp16, bf16 or int8",
        group=NETWORKS,
        metavar="NAME",
        places=_EVERYWHERE,
        control=Control(label="Precision", section="Networks", choices=PRECISIONS),
    )
    device: str = option("auto", "auto, cpu, cuda, cuda:1, ...", group=NETWORKS, metavar="NAME", places=_REPORTED)
    score_threshold: float | None = option(
        None,
        "leave out person boxes with a lower score, 0 to 1",
        fraction,
        group=NETWORKS,
        metavar="X",
        within=SHARE,
        places=_EVERYWHERE,
        control=Control(
            label="Box score", section="People", hint="Leave out boxes with a lower score", low=0.01, high=0.95
        ),
    )
    person_threshold: float | None = option(
        None,
        "leave out people of lower confidence (box and keypoints together)",
        fraction,
        group=NETWORKS,
        metavar="X",
        within=SHARE,
        places=_EVERYWHERE,
        control=Control(
            label="Confidence",
            section="People",
            hint="Leave out people whose confidence (box and keypoints together) is lower",
            high=0.95,
        ),
    )
    max_people: int = option(
        16,
        "most people in a frame ({default})",
        whole_number,
        group=NETWORKS,
        metavar="N",
        within=AT_LEAST_1,
        places=_EVERYWHERE,
        control=Control(label="Most people", section="People", low=1, high=64),
    )
    download: bool = option(
        False, "let a missing detector be fetched from its publisher", group=NETWORKS, places=_REPORTED
    )
    detect_every: DetectEvery | None = option(
        None,
        "look for people on every Nth frame, or as seldom as the scene allows (files: 1, cameras: auto)",
        frames_or_auto,
        group=TIME,
        metavar="N|auto",
        places=_EVERYWHERE & ~Place.BENCHMARK,
        control=Control(
            label="Detect every",
            section="People",
            hint="Look for people on every so many frames; between them boxes follow the poses",
            spoken="Detect every so many frames",
            choices=("auto", "1", "2", "3", "5", "10"),
        ),
    )
    tracking: bool = option(
        True,
        "no ids for people, and so no smoothing either",
        group=TIME,
        places=_EVERYWHERE,
        control=Control(label="Follow people (ids)", section="People"),
    )
    tracker: str = option(
        "bytetrack",
        "by which method ids are kept: bytetrack, ocsort, botsort, cbiou or sort ({default})",
        group=TIME,
        metavar="NAME",
        places=_EVERYWHERE,
        control=Control(label="Tracker", section="People", choices=TRACKERS, needs="tracking"),
    )
    smoothing: bool = option(
        True,
        "keypoints as the network gives them",
        group=TIME,
        places=_EVERYWHERE,
        control=Control(label="Smooth keypoints over time", section="People", needs="tracking"),
    )
    threads: int | None = option(
        None,
        "processor threads of the networks; 1: one step at a time (all)",
        whole_number,
        group=TIME,
        metavar="N",
        places=_REPORTED,
    )


@dataclass(frozen=True, kw_only=True)
class Options(PoseOptions):
    """The command line of main.py.

    Attributes:
        given: names of the options that a person gave; the window remembers the others.
    """

    video: str | None = option(
        None, "write a pose video of: FILE, FOLDER, PHOTO, CAMERA_INDEX, URL or demo", group=WHAT, metavar="SOURCE"
    )
    source: str | None = option(None, "what the window shows first; the same choices", group=WHAT, metavar="SOURCE")
    doctor: bool = option(False, "what runs on this machine, and what to do about the rest", group=WHAT)
    status_json: Path | None = option(
        None, "the window writes its numbers there once a second", Path, group=WINDOW, metavar="FILE"
    )
    benchmark: bool = option(False, "measure how fast this machine is; --backend all: each", group=BENCHMARK)
    people: str = option("1,4,8,16", "also with so many people ({default})", group=BENCHMARK, metavar="N,N")
    frames: int = option(200, "frames to measure with ({default})", whole_number, group=BENCHMARK, metavar="N")
    report: Path | None = option(
        None, "keep the numbers, and a plot beside them", Path, group=BENCHMARK, metavar="FILE.json"
    )
    plot: Path | None = option(
        None, "draw frames/s against people, a line a backend", Path, group=BENCHMARK, metavar="FILE.png"
    )
    soak: str | None = option(
        None,
        "also whether delay and memory stay flat over so many frames (2000,20000)",
        group=BENCHMARK,
        metavar="LIVE,EXPORT",
        const="2000,20000",
    )
    compare: str | None = option(
        None, "also against: ultralytics, serial (one core, one thread)", group=BENCHMARK, metavar="NAMES"
    )
    output: Path | None = option(
        None, "the video or photo to write (outputs/<name>_pose.mp4)", Path, group=OUTPUT, metavar="FILE"
    )
    poses: Path | None = option(
        None, "also write keypoints: .jsonl, .csv or .json (COCO)", Path, group=OUTPUT, metavar="FILE"
    )
    attention: str | None = option(
        None,
        "tint people by the attention map of a keypoint, such as left_wrist; areas:left_wrist for its soft area",
        group=OUTPUT,
        metavar="KEYPOINT",
    )
    attention_scale: str = option(
        "unit",
        "colours span 0 to 1 as in the paper (unit), or 0 to the highest value in the frame (auto)",
        attention_scale,
        group=OUTPUT,
        metavar="{unit,auto}",
    )
    max_frames: int | None = option(None, "stop after N frames", whole_number, group=OUTPUT, metavar="N")
    duration: float | None = option(None, "stop after S seconds of the source", seconds, group=OUTPUT, metavar="S")
    overwrite: bool = option(False, "replace files that exist", group=OUTPUT)
    offline: bool = option(False, "fetch nothing, whatever else is asked", group=NETWORKS)
    quiet: bool = option(False, "no progress bar and no summary", group=MESSAGES)
    verbose: bool = option(False, "show the traceback of an error", group=MESSAGES)
    given: frozenset[str] = frozenset()
