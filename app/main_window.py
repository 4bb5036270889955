"""The window: creates and connects widgets, session and controllers; its slots run in the GUI thread and never wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from PyQt5.QtCore import Qt, QTimer
from PyQt5.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent
from PyQt5.QtWidgets import (
    QApplication,
    QCheckBox,
    QDialog,
    QHBoxLayout,
    QMainWindow,
    QMessageBox,
    QScrollArea,
    QShortcut,
    QSplitter,
    QStackedWidget,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from app.actions import KeysDialog, add_actions, allow
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
            settings: remembered settings.
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
        self._actions = add_actions(self, self.slots(), self.states(), self.sources)
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
        left = self._column = QVBoxLayout()
        left.setContentsMargins(0, 0, 0, 0)
        left.setSpacing(0)
        left.addWidget(self.header)
        self.video_and_plot = QSplitter(Qt.Orientation.Vertical)
        self.video_and_plot.setChildrenCollapsible(False)
        self.video_and_plot.addWidget(self.pages)
        self.video_and_plot.addWidget(self.plot_panel)
        self.video_and_plot.setStretchFactor(0, 1)
        self.plot_panel.hide()
        left.addWidget(self.video_and_plot, 1)
        left.addWidget(self.transport)
        self.tabs = QTabWidget()
        self.tabs.setObjectName("sidebar")
        self.tabs.setDocumentMode(True)
        tab_bar = self.tabs.tabBar()
        if tab_bar is not None:
            tab_bar.setDrawBase(False)
            tab_bar.setExpanding(True)
        self.tabs.setFixedWidth(_SIDEBAR_PX)
        for panel, title in (
            (self.overlay_panel, self.tr("Overlay")),
            (self.pose_panel, self.tr("Pose")),
            (self.statistics_panel, self.tr("Statistics")),
            (self.people_panel, self.tr("People")),
            (self.maps_panel, self.tr("Maps")),
        ):
            area = QScrollArea()
            area.setWidgetResizable(True)
            area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
            area.setWidget(panel)
            self.tabs.addTab(area, title)
            if panel is self.pose_panel:
                self._pose_area = area
        central = QWidget()
        layout = QHBoxLayout(central)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(left, 1)
        layout.addWidget(self.tabs)
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
        self._pipeline_timer, self._plots_timer = QTimer(self), QTimer(self)
        for timer in (self._pipeline_timer, self._plots_timer):
            timer.setSingleShot(True)
        self._pipeline_timer.timeout.connect(lambda: self.session.set_options(self.pose_panel.options))
        self._plots_timer.timeout.connect(self.statistics_panel.show_plots)

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

    def slots(self) -> dict[str, Callable[[], object]]:
        """The slot of each command of `app.actions`, by its name."""
        source, look, overlay = self.source_control, self.look_control, self.overlay_panel

        def toggle(box: QCheckBox) -> Callable[[], object]:
            return lambda: box.setChecked(not box.isChecked())

        return {
            "play": source.toggle_playing,
            "step_on": lambda: source.step(1),
            "step_back": lambda: source.step(-1),
            "forward": lambda: source.jump(5.0),
            "backward": lambda: source.jump(-5.0),
            "start": lambda: source.go_to(0.0),
            "end": source.go_to_end,
            "loop": self.transport.loop.toggle,
            "faster": lambda: source.change_speed(1),
            "slower": lambda: source.change_speed(-1),
            "mirror": self.transport.mirror.toggle,
            "attention": overlay.next_kind,
            "next_keypoint": lambda: overlay.step_keypoint(1),
            "previous_keypoint": lambda: overlay.step_keypoint(-1),
            "probe_next": look.probe_next,
            "pin": look.pin_probe,
            "escape": lambda: None if self.full_screen.leave() or look.let_go() else look.remove_probe(),
            "zoom_in": lambda: self.view.zoom_by(1.25),
            "zoom_out": lambda: self.view.zoom_by(0.8),
            "zoom_back": self.view.zoom_back,
            "skeleton": toggle(overlay.skeleton),
            "boxes": toggle(overlay.boxes),
            "ids": toggle(overlay.ids),
            "scores": toggle(overlay.scores),
            "angles": toggle(overlay.angles),
            "trails": toggle(overlay.trails),
            "tab_overlay": lambda: self.show_tab(0),
            "tab_pose": lambda: self.show_tab(1),
            "tab_statistics": lambda: self.show_tab(2),
            "tab_people": lambda: self.show_tab(3),
            "tab_maps": lambda: self.show_tab(4),
            "plot": lambda: self.plot_panel.setVisible(not self.plot_panel.isVisible()),
            "sidebar": lambda: self.tabs.setVisible(not self.tabs.isVisible()),
            "full_screen": self.full_screen.toggle,
            "snapshot": lambda: self.outputs.snapshot(self.view.picture),
            "copy": lambda: self.outputs.copy(self.view.picture),
            "record": self.toggle_record,
            "record_options": lambda: self.outputs.ask_recording(self.settings),
            "poses": self.outputs.toggle_poses,
            "export": self.ask_export,
            "shortcuts": lambda: KeysDialog(self).show(),
            "reset": self.reset_settings,
            "about": lambda: AboutDialog(PROGRAM_VERSION, self.session.description, self).show(),
            "quit": self.close,
        }

    def states(self) -> dict[str, Callable[[], bool]]:
        """Whether each switch among the commands is on, by its name."""
        overlay, bar, outputs = self.overlay_panel, self.transport, self.outputs
        return {
            "loop": bar.loop.isChecked,
            "mirror": bar.mirror.isChecked,
            "skeleton": overlay.skeleton.isChecked,
            "boxes": overlay.boxes.isChecked,
            "ids": overlay.ids.isChecked,
            "scores": overlay.scores.isChecked,
            "angles": overlay.angles.isChecked,
            "trails": overlay.trails.isChecked,
            "plot": lambda: not self.plot_panel.isHidden(),
            "sidebar": lambda: not self.tabs.isHidden(),
            "full_screen": lambda: self.full_screen.is_on,
            "record": lambda: outputs.is_recording,
            "poses": lambda: outputs.poses is not None,
        }

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
        self.header.show_snapshot(snapshot, self.session.description, playing=playing, is_open=playback is not None)
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
