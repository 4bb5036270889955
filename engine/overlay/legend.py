"""Legends of attention maps and of the probe: what is shown, and which values the colours stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from engine.overlay.attention import AttentionView, Scale, ValueRange, colors_of, opacity_of
from engine.overlay.text import panel, put_text, text_width
from engine.skeleton import Skeleton
from engine.types import Float32Array, UInt8Array

_PANEL_BGR, _TEXT_BGR, _FAINT_BGR = (24, 20, 18), (245, 245, 245), (200, 200, 200)
_MOST_WIDTH, _MOST_HEIGHT, _ROWS_HEIGHT = 0.45, 0.22, 0.13  # of the frame, for each legend; more for one with rows
_SMALLEST_PX = 7  # of text that is still read; below that the legend may take more of the frame
_STAYS_S = 1.0  # in a corner, before it goes to a better one: a legend that jumps cannot be read
# Shares of the room to the right and to the bottom, in order of preference: corners, then places along the edges.
_CORNERS = ((0, 1), (1, 1), (0, 0), (1, 0))
_EDGES = (*((along / 8, at) for at in (1, 0) for along in (4, 2, 6, 3, 5, 1, 7)), (0, 0.5), (1, 0.5))
_UNCOVERED = 0.02  # share of its area: as much may lie over people before another place is better


class LegendCorner:
    """The place of the legend in a sequence of frames: where it covers people least, changed as seldom as possible.

    A corner, or a place along an edge where each corner has people.
    """

    def __init__(self) -> None:
        self._corner: int | None = None
        self._since_s = 0.0
        self._size_wh = (0, 0)

    def unsettle(self) -> None:
        """The next place may be another one at once, because people are elsewhere in the picture."""
        self._size_wh = (0, 0)

    def place(
        self, size_wh: tuple[int, int], frame_wh: tuple[int, int], margin: int, boxes_xyxy: Float32Array, time_s: float
    ) -> tuple[int, int]:
        """Left and top of a panel of this size, in px.

        Args:
            margin: room to the frame's sides.
            boxes_xyxy: (N, 4) of the people, px.
        """
        spare = frame_wh[0] - 2 * margin - size_wh[0], frame_wh[1] - 2 * margin - size_wh[1]
        places = [
            (margin + round(right * spare[0]), margin + round(bottom * spare[1])) for right, bottom in _CORNERS + _EDGES
        ]
        covered = [_covered((left, top, left + size_wh[0], top + size_wh[1]), boxes_xyxy) for left, top in places]
        most = min(covered) + _UNCOVERED * size_wh[0] * size_wh[1]
        best = next(number for number, area in enumerate(covered) if area <= most)
        old = self._corner
        stays = size_wh == self._size_wh and 0 <= time_s - self._since_s < _STAYS_S  # another legend is placed at once
        if old is None or (covered[best] < covered[old] / 2 and not stays):
            self._corner, self._since_s = best, time_s
        self._size_wh = size_wh
        return places[self._corner if self._corner is not None else best]


def _covered(box: tuple[int, int, int, int], boxes_xyxy: Float32Array) -> float:
    """Area in px of the boxes (N, 4) that lies in one box."""
    boxes = np.nan_to_num(boxes_xyxy.astype(np.float64))
    width = np.minimum(boxes[:, 2], box[2]) - np.maximum(boxes[:, 0], box[0])
    height = np.minimum(boxes[:, 3], box[3]) - np.maximum(boxes[:, 1], box[1])
    return float((np.maximum(width, 0) * np.maximum(height, 0)).sum())


def legend_lines(view: AttentionView, scale: Scale, skeleton: Skeleton) -> tuple[str, str, str]:
    """Title, what the map shows, and what the scale is."""
    name = skeleton.keypoint_names[view.keypoint].replace("_", " ")
    if view.kind == "areas":
        of_paper = "scale: share of each person's peak"
        in_frame = "scale: up to the highest value here"
        return f"Area G: {name}", "pixels that describe this keypoint", of_paper if scale == "paper" else in_frame
    of_paper = "scale: 0 to 1, as in the paper"
    in_frame = f"1/{skeleton.num_keypoints}: no preference; red: the highest here"
    return f"Attention S: {name}", "how much each pixel draws on it", of_paper if scale == "paper" else in_frame


@dataclass(frozen=True, kw_only=True)
class Legend:
    """What a legend says.

    Attributes:
        title: what is shown.
        lines: explanations; the first is left out first where there is little room.
        values: what the colours stand for; without them the bar has no numbers.
        rows: names and values, each with its colour.
        names: names that rows may have, so that the width stays the same.
        tinted: whether the colours are those of a tint, through which the video shows where values are low.
    """

    title: str
    lines: tuple[str, ...]
    values: ValueRange | None
    rows: tuple[tuple[str, float], ...] = ()
    names: tuple[str, ...] = ()
    tinted: bool = True

    def shorter(self) -> Legend | None:
        """The same with a line or rows less; None if nothing can be left out."""
        if self.lines:
            return replace(self, lines=self.lines[1:])
        return replace(self, rows=self.rows[:2]) if len(self.rows) > 2 else None

    def size(self, text_px: float) -> tuple[int, int]:
        """Width and height in px at a height of text."""
        texts = [self.title, *self.lines]
        inner = max(text_width(texts[0], text_px * 1.15), *(text_width(line, text_px) for line in texts))
        names = max((text_width(name, text_px) for name in (*self.names, *(row[0] for row in self.rows))), default=0)
        inner = max(inner, round(text_px * 10), names + round(text_px * 6.5) if self.rows else 0)
        pad = round(text_px * 0.9)
        return inner + 2 * pad, round(text_px * (1.95 * (len(texts) + len(self.rows)) + 3.1)) + 2 * pad


def attention_legend(view: AttentionView, scale: Scale, values: ValueRange | None, skeleton: Skeleton) -> Legend:
    """The legend of a map of one keypoint."""
    title, *lines = legend_lines(view, scale, skeleton)
    return Legend(title=title, lines=tuple(lines), values=values)


@dataclass(frozen=True, kw_only=True)
class LegendBlock:
    """Legends under each other, in one font and one size.

    Attributes:
        legends: from the top.
        text_px: height of the text.
        size_wh: of the block in px.
    """

    legends: tuple[Legend, ...]
    text_px: float
    size_wh: tuple[int, int]

    @property
    def margin(self) -> int:
        """Room to the sides of the picture, px."""
        return round(self.text_px * 0.9)

    def paint(self, image: UInt8Array, left_top: tuple[int, int], opacity: float = 0.78) -> None:
        """Paint it into (H, W, 3) uint8 BGR."""
        for legend, box in zip(self.legends, self.boxes(left_top), strict=True):
            panel(image, box, round(self.text_px * 0.6), _PANEL_BGR, opacity)
            _paint(image, legend, box[:2], self.size_wh[0], self.text_px)

    def boxes(self, left_top: tuple[int, int]) -> list[tuple[int, int, int, int]]:
        """Left, top, right and bottom of each legend."""
        (left, top), found = left_top, []
        for legend in self.legends:
            height = legend.size(self.text_px)[1]
            found.append((left, top, left + self.size_wh[0], top + height))
            top += height + self.margin // 2
        return found


def fitted(legends: Sequence[Legend], room_wh: tuple[int, int], density: float) -> LegendBlock | None:
    """The legends as large as they may be in a picture of this size, with less text in a small one.

    None where nothing that could be read has room, or there are none.
    """
    width, height = room_wh
    text_px = float(np.clip(min(height, width) / 54, 9 * density, 24 * density))
    chosen = list(legends)
    tight = True
    while chosen:
        block = _stacked(chosen, text_px)
        most = sum(_MOST_HEIGHT + _ROWS_HEIGHT * bool(legend.rows) for legend in chosen) if tight else 0.6
        if (
            block.size_wh[0] + 2 * block.margin <= width * (_MOST_WIDTH if tight else 1)
            and block.size_wh[1] + 2 * block.margin <= height * most
        ):
            return block
        shorter = [(len(legend.lines), at, less) for at, legend in enumerate(chosen) if (less := legend.shorter())]
        if shorter:
            _lines, at, less = max(shorter, key=lambda each: each[0])
            chosen[at] = less
        elif text_px > _SMALLEST_PX * density or (not tight and text_px > 5):
            text_px *= 0.85
        elif tight:
            tight = False
        else:
            chosen.pop()
    return None


def _stacked(legends: Sequence[Legend], text_px: float) -> LegendBlock:
    sizes = [legend.size(text_px) for legend in legends]
    gaps = (len(legends) - 1) * (round(text_px * 0.9) // 2)
    size_wh = max(width for width, _height in sizes), sum(height for _width, height in sizes) + gaps
    return LegendBlock(legends=tuple(legends), text_px=text_px, size_wh=size_wh)


def draw_legends(
    image: UInt8Array,
    legends: Sequence[Legend],
    *,
    boxes_xyxy: Float32Array,
    time_s: float = 0.0,
    corner: LegendCorner | None = None,
    density: float = 1.0,
) -> None:
    """Draw legends into a corner of (H, W, 3) uint8 BGR that is free of people; on small frames with fewer lines.

    Args:
        legends: from the top.
        boxes_xyxy: (N, 4) float32, people who should not be covered, px.
        corner: where the legends were in the frames before.
        density: image px per logical px.
    """
    height, width = image.shape[:2]
    block = fitted(legends, (width, height), density)
    if block is not None:
        place = (corner or LegendCorner()).place(block.size_wh, (width, height), block.margin, boxes_xyxy, time_s)
        block.paint(image, place)


def legend_picture(block: LegendBlock) -> UInt8Array:
    """The legends alone, (H, W, 4) uint8 BGRA, to be laid over something."""
    width, height = block.size_wh
    image, mask = np.zeros((height, width, 3), np.uint8), np.zeros((height, width, 3), np.uint8)
    block.paint(image, (0, 0), 1.0)
    for box in block.boxes((0, 0)):
        panel(mask, box, round(block.text_px * 0.6), (255, 255, 255), 1.0)
    return np.dstack([image, mask[..., 0]])


def _paint(image: UInt8Array, legend: Legend, left_top: tuple[int, int], width: int, text_px: float) -> None:
    pad = round(text_px * 0.9)
    inner, x, y = width - 2 * pad, left_top[0] + pad, left_top[1] + pad + text_px * 1.15
    put_text(image, legend.title, (x, y), text_px * 1.15, _TEXT_BGR)
    for line in legend.lines:
        y += text_px * 1.95
        put_text(image, line, (x, y), text_px, _FAINT_BGR)
    for name, value in legend.rows:
        y += text_px * 1.95
        share = np.zeros((1, 1), np.float32) if legend.values is None else legend.values.shares(np.full((1, 1), value))
        color = tuple(int(part) for part in colors_of(np.minimum(share, 1))[0, 0])
        cv2.circle(image, (round(x + text_px * 0.5), round(y - text_px * 0.5)), round(text_px * 0.5), color, -1, 16)
        put_text(image, name, (x + text_px * 1.6, y), text_px, _TEXT_BGR)
        number = f"{value:.2f}"
        put_text(image, number, (x + inner - text_width(number, text_px), y), text_px, _TEXT_BGR)
    draw_bar(image, (x, round(y + text_px * 0.8)), inner, text_px, legend.values, tinted=legend.tinted)


def draw_bar(
    image: UInt8Array,
    left_top: tuple[int, int],
    length: int,
    text_px: float,
    values: ValueRange | None,
    *,
    tinted: bool = True,
) -> None:
    """The colours from low to high, of a tint on a grey background, with numbers under both ends and the middle."""
    x, y = left_top
    shares = np.linspace(0, 1, length, dtype=np.float32)[None].repeat(max(2, round(text_px)), axis=0)
    weight = opacity_of(shares) if tinted else np.ones_like(shares)
    ground = np.full((*shares.shape, 3), 120, np.uint8)
    bar = cv2.blendLinear(ground, colors_of(shares), 1 - weight, weight)
    image[y : y + bar.shape[0], x : x + length] = bar
    base = y + bar.shape[0] + text_px * 1.5
    small = text_px * 0.9
    for share, text in zip((0.0, 0.5, 1.0), values.labels() if values is not None else (), strict=False):
        put_text(image, text, (x + share * (length - text_width(text, small)), base), small, _TEXT_BGR)
