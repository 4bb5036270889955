"""The window: joins video, panels and session; every slot runs in the GUI thread and none of them waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PyQt5.QtCore import QTimer
from PyQt5.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent

from app.actions import add_actions
from app.live.compose import Look
from app.live.composer import Picture
from app.live.engine_builds import EngineBuilds
from app.live.inference import OpenPipeline, open_with_maps
from app.live.session import Session
from app.live.statistics import Statistics
from app.live.status_file import status_of, write_status
from app.output.outputs import Outputs
from app.settings import Settings
from app.widgets.focus_keys import FocusKeys
from app.window_events import WindowEvents
from app.window_layout import WindowLayout
from app.window_slots import slots_of
from engine.errors import OutputError
from engine.pipeline.pose_pipeline import PipelineOptions
from engine.sources.addresses import shown
from engine.sources.frame_source import FrameSource
from engine.sources.opening import open_source

_STATISTICS_MS, _STATUS_MS = 500, 1000
_PIPELINE_AFTER_MS = 3000  # or right after the first frame, which must not wait for the imports of a runtime
_PLOTS_AFTER_MS = 1500  # pyqtgraph is slow to import: the first frames come before it
_CLOSE_LIMIT_S = 2.0


class MainWindow(WindowLayout):
    """Video on the left, panels on the right."""

    def __init__(
        self,
        *,
        settings: Settings,
        options: PipelineOptions,
        report: Callable[[BaseException, str], None],
        status_json: Path | None = None,
        open_source: Callable[[str], FrameSource] = open_source,
        open_pipeline: OpenPipeline = open_with_maps,
    ) -> None:
        """Make the window; nothing is opened before `start`.

        Args:
            settings: what is remembered.
            options: the pipeline to begin with.
            report: takes what is unexpected: the exception, and where it was.
            status_json: file to write the status to, once a second.
            open_source, open_pipeline: what opens them; tests bring their own.
        """
        super().__init__(settings)
        self.report = report
        self._status_json = status_json
        self._started_s = time.monotonic()
        self._first_painted = False
        self._last_shown: object = None
        self.statistics = Statistics()
        self.session = Session(open_source=open_source, open_pipeline=open_pipeline, parent=self)
        self.outputs = Outputs(
            self.session, self.notice, open_source=open_source, open_pipeline=open_pipeline, report=report, parent=self
        )
        self.events = WindowEvents(self)
        self.builds = EngineBuilds(self)
        self.actions_by_name = add_actions(self, slots_of(self))
        bar = self.menuBar()
        if bar is not None:
            bar.insertMenu(bar.actions()[0], self.sources)
        self._connect()
        self._focus_keys = FocusKeys(self)
        self._statistics_timer, self._status_timer = QTimer(self), QTimer(self)
        self._pipeline_timer = QTimer(self)
        self._pipeline_timer.setSingleShot(True)
        self._pipeline_timer.timeout.connect(lambda: self.session.set_options(self.pose_panel.options))
        self._plots_timer = QTimer(self)
        self._plots_timer.setSingleShot(True)
        self._plots_timer.setInterval(_PLOTS_AFTER_MS)
        self._plots_timer.timeout.connect(self.statistics_panel.show_plots)
        self._statistics_timer.timeout.connect(self._show_statistics)
        self._status_timer.timeout.connect(self._write_status)
        self._apply_settings(options)

    def _connect(self) -> None:
        self.session.picture_ready.connect(self._take_picture)
        self.session.happened.connect(self.events.act)
        self.view.resized.connect(lambda width, height, ratio: self.session.composer.set_room((width, height), ratio))
        self.view.painted.connect(self._painted)
        self.view.clicked.connect(self.events.place_probe)
        self.view.cleared.connect(self.events.clear_probe)
        self.overlay_panel.changed.connect(lambda _options: self.apply_look())
        self.overlay_panel.probe_cleared.connect(self.events.clear_probe)
        self.pose_panel.changed.connect(self.open_pipeline)
        self.sources.chosen.connect(self.open_source)
        self.welcome.file_asked.connect(self.sources.ask_file)
        self.welcome.demo_asked.connect(lambda: self.open_source("demo"))
        bar = self.transport
        bar.play_toggled.connect(self.toggle_playing)
        bar.stepped.connect(self.step)
        bar.sought.connect(self.seek)
        bar.loop_changed.connect(self._set_loop)
        bar.speed_changed.connect(self.session.set_speed)
        bar.mirror_changed.connect(self._set_mirror)
        bar.snapshot_asked.connect(lambda: self.outputs.snapshot(self.view.picture))
        bar.record_toggled.connect(self.toggle_record)
        bar.poses_toggled.connect(self.outputs.toggle_poses)
        bar.export_asked.connect(lambda: self.outputs.ask_export(self.pose_panel.options))
        self.outputs.open_asked.connect(self.open_source)
        self.outputs.poses_recording.connect(bar.poses.setChecked)

    def _apply_settings(self, options: PipelineOptions) -> None:
        self.transport.loop.setChecked(self.settings.flag("loop", True))
        self.transport.mirror.setChecked(self.settings.flag("mirror", True))
        self.session.set_loop(self.transport.loop.isChecked())
        self.overlay_panel.set_options(self.settings.overlay)
        self.pose_panel.set_options(options)
        geometry = self.settings.geometry
        if geometry is None or not self.restoreGeometry(geometry):
            self.resize(1280, 760)

    # --- what a person does -----------------------------------------------------------------------------------------

    def start(self, source: str | None) -> None:
        """Open the first source (None: the first camera there is) and the pipeline; begin to count."""
        if source is not None:
            self.open_source(source)
        else:
            self.events.look_for_camera()
        self._pipeline_timer.start(_PIPELINE_AFTER_MS)
        self._statistics_timer.start(_STATISTICS_MS)
        if self._status_json is not None:
            self._status_timer.start(_STATUS_MS)

    def open_source(self, text: str) -> None:
        """Open a source; the present one is shown until the new one gives its first word."""
        self.notice.clear_level("error", "warning")
        self.header.set_source(self.tr("Opening {name}…").format(name=Path(shown(text)).name or shown(text)))
        if self.session.playback is None:
            self.welcome.say(self.tr("Opening…"), shown(text), busy=True)
        self.session.open(text)

    def open_pipeline(self, options: PipelineOptions) -> None:
        """Open another pipeline; the present one goes on meanwhile."""
        self.settings.pipeline = options
        self.session.set_options(options)
        if self.session.is_opening:
            self.pose_panel.show_opening(self.tr("Opening…"))

    def apply_look(self) -> None:
        """Draw as the panels say."""
        overlay = self.overlay_panel.options
        source = self.session.source
        mirror = self.transport.mirror.isChecked() and source is not None and source.info.is_live
        self.view.auto_scale = overlay.scale == "auto"
        self.view.score_threshold = overlay.score_threshold
        self.session.composer.set_look(Look(overlay=overlay, mirror=mirror))
        self.session.look(overlay.attention is not None or self.overlay_panel.has_probe)

    def toggle_playing(self) -> None:
        """Play or pause."""
        playback = self.session.playback
        if playback is not None:
            playback.set_playing(not playback.is_playing)
            self.transport.set_playing(playback.is_playing)

    def step(self, frames: int) -> None:
        """Pause and go so many frames on."""
        if self.session.playback is not None:
            self.session.playback.step(frames)
            self.transport.set_playing(False)

    def seek(self, position_s: float) -> None:
        """Go to a place in the file."""
        if self.session.playback is not None:
            self.session.playback.seek(position_s)

    def toggle_record(self) -> None:
        """Begin or end to record the annotated video."""
        self.outputs.toggle_video()
        self.transport.set_recording(self.outputs.recording_text())

    def reset_settings(self) -> None:
        """Forget all that is remembered, and begin as on the first day."""
        self.settings.reset()
        self.sources.refresh()
        self._apply_settings(PipelineOptions())
        self.open_pipeline(self.pose_panel.options)

    def _set_loop(self, loop: bool) -> None:
        self.session.set_loop(loop)
        self.settings.set_flag("loop", loop)

    def _set_mirror(self, mirror: bool) -> None:
        self.settings.set_flag("mirror", mirror)
        self.apply_look()

    # --- pictures and numbers ---------------------------------------------------------------------------------------

    def _take_picture(self) -> None:
        picture = self.session.take_picture()
        if picture is None:
            return
        self.pages.setCurrentWidget(self.view)
        self.view.show_picture(picture)
        self.transport.set_position(picture.shown.shot.position_s)
        if picture.probe_set is not self.overlay_panel.has_probe:
            self.overlay_panel.set_probe_state(picture.probe_set)
            self.apply_look()  # maps are fetched as long as somebody looks at them

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
            self._plots_timer.start()
            if self._pipeline_timer.isActive():
                self._pipeline_timer.start(0)

    @property
    def description(self) -> dict[str, Any]:
        """What really runs."""
        return {} if self.session.ready is None else self.session.ready.description

    def _show_statistics(self) -> None:
        snapshot = self.statistics.snapshot()
        self.statistics_panel.show_snapshot(
            snapshot, dropped_frames=self.session.dropped_frames, description=self.description
        )
        playback = self.session.playback
        playing = playback is not None and playback.is_playing
        self.header.show_snapshot(snapshot, self.description, playing=playing)
        self.transport.set_recording(self.outputs.recording_text())

    def _write_status(self) -> None:
        assert self._status_json is not None  # noqa: S101 - the timer runs only then
        source = self.session.source
        status = status_of(
            self.statistics.snapshot(),
            source=None if source is None else source.info.name,
            options=self.session.options,
            description=self.description,
            dropped_frames=self.session.dropped_frames,
            started_s=self._started_s,
        )
        try:
            write_status(self._status_json, status)
        except OutputError as error:
            self._status_timer.stop()
            self.notice.say("error", str(error))

    # --- window -----------------------------------------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Take files and addresses."""
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
            self.open_source(text)

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Remember, end all threads, and let the recordings become whole."""
        for timer in (self._statistics_timer, self._status_timer, self._plots_timer, self._pipeline_timer):
            timer.stop()
        if self._status_json is not None:
            self._write_status()
        self.settings.geometry = self.saveGeometry()
        self.settings.overlay = self.overlay_panel.options
        self.builds.cancel()
        self.outputs.close(_CLOSE_LIMIT_S)
        self.session.close()
        self.builds.close(0.5)
        self.sources.wait()
        super().closeEvent(event)
