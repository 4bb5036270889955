"""`python -m app.paint_benchmark`: time of the GUI thread for one frame with probe and legend, at 1600x900."""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass, field

import numpy as np
from PyQt5.QtGui import QImage, QPainter
from PyQt5.QtWidgets import QApplication

from app.live.compose import Look, compose
from app.live.composer import Picture
from app.live.probe import Probe
from app.live.qimages import to_qimage
from app.live.shots import Shot, Shown
from app.qt_setup import make_application
from app.screenshots import size_of
from app.widgets.theme import apply_theme
from app.widgets.video_view import VideoView
from engine.errors import OptionError, reports_errors
from engine.overlay.drawing import AttentionView, OverlayOptions
from engine.overlay.placed import placed_boxes
from engine.skeleton import COCO17
from engine.system.entry import run_command
from engine.system.one_line_parser import OneLineParser
from engine.types import AttentionMaps, Detections, Frame, FrameResult, Poses

_FRAME_WH = (1280, 720)
_PEOPLE = 4
_WARM_FRAMES = 5


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


def make_picture(result: FrameResult, size_wh: tuple[int, int]) -> tuple[Picture, float]:
    """The picture drawn by the drawing thread for a result, and the time in ms."""
    shown = Shown(
        shot=Shot(frame=result.frame, captured_s=0.0, position_s=0.0, serial=1), result=result, skeleton=COCO17
    )
    probe = Probe()
    probe.place(shown, (160.0, 360.0))
    look = Look(overlay=OverlayOptions(boxes=True, attention=AttentionView(kind="attention", keypoint=9)))
    started_s = time.perf_counter()
    composed = compose(shown, look, size_wh)
    image = to_qimage(composed.image_bgr)
    draw_ms = (time.perf_counter() - started_s) * 1000
    picture = Picture(
        image=image,
        frame_to_picture=composed.frame_to_picture,
        shown=shown,
        people_xyxy=placed_boxes(result.poses.boxes_xyxy, composed.frame_to_picture),
        reading=probe.read(shown),
        probe_set=True,
        draw_ms=draw_ms,
    )
    return picture, draw_ms


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


def measure(application: QApplication, size_wh: tuple[int, int], frames: int) -> Times:
    """Paint a number of frames."""
    view = VideoView()
    view.resize(*size_wh)
    target = QImage(*size_wh, QImage.Format.Format_RGB32)  # the format of a window's backing store
    result = made_up_result(np.random.default_rng(0))
    times = Times()
    for number in range(_WARM_FRAMES + frames):
        picture, drawn_ms = make_picture(result, size_wh)
        view.show_picture(picture)
        started_s, busy_s = time.perf_counter(), time.thread_time()
        painter = QPainter(target)
        view.paint(painter)
        painter.end()
        if number >= _WARM_FRAMES:
            times.paint_busy.append((time.thread_time() - busy_s) * 1000)
            times.paint.append((time.perf_counter() - started_s) * 1000)
            times.draw.append(drawn_ms)
        application.processEvents()
    return times


@reports_errors("paint_benchmark")
def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = OneLineParser(prog="python -m app.paint_benchmark")
    parser.add_argument("--size", default="1600x900")
    parser.add_argument("--frames", type=int, default=100)
    arguments = parser.parse_args(argv)
    if arguments.frames < 1:
        raise OptionError("--frames must be 1 or more")
    width, height = size_of(arguments.size)
    application = make_application(sys.argv[:1])
    apply_theme(application)
    times = measure(application, (width, height), arguments.frames)
    paint, busy, draw = (statistics.median(values) for values in (times.paint, times.paint_busy, times.draw))
    print(
        f"GUI thread, one frame at {width}x{height} with probe and legend: median {paint:.2f} ms"
        f" ({busy:.2f} ms of processor time)"
    )
    print(f"drawing thread, {_PEOPLE} people with attention: median {draw:.2f} ms a frame")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
