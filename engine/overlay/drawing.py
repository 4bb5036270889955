"""Draws a result: skeletons, boxes, labels, angles, trails, and the network's attention."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from engine.errors import OptionError
from engine.option_table import Control, Place, option
from engine.options import attention_scale
from engine.overlay.attention import SCALES, AttentionView, Scale, chosen_maps, num_keypoints, scaled_maps, tint
from engine.overlay.joint_angles import draw_angles
from engine.overlay.legend import Legend, LegendCorner, attention_legend, draw_legends
from engine.overlay.text import Color, panel, put_text, text_width
from engine.overlay.trails import Trails, ends_of_limbs
from engine.skeleton import Skeleton
from engine.types import Float32Array, FrameResult, Poses, UInt8Array

_OUTLINE_BGR: Color = (28, 24, 22)
_RING_BGR: Color = (255, 255, 255)
_BOX_BGR: Color = (235, 235, 235)
_FOLLOWED_BGR: Color = (94, 236, 255)
_SHIFT = 4  # fractional bits of the coordinates that OpenCV draws with
# Colours that tell people with ids apart; light enough to carry dark text.
_ID_COLORS_BGR: tuple[Color, ...] = (
    (66, 228, 240), (233, 180, 86), (167, 204, 121), (167, 121, 204), (120, 180, 255), (210, 210, 90), (180, 160, 250)
)  # fmt: skip


class Background:
    """A black ground, or a picture that covers the frame."""

    def __init__(self, image_bgr: UInt8Array | None = None) -> None:
        """Take a picture (H, W, 3) uint8 BGR; None for black."""
        self._image = image_bgr
        self._fitted: UInt8Array | None = None

    def covering(self, size_wh: tuple[int, int]) -> UInt8Array:
        """The ground in a size in px, (H, W, 3) uint8 BGR, not to be changed; what sticks out is cut off evenly."""
        width, height = size_wh
        if self._fitted is None or self._fitted.shape[:2] != (height, width):
            self._fitted = (
                np.zeros((height, width, 3), np.uint8) if self._image is None else _covering(self._image, size_wh)
            )
        return self._fitted


def _covering(image: UInt8Array, size_wh: tuple[int, int]) -> UInt8Array:
    factor = max(size_wh[0] / image.shape[1], size_wh[1] / image.shape[0])
    scaled_wh = (max(size_wh[0], round(image.shape[1] * factor)), max(size_wh[1], round(image.shape[0] * factor)))
    scaled = cv2.resize(image, scaled_wh, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    left, top = (scaled_wh[0] - size_wh[0]) // 2, (scaled_wh[1] - size_wh[1]) // 2
    return np.ascontiguousarray(scaled[top : top + size_wh[1], left : left + size_wh[0]])


_REMEMBERED = Place.PANEL | Place.SETTINGS


@dataclass(frozen=True, kw_only=True)
class OverlayOptions:
    """What is drawn.

    Attributes:
        skeleton: keypoints and the lines between them.
        boxes: boxes of people.
        ids: labels with the ids of people, where they have one.
        scores: labels with the scores of people.
        angles: the angles at the joints, in degrees.
        trails: where the ends of limbs were in the last second, of people with ids.
        legend: of the attention map, and of the probe in the window.
        line_width: width of the skeleton's lines in px; None scales it with each person.
        opacity: of skeletons and boxes, above 0 to 1.
        score_threshold: keypoints with a lower score are not drawn.
        attention: the maps to tint people with; None for none.
        background: what is under the drawing in place of the video; None for the video.
        scale: of the tint: 'frame' spans from 1/K to the frame's highest value, 'paper' from 0 to 1.
    """

    skeleton: bool = option(True, places=_REMEMBERED, control=Control(label="Skeleton"))
    boxes: bool = option(False, places=_REMEMBERED, control=Control(label="Boxes"))
    ids: bool = option(True, places=_REMEMBERED, control=Control(label="Ids"))
    scores: bool = option(False, places=_REMEMBERED, control=Control(label="Scores"))
    angles: bool = option(False, places=_REMEMBERED, control=Control(label="Angles"))
    trails: bool = option(False, places=_REMEMBERED, control=Control(label="Trails"))
    legend: bool = option(True, places=_REMEMBERED, control=Control(label="Legend"))
    line_width: float | None = option(
        None,
        read=float,
        places=_REMEMBERED,
        control=Control(label="Line width", high=10, step=0.5, form="{value:g} px", none="auto"),
    )
    opacity: float = option(
        1.0, read=float, places=_REMEMBERED, control=Control(label="Opacity", low=0.05, form="{percent:.0f} %")
    )
    score_threshold: float = option(
        0.2, read=float, places=_REMEMBERED, control=Control(label="Keypoint score", high=0.95)
    )
    attention: AttentionView | None = None
    background: Background | None = None
    scale: Scale = option("frame", read=attention_scale, places=Place.SETTINGS)

    def __post_init__(self) -> None:
        if self.line_width is not None and not 0 < self.line_width <= 100:
            raise OptionError(f"the line width must lie between 0 and 100 px, not {self.line_width}")
        if not 0 < self.opacity <= 1:
            raise OptionError(f"the opacity must lie above 0 and be 1 at most, not {self.opacity}")
        if not 0 <= self.score_threshold <= 1:
            raise OptionError(f"the keypoint score must lie between 0 and 1, not {self.score_threshold}")
        if self.scale not in SCALES:
            raise OptionError(f"unknown attention scale '{self.scale}'. Known: {', '.join(SCALES)}.")


class DrawingMemory:
    """What the drawing of a frame keeps from those before it; one for each sequence of frames."""

    def __init__(self) -> None:
        self.legend = LegendCorner()
        self.trails = Trails()
        self._sequence: object = None

    def enter(self, sequence: object) -> None:
        """Forget the trails where a frame is of another sequence than the one before, such as after a seek."""
        if sequence != self._sequence:
            self._sequence = sequence
            self.trails.reset()


def draw(
    result: FrameResult,
    skeleton: Skeleton,
    options: OverlayOptions,
    out: UInt8Array | None = None,
    *,
    memory: DrawingMemory | None = None,
    density: float = 1.0,
    also: tuple[Legend, ...] = (),
) -> UInt8Array:
    """Draw a result on its frame.

    Args:
        out: (H, W, 3) uint8 to draw into; may be the frame's own image, which is then drawn over. None for a new one.
        memory: of the sequence that the frame belongs to; None for a frame that stands for itself.
        density: image px per logical px, for line width and text; 2 on a screen of twice the density.
        also: legends of what the caller draws on it.

    Returns:
        (H, W, 3) uint8 BGR: `out`, or a new array.

    Raises:
        OptionError: the network does not have the chosen keypoint.
        ValueError: `out` has another size than the frame.
    """
    image = result.frame.image_bgr
    if out is None:
        out = image.copy()
    elif out is not image:
        if out.shape != image.shape:
            raise ValueError(f"out has shape {out.shape}, the frame {image.shape}")
        np.copyto(out, image)
    canvas = np.ascontiguousarray(out)
    if options.background is not None:
        np.copyto(canvas, options.background.covering((canvas.shape[1], canvas.shape[0])))
    if options.line_width is not None:
        options = replace(options, line_width=options.line_width * density)
    if options.attention is not None:
        tint(canvas, result.attention, options.attention, options.scale)
    _draw_people(canvas, result, skeleton, options, memory, density=density)
    legends = legends_of(result, skeleton, options, also)
    if legends:
        draw_legends(
            canvas,
            legends,
            boxes_xyxy=result.poses.boxes_xyxy,
            time_s=result.frame.timestamp_s,
            corner=None if memory is None else memory.legend,
            density=density,
        )
    if canvas is not out:
        np.copyto(out, canvas)
    return out


def legends_of(
    result: FrameResult, skeleton: Skeleton, options: OverlayOptions, also: tuple[Legend, ...] = ()
) -> tuple[Legend, ...]:
    """The legend of the attention map, if one is drawn, and those of other drawings; none where they are off."""
    view, values = options.attention, None
    if not options.legend:
        return ()
    if view is None:
        return also
    maps = chosen_maps(result.attention, view)
    if result.attention is not None and maps is not None and len(maps):
        _scaled, values = scaled_maps(maps, view, options.scale, num_keypoints(result.attention))
    return (attention_legend(view, options.scale, values, skeleton), *also)


def _draw_people(
    canvas: UInt8Array,
    result: FrameResult,
    skeleton: Skeleton,
    options: OverlayOptions,
    memory: DrawingMemory | None,
    *,
    density: float,
) -> None:
    poses = result.poses
    # In ascending order of scores: where two people overlap, the one with the higher score is on top.
    order = [int(person) for person in np.argsort(poses.person_scores, kind="stable")]
    bare = canvas.copy() if options.opacity < 1 and order else None
    if options.trails and memory is not None:
        _draw_trails(canvas, result, skeleton, options, memory.trails)
    for person in order:
        _draw_person(canvas, poses, person, skeleton, options)
    if bare is not None:
        cv2.addWeighted(canvas, options.opacity, bare, 1 - options.opacity, 0, dst=canvas)
    if options.angles:
        draw_angles(canvas, poses, skeleton, options.score_threshold, density)
    for person in order:  # after all people, so that no lines cross a label
        # No label for a person of whom nothing is drawn.
        if options.boxes or (poses.scores[person] >= options.score_threshold).any():
            _draw_label(canvas, poses, person, options, density)


def person_line_width(box_xyxy: Float32Array, frame_size_wh: tuple[int, int]) -> float:
    """Width of a person's lines in px: thin on small people, and never so thick that it hides a face."""
    extent = float(np.hypot(*(np.maximum(box_xyxy[2:] - box_xyxy[:2], 1)))) if np.isfinite(box_xyxy).all() else 1.0
    frame = float(min(frame_size_wh))
    return float(np.clip(extent * 0.0075, max(1.0, frame / 500), max(1.5, frame / 110)))


def _draw_trails(
    image: UInt8Array, result: FrameResult, skeleton: Skeleton, options: OverlayOptions, trails: Trails
) -> None:
    height, width = image.shape[:2]
    poses = result.poses
    shown = poses.scores >= options.score_threshold
    trails.add(poses, ends_of_limbs(skeleton), shown, result.frame.timestamp_s, (width, height))
    if poses.track_ids is not None and len(poses):
        widths = [person_line_width(box, (width, height)) for box in poses.boxes_xyxy]
        colors = {int(number): _person_color(poses, person) for person, number in enumerate(poses.track_ids)}
        trails.draw(image, colors, options.line_width or max(widths))


def _draw_person(image: UInt8Array, poses: Poses, person: int, skeleton: Skeleton, options: OverlayOptions) -> None:
    height, width = image.shape[:2]
    box = poses.boxes_xyxy[person]
    line_width = options.line_width or person_line_width(box, (width, height))
    if options.boxes and np.isfinite(box).all():
        _draw_box(image, box, _person_color(poses, person), line_width)
    if poses.followed is not None and poses.followed[person] and np.isfinite(box).all():
        _draw_corners(image, box, line_width)
    if options.skeleton:
        points, scores = poses.keypoints_xy[person], poses.scores[person]
        # A keypoint may lie far outside; OpenCV's fixed-point coordinates hold 16 bits before the point.
        drawable = np.isfinite(points).all(axis=1) & (np.abs(points).max(axis=1, initial=0) < 2**15)
        _draw_skeleton(image, points, drawable & (scores >= options.score_threshold), skeleton, line_width)


def _person_color(poses: Poses, person: int) -> Color:
    if poses.track_ids is None:
        return _BOX_BGR
    return _ID_COLORS_BGR[int(poses.track_ids[person]) % len(_ID_COLORS_BGR)]


def label_text(poses: Poses, person: int, options: OverlayOptions) -> str:
    """Text of a person's label; empty for no label."""
    score = float(poses.person_scores[person])
    parts = [f"#{poses.track_ids[person]}"] if options.ids and poses.track_ids is not None else []
    if options.scores and np.isfinite(score):
        parts.append(f"{score:.2f}")
    if poses.repetitions is not None:
        parts.append(f"{poses.repetitions[person]} reps")
    return "  ".join(parts)


def _fixed(point: Float32Array) -> tuple[int, int]:
    """A point in OpenCV's fixed-point coordinates with `_SHIFT` fractional bits."""
    return round(float(point[0]) * (1 << _SHIFT)), round(float(point[1]) * (1 << _SHIFT))


def _draw_skeleton(
    image: UInt8Array, points: Float32Array, shown: np.ndarray, skeleton: Skeleton, line_width: float
) -> None:
    """Lines first, dark ones under coloured ones, then keypoints on top of them."""
    edges = [edge for edge in skeleton.edges if shown[edge[0]] and shown[edge[1]]]
    thick, rim = max(1, round(line_width)), max(1, round(line_width * 0.3))
    for extra, color in ((2 * rim, _OUTLINE_BGR), (0, None)):
        for edge in edges:
            ends = _fixed(points[edge[0]]), _fixed(points[edge[1]])
            paint = color or skeleton.edge_color_bgr(edge)
            cv2.line(image, *ends, paint, thick + extra, cv2.LINE_AA, _SHIFT)
    radius = max(1.5, line_width * 0.95)
    for keypoint in np.flatnonzero(shown):
        center = _fixed(points[keypoint])
        for size, color in (
            (radius + 0.6 * rim + 0.5, _OUTLINE_BGR),
            (radius, _RING_BGR),
            (radius * 0.68, skeleton.color_bgr(int(keypoint))),
        ):
            cv2.circle(image, center, round(size * (1 << _SHIFT)), color, -1, cv2.LINE_AA, _SHIFT)


def _draw_box(image: UInt8Array, box: Float32Array, color: Color, line_width: float) -> None:
    height, width = image.shape[:2]
    left, top, right, bottom = (round(float(v)) for v in np.clip(box, 0, [width - 1, height - 1] * 2))
    thin = max(1, round(line_width * 0.4))
    cv2.rectangle(image, (left, top), (right, bottom), _OUTLINE_BGR, 2 * thin, cv2.LINE_AA)
    cv2.rectangle(image, (left, top), (right, bottom), color, thin, cv2.LINE_AA)


def _draw_corners(image: UInt8Array, box: Float32Array, line_width: float) -> None:
    """The mark of the person who is followed: the four corners of their box."""
    height, width = image.shape[:2]
    left, top, right, bottom = (round(float(v)) for v in np.clip(box, 0, [width - 1, height - 1] * 2))
    arm = max(4, round(0.18 * min(right - left, bottom - top)))
    thin = max(1, round(line_width * 0.7))
    for color, thick in ((_OUTLINE_BGR, thin + 2 * max(1, round(line_width * 0.3))), (_FOLLOWED_BGR, thin)):
        for x, dx in ((left, arm), (right, -arm)):
            for y, dy in ((top, arm), (bottom, -arm)):
                cv2.line(image, (x, y), (x + dx, y), color, thick, cv2.LINE_AA)
                cv2.line(image, (x, y), (x, y + dy), color, thick, cv2.LINE_AA)


def _label_anchor(poses: Poses, person: int, options: OverlayOptions) -> tuple[float, float, bool] | None:
    """x, y of a label's lower edge, and whether x is its middle (else its left end); None where there is no place."""
    box = poses.boxes_xyxy[person]
    if not np.isfinite(box).all():
        return None
    if options.boxes:
        return float(box[0]), float(box[1]), False
    points = poses.keypoints_xy[person]
    seen = points[(poses.scores[person] >= options.score_threshold) & np.isfinite(points).all(axis=1)]
    if len(seen) == 0:
        return float(box[0] + box[2]) / 2, float(box[1]), True
    top = seen[seen[:, 1].argmin()]
    # The highest keypoint of an upright body is an eye or an ear, with the rest of the head above it.
    gap = 0.09 * float(seen[:, 1].max() - top[1])
    return float(top[0]), float(top[1]) - gap, True


def _draw_label(image: UInt8Array, poses: Poses, person: int, options: OverlayOptions, density: float) -> None:
    """A label over a person's head, or on the box if that is drawn, moved so that all of it lies inside the frame."""
    text, anchor = label_text(poses, person, options), _label_anchor(poses, person, options)
    if not text or anchor is None:
        return
    x, bottom, centered = anchor
    color = _person_color(poses, person)
    height, width = image.shape[:2]
    box = poses.boxes_xyxy[person]
    if box[2] < 0 or box[3] < 0 or box[0] > width - 1 or box[1] > height - 1:
        return  # of a part of the frame that is not shown
    text_px = float(np.clip(min(height, width) / 54, 8 * density, 22 * density))
    pad = max(2, round(text_px * 0.5))
    size = text_width(text, text_px) + 2 * pad, round(text_px) + 2 * pad
    left = int(np.clip(round(x - size[0] / 2 * centered), 0, max(0, width - size[0])))
    top = int(np.clip(round(bottom) - size[1], 0, max(0, height - size[1])))
    panel(image, (left, top, left + size[0], top + size[1]), pad // 2, color, 0.92)
    put_text(image, text, (left + pad, top + size[1] - pad), text_px, _OUTLINE_BGR)
