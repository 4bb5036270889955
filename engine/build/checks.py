"""What `python -m engine build` refuses before it begins: options passed over in silence, files that would be lost."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.errors import OptionError, OutputError


def check_for_tensorrt(arguments: argparse.Namespace) -> None:
    """Refuse options of TensorRT where another runtime is built for.

    Raises:
        OptionError: one of them was given.
    """
    given = {
        "--target": arguments.target is not None,
        "--with-crop": arguments.with_crop,
        "--photos": arguments.photos is not None,
        "--max-people": arguments.max_people != 16,
        "--max-frame": arguments.max_frame != 1920,
    }
    for option, is_given in given.items():
        if is_given:
            raise OptionError(
                f"{option} is for --runtime tensorrt, tensorrt-rtx and torch2trt, not for {arguments.runtime}"
            )


def check_for_detectors(arguments: argparse.Namespace) -> None:
    """Refuse options of detectors where none is built.

    Raises:
        OptionError: one of them was given.
    """
    if arguments.detector is not None:
        return
    for option in ("input_size", "class_names", "one_to_many", "half_weights", "download"):
        if getattr(arguments, option) and not (option == "download" and arguments.fetch_detector is not None):
            raise OptionError(f"--{option.replace('_', '-')} is for --detector, and none was named")


def check_output(arguments: argparse.Namespace) -> None:
    """Refuse an output that would take the place of something.

    Raises:
        OptionError: it is the model itself.
        OutputError: it exists, and --force was not given.
    """
    output: Path | None = arguments.output
    if output is None or not output.exists():
        return
    for name in (arguments.pose_model, arguments.detector):
        if name is not None and Path(name).exists() and output.samefile(name):
            raise OptionError(f"--output {output} is the model itself; name another file")
    if not arguments.force:
        raise OutputError(f"{output} exists already; name another file, or --force to replace it")
