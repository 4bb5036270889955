"""The table of options of the program: an option is a field here.

`PoseOptions` define the pipeline; command line, window, settings, benchmark and status are generated from them.
`Options` add those of the command line. Standard library only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from engine.errors import nearest_hint
from engine.option_table import AT_LEAST_1, SHARE, Control, Place, Range, T, option

DetectEvery = int | Literal["auto"]
"""Run the detector on every Nth frame; "auto": as rarely as the scene allows."""

AttentionScale = Literal["frame", "paper"]
"""Of the tint of attention maps: from 1/K, no preference, to the highest value in the frame; or from 0 to 1."""

Follow = int | Literal["largest", "centre"]
"""The one person to pose: by id, or the largest or most central one of the first frame with people."""

# Names as literals: the table imports no backend. A test compares them with `engine.backends`.
BACKENDS = ("tensorrt", "tensorrt_rtx", "torch", "openvino", "onnxruntime")
TRACKERS = ("bytetrack", "ocsort", "botsort", "cbiou", "sort")
PRECISIONS = ("auto", "fp32", "fp16", "bf16", "int8")

WHAT = "what to do (the window opens when none is given)"
WINDOW = ""
BENCHMARK = "benchmark (measures on --video FILE, or on demo)"
OUTPUT = "output"
PEOPLE = "people and how they move"
NETWORKS = "networks and where they run"
TIME = "from frame to frame"
MESSAGES = "messages"
GROUPS = (WHAT, WINDOW, BENCHMARK, OUTPUT, PEOPLE, NETWORKS, TIME, MESSAGES)
"""Groups of the command line, in the order of its help."""

_REPORTED = Place.COMMAND_LINE | Place.BENCHMARK | Place.STATUS
_EXPORT = Place.COMMAND_LINE | Place.EXPORT
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


def number_in(within: Range, what: str) -> Callable[[str], float]:
    """Reads a number in a range; `what` says in the error what was expected."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan  # is in no range
        if not within.holds(number):
            raise ValueError(f"'{text}' is not {what}")
        return number

    return read


fraction = number_in(SHARE, "a number from 0 to 1")
seconds = number_in(Range(low=0, above=True, high=math.inf, below=True), "a number of seconds above 0")
seconds_from_start = number_in(Range(low=0, high=math.inf, below=True), "0 or more seconds")
width_in_px = number_in(Range(low=0, above=True, high=100), "a width in px above 0, of 100 at most")


def page_origin(text: str) -> str:
    """The origin of a web page, as browsers send it; "null" for pages that are opened as files."""
    plain = text.strip().rstrip("/").lower()
    if plain != "null" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#\s*]+", plain):
        raise ValueError(
            f"'{text}' is not the origin of a page, such as https://pages.example or http://127.0.0.1:8000"
        )
    return plain


DRAWN = ("skeleton", "boxes", "ids", "scores", "angles", "trails")
"""What can be drawn on people: the switches of `OverlayOptions` by name."""


def drawn_parts(text: str) -> tuple[str, ...]:
    """Names of DRAWN separated by commas; `none` for nothing."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if names == ("none",):
        return ()
    for name in names:
        if name == "none":
            raise ValueError(f"'none' cannot be drawn with anything else: '{text}'")
        if name not in DRAWN:
            raise ValueError(f"'{name}' cannot be drawn.{nearest_hint(name, (*DRAWN, 'none'))}")
    if not names:
        raise ValueError(f"nothing is named; there are {', '.join(DRAWN)}, and none")
    return names


def whom_to_follow(text: str) -> Follow:
    """`largest`, `centre`, or an id."""
    if text in ("largest", "centre", "center"):
        return "largest" if text == "largest" else "centre"
    try:
        return whole_number(text)
    except ValueError:
        raise ValueError(f"'{text}' is neither largest nor centre nor an id, a whole number of at least 1") from None


@dataclass(frozen=True, kw_only=True)
class CountRule:
    """When an angle counts as a repetition: it comes down to `low` after it was up at `high`, both in degrees.

    The room between the two keeps an angle that trembles about one of them from counting more than once.
    """

    angle: str
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.angle}:{self.low:g}:{self.high:g}"


def count_rule(text: str) -> CountRule:
    """ANGLE:LOW:HIGH, such as left_elbow:60:150."""
    parts = text.split(":")
    try:
        name, low, high = parts[0].strip(), float(parts[1]), float(parts[2])
    except (IndexError, ValueError):
        name, low, high = "", 0.0, 0.0
    if len(parts) != 3 or not name or not 0 <= low < high <= 180:
        raise ValueError(f"'{text}' is not ANGLE:LOW:HIGH in degrees, 0 <= LOW < HIGH <= 180, as left_elbow:60:150")
    return CountRule(angle=name, low=low, high=high)


def attention_scale(text: str) -> AttentionScale:
    """Colour scale of an attention map: "frame" or "paper"."""
    if text not in ("frame", "paper"):
        raise ValueError(f"invalid choice: '{text}' (choose from 'frame', 'paper')")
    return "paper" if text == "paper" else "frame"


class _Declare(Protocol):
    """`option` for one group of the command line."""

    def __call__(self, default: T, help: str, read: Callable[[str], Any] = str, **rest: Any) -> T: ...


def _in(group: str, places: Place = Place.COMMAND_LINE) -> _Declare:
    def declare(default: T, help: str, read: Callable[[str], Any] = str, **rest: Any) -> T:
        return option(default, help, read, **{"group": group, "places": places, **rest})

    return declare


_network, _time, _people = _in(NETWORKS, _EVERYWHERE), _in(TIME, _EVERYWHERE), _in(PEOPLE)
_what, _benchmark, _output = _in(WHAT), _in(BENCHMARK), _in(OUTPUT)


@dataclass(frozen=True, kw_only=True)
class PoseOptions:
    """Networks, where they run, and how. None: the shipped models' default, or depending on the source."""

    pose_model: str | None = _network(
        None,
        "pose network: name, .safetensors or .onnx (the shipped one)",
        metavar="NAME|FILE",
        control=Control(
            label="Pose model",
            section="Networks",
            files=("Open a pose network", "Pose networks (*.safetensors *.onnx)"),
        ),
    )
    detector: str | None = _network(
        None,
        "person detector: name, .onnx or .pt; none: take the whole picture as one box (the shipped one)",
        metavar="NAME|FILE",
        control=Control(label="Detector", section="Networks", files=("Open a detector", "Detectors (*.onnx *.pt)")),
    )
    boxes: Path | None = _network(
        None,
        "take the boxes of a file instead of a detector's: .jsonl as --poses writes it, or a JSON list of COCO results",
        Path,
        metavar="FILE",
        places=Place.COMMAND_LINE,
    )
    classes: str | None = _network(
        None, "classes to detect, separated by commas (person)", metavar="NAMES", places=_REPORTED
    )
    backend: str = _network(
        "auto",
        "auto, tensorrt, tensorrt_rtx, torch, openvino or onnxruntime ({default})",
        metavar="NAME",
        control=Control(label="Backend", section="Networks", choices=("auto", *BACKENDS)),
    )
    precision: str = _network(
        "auto",
        "auto, fp32, fp16, bf16 or int8 ({default})",
        metavar="NAME",
        control=Control(label="Precision", section="Networks", choices=PRECISIONS),
    )
    device: str = _network("auto", "auto, cpu, cuda, cuda:N or coreml ({default})", metavar="NAME", places=_REPORTED)
    score_threshold: float | None = _network(
        None,
        "minimum score of person boxes, 0 to 1",
        fraction,
        metavar="X",
        within=SHARE,
        control=Control(label="Box score", section="People", hint="Minimum score of boxes", low=0.01, high=0.95),
    )
    person_threshold: float | None = _network(
        None,
        "minimum confidence of people (box and keypoints together), 0 to 1",
        fraction,
        metavar="X",
        within=SHARE,
        control=Control(
            label="Confidence",
            section="People",
            hint="Minimum confidence of people (box and keypoints together)",
            high=0.95,
        ),
    )
    max_people: int = _network(
        16,
        "maximum number of people in a frame ({default})",
        whole_number,
        metavar="N",
        within=AT_LEAST_1,
        control=Control(label="Maximum people", section="People", low=1, high=64),
    )
    download: bool = _network(False, "download a missing detector from its publisher", places=_REPORTED)
    detect_every: DetectEvery | None = _time(
        None,
        "detect people on every Nth frame, or as rarely as the scene allows (files: 1, cameras: auto)",
        frames_or_auto,
        metavar="N|auto",
        places=_EVERYWHERE & ~Place.BENCHMARK,
        control=Control(
            label="Detect every",
            section="People",
            hint="Detect people on every Nth frame; in between, boxes follow the poses",
            spoken="Detect every N frames",
            choices=("auto", "1", "2", "3", "5", "10"),
        ),
    )
    tracking: bool = _time(
        True,
        "no ids for people, and no smoothing",
        control=Control(label="Track people (ids)", section="People"),
    )
    tracker: str = _time(
        "bytetrack",
        "tracking method: bytetrack, ocsort, botsort, cbiou or sort ({default})",
        metavar="NAME",
        control=Control(label="Tracker", section="People", choices=TRACKERS, needs="tracking"),
    )
    smoothing: bool = _time(
        True,
        "no smoothing of keypoints",
        control=Control(label="Smooth keypoints over time", section="People", needs="tracking"),
    )
    follow: Follow | None = _people(
        None,
        "pose one person only, also after a short loss: largest, centre, or an ID",
        whom_to_follow,
        metavar="largest|centre|ID",
    )
    keypoint_threshold: float = _people(
        0.2,
        "minimum score of keypoints that are drawn and used for angles, 0 to 1 ({default})",
        fraction,
        metavar="X",
        within=SHARE,
    )
    angles: bool = _people(
        False,
        "add the angles at the joints to the poses and the picture",
        places=_EXPORT,
        control=Control(label="Angles at the joints", section="Poses"),
    )
    count: CountRule | None = _people(
        None,
        "count how often an angle comes down to LOW after it was up at HIGH degrees, such as left_elbow:60:150",
        count_rule,
        metavar="ANGLE:LOW:HIGH",
    )
    threads: int | None = _time(
        None,
        "processor threads of the networks; 1: one step at a time (all)",
        whole_number,
        metavar="N",
        places=_REPORTED,
    )


@dataclass(frozen=True, kw_only=True)
class Options(PoseOptions):
    """The command line of main.py.

    Attributes:
        given: names of the options on the command line; the window remembers the others.
    """

    video: tuple[str, ...] = _what(
        (),
        "write pose videos of: FILE, FOLDER, PHOTO, PATTERN, CAMERA_INDEX, URL or demo",
        metavar="SOURCE",
        many=True,
    )
    source: str | None = _what(None, "source the window opens first; the same choices", metavar="SOURCE")
    doctor: bool = _what(False, "report what runs on this machine, with advice for the rest")
    status_json: Path | None = option(
        None, "write the statistics of the window to a file once a second", Path, group=WINDOW, metavar="FILE"
    )
    benchmark: bool = _benchmark(False, "measure the speed of this machine; --backend all: of each")
    people: str = _benchmark(
        "1,4,8,16", "also measure with these numbers of people in a frame ({default})", metavar="N,N"
    )
    data: Path | None = _benchmark(
        None,
        "also measure AP on a data set of COCO keypoints, as python -m train takes it (needs requirements-train.txt)",
        Path,
        metavar="DIR",
        places=Place.COMMAND_LINE | Place.BENCHMARK,
    )
    frames: int = _benchmark(200, "number of frames to measure ({default})", whole_number, metavar="N")
    report: Path | None = _benchmark(
        None, "write the results as JSON, and a plot beside them", Path, metavar="FILE.json"
    )
    plot: Path | None = _benchmark(None, "plot frames/s against people, one line per backend", Path, metavar="FILE.png")
    soak: str | None = _benchmark(
        None,
        "also check that delay and memory stay constant over N,N frames (2000,20000)",
        metavar="LIVE,EXPORT",
        const="2000,20000",
    )
    compare: str | None = _benchmark(
        None, "also compare with: ultralytics, serial (one core, one thread)", metavar="NAMES"
    )
    output: Path | None = _output(
        None,
        "video or photo to write, of several sources the folder (outputs/<name>_pose.mp4); none: only the poses",
        Path,
        metavar="FILE",
    )
    poses: tuple[str, ...] = _output(
        (),
        "also write keypoints to files (.jsonl, .csv, .json for COCO), or live to - (standard output),"
        " udp://HOST:PORT, osc://HOST:PORT or ws://HOST:PORT",
        metavar="FILE|ADDRESS",
        many=True,
    )
    allow_remote: bool = _output(False, "let other machines read from ws://, without a password")
    allow_origin: tuple[str, ...] = _output(
        (),
        "origins of web pages that may read from ws://, such as https://pages.example",
        page_origin,
        metavar="ORIGIN",
        many=True,
    )
    attention: str | None = _output(
        None,
        "tint people by the attention map of a keypoint, such as left_wrist; areas:left_wrist: its soft area; all: "
        "a sheet of all keypoints",
        metavar="KEYPOINT",
    )
    attention_maps: Path | None = _output(
        None, "also write the areas and attention maps as numbers", Path, metavar="FILE.npz"
    )
    attention_scale: AttentionScale = _output(
        "frame",
        "colours span from 1/K (no preference) to the frame's maximum (frame), or from 0 to 1 (paper) ({default})",
        attention_scale,
        metavar="{frame,paper}",
    )
    draw: tuple[str, ...] = _output(
        ("skeleton", "ids"),
        "what to draw on people: skeleton, boxes, ids, scores, angles, trails, or none (skeleton,ids)",
        drawn_parts,
        metavar="LIST",
    )
    line_width: float | None = _output(
        None, "width of the skeleton's lines in px (by the size of the person)", width_in_px, metavar="PX"
    )
    background: str = _output(
        "video",
        "background of the drawing: video, black, or a picture that covers the frame ({default})",
        metavar="video|black|FILE",
    )
    legend: bool = _output(True, "no legend of the attention map")
    size: int | None = _output(
        None,
        "shorter side of the output in px, where the source is larger (as the source)",
        whole_number,
        metavar="PX",
        within=AT_LEAST_1,
        places=_EXPORT,
        control=Control(
            label="Size",
            section="Picture",
            hint="Length of the shorter side in px, where the source is larger; poses keep the pixels of the source",
            choices=("as the source", "2160", "1080", "720", "480", "360"),
            none="as the source",
        ),
    )
    start: float | None = _output(
        None,
        "begin S seconds after the start of a file",
        seconds_from_start,
        metavar="S",
        places=_EXPORT,
        control=Control(label="From", section="Range", none="the start", seconds=True),
    )
    max_frames: int | None = _output(None, "stop after N frames", whole_number, metavar="N")
    duration: float | None = _output(
        None,
        "stop after S seconds of the source",
        seconds,
        metavar="S",
        places=_EXPORT,
        control=Control(label="Duration", section="Range", none="to the end", seconds=True),
    )
    overwrite: bool = _output(
        False,
        "replace existing files",
        places=_EXPORT,
        control=Control(label="Replace existing files", section="Files"),
    )
    offline: bool = option(False, "never download; overrides --download", group=NETWORKS)
    quiet: bool = option(False, "no progress bar and no summary", group=MESSAGES)
    verbose: bool = option(False, "show the traceback of an error", group=MESSAGES)
    given: frozenset[str] = frozenset()

    @property
    def one_video(self) -> str | None:
        """The source of a run that takes only one; None without one."""
        return self.video[0] if self.video else None
