"""The options of `python -m engine build`, and the checks before it begins: no option is silently ignored, and no file
is overwritten by accident."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.artifacts.engine_file import parts_of
from engine.artifacts.write_guard import check_targets
from engine.errors import OptionError
from engine.option_table import option, options_of

TENSORRT, DETECTORS = "TensorRT", "detectors"
GROUPS = ("", TENSORRT, DETECTORS)
EXPORTS = ("onnx", "openvino")
"""Values of --runtime that write an ONNX file, which the runtime compiles itself when it opens it."""
_OF_FETCHING = ("--fetch-detector", "--sha256", "--download", "--json", "--end-with-stdin")


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """The options of a build."""

    pose_model: str | None = option(None, "a shipped name or a .safetensors file", metavar="NAME|FILE")
    detector: str | None = option(None, "a shipped or official name, a .pt or an .onnx file", metavar="NAME|FILE")
    fetch_detector: str | None = option(None, "only download an official detector", metavar="NAME.pt")
    sha256: str | None = option(None, "hash of the download, where it is unknown here", metavar="HEX")
    runtime: str = option("onnx", "tensorrt, tensorrt-rtx, torch2trt, openvino or onnx (default)")
    precision: str = option("auto", "auto, fp16, bf16, fp32 or int8 (with --calibrate)")
    calibrate: str | None = option(
        None,
        "for int8: people to calibrate with, from a video, photos, or a data set with train.json",
        metavar="VIDEO|FOLDER",
    )
    shipped: bool = option(False, "write the exported form of the default network beside its weights, as it ships")
    half_weights: bool = option(False, "store the weights in float16, with --output FILE.onnx")
    output: Path | None = option(None, "file to write (default: a file in the cache)", Path)
    force: bool = option(False, "rebuild existing files, and replace --output")
    json: bool = option(False, "progress and result as JSON lines, for calling programs")
    end_with_stdin: bool = option(False, "for calling programs: end when stdin is closed")
    max_people: int = option(16, "length of the largest batch ({default})", int, group=TENSORRT)
    target: str | None = option(
        None, "tensorrt-rtx: compute capabilities, e.g. sm86,sm89 (default: this GPU's)", group=TENSORRT
    )
    with_crop: bool = option(False, "take whole frames and crop people on the GPU", group=TENSORRT)
    max_frame: int = option(1920, "with --with-crop: longest side in px ({default})", int, group=TENSORRT)
    photos: Path | None = option(None, "folder of pictures for the parity gate", Path, group=TENSORRT)
    input_size: int | None = option(
        None, "long side of the letterboxed frame in px, unless another is requested", int, group=DETECTORS
    )
    class_names: str | None = option(None, "other names for its classes, separated by commas", group=DETECTORS)
    one_to_many: bool = option(False, "the branch whose boxes overlap", group=DETECTORS)
    download: bool = option(False, "download a missing official detector", group=DETECTORS)


def given_of(options: BuildOptions, *groups: str) -> list[str]:
    """Flags of the options of some groups that differ from their defaults."""
    chosen = [item for item in options_of(options) if item.group in groups]
    return [item.flag for item in chosen if getattr(options, item.name) != item.default]


def check_build(options: BuildOptions) -> None:
    """Refuse options without their use, and an output, or a file that would come beside it, that replaces something.

    Raises:
        OptionError: an option has no use beside the others.
        OutputError: an output is an input, or exists and --force was not given.
    """
    if options.output is not None:
        inputs = [options.pose_model, options.detector, options.calibrate, options.photos]
        check_targets(parts_of(options.output), inputs=inputs, overwrite=options.force, flag="--force")
    if options.half_weights and (options.output is None or options.runtime not in EXPORTS or options.calibrate):
        raise OptionError("--half-weights is for exports in float: name the file with --output FILE.onnx")
    if options.fetch_detector is None and options.sha256 is not None:
        raise OptionError("--sha256 needs --fetch-detector")
    for flag in given_of(options, *GROUPS) if options.fetch_detector is not None else ():
        if flag not in _OF_FETCHING:
            raise OptionError(f"--fetch-detector only downloads: leave {flag} out")
    if options.max_frame != BuildOptions.max_frame and not options.with_crop and options.runtime not in EXPORTS:
        raise OptionError("--max-frame needs --with-crop")
    for flag in given_of(options, DETECTORS):
        if options.detector is None and options.fetch_detector is None:
            raise OptionError(f"{flag} needs --detector")
        if flag != "--download" and options.runtime not in EXPORTS:
            raise OptionError(f"{flag} is for an export: make FILE.onnx first, then the engine of it")


def check_export(options: BuildOptions) -> None:
    """Refuse what an export in ONNX does not take.

    Raises:
        OptionError: options of TensorRT, a precision that the runtime does not export in, INT8 without its use.
    """
    for flag in given_of(options, TENSORRT):
        raise OptionError(f"{flag} is for --runtime tensorrt, tensorrt-rtx and torch2trt, not for {options.runtime}")
    # OpenVINO lowers the exported float32 graph to bfloat16 when it opens it.
    able = ("auto", "fp32", "int8") if options.runtime == "onnx" else ("auto", "fp32", "bf16", "int8")
    if options.precision not in able:
        raise OptionError(f"--runtime {options.runtime} exports in fp32 and int8, not in {options.precision}")
    if options.precision == "int8" and options.pose_model is not None and options.detector is not None:
        raise OptionError("int8 is for one model at a time: --pose-model W or --detector D")
    for flag in given_of(options, DETECTORS) if options.precision == "int8" else ():
        if flag != "--download":
            raise OptionError(f"{flag} is for an export in float: make FILE.onnx first, then INT8 of it")
    if options.precision == "int8" and options.calibrate is None:
        raise OptionError("int8 needs images of people for calibration: --calibrate VIDEO|FOLDER")
