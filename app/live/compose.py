"""The picture of a frame as it is shown, recorded or saved: scaled, mirrored, with its overlay."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from app.live.shots import Shown
from engine.overlay.drawing import DrawingMemory, OverlayOptions, draw
from engine.overlay.legend import Legend
from engine.overlay.placed import placed_result
from engine.types import Float32Array, UInt8Array


@dataclass(frozen=True, kw_only=True)
class Look:
    """How the window shows a frame.

    Attributes:
        overlay: what is drawn.
        mirror: flip left and right.
    """

    overlay: OverlayOptions = field(default_factory=OverlayOptions)
    mirror: bool = False


_MOST_ZOOM = 16.0


@dataclass(frozen=True, kw_only=True)
class Zoom:
    """Which part of a frame is shown.

    Attributes:
        factor: 1 shows all of it, 2 half its width and height.
        left_top: of the part, as shares of the frame's width and height.
    """

    factor: float = 1.0
    left_top: tuple[float, float] = (0.0, 0.0)

    def about(self, factor: float, place: tuple[float, float]) -> Zoom:
        """Another factor, within limits; what is at a place of the picture (shares of its size) stays there."""
        factor = min(_MOST_ZOOM, max(1.0, factor))
        x, y = (start + at / self.factor - at / factor for start, at in zip(self.left_top, place, strict=True))
        return Zoom(factor=factor, left_top=_within(factor, x, y))

    def moved(self, by: tuple[float, float]) -> Zoom:
        """The content moved by shares of the picture's size, as far as the frame reaches."""
        x, y = (start - step / self.factor for start, step in zip(self.left_top, by, strict=True))
        return Zoom(factor=self.factor, left_top=_within(self.factor, x, y))


def _within(factor: float, x: float, y: float) -> tuple[float, float]:
    most = 1 - 1 / factor
    return min(most, max(0.0, x)), min(most, max(0.0, y))


@dataclass(frozen=True, kw_only=True, eq=False)
class Composed:
    """A picture, and the position of the frame's pixels in it.

    Attributes:
        image_bgr: (H, W, 3) uint8, owned by the holder.
        frame_to_picture: (2, 3) float32 affine.
    """

    image_bgr: UInt8Array
    frame_to_picture: Float32Array


def fit(frame_size_wh: tuple[int, int], room_wh: tuple[int, int]) -> tuple[int, int]:
    """The largest size with the frame's aspect ratio that fits into the room."""
    factor = min(room_wh[0] / frame_size_wh[0], room_wh[1] / frame_size_wh[1])
    return max(1, round(frame_size_wh[0] * factor)), max(1, round(frame_size_wh[1] * factor))


def placement(
    frame_size_wh: tuple[int, int], size_wh: tuple[int, int], *, mirror: bool, zoom: Zoom | None = None
) -> Float32Array:
    """(2, 3) float32 affine from frame px to px of a picture of that size, pixel centres at whole numbers."""
    zoom = zoom or Zoom()
    sx, sy = (zoom.factor * size / own for size, own in zip(size_wh, frame_size_wh, strict=True))
    left, top = (zoom.factor * size * share for size, share in zip(size_wh, zoom.left_top, strict=True))
    affine = np.array([[sx, 0, sx / 2 - 0.5 - left], [0, sy, sy / 2 - 0.5 - top]], np.float32)
    if mirror:
        affine[0] = (-sx, 0, size_wh[0] - 1 - affine[0, 2])
    return affine


def compose(
    shown: Shown,
    look: Look,
    size_wh: tuple[int, int] | None = None,
    *,
    memory: DrawingMemory | None = None,
    density: float = 1.0,
    also: tuple[Legend, ...] = (),
    zoom: Zoom | None = None,
) -> Composed:
    """Draw a shown frame at a given size.

    The overlay is drawn after the frame is scaled, so that lines and text are sharp.

    Args:
        shown: frame and, if there is one, its result.
        look: what is drawn and whether it is mirrored.
        size_wh: of the picture in px; None for that of the frame.
        memory: of the frames drawn before, for pictures of a sequence.
        density: device px for one logical px of the screen.
        also: legends of what is painted on it afterwards.
        zoom: the part of the frame that fills the picture; None for all of it.

    Raises:
        OptionError: the network does not have the chosen keypoint.
    """
    frame = shown.shot.frame.image_bgr
    own_wh = (frame.shape[1], frame.shape[0])
    size_wh = size_wh or own_wh
    if zoom is not None and zoom.factor > 1:
        affine = placement(own_wh, size_wh, mirror=False, zoom=zoom)
        image = np.asarray(cv2.warpAffine(frame, affine, size_wh, borderMode=cv2.BORDER_REPLICATE), np.uint8)
    elif size_wh == own_wh:
        image = frame.copy()
    else:
        method = cv2.INTER_AREA if size_wh[0] < own_wh[0] else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(frame, size_wh, interpolation=method), np.uint8)
    if look.mirror:
        image = np.asarray(cv2.flip(image, 1), np.uint8)
    canvas: UInt8Array = np.ascontiguousarray(image)
    affine = placement(own_wh, size_wh, mirror=look.mirror, zoom=zoom)
    if shown.result is not None and shown.skeleton is not None:
        placed = placed_result(shown.result, canvas, affine)
        if memory is not None:
            memory.enter((shown.shot.serial, shown.shot.epoch))
        draw(
            placed, shown.skeleton, fitting(look.overlay, shown), out=canvas, memory=memory, density=density, also=also
        )
    return Composed(image_bgr=canvas, frame_to_picture=affine)


def fitting(overlay: OverlayOptions, shown: Shown) -> OverlayOptions:
    """The overlay without an attention view that this result cannot show: the model may just have changed."""
    view, skeleton = overlay.attention, shown.skeleton
    if view is None:
        return overlay
    fits = shown.maps(view.kind) is not None and skeleton is not None and view.keypoint < skeleton.num_keypoints
    return overlay if fits else replace(overlay, attention=None)
