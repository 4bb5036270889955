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


def given_of(options: BuildOptions, group: str) -> list[str]:
    """Names of the options of a group that differ from their defaults."""
    return [
        item.name for item in options_of(options) if item.group == group and getattr(options, item.name) != item.default
    ]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def check_for_tensorrt(options: BuildOptions) -> None:
    """Refuse options of TensorRT in a build for another runtime.

    Raises:
        OptionError: one of them was given.
    """
    for name in given_of(options, TENSORRT):
        raise OptionError(
            f"{_flag(name)} is for --runtime tensorrt, tensorrt-rtx and torch2trt, not for {options.runtime}"
        )


def check_for_detectors(options: BuildOptions) -> None:
    """Refuse options of detectors in a build without one.

    Raises:
        OptionError: one of them was given.
    """
    if options.detector is not None:
        return
    for name in given_of(options, DETECTORS):
        if not (name == "download" and options.fetch_detector is not None):
            raise OptionError(f"{_flag(name)} needs --detector")


def check_half_weights(options: BuildOptions) -> None:
    """Refuse `--half-weights` where no export to a file is asked for.

    Raises:
        OptionError: it was given there.
    """
    if options.half_weights and (options.output is None or options.runtime not in EXPORTS or options.calibrate):
        raise OptionError("--half-weights is for exports in float: name the file with --output FILE.onnx")


def check_output(options: BuildOptions) -> None:
    """Refuse an output, or a file that would come beside it, that replaces something.

    Raises:
        OutputError: one is an input, or exists and --force was not given.
    """
    if options.output is None:
        return
    inputs = [options.pose_model, options.detector, options.calibrate, options.photos]
    check_targets(parts_of(options.output), inputs=inputs, overwrite=options.force, flag="--force")
