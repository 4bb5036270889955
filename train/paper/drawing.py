"""Drawings of attention: figure 2 of the paper, and all areas and attention maps on one sheet."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from engine.types import VISIBLE_SCORE, Float32Array, UInt8Array
from models.checkpoints import write_atomically
from train.paper.attention_of import PersonAttention

# The paper's colours: blue for 0, red for 1; bright enough in between to be distinguished on a photo.
BLUE_TO_RED: Colormap = LinearSegmentedColormap.from_list(
    "blue to red", ["#1030ff", "#00b0ff", "#30e080", "#ffe000", "#ff8000", "#e00000"]
)
_DPI = 110
_PAIRS_A_ROW = 6  # 17 keypoints then fill three rows


def draw_figure_2(person: PersonAttention, photo_xy: Float32Array, place: str, unit_scale: bool) -> Figure:
    """A star on one pixel, and on every keypoint a circle in the colour of the attention of that pixel to it.

    Args:
        person: keypoints and maps.
        photo_xy: (2,) float32, the pixel in photo px.
        place: name of the pixel, for the title.
        unit_scale: colours from 0 to 1 as in the paper, else to the largest value, for attention that is spread.

    Raises:
        OptionError: the pixel is outside the crop.
    """
    crop_xy = person.to_crop(photo_xy)
    attention = person.attention_at(photo_xy)  # (K,)
    highest = 1.0 if unit_scale else float(attention.max())
    colors = ScalarMappable(Normalize(0, highest), BLUE_TO_RED)
    figure = Figure(figsize=(10.5, 8.6), dpi=_DPI, layout="constrained")
    picture, bars = figure.subplots(1, 2, width_ratios=(1.35, 1))
    _show(picture, person.picture_bgr)
    scale = person.picture_scale
    # Below the circles and wider than they are, so that a circle on the same pixel stays visible.
    picture.scatter(
        *(crop_xy * scale), s=1100, marker="*", color="#ffe94d", edgecolors="black", linewidths=1.2, zorder=2
    )
    for index in np.argsort(attention):  # the strongest on top
        x, y, score = person.keypoints[index]
        seen = score > VISIBLE_SCORE
        picture.scatter(
            x * scale,
            y * scale,
            s=190 if seen else 60,
            color=colors.to_rgba(attention[index]) if seen else "none",
            edgecolors="white" if seen else colors.to_rgba(attention[index]),
            linewidths=1.6,
            zorder=3,
        )
    picture.set_title(f"{person.model}: attention of the pixel at {place}", fontsize=11)
    figure.colorbar(colors, ax=picture, location="left", shrink=0.75, label="S, weight of each keypoint at it")
    _draw_bars(bars, person, attention, colors, highest)
    return figure


def _draw_bars(axes: Any, person: PersonAttention, attention: Float32Array, colors: ScalarMappable, end: float) -> None:
    """The same values as bars, one a keypoint."""
    names = [name.replace("_", " ") for name in person.skeleton.keypoint_names]
    labels = [
        name if score > VISIBLE_SCORE else f"({name})"
        for name, score in zip(names, person.keypoints[:, 2], strict=True)
    ]
    positions = np.arange(len(labels))
    axes.barh(positions, attention, color=colors.to_rgba(attention))
    for position, value in zip(positions, attention, strict=True):
        axes.text(value + end * 0.015, position, f"{value:.2f}", va="center", fontsize=8)
    axes.set_yticks(positions, labels, fontsize=9)
    axes.set_xlim(0, end * 1.12)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("(in brackets, small ring: low score)", fontsize=9)


def draw_sheet(person: PersonAttention, unit_scale: bool) -> Figure:
    """Every keypoint's area G and attention S over the crop."""
    count = len(person.attention)
    pairs = min(count, _PAIRS_A_ROW)
    rows = math.ceil(count / pairs)
    aspect = person.picture_bgr.shape[0] / person.picture_bgr.shape[1]
    width = 1.5
    figure = Figure(figsize=(width * 2 * pairs + 1.2, (width * aspect + 0.45) * rows + 0.5), dpi=_DPI)
    figure.set_layout_engine("constrained", h_pad=0.03, w_pad=0.02)
    axes = np.asarray(figure.subplots(rows, 2 * pairs, squeeze=False)).reshape(-1)
    for unused in axes[2 * count :]:
        unused.set_axis_off()
    ceiling = 1.0 if unit_scale else float(person.attention.max())
    pixels = person.areas[0].size
    for index, name in enumerate(person.skeleton.keypoint_names):
        area, attention = person.areas[index], person.attention[index]
        at = tuple(person.keypoints[index, :2] * person.picture_scale)
        seen = bool(person.keypoints[index, 2] > VISIBLE_SCORE)
        mark = at if seen else None
        _overlay(axes[2 * index], person, area, float(area.max()), mark)
        axes[2 * index].set_title(f"{name.replace('_', ' ')}\narea, peak {area.max() * pixels:.0f}x", fontsize=8)
        _overlay(axes[2 * index + 1], person, attention, ceiling, mark)
        axes[2 * index + 1].set_title(f"\nattention, up to {attention.max():.2f}", fontsize=8)
    colors = ScalarMappable(Normalize(0, ceiling), BLUE_TO_RED)
    figure.colorbar(colors, ax=list(axes), location="right", shrink=0.5, aspect=40, label="attention S")
    figure.suptitle(
        f"{person.model}: areas G (to their own peak, as a multiple of an even spread), attention S; + the keypoint",
        fontsize=10,
    )
    return figure


def _show(axes: Any, picture_bgr: UInt8Array) -> None:
    axes.imshow(picture_bgr[:, :, ::-1])
    axes.set_axis_off()


def _overlay(
    axes: Any, person: PersonAttention, values: Float32Array, ceiling: float, mark: tuple[float, ...] | None
) -> None:
    """A map (h, w) over the crop in grey, more opaque where it is higher."""
    height, width = person.picture_bgr.shape[:2]
    grey = person.picture_bgr.mean(axis=2) * 0.6
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255)
    share = np.clip(values / max(ceiling, 1e-12), 0, 1)
    axes.imshow(
        share, cmap=BLUE_TO_RED, vmin=0, vmax=1, alpha=np.clip(share * 2, 0, 0.8),
        extent=person.map_extent(), interpolation="bilinear",
    )  # fmt: skip
    if mark is not None:
        axes.plot(mark[0], mark[1], "+", color="white", markersize=5, markeredgewidth=1)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    axes.set_axis_off()


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; under its final name only when whole."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_atomically(path, content.getvalue())
