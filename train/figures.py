"""`python -m train.figures`: the paper's figure 2 and all areas and attention maps, for a photo of your own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engine.artifacts.model_files import resolve_pose_model
from engine.artifacts.write_guard import check_targets
from engine.detection.detector import open_detector
from engine.errors import ModelError, OptionError
from engine.geometry import apply_affines, invert_affines
from engine.option_table import add_options, check_options, described, option
from engine.sources.photos import read_photo
from engine.system.entry import run_command
from engine.system.one_line_parser import OneLineParser
from engine.types import Float32Array, UInt8Array
from train.command import reports_errors
from train.paper.attention_of import PersonAttention, attention_of_box


@dataclass(frozen=True, kw_only=True)
class FigureOptions:
    """What is drawn, of whom, and where to."""

    weights: str = field(metadata=described("a KCAM weights file, or the name of shipped weights", required=True))
    image: Path = field(metadata=described("a photo with a person", Path, required=True))
    pixel: str | None = option(None, "X,Y in photo px: the pixel whose attention figure 2 shows")
    keypoint: str | None = option(None, "or the place of a keypoint, such as left_wrist (the surest)")
    box: str | None = option(None, "X1,Y1,X2,Y2 in photo px (the detector's best person)")
    detector: str | None = option(None, "a shipped name, FILE.onnx or FILE.pt (the shipped one)")
    scale: str = option(
        "unit",
        "colours up to 1 (unit), or up to the largest value (auto)",
        metavar="{unit,auto}",
        choices=("unit", "auto"),
    )
    output: Path = option(Path("attention.png"), "figure 2; the sheet goes beside it, NAME_sheet.png ({default})", Path)
    overwrite: bool = option(False, "replace files that exist")

    def __post_init__(self) -> None:
        check_options(self)
        if self.pixel is not None and self.keypoint is not None:
            raise OptionError("--pixel and --keypoint both name the place of figure 2; leave one of them out")


def _numbers(text: str, option: str, form: str) -> Float32Array:
    """As many numbers as the form names."""
    try:
        numbers = np.array([float(part) for part in text.split(",")], np.float32)
    except ValueError as error:
        raise OptionError(f"{option} is '{text}'; expected {form}") from error
    if len(numbers) != len(form.split(",")) or not np.isfinite(numbers).all():
        raise OptionError(f"{option} is '{text}'; expected {form}")
    return numbers


def choose_box(photo_bgr: UInt8Array, box: str | None, detector: str | None) -> Float32Array:
    """(4,) float32: the box that was given, the detector's best, or without any the whole photo.

    Raises:
        EngineError: the box does not fit, or a detector was named that cannot be used.
    """
    height, width = photo_bgr.shape[:2]
    if box is not None:
        chosen = _numbers(box, "--box", "X1,Y1,X2,Y2")
        if chosen[0] >= chosen[2] or chosen[1] >= chosen[3] or (chosen[:2] >= [width, height]).any():
            raise OptionError(f"--box is {box}; X1 < X2 and Y1 < Y2 inside the photo of {width}x{height} px fit")
        return chosen
    whole = np.array([0, 0, width, height], np.float32)
    try:
        opened, _ = open_detector(detector, notify=print)
    except ModelError as error:
        if detector is not None:
            raise
        print(f"the whole photo is taken as the person's box: {error}")
        return whole
    with opened:
        found = opened.detect(photo_bgr)
    if len(found) == 0:
        print("the detector finds no person; the whole photo is taken as the person's box")
        return whole
    return np.asarray(found.boxes_xyxy[0], np.float32)


def choose_pixel(person: PersonAttention, pixel: str | None, keypoint: str | None) -> tuple[Float32Array, str]:
    """(2,) float32 in photo px, and its name for the title.

    Raises:
        OptionError: no such keypoint, or not a pixel.
    """
    if pixel is not None:
        photo_xy = _numbers(pixel, "--pixel", "X,Y")
        return photo_xy, f"({photo_xy[0]:.0f}, {photo_xy[1]:.0f})"
    names = person.skeleton.keypoint_names
    index = int(person.keypoints[:, 2].argmax()) if keypoint is None else person.skeleton.keypoint_index(keypoint)
    crop_to_photo = invert_affines(person.photo_to_crop[None])
    photo_xy = apply_affines(crop_to_photo, person.keypoints[None, index : index + 1, :2])[0, 0]
    return photo_xy, f"the {names[index].replace('_', ' ')}"


def make_figures(options: FigureOptions) -> tuple[Path, Path]:
    """Draw both figures and return their paths.

    Raises:
        EngineError, CheckpointError: photo, weights or options cannot be used.
    """
    from engine.backends.pose_graph import load_pose
    from train.paper.drawing import draw_figure_2, draw_sheet, save_figure

    output = options.output
    if output.suffix.lower() != ".png":
        raise OptionError(f"--output is {output}; expected a name that ends in .png")
    sheet = output.with_name(f"{output.stem}_sheet.png")
    check_targets(
        [output, sheet], inputs=[options.weights, options.image, options.detector], overwrite=options.overwrite
    )
    file = resolve_pose_model(options.weights)
    if file.suffix != ".safetensors":
        raise OptionError(f"{file} is a compiled graph; figures need the .safetensors file it was made from")
    photo = read_photo(options.image)
    person = attention_of_box(load_pose(file)[0], photo, choose_box(photo, options.box, options.detector))
    photo_xy, place = choose_pixel(person, options.pixel, options.keypoint)
    unit = options.scale == "unit"
    save_figure(draw_figure_2(person, photo_xy, place, unit), output)
    save_figure(draw_sheet(person, unit), sheet)
    return output, sheet


@reports_errors("train.figures")
def main(argv: list[str] | None = None) -> int:
    """Draw; exit code 2 and one line where the input cannot be used."""
    parser = OneLineParser(prog="python -m train.figures", description="Figures of keypoint attention.")
    add_options(parser, FigureOptions)
    for path in make_figures(FigureOptions(**vars(parser.parse_args(argv)))):
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
