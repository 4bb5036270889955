"""The legend of an attention map: what is shown, and which values the colours stand for."""

from __future__ import annotations

import cv2
import numpy as np

from engine.overlay.attention import AttentionView, Scale, ValueRange, colors_of, opacity_of
from engine.overlay.text import panel, put_text, text_width
from engine.skeleton import Skeleton
from engine.types import Float32Array, UInt8Array

_PANEL_BGR, _TEXT_BGR, _FAINT_BGR = (24, 20, 18), (245, 245, 245), (200, 200, 200)
_MOST_WIDTH, _MOST_HEIGHT = 0.45, 0.22  # of the frame
_SMALLEST_PX = 7  # of text that is still read; below that the legend may take more of the frame
_STAYS_S = 1.0  # in a corner, before it goes to a better one: a legend that jumps cannot be read
_CORNERS = ((0, 1), (1, 1), (0, 0), (1, 0))  # right, bottom; in order of preference


class LegendCorner:
    """The corner of the legend in a sequence of frames: where it covers people least, changed as seldom as possible."""

    def __init__(self) -> None:
        self._corner: int | None = None
        self._since_s = 0.0

    def place(
        self, size_wh: tuple[int, int], frame_wh: tuple[int, int], margin: int, boxes_xyxy: Float32Array, time_s: float
    ) -> tuple[int, int]:
        """Left and top of a panel of this size, in px.

        Args:
            size_wh: of the panel.
            frame_wh: of the frame.
            margin: room to the frame's sides.
            boxes_xyxy: (N, 4) of the people, px.
            time_s: of the frame.
        """
        places = [
            (
                frame_wh[0] - margin - size_wh[0] if right else margin,
                frame_wh[1] - margin - size_wh[1] if bottom else margin,
            )
            for right, bottom in _CORNERS
        ]
        covered = [_covered((left, top, left + size_wh[0], top + size_wh[1]), boxes_xyxy) for left, top in places]
        best = int(np.argmin(covered))
        old = self._corner
        if old is None or (covered[best] < covered[old] / 2 and not 0 <= time_s - self._since_s < _STAYS_S):
            self._corner, self._since_s = best, time_s
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


def draw_legend(
    image: UInt8Array,
    view: AttentionView,
    scale: Scale,
    values: ValueRange | None,
    skeleton: Skeleton,
    *,
    boxes_xyxy: Float32Array,
    time_s: float = 0.0,
    corner: LegendCorner | None = None,
    density: float = 1.0,
) -> None:
    """Draw the legend into a corner of (H, W, 3) uint8 BGR that is free of people; on small frames with fewer lines.

    Args:
        image: drawn into.
        view: the shown map.
        scale: of its colours.
        values: what the colours stand for; without them the bar has no numbers.
        skeleton: names of the keypoints.
        boxes_xyxy: (N, 4) float32, people who should not be covered, px.
        time_s: of the frame.
        corner: where the legend was in the frames before.
        density: image px per logical px.
    """
    height, width = image.shape[:2]
    title, shows, meaning = legend_lines(view, scale, skeleton)
    text_px = float(np.clip(min(height, width) / 54, 9 * density, 24 * density))
    lines = [title, shows, meaning]
    most = (_MOST_WIDTH, _MOST_HEIGHT)
    while True:
        pad = round(text_px * 0.9)
        inner = max(text_width(title, text_px * 1.15), *(text_width(line, text_px) for line in lines))
        inner = max(inner, round(text_px * 10))
        total = round(text_px * (1.95 * len(lines) + 3.1)) + 2 * pad
        if inner + 4 * pad <= width * most[0] and total + 2 * pad <= height * most[1]:
            break
        if len(lines) > 1:
            lines.remove(shows if shows in lines else meaning)
        elif text_px > _SMALLEST_PX * density or (most[0] == 1 and text_px > 5):
            text_px *= 0.85
        elif most[0] < 1:
            most = (1, 0.6)
        else:
            return  # no room for anything that could be read
    size_wh = (inner + 2 * pad, total)
    left, box_top = (corner or LegendCorner()).place(size_wh, (width, height), pad, boxes_xyxy, time_s)
    panel(image, (left, box_top, left + size_wh[0], box_top + total), round(text_px * 0.6), _PANEL_BGR, 0.78)
    x, y = left + pad, box_top + pad + text_px * 1.15
    put_text(image, title, (x, y), text_px * 1.15, _TEXT_BGR)
    for line in lines[1:]:
        y += text_px * 1.95
        put_text(image, line, (x, y), text_px, _FAINT_BGR)
    draw_bar(image, (x, round(y + text_px * 0.8)), inner, text_px, values)


def draw_bar(
    image: UInt8Array, left_top: tuple[int, int], length: int, text_px: float, values: ValueRange | None
) -> None:
    """The colours from low to high, on a grey background, with numbers under both ends and the middle."""
    x, y = left_top
    shares = np.linspace(0, 1, length, dtype=np.float32)[None].repeat(max(2, round(text_px)), axis=0)
    weight = opacity_of(shares)
    ground = np.full((*shares.shape, 3), 120, np.uint8)
    bar = cv2.blendLinear(ground, colors_of(shares), 1 - weight, weight)
    image[y : y + bar.shape[0], x : x + length] = bar
    base = y + bar.shape[0] + text_px * 1.5
    small = text_px * 0.9
    for share, text in zip((0.0, 0.5, 1.0), values.labels() if values is not None else (), strict=False):
        put_text(image, text, (x + share * (length - text_width(text, small)), base), small, _TEXT_BGR)
