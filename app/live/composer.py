"""The drawing thread: draws pictures at the size of the view, so that the GUI thread only copies them to the screen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PyQt5.QtGui import QImage

from app.live.compose import Look, Zoom, compose, fit, fitting
from app.live.map_grid import GridRequest, MapGrid, map_grid
from app.live.probe import Pins, ProbeReading, Probes, probe_legends
from app.live.qimages import to_qimage
from app.live.shots import Shown, Unexpected
from engine.overlay.drawing import DrawingMemory, legends_of
from engine.overlay.legend import fitted, legend_picture
from engine.overlay.placed import placed_boxes
from engine.system.latest_slot import LatestSlot
from engine.types import Float32Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """What the GUI thread paints.

    Attributes:
        image: fits the view, in device px.
        frame_to_picture: (2, 3) float32 affine to px of `image`.
        shown: the frame and result that it shows.
        people_xyxy: (N, 4) float32 boxes of the people, px of `image`.
        grid: the maps of one person, while they are asked for and the person is there.
        legend: with transparency, in device px; None where there is none, or no room to read one.
        reading: of the probe; None without one.
        pins: numbers and readings of pinned probes.
        probe_set: whether a probe is fixed to a person, visible in this frame or not.
        probe_lost: whether that person is not in this frame.
        probed_id: their id; None without ids.
        draw_ms: time to draw it.
    """

    image: QImage
    frame_to_picture: Float32Array
    shown: Shown
    people_xyxy: Float32Array
    grid: MapGrid | None = None
    legend: QImage | None = None
    reading: ProbeReading | None
    pins: Pins = ()
    probe_set: bool
    probe_lost: bool = False
    probed_id: int | None = None
    draw_ms: float


def _legend_image(
    shown: Shown, look: Look, probes: tuple[ProbeReading | None, Pins], room_wh: tuple[int, int], density: float
) -> QImage | None:
    """The legends of what a picture shows, for a view of this size in device px."""
    if shown.result is None or shown.skeleton is None:
        return None
    overlay = fitting(look.overlay, shown)
    also = probe_legends(*probes, shown.skeleton, overlay.scale)
    block = fitted(legends_of(shown.result, shown.skeleton, overlay, also), room_wh, density)
    return None if block is None else to_qimage(legend_picture(block))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Wanted:
    """What is to be drawn, and what was done with the probe since the last picture."""

    shown: Shown | None = None
    look: Look = field(default_factory=Look)
    zoom: Zoom = field(default_factory=Zoom)
    room_wh: tuple[int, int] = (960, 540)  # device px
    density: float = 1.0  # device px for one logical px
    grid: GridRequest | None = None
    probe_at: tuple[float, float] | None = None  # frame px
    probe_clear: bool = False
    pin: bool | None = None  # pin the probe, or remove the pinned ones


class Composer:
    """Draws the newest result in the current look, and again when look, size or probe change."""

    def __init__(self, *, picture_ready: Callable[[], None], emit: Callable[[Any], None]) -> None:
        """Start the thread.

        Args:
            picture_ready: called in the drawing thread when `pictures` has one, after it had none.
            emit: takes events (app.live.shots), in the drawing thread.
        """
        self.pictures: LatestSlot[Picture] = LatestSlot()
        self._ready, self._emit = picture_ready, emit
        self._changed = threading.Condition()
        self._wanted = _Wanted()
        self._placed: object = None
        self._dirty = self._stopped = False
        self._probes = Probes()
        self._memory = DrawingMemory()
        self.probes = self._probes.copy()
        """The probes of the newest picture; replaced and never changed, so that any thread may copy it."""
        self._thread = threading.Thread(target=self._run, name="drawing", daemon=True)
        self._thread.start()

    def _change(self, **changes: Any) -> None:
        with self._changed:
            self._wanted, self._dirty = replace(self._wanted, **changes), True
            self._changed.notify_all()

    def show(self, shown: Shown) -> None:
        """Draw this next."""
        self._change(shown=shown)

    @property
    def look(self) -> Look:
        """The current look."""
        return self._wanted.look

    def set_look(self, look: Look) -> None:
        """Change the look."""
        self._change(look=look)

    def set_room(self, room_wh: tuple[int, int], density: float) -> None:
        """Fit pictures into a size in device px; `density` is device px for one logical px."""
        self._change(room_wh=(max(1, room_wh[0]), max(1, room_wh[1])), density=density)

    def set_zoom(self, zoom: Zoom) -> None:
        """Show another part of the frame."""
        self._change(zoom=zoom)

    def set_grid(self, request: GridRequest | None) -> None:
        """Draw the maps of one person with each picture, or no longer."""
        if request != self._wanted.grid:
            self._change(grid=request)

    def place_probe(self, point_xy: tuple[float, float] | None) -> None:
        """Fix the probe to the person at a point in frame px; None, or a point outside all people, removes it."""
        self._change(probe_at=point_xy, probe_clear=point_xy is None)

    def pin_probe(self, pinned: bool) -> None:
        """Keep the probe where it is, and set another with the next click; False removes all that are kept."""
        self._change(pin=pinned)

    def stop(self) -> None:
        """Stop the thread; does not wait."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def join(self, limit_s: float) -> bool:
        """Wait for the end of the thread."""
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or (self._dirty and self._wanted.shown is not None))
                wanted, shown = self._wanted, self._wanted.shown
                if self._stopped or shown is None:
                    return
                self._dirty = False
                self._wanted = replace(wanted, probe_at=None, probe_clear=False, pin=None)
            try:
                picture = self._picture(shown, wanted)
            except Exception as error:
                self._emit(Unexpected(error=error, where="the drawing thread"))
                continue
            if self.pictures.put(picture):
                self._ready()

    def _picture(self, shown: Shown, wanted: _Wanted) -> Picture:
        started_s = time.perf_counter()
        if wanted.pin is not None:
            (self._probes.pin if wanted.pin else self._probes.unpin)()
        probe, look, zoom = self._probes.active, wanted.look, wanted.zoom
        if wanted.probe_clear:
            probe.clear()
        if wanted.probe_at is not None and not probe.place(shown, wanted.probe_at):
            probe.clear()
        reading, pins = self._probes.read(shown)
        self.probes = self._probes.copy()
        height, width = shown.shot.frame.image_bgr.shape[:2]
        # The legends are not part of the picture: the view has room beside it, and they can be moved there.
        bare = replace(look, overlay=replace(look.overlay, legend=False))
        size_wh = fit((width, height), wanted.room_wh)
        if self._placed != (size_wh, zoom):  # trails are kept in px of the picture
            self._placed, self._memory = (size_wh, zoom), DrawingMemory()
        composed = compose(shown, bare, size_wh, memory=self._memory, density=wanted.density, zoom=zoom)
        boxes = np.zeros((0, 4), np.float32) if shown.poses is None else shown.poses.boxes_xyxy
        return Picture(
            image=to_qimage(composed.image_bgr),
            frame_to_picture=composed.frame_to_picture,
            shown=shown,
            people_xyxy=placed_boxes(boxes, composed.frame_to_picture),
            grid=None if wanted.grid is None else map_grid(shown, wanted.grid, look),
            legend=_legend_image(shown, look, (reading, pins), wanted.room_wh, wanted.density),
            reading=reading,
            pins=pins,
            probe_set=self._probes.is_set,
            probe_lost=probe.is_lost,
            probed_id=probe.person_id,
            draw_ms=(time.perf_counter() - started_s) * 1000,
        )
