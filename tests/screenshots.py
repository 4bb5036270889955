"""`make screenshots`: saves screenshots of the real window on the demo, for the README; runs in Xvfb, too."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PyQt5.QtCore import QPoint, QRect, QSettings
from PyQt5.QtGui import QColor, QImage, QPainter, QPixmap
from PyQt5.QtWidgets import QApplication, QDialog

from app.error_report import ErrorReport
from app.live.qimages import from_qimage
from app.main_window import MainWindow
from app.qt_setup import make_application
from app.settings import Settings
from app.widgets.theme import DARK, LIGHT, apply_theme, colors
from engine.artifacts.atomic import replacing
from engine.artifacts.write_guard import check_targets
from engine.errors import EngineError, OptionError, reports_errors
from engine.pipeline.pose_pipeline import PipelineOptions
from engine.skeleton import Skeleton
from engine.system.entry import run_command
from engine.system.one_line_parser import OneLineParser
from engine.types import Float32Array, UInt8Array

_OPEN_LIMIT_S, _WAIT_LIMIT_S = 180.0, 60.0
_COLORS = 255
_STATISTICS_S = 6.0
"""Within the first run of the demo: in the next ones its results are kept, and no network runs."""
_BEGIN_S, _LIVE_S, _ATTENTION_S, _PROBE_S = 0.2, 2.2, 3.2, 3.6
"""Positions in the demo's street scene."""
_EXPORT_S, _RECORD_S = 1.0, 3.5
_PLOTTED, _PLOT_S = ("left_wrist", "x"), 4.0


SCENES = ("statistics", "pose", "live", "attention", "probe", "people", "zoom", "maps", "plot", "export", "record")


def picture_of(folder: Path, scene: str) -> Path:
    """The file of a scene."""
    return folder / f"window-{scene}.png"


def size_of(text: str) -> tuple[int, int]:
    """Width and height from WIDTHxHEIGHT.

    Raises:
        OptionError: it is neither.
    """
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and 0 < int(width) <= 8192 and 0 < int(height) <= 8192):
        raise OptionError(f"--size is {text}; expected WIDTHxHEIGHT in px, such as 1440x900")
    return int(width), int(height)


def wait_for(application: QApplication, done: Callable[[], bool], limit_s: float, what: str) -> None:
    """Run the event loop until `done` is true.

    Raises:
        TimeoutError: it was not true in time.
    """
    until_s = time.monotonic() + limit_s
    while not done():
        if time.monotonic() > until_s:
            raise TimeoutError(f"no {what} within {limit_s:.0f} s")
        application.processEvents()
        time.sleep(0.01)


def live_for(application: QApplication, seconds: float) -> None:
    """Run the event loop for a while."""
    until_s = time.monotonic() + seconds
    wait_for(application, lambda: time.monotonic() > until_s, seconds + 5, "end of the pause")


def has_people(window: MainWindow) -> bool:
    """Whether the picture on the screen has a person."""
    picture = window.view.picture
    return picture is not None and picture.shown.result is not None and len(picture.shown.result.poses) > 0


def attention_maps(window: MainWindow) -> Float32Array | None:
    """Attention (N, K, h, w) of the people on the screen; None where the picture has none."""
    result = None if window.view.picture is None else window.view.picture.shown.result
    maps = None if result is None or result.attention is None else result.attention.attention
    return None if maps is None or len(maps) == 0 else maps


def has_attention(window: MainWindow) -> bool:
    """Whether the picture on the screen came with attention maps."""
    return attention_maps(window) is not None


def shown_skeleton(window: MainWindow) -> Skeleton:
    """The skeleton of the picture on the screen."""
    skeleton = None if window.view.picture is None else window.view.picture.shown.skeleton
    if skeleton is None:
        raise EngineError("the picture on the screen has no skeleton")
    return skeleton


def most_attended(window: MainWindow) -> str:
    """Name of the keypoint with the highest attention of any pixel on the screen."""
    attention = attention_maps(window)
    if attention is None:
        raise EngineError("the picture on the screen has no attention maps")
    return shown_skeleton(window).keypoint_names[int(attention.max(axis=(0, 2, 3)).argmax())]


def stand_at(application: QApplication, window: MainWindow, position_s: float) -> None:
    """Pause at a position in the file and wait until it is on the screen with its poses."""
    if window.session.playback is not None and window.session.playback.is_playing:
        window.source_control.toggle_playing()
        live_for(application, 0.5)
    window.source_control.seek(position_s)

    def there() -> bool:
        picture = window.view.picture
        return picture is not None and has_people(window) and abs(picture.shown.shot.position_s - position_s) < 0.1

    wait_for(application, there, _WAIT_LIMIT_S, f"poses at {position_s} s")
    live_for(application, 0.4)


def with_palette(rgb: UInt8Array) -> QImage:
    """An image with a palette of 255 colours, for a PNG a third as large; `rgb` is (H, W, 3) uint8."""
    cv2.setRNGSeed(0)
    pixels = rgb.reshape(-1, 3)
    step = max(1, len(pixels) // 30_000)
    criteria = (cv2.TERM_CRITERIA_MAX_ITER, 12, 0.0)
    rare = (
        np.unique(pixels >> 3, axis=0).astype(np.float32) * 8 + 3.5
    )  # so that small coloured areas keep their colours
    samples = np.concatenate([pixels[::step].astype(np.float32), rare])
    _spread, _labels, centers = cv2.kmeans(samples, _COLORS, np.zeros(0), criteria, 1, cv2.KMEANS_PP_CENTERS)
    coarse = (pixels >> 2).astype(np.int32) @ np.array([4096, 64, 1], np.int32)
    codes, where = np.unique(coarse, return_inverse=True)
    colors = np.stack([codes >> 12, codes >> 6 & 63, codes & 63], 1).astype(np.float32) * 4 + 1.5
    nearest = np.concatenate(
        [((part[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1) for part in np.array_split(colors, 64)]
    )
    indices = np.ascontiguousarray(nearest[where].reshape(rgb.shape[:2]).astype(np.uint8))
    height, width = indices.shape
    image = QImage(indices.tobytes(), width, height, width, QImage.Format.Format_Indexed8).copy()
    image.setColorTable([QColor(*(round(float(v)) for v in center)).rgb() for center in centers])
    return image


def with_dialog(window: MainWindow, dialog: QDialog) -> QPixmap:
    """The window with a dialog in its middle, as it stands on a screen, without the frame of the desktop."""
    picture = window.grab()
    card = dialog.grab()
    place = QRect(QPoint(), card.size())
    place.moveCenter(picture.rect().center())
    painter = QPainter(picture)
    painter.fillRect(picture.rect(), QColor(0, 0, 0, 110))
    painter.drawPixmap(place.topLeft(), card)
    painter.setPen(QColor(colors().faint))
    painter.drawRect(place.adjusted(-1, -1, 0, 0))
    painter.end()
    return picture


def save(window: MainWindow, file: Path, dialog: QDialog | None = None) -> None:
    """Save the window, perhaps with a dialog, as a small PNG."""
    picture = window.grab() if dialog is None else with_dialog(window, dialog)
    rgb = np.ascontiguousarray(from_qimage(picture.toImage())[..., ::-1])
    with replacing(file) as temporary:
        with_palette(rgb).save(str(temporary), "PNG", 0)
    print(f"{file}: {picture.width()}x{picture.height()}, {file.stat().st_size // 1024} KiB", flush=True)


def take_all(application: QApplication, window: MainWindow, folder: Path) -> None:
    """Take the scenes, one after another."""
    window.start("demo")
    session, notices = window.session, window.notices
    wait_for(application, lambda: session.ready is not None or notices.has("error"), _OPEN_LIMIT_S, "pipeline")
    if session.ready is None:
        raise EngineError(notices.text)
    wait_for(application, lambda: has_people(window), _WAIT_LIMIT_S, "people")
    panel = window.overlay_panel
    window.show_tab(2)
    live_for(application, _STATISTICS_S)
    save(window, picture_of(folder, "statistics"))
    window.show_tab(1)
    stand_at(application, window, _LIVE_S)
    save(window, picture_of(folder, "pose"))
    window.show_tab(0)
    live_for(application, 0.5)
    save(window, picture_of(folder, "live"))
    stand_at(application, window, _ATTENTION_S)
    panel.choose_keypoint(shown_skeleton(window).keypoint_names[0])  # maps are computed only while they are shown
    wait_for(application, lambda: has_attention(window), _WAIT_LIMIT_S, "attention maps")
    panel.choose_keypoint(most_attended(window))
    live_for(application, 1.0)
    save(window, picture_of(folder, "attention"))
    panel.set_kind(None)
    stand_at(application, window, _PROBE_S)
    window.look_control.probe_next()
    live_for(application, 1.5)
    save(window, picture_of(folder, "probe"))
    window.show_tab(3)
    live_for(application, 0.5)
    save(window, picture_of(folder, "people"))
    window.show_tab(0)
    window.look_control.pin_probe()
    live_for(application, 0.5)
    for _ in range(2):  # the person after the pinned one
        window.look_control.probe_next()
        live_for(application, 0.5)
    area = window.view.picture_area()
    window.view.zoom_by(2.0, area.bottomLeft() + (area.topRight() - area.bottomLeft()) * 0.1)
    live_for(application, 0.5)
    save(window, picture_of(folder, "zoom"))
    take_dialogs(application, window, folder)
    take_maps_and_plot(application, window, folder)


def take_dialogs(application: QApplication, window: MainWindow, folder: Path) -> None:
    """Take the dialogs of exports and recordings, the first with one file written, one running and one to come."""
    outputs, shown = window.outputs, "~/poses"  # the names of folders differ from run to run
    window.view.zoom_back()
    live_for(application, 0.3)
    dialog = outputs.ask_export(window.settings, window.export_state)
    dialog.controls["duration"].show(_EXPORT_S)
    dialog.formats[".csv"].setChecked(True)
    dialog.export()
    wait_for(application, lambda: outputs.exports.running is None, _WAIT_LIMIT_S, "export")
    dialog.controls["duration"].show(None)
    dialog.open_for_source()
    dialog.export()

    def has_rate() -> bool:
        running = outputs.exports.running
        return running is not None and running.left_s is not None

    wait_for(application, has_rate, _WAIT_LIMIT_S, "time left")
    dialog.open_for_source()
    live_for(application, 0.3)
    dialog.folder.text.setText(shown)  # until the next progress of the export
    save(window, picture_of(folder, "export"), dialog)
    outputs.exports.cancel_all()
    wait_for(application, lambda: outputs.exports.running is None, _WAIT_LIMIT_S, "end of the export")
    dialog.hide()
    window.notices.clear("export")
    choices = outputs.ask_recording(window.settings)
    for name in ("raw", "poses"):
        choices.controls[name].widget.setChecked(True)
    choices.folder.text.setText(shown)
    choices.record.click()
    wait_for(application, lambda: outputs.video is not None, _WAIT_LIMIT_S, "recording")
    window.source_control.go_to(0.0)
    window.source_control.toggle_playing()
    live_for(application, _RECORD_S)
    window.source_control.toggle_playing()
    choices = outputs.ask_recording(window.settings)
    choices.folder.text.setText(shown)
    live_for(application, 0.3)
    save(window, picture_of(folder, "record"), choices)
    choices.close()
    window.toggle_record()
    wait_for(application, lambda: outputs.video is None, _WAIT_LIMIT_S, "end of the recording")
    window.notices.clear(".mp4", "export", "export demo")


def take_maps_and_plot(application: QApplication, window: MainWindow, folder: Path) -> None:
    """Take the scenes of all keypoints at once and of a curve over time."""
    panel = window.overlay_panel
    window.view.zoom_back()
    for _ in range(2):  # the probe, then the pinned ones
        window.look_control.remove_probe()
        live_for(application, 0.3)
    window.show_tab(4)
    stand_at(application, window, _ATTENTION_S)
    wait_for(application, lambda: window.maps_panel.tiles.grid is not None, _WAIT_LIMIT_S, "maps of all keypoints")
    panel.choose_keypoint(most_attended(window))
    live_for(application, 1.0)
    save(window, picture_of(folder, "maps"))
    panel.set_kind(None)
    window.show_tab(0)
    panel.angles.setChecked(True)
    panel.trails.setChecked(True)
    stand_at(application, window, _BEGIN_S)
    window.plot_panel.show()
    window.plot_panel.choose(*_PLOTTED)
    window.look_control.probe_next()
    live_for(application, 0.5)
    window.look_control.remove_probe()  # whom it was on stays chosen
    window.source_control.toggle_playing()
    live_for(application, _PLOT_S)
    window.source_control.toggle_playing()
    live_for(application, 0.5)
    save(window, picture_of(folder, "plot"))


@reports_errors("screenshots", TimeoutError)
def main(argv: list[str] | None = None) -> int:
    """Take the screenshots; exit code 2 and one line where that cannot be done."""
    parser = OneLineParser(prog="python -m tests.screenshots")
    parser.add_argument("--folder", type=Path, default=Path("docs"))
    parser.add_argument("--pose-model")
    parser.add_argument("--detector")
    parser.add_argument("--size", default="1440x900", help="of the window, as WIDTHxHEIGHT")
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    parser.add_overwrite()
    arguments = parser.parse_args(argv)
    width, height = size_of(arguments.size)
    check_targets(
        [picture_of(arguments.folder, scene) for scene in SCENES],
        inputs=[arguments.pose_model, arguments.detector],
        overwrite=arguments.overwrite,
    )
    application = make_application(sys.argv[:1])
    with tempfile.TemporaryDirectory() as scratch:
        errors = ErrorReport(Path(scratch) / "log.txt")
        apply_theme(application, {"dark": DARK, "light": LIGHT}[arguments.theme])
        settings = Settings(QSettings(str(Path(scratch) / "settings.ini"), QSettings.Format.IniFormat))
        options = PipelineOptions(pose_model=arguments.pose_model, detector=arguments.detector)
        window = MainWindow(settings=settings, options=options, report=errors.report)
        try:
            window.outputs.folder = Path(scratch) / "outputs"
            window.resize(width, height)
            window.show()
            take_all(application, window, arguments.folder)
        finally:
            window.close()
            errors.remove()
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
