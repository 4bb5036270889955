"""`python -m tests.paint_benchmark`: time of the GUI thread for one frame, at 1600x900, the more of it is in use."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from PyQt5.QtWidgets import QApplication, QGridLayout, QWidget

from app.live.compose import Look
from app.live.composer import Composer, Picture
from app.live.map_grid import GridRequest
from app.live.shots import Shot, Shown
from app.person_choice import PersonChoice
from app.qt_setup import make_application
from app.widgets.maps_panel import MapsPanel
from app.widgets.plot_panel import PlotPanel
from app.widgets.theme import apply_theme
from app.widgets.video_view import VideoView
from engine.errors import OptionError, reports_errors
from engine.overlay.attention import AttentionView
from engine.overlay.drawing import OverlayOptions
from engine.skeleton import COCO17
from engine.system.entry import run_command
from engine.system.one_line_parser import OneLineParser
from engine.types import AttentionMaps, Detections, Float32Array, Frame, FrameResult, Poses
from tests.screenshots import size_of

_FRAME_WH = (1280, 720)
_PEOPLE = 4
_WARM_FRAMES = 5
_FRAME_S = 1 / 30
_PLOT_FRAMES = 900  # as many as the plot shows at that rate
_SIDEBAR_PX, _PLOT_PX = 324, 184
_LIMIT_S = 30.0
GOAL_MS = 6.0
"""What the GUI thread may take for a frame with everything in use (median)."""


def made_up_result(rng: np.random.Generator) -> FrameResult:
    """Four people with attention maps, on noise: the time does not depend on the picture."""
    width, height = _FRAME_WH
    image = rng.integers(0, 255, (height, width, 3), np.uint8)
    left = np.linspace(40, width - 300, _PEOPLE, dtype=np.float32)
    boxes = np.stack([left, np.full(_PEOPLE, 60), left + 240, np.full(_PEOPLE, height - 60)], 1).astype(np.float32)
    share = rng.random((_PEOPLE, COCO17.num_keypoints, 2), np.float32)
    points = boxes[:, None, :2] + share * (boxes[:, None, 2:] - boxes[:, None, :2])
    attention = rng.random((_PEOPLE, COCO17.num_keypoints, 64, 48), np.float32)
    affines = np.tile(np.array([[1.25, 0, 0], [0, 2.34, 60]], np.float32), (_PEOPLE, 1, 1))
    affines[:, 0, 2] = left
    return FrameResult(
        frame=Frame(image_bgr=image, index=0, timestamp_s=0.0),
        detections=Detections.empty(),
        poses=Poses(
            keypoints_xy=points.astype(np.float32),
            scores=np.ones((_PEOPLE, COCO17.num_keypoints), np.float32),
            boxes_xyxy=boxes,
            box_scores=np.ones(_PEOPLE, np.float32),
            person_scores=np.ones(_PEOPLE, np.float32),
            track_ids=np.arange(_PEOPLE),
        ),
        attention=AttentionMaps(
            areas=None,
            attention=attention / attention.sum(axis=1, keepdims=True),
            crop_to_frame=affines,
            input_size_wh=(192, 256),
        ),
    )


def frame_shown(result: FrameResult, number: int) -> Shown:
    """The result as that of a frame of a video in which everybody moves."""
    time_s = number * _FRAME_S
    frame = replace(result.frame, index=number, timestamp_s=time_s)
    step: Float32Array = np.array([20 * np.cos(time_s * 4), 20 * np.sin(time_s * 4)], np.float32)
    moved = replace(result, frame=frame, poses=replace(result.poses, keypoints_xy=result.poses.keypoints_xy + step))
    shot = Shot(frame=frame, captured_s=0.0, position_s=time_s, serial=1, number=number)
    return Shown(shot=shot, result=moved, skeleton=COCO17)


@dataclass(kw_only=True)
class Times:
    """Milliseconds for each frame.

    Attributes:
        paint: of the GUI thread, wall time; includes other programs on a busy machine.
        paint_busy: of the GUI thread, processor time.
        draw: of the drawing thread, wall time.
    """

    paint: list[float] = field(default_factory=list)
    paint_busy: list[float] = field(default_factory=list)
    draw: list[float] = field(default_factory=list)


class Stage:
    """The parts of the window that show pictures, and a drawing thread."""

    def __init__(self, size_wh: tuple[int, int], *, probe: bool, panels: bool) -> None:
        """Show them.

        Args:
            size_wh: of the video in px.
            probe: with an attention map, a probe and their legends.
            panels: with the maps of all keypoints and the plot.
        """
        self.result = made_up_result(np.random.default_rng(0))
        self.view, choice = VideoView(), PersonChoice()
        self.maps, self.plot = MapsPanel(choice), PlotPanel(choice)
        self.window, self.composer = QWidget(), Composer(picture_ready=lambda: None, emit=_raise)
        self.view.setFixedSize(*size_wh)
        self.maps.setFixedWidth(_SIDEBAR_PX)
        self.plot.setFixedHeight(_PLOT_PX)
        layout = QGridLayout(self.window)
        layout.addWidget(self.view, 0, 0)
        layout.addWidget(self.maps, 0, 1)
        layout.addWidget(self.plot, 1, 0)
        for panel in (self.maps, self.plot):
            panel.setVisible(panels)
        self.window.show()
        view = AttentionView(kind="attention", keypoint=9) if probe else None
        self.composer.set_room(size_wh, 1.0)
        self.composer.set_look(Look(overlay=OverlayOptions(boxes=True, attention=view)))
        self.view.attention = view
        if probe:
            self.composer.place_probe((160.0, 360.0))
        if panels:
            for number in range(-_PLOT_FRAMES, 0):
                self.plot.curve.add(frame_shown(self.result, number))

    def picture(self, number: int) -> Picture:
        """The picture of a frame, drawn by the drawing thread.

        Raises:
            TimeoutError: it did not come.
        """
        room_wh = self.maps.tile_room_wh
        if room_wh is not None:
            chosen = self.maps.choice.chosen
            self.composer.set_grid(GridRequest(chosen=chosen, kind="attention", room_wh=room_wh))
        shown, until_s = frame_shown(self.result, number), time.monotonic() + _LIMIT_S
        self.composer.show(shown)
        while time.monotonic() < until_s:
            picture = self.composer.pictures.take(0.1)
            if picture is not None and picture.shown is shown:
                return picture
        raise TimeoutError(f"no picture within {_LIMIT_S:.0f} s")

    def show(self, picture: Picture) -> None:
        """What the window does with a picture."""
        for part in (self.view, self.maps, self.plot):
            part.show_picture(picture)

    def close(self) -> None:
        """End the drawing thread."""
        self.composer.stop()
        self.composer.join(_LIMIT_S)
        self.window.close()


def _raise(event: object) -> None:
    raise RuntimeError(f"the drawing thread: {event}")


@contextmanager
def stage(size_wh: tuple[int, int], *, probe: bool, panels: bool) -> Iterator[Stage]:
    """A stage that is closed at the end."""
    made = Stage(size_wh, probe=probe, panels=panels)
    try:
        yield made
    finally:
        made.close()


def measure(application: QApplication, made: Stage, frames: int) -> Times:
    """Show a number of frames at the rate of a video; a frame's time includes the timers until the next one."""
    times = Times()
    for number in range(_WARM_FRAMES + frames):
        picture, until_s = made.picture(number), time.monotonic() + _FRAME_S
        started_s, busy_s = time.perf_counter(), time.thread_time()
        made.show(picture)
        application.processEvents()
        paint, busy = time.perf_counter() - started_s, time.thread_time() - busy_s
        time.sleep(max(0.0, until_s - time.monotonic()))
        started_s, busy_s = time.perf_counter(), time.thread_time()
        application.processEvents()
        if number >= _WARM_FRAMES:
            times.paint.append((paint + time.perf_counter() - started_s) * 1000)
            times.paint_busy.append((busy + time.thread_time() - busy_s) * 1000)
            times.draw.append(picture.draw_ms)
    return times


def _line(what: str, values: list[float]) -> str:
    median, most = np.percentile(values, [50, 95])
    return f"{what} median {median:.2f} ms, p95 {most:.2f} ms"


@reports_errors("paint_benchmark", TimeoutError)
def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = OneLineParser(prog="python -m tests.paint_benchmark")
    parser.add_argument("--size", default="1600x900")
    parser.add_argument("--frames", type=int, default=100)
    arguments = parser.parse_args(argv)
    if arguments.frames < 1:
        raise OptionError("--frames must be 1 or more")
    size_wh = size_of(arguments.size)
    application = make_application(sys.argv[:1])
    apply_theme(application)
    print(f"One frame at {size_wh[0]}x{size_wh[1]}, {_PEOPLE} people, {arguments.frames} frames at 30 frames/s")
    for what, probe, panels in (
        ("skeletons", False, False),
        ("attention and probe", True, False),
        (f"attention, probe, grid and plot (goal: median under {GOAL_MS:g} ms)", True, True),
    ):
        with stage(size_wh, probe=probe, panels=panels) as made:
            times = measure(application, made, arguments.frames)
        print(f"{what}:")
        print(_line("  GUI thread", times.paint) + "; " + _line("processor time", times.paint_busy))
        print(_line("  drawing thread", times.draw), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
