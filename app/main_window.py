"""The window: creates and connects widgets, session and controllers; its slots run in the GUI thread and never wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from PyQt5.QtCore import Qt, QTimer
from PyQt5.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent
from PyQt5.QtWidgets import (
    QApplication,
    QDialog,
    QMainWindow,
    QMessageBox,
    QShortcut,
    QSplitter,
    QStackedWidget,
    QTabWidget,
    QWidget,
)

from app.actions import Command, Commands, KeysDialog, add_actions, allow
from app.engine_builds import EngineBuilds
from app.full_screen import FullScreen
from app.live.composer import Picture
from app.live.inference import OpenPipeline, open_with_maps
from app.live.session import Session
from app.live.shots import PipelineReady, SourceOpened, Unexpected
from app.live.statistics import Statistics
from app.live.status_file import status_of, write_status
from app.look_control import LookControl
from app.output.export_dialog import WindowState
from app.output.export_job import ExportProbes
from app.output.outputs import Outputs
from app.person_choice import PersonChoice
from app.pipeline_control import PipelineControl
from app.qt_setup import PROGRAM_VERSION, TITLE
from app.settings import Settings
from app.source_control import SourceControl
from app.widgets.about import AboutDialog
from app.widgets.focus_keys import FocusKeys
from app.widgets.header import Header
from app.widgets.maps_panel import MapsPanel
from app.widgets.notices import Notices
from app.widgets.overlay_panel import OverlayPanel
from app.widgets.parts import in_column, in_row, scrolled, single_shot
from app.widgets.people_panel import PeoplePanel
from app.widgets.plot_panel import PlotPanel
from app.widgets.pose_panel import PosePanel
from app.widgets.source_menu import SourceMenu
from app.widgets.statistics_panel import StatisticsPanel
from app.widgets.transport_bar import TransportBar
from app.widgets.video_view import VideoView
from app.widgets.welcome import Welcome
from engine.errors import OutputError
from engine.pipeline.pose_pipeline import PipelineOptions
from engine.sources.frame_source import FrameSource
from engine.sources.opening import open_source

_SIDEBAR_PX = 324
_STATISTICS_MS, _STATUS_MS = 500, 1000
_PIPELINE_AFTER_MS = 3000  # at the latest; the first frame comes before the slow imports of a runtime
_PLOTS_AFTER_MS = 1500  # pyqtgraph is slow to import: the first frames come before it
_CLOSE_LIMIT_S = 2.0


class MainWindow(QMainWindow):
    """Video on the left, panels on the right."""

    def __init__(
        self,
        *,
        settings: Settings,
        options: PipelineOptions,
        report: Callable[[BaseException, str], None],
        note: Callable[[str], None] = lambda _line: None,
        status_json: Path | None = None,
        open_source: Callable[[str], FrameSource] = open_source,
        open_pipeline: OpenPipeline = open_with_maps,
    ) -> None:
        """Create the window; nothing is opened before `start`.

        Args:
            options: the first pipeline.
            report: receives unexpected exceptions, each with its origin.
            note: receives the text of every expected error that is shown, for the log.
            status_json: file to write the status to, once a second.
            open_source, open_pipeline: open them; tests pass fakes.
        """
        super().__init__()
        self.settings, self._report, self._status_json = settings, report, status_json
        self._started_s = time.monotonic()
        self._closing = False
        self.confirm: Callable[[str], bool] = self._ask_to_end
        self._first_painted = self._was_playing = False
        self._last_shown: object = None
        self.statistics = Statistics()
        self.setWindowTitle(TITLE)
        self.setAcceptDrops(True)
        self.setMinimumSize(960, 600)
        self._make_widgets()
        self._lay_out()
        self.session = Session(open_source=open_source, open_pipeline=open_pipeline, parent=self)
        self.outputs = Outputs(
            session=self.session, notices=self.notices, open_source=open_source, open_pipeline=open_pipeline,
            report=report, parent=self,
        )  # fmt: skip
        self._make_controllers(note)
        self.session.picture_ready.connect(self._take_picture)
        self.session.happened.connect(self._happened)
        self.view.painted.connect(self._painted)
        self._connect_outputs()
        self.notices.reported.connect(lambda level, text: note(text) if level == "error" else None)
        bar = self.menuBar()
        self.full_screen = FullScreen(
            self,
            around=[self.header, self.tabs, self.plot_panel, *([bar] if bar is not None else [])],
            pages=self.pages,
            video=self.view,
            controls=self.transport,
            column=self._column,
        )
        self.commands = self._make_commands()
        self._actions = add_actions(self, self.commands, self.sources)
        self.sources.last_action = self._actions["quit"]
        self.sources.refresh()
        self._focus_keys = FocusKeys(self)
        self.tabs.currentChanged.connect(self._tab_changed)
        self.notices.made.connect(self._focus_keys.add)
        self.notices.emptied.connect(self._focus_video)
        for digit in range(10):
            QShortcut(str(digit), self, lambda share=digit / 10: self.source_control.go_to(share))
        self._make_timers()
        self._apply_settings(options)
        self._allow_commands()

    def _make_widgets(self) -> None:
        self.view = VideoView()
        self.welcome = Welcome()
        self.pages = QStackedWidget()
        self.notices = Notices(self.pages)
        self.transport = TransportBar()
        self.overlay_panel = OverlayPanel()
        self.pose_panel = PosePanel()
        self.statistics_panel = StatisticsPanel()
        self.choice = PersonChoice(self)
        self.people_panel = PeoplePanel(self.choice)
        self.maps_panel = MapsPanel(self.choice)
        self.plot_panel = PlotPanel(self.choice)
        self.sources = SourceMenu(self.settings, self)
        self.header = Header(self.sources)

    def _lay_out(self) -> None:
        self.pages.setFocusPolicy(Qt.FocusPolicy.StrongFocus)  # has the keyboard until there is a video
        self.pages.addWidget(self.welcome)
        self.pages.addWidget(self.view)
        video_and_plot = QSplitter(Qt.Orientation.Vertical)
        video_and_plot.setChildrenCollapsible(False)
        video_and_plot.addWidget(self.pages)
        video_and_plot.addWidget(self.plot_panel)
        video_and_plot.setStretchFactor(0, 1)
        self.plot_panel.hide()
        left = (self.header, (video_and_plot, 1), self.transport)
        self._column = in_column(*left, margins=(0, 0, 0, 0), spacing=0)
        self.tabs = QTabWidget()
        self.tabs.setObjectName("sidebar")
        self.tabs.setDocumentMode(True)
        tab_bar = self.tabs.tabBar()
        if tab_bar is not None:
            tab_bar.setDrawBase(False)
            tab_bar.setExpanding(True)
        self.tabs.setFixedWidth(_SIDEBAR_PX)
        self._pose_area = scrolled(self.pose_panel)
        self.tabs.addTab(scrolled(self.overlay_panel), self.tr("Overlay"))
        self.tabs.addTab(self._pose_area, self.tr("Pose"))
        self.tabs.addTab(scrolled(self.statistics_panel), self.tr("Statistics"))
        self.tabs.addTab(scrolled(self.people_panel), self.tr("People"))
        self.tabs.addTab(scrolled(self.maps_panel), self.tr("Maps"))
        central = QWidget()
        in_row((self._column, 1), self.tabs, of=central, margins=(0, 0, 0, 0), spacing=0)
        self.setCentralWidget(central)
        self.pages.setFocus()

    def _make_controllers(self, note: Callable[[str], None]) -> None:
        self.source_control = SourceControl(
            session=self.session, settings=self.settings, menu=self.sources, header=self.header, welcome=self.welcome,
            transport=self.transport, view=self.view, notices=self.notices, set_title=self.setWindowTitle, note=note,
            parent=self,
        )  # fmt: skip
        self.look_control = LookControl(
            session=self.session, settings=self.settings, overlay_panel=self.overlay_panel, transport=self.transport,
            view=self.view, people_panel=self.people_panel, maps_panel=self.maps_panel, choice=self.choice,
            notices=self.notices, parent=self,
        )  # fmt: skip
        self.pipeline_control = PipelineControl(
            session=self.session, settings=self.settings, pose_panel=self.pose_panel, notices=self.notices,
            parent=self,
        )  # fmt: skip
        self.builds = EngineBuilds(
            session=self.session, pose_panel=self.pose_panel, notices=self.notices,
            open_pipeline=self.pipeline_control.open, parent=self,
        )  # fmt: skip

    def _connect_outputs(self) -> None:
        bar, outputs = self.transport, self.outputs
        bar.snapshot_requested.connect(lambda: outputs.snapshot(self.view.picture))
        bar.record_toggled.connect(self.toggle_record)
        bar.poses_toggled.connect(outputs.toggle_poses)
        bar.export_requested.connect(self.ask_export)
        outputs.open_requested.connect(self.source_control.open)
        outputs.record_requested.connect(self.toggle_record)
        outputs.poses_recording.connect(bar.poses.setChecked)
        outputs.changed.connect(self._allow_commands)
        self.pose_panel.live.toggled.connect(outputs.toggle_live)
        outputs.live_changed.connect(self.pose_panel.live.show_address)
        # Where the panel scrolls, the address that appears would be below its edge.
        outputs.live_changed.connect(lambda address, _page: QTimer.singleShot(0, self._show_live) if address else None)
        self.people_panel.copied.connect(outputs.copy_text)
        self.people_panel.save_requested.connect(
            lambda picture: outputs.save_people(picture, self.people_panel.score_threshold)
        )
        self.maps_panel.sheet_requested.connect(outputs.save_sheet)
        self.maps_panel.maps_requested.connect(outputs.save_maps)
        self.plot_panel.csv_requested.connect(outputs.save_table)
        self.plot_panel.picture_requested.connect(outputs.save_image)
        bar.resumed.connect(self.plot_panel.break_line)
        self.overlay_panel.changed.connect(lambda options: self.plot_panel.set_threshold(options.score_threshold))

    def _make_timers(self) -> None:
        self._statistics_timer, self._status_timer = QTimer(self), QTimer(self)
        self._statistics_timer.timeout.connect(self._show_statistics)
        self._status_timer.timeout.connect(self._write_status)
        self._pipeline_timer = single_shot(self, lambda: self.session.set_options(self.pose_panel.options))
        self._plots_timer = single_shot(self, self.statistics_panel.show_plots)

    def _apply_settings(self, options: PipelineOptions) -> None:
        self.transport.loop.setChecked(self.settings.flag("loop", True))
        self.transport.mirror.setChecked(self.settings.flag("mirror", True))
        self.session.set_loop(self.transport.loop.isChecked())
        self.overlay_panel.set_options(self.settings.overlay, keypoint=self.settings.keypoint)
        self.pose_panel.set_options(options)
        self.outputs.record_options = self.settings.record
        folder = self.settings.text("record_folder")
        self.outputs.record_folder = Path(folder) if folder else None
        geometry = self.settings.geometry
        if geometry is None or not self.restoreGeometry(geometry):
            self.resize(1280, 760)

    def start(self, source: str | None) -> None:
        """Open the first source (None: the first camera) and the pipeline, and start the timers."""
        if source is not None:
            self.source_control.open(source)
        else:
            self.source_control.open_first_camera()
        self._pipeline_timer.start(_PIPELINE_AFTER_MS)
        self._statistics_timer.start(_STATISTICS_MS)
        if self._status_json is not None:
            self._status_timer.start(_STATUS_MS)

    # --- commands ---------------------------------------------------------------------------------------------------

    def _make_commands(self) -> Commands:
        source, look, overlay, bar = self.source_control, self.look_control, self.overlay_panel, self.transport
        view, outputs, tabs, plot, full = self.view, self.outputs, self.tabs, self.plot_panel, self.full_screen
        tr = self.tr
        return {
            tr("&Playback"): (
                Command("play", tr("Play or pause"), "Space", source.toggle_playing),
                Command("step_on", tr("Next frame"), ".", lambda: source.step(1)),
                Command("step_back", tr("Previous frame"), ",", lambda: source.step(-1)),
                Command("forward", tr("5 seconds forward, or the next photo"), "Right", lambda: source.jump(5.0)),
                Command("backward", tr("5 seconds back, or the photo before"), "Left", lambda: source.jump(-5.0)),
                Command("start", tr("Go to the start"), "Home", lambda: source.go_to(0.0)),
                Command("end", tr("Go to the end"), "End", source.go_to_end),
                Command("loop", tr("Loop"), "L", bar.loop.toggle, bar.loop.isChecked),
                Command("faster", tr("Faster"), "]", lambda: source.change_speed(1)),
                Command("slower", tr("Slower"), "[", lambda: source.change_speed(-1)),
                Command("mirror", tr("Mirror a camera"), "M", bar.mirror.toggle, bar.mirror.isChecked),
            ),
            tr("&View"): (
                Command("attention", tr("Next attention map: off, area G, attention S"), "A", overlay.next_kind),
                Command("next_keypoint", tr("Next keypoint"), "N", lambda: overlay.step_keypoint(1)),
                Command("previous_keypoint", tr("Previous keypoint"), "Shift+N", lambda: overlay.step_keypoint(-1)),
                Command("probe_next", tr("Probe the next person"), "X", look.probe_next),
                Command("pin", tr("Pin the probe, up to four"), "Shift+X", look.pin_probe),
                Command("escape", tr("Leave full screen, let go, or remove the probe"), "Esc", self._escape),
                Command("zoom_in", tr("Zoom in"), "+ =", lambda: view.zoom_by(1.25)),
                Command("zoom_out", tr("Zoom out"), "-", lambda: view.zoom_by(0.8)),
                Command("zoom_back", tr("Whole picture"), "Ctrl+0", view.zoom_back),
                Command("skeleton", tr("Skeletons"), "K", overlay.skeleton.toggle, overlay.skeleton.isChecked),
                Command("boxes", tr("Boxes"), "B", overlay.boxes.toggle, overlay.boxes.isChecked),
                Command("ids", tr("Ids"), "I", overlay.ids.toggle, overlay.ids.isChecked),
                Command("scores", tr("Scores"), "C", overlay.scores.toggle, overlay.scores.isChecked),
                Command("angles", tr("Angles"), "J", overlay.angles.toggle, overlay.angles.isChecked),
                Command("trails", tr("Trails"), "T", overlay.trails.toggle, overlay.trails.isChecked),
                Command("tab_overlay", tr("Panel: overlay"), "Ctrl+1", lambda: self.show_tab(0)),
                Command("tab_pose", tr("Panel: pose"), "Ctrl+2", lambda: self.show_tab(1)),
                Command("tab_statistics", tr("Panel: statistics"), "Ctrl+3", lambda: self.show_tab(2)),
                Command("tab_people", tr("Panel: people"), "Ctrl+4", lambda: self.show_tab(3)),
                Command("tab_maps", tr("Panel: maps of all keypoints"), "Ctrl+5", lambda: self.show_tab(4)),
                _shows("plot", tr("Plot of a keypoint or an angle"), "G", plot),
                _shows("sidebar", tr("Panels"), "F9", tabs),
                Command("full_screen", tr("Full screen"), "F F11", full.toggle, lambda: full.is_on),
            ),
            tr("&Output"): (
                Command("snapshot", tr("Save a snapshot"), "S", lambda: outputs.snapshot(view.picture)),
                Command("copy", tr("Copy the frame"), "Ctrl+C", lambda: outputs.copy(view.picture)),
                Command("record", tr("Record"), "R", self.toggle_record, lambda: outputs.is_recording),
                Command(
                    "record_options",
                    tr("What is recorded, and where to…"),
                    "Shift+R",
                    lambda: outputs.ask_recording(self.settings),
                ),
                Command(
                    "poses",
                    tr("Record poses as JSON lines"),
                    "P",
                    outputs.toggle_poses,
                    lambda: outputs.poses is not None,
                ),
                Command("export", tr("Export files…"), "Ctrl+E", self.ask_export),
            ),
            tr("&Help"): (
                Command("shortcuts", tr("Keys"), "F1", self._show_keys),
                Command("reset", tr("Reset all settings"), "", self.reset_settings),
                Command("about", tr("About"), "", self._show_about),
            ),
            self.sources.title(): (Command("quit", tr("Quit"), "Ctrl+Q", self.close),),
        }

    def _show_keys(self) -> None:
        self._show_dialog(KeysDialog(self.commands, self))

    def _show_about(self) -> None:
        self._show_dialog(AboutDialog(PROGRAM_VERSION, self.session.description, self))

    @staticmethod
    def _show_dialog(dialog: QDialog) -> None:
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)  # else the window keeps each one that was shown
        dialog.show()

    def _escape(self) -> None:
        if not (self.full_screen.leave() or self.look_control.let_go()):
            self.look_control.remove_probe()

    def show_tab(self, number: int) -> None:
        """Show a panel."""
        self.tabs.show()
        self.tabs.setCurrentIndex(number)

    def _tab_changed(self, number: int) -> None:
        if self.tabs.widget(number) is self._pose_area:
            self.pipeline_control.search_backends()

    def _show_live(self) -> None:
        self._pose_area.ensureWidgetVisible(self.pose_panel.live)

    def toggle_record(self) -> None:
        """Start or stop what the record button records."""
        self.outputs.toggle_video()
        self.transport.set_recording(self.outputs.recording, by_button=self.outputs.is_recording)

    def ask_export(self) -> None:
        """Show the export dialog."""
        self.outputs.ask_export(self.settings, self.export_state)

    def export_state(self) -> WindowState | None:
        """What the window shows, for the export dialog."""
        source = self.session.source if self.session.playback is not None else None
        if source is None:
            return None
        picture, overlay = self.view.picture, self.overlay_panel.options
        skeleton = None if picture is None else picture.shown.skeleton
        view, probes = overlay.attention, None
        shot = None if picture is None else picture.shown.shot
        if picture is not None and shot is not None and (picture.reading is not None or picture.pins):
            probes = ExportProbes(
                probes=self.session.composer.probes.copy(), serial=shot.serial, from_s=shot.position_s
            )
        named = "" if view is None or skeleton is None else skeleton.keypoint_names[view.keypoint].replace("_", " ")
        return WindowState(
            text=source.text, info=source.info, position_s=0.0 if shot is None else shot.position_s,
            pipeline=self.pose_panel.options, overlay=overlay, attention=named, probes=probes,
        )  # fmt: skip

    def _allow_commands(self) -> None:
        """Disable, with the reason, the commands that cannot work now."""
        reasons = {**self.source_control.why_not(), **self.outputs.why_not(has_picture=self.view.picture is not None)}
        for name, why_not in reasons.items():
            allow(self._actions[name], why_not)
        self.transport.allow(reasons)

    def reset_settings(self) -> None:
        """Reset all settings to their defaults."""
        self.settings.reset()
        self.sources.refresh()
        self._apply_settings(PipelineOptions())
        self.pipeline_control.open(self.pose_panel.options)

    def _focus_video(self) -> None:
        """Give the keyboard to the video: keys play, and open no menu."""
        (self.view if self.pages.currentWidget() is self.view else self.pages).setFocus()

    # --- pictures and numbers ---------------------------------------------------------------------------------------

    def _happened(self, event: object) -> None:
        if isinstance(event, (SourceOpened, PipelineReady)):
            self.statistics.clear_window()
            if isinstance(event, SourceOpened):
                self._focus_video()
            else:
                self.plot_panel.set_skeleton(event.skeleton)
        elif isinstance(event, Unexpected):
            self._report(event.error, event.where)
        self._allow_commands()

    def _take_picture(self) -> None:
        picture = self.session.take_picture()
        if picture is None:
            return
        if self.pages.currentWidget() is not self.view:
            self.pages.setCurrentWidget(self.view)
            self._focus_video()
        is_first = self.view.picture is None
        self.view.show_picture(picture)
        if is_first:
            self._allow_commands()
        self.source_control.show_position(picture.shown.shot)
        self.people_panel.show_picture(picture)
        self.maps_panel.show_picture(picture)
        self.plot_panel.show_picture(picture)
        self.look_control.show_probe_state(picture)
        self.look_control.show_followed()

    def _painted(self, picture: Picture, paint_ms: float) -> None:
        shown = picture.shown
        if shown is self._last_shown:
            return
        self._last_shown = shown
        result = shown.result
        self.statistics.add(
            painted_s=time.monotonic(),
            captured_s=shown.shot.captured_s,
            timings=None if result is None else result.timings,
            people=0 if result is None else len(result.poses),
            draw_ms=picture.draw_ms,
            paint_ms=paint_ms,
        )
        if not self._first_painted:
            self._first_painted = True
            self._plots_timer.start(_PLOTS_AFTER_MS)
            if self._pipeline_timer.isActive():
                self._pipeline_timer.start(0)

    def _show_statistics(self) -> None:
        playback = self.session.playback
        playing = playback is not None and playback.is_playing
        if playing and not self._was_playing:
            self.statistics.clear_window()  # a pause does not count as slow frames
        self._was_playing = playing
        snapshot = self.statistics.snapshot()
        self.statistics_panel.show_snapshot(
            snapshot,
            playing=playing,
            dropped_frames=self.session.dropped_frames,
            description=self.session.description,
        )
        self.header.show_snapshot(
            snapshot,
            self.session.description,
            playing=playing,
            is_open=playback is not None,
            opening_networks=self.session.is_opening,
        )
        self.transport.set_recording(self.outputs.recording, by_button=self.outputs.is_recording)

    def _write_status(self) -> None:
        assert self._status_json is not None  # noqa: S101 - the timer runs only then
        source = self.session.source
        status = status_of(
            self.statistics.snapshot(),
            source=None if source is None else source.info.name,
            options=self.session.options,
            description=self.session.description,
            dropped_frames=self.session.dropped_frames,
            started_s=self._started_s,
        )
        try:
            write_status(self._status_json, status)
        except OutputError as error:
            self._status_timer.stop()
            self.notices.report("error", str(error), subject="status")

    # --- window -----------------------------------------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Accept files and addresses."""
        mime = None if event is None else event.mimeData()
        if event is not None and mime is not None and (mime.hasUrls() or mime.hasText()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Open what was dropped."""
        mime = None if event is None else event.mimeData()
        if mime is None:
            return
        urls = mime.urls()
        text = (urls[0].toLocalFile() or urls[0].toString()) if urls else mime.text().strip()
        if text:
            self.source_control.open(text)

    def _ask_to_end(self, running: str) -> bool:
        """Whether the person wants to quit although something is being written."""
        question = QMessageBox(QMessageBox.Icon.Warning, TITLE, running, parent=self)
        go_on = question.addButton(self.tr("Go on"), QMessageBox.ButtonRole.RejectRole)
        question.setDefaultButton(go_on)  # Enter and Esc lose nothing
        question.setEscapeButton(go_on)
        end = question.addButton(self.tr("End it and quit"), QMessageBox.ButtonRole.DestructiveRole)
        question.exec_()
        return question.clickedButton() is end

    def close_unasked(self) -> None:
        """Close at a signal, which nobody is there to answer for; nor for a dialog that stands open."""
        self._closing = True
        for widget in QApplication.topLevelWidgets():
            if isinstance(widget, QDialog) and widget.isVisible():
                widget.reject()
        self.close()

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Ask where something is being written; save the settings, end all threads, let the recordings complete."""
        running = "" if self._closing else self.outputs.running_text()
        if running and not self.confirm(running) and not self._closing:
            if event is not None:
                event.ignore()
            return
        self._closing = True
        for timer in (self._statistics_timer, self._status_timer, self._plots_timer, self._pipeline_timer):
            timer.stop()
        if self._status_json is not None:
            self._write_status()
        self.full_screen.leave()
        self.settings.geometry = self.saveGeometry()
        self.settings.overlay = self.overlay_panel.options
        self.settings.keypoint = self.overlay_panel.keypoint
        self.builds.cancel()
        self.outputs.close(_CLOSE_LIMIT_S)
        self.session.close()
        self.builds.close(0.5)
        self.sources.wait()
        self.pipeline_control.wait()
        super().closeEvent(event)


def _shows(name: str, text: str, key: str, widget: QWidget) -> Command:
    """The command that shows or hides a part of the window."""
    return Command(name, text, key, lambda: widget.setVisible(not widget.isVisible()), lambda: not widget.isHidden())
