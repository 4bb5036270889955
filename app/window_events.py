"""What the window does about the events of its threads: words in the notice bar, controls that fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PyQt5.QtCore import QObject

from app.live.shots import (
    PipelineFailed,
    PipelineProgress,
    PipelineReady,
    PlaybackChanged,
    SignalBack,
    SignalLost,
    SourceFailed,
    SourceOpened,
    Unexpected,
)

if TYPE_CHECKING:
    from app.main_window import MainWindow


class WindowEvents(QObject):
    """Acts on events in the GUI thread."""

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._window = window
        self._search_started = False

    def act(self, event: Any) -> None:
        """Find what is to be done about an event."""
        slots: dict[type, Callable[[Any], None]] = {
            SourceOpened: self._source_opened,
            SourceFailed: self._source_failed,
            SignalLost: self._signal_lost,
            SignalBack: self._signal_back,
            PlaybackChanged: self._playback_changed,
            PipelineProgress: self._pipeline_progress,
            PipelineReady: self._pipeline_ready,
            PipelineFailed: self._pipeline_failed,
            Unexpected: self._unexpected,
        }
        slots[type(event)](event)

    # --- cameras ----------------------------------------------------------------------------------------------------

    def look_for_camera(self) -> None:
        """Open the first camera there is; without one, say so and offer what else there is."""
        window = self._window
        window.sources.search.finished.connect(self._cameras_known)
        self._search_started = True
        window.sources.look_again()

    def _cameras_known(self) -> None:
        window = self._window
        if not self._search_started:
            return
        self._search_started = False
        if window.session.playback is not None or window.session.is_opening_source:
            return
        if window.sources.search.cameras:
            window.open_source(str(window.sources.search.cameras[0].index))
        else:
            window.welcome.say(
                self.tr("No camera found"),
                self.tr("Open a video, drop one here, or look at the built-in demo."),
            )

    # --- source -----------------------------------------------------------------------------------------------------

    def _source_opened(self, event: SourceOpened) -> None:
        window = self._window
        window.header.show_source(event.info)
        window.setWindowTitle(f"{event.info.name} – {window.base_title}")
        window.view.set_badge("")
        window.transport.set_source(event)
        window.transport.set_playing(True)
        window.statistics.clear_window()
        window.apply_look()
        path = event.info.path
        window.settings.add_recent(event.text if path is None else str(path.absolute()))  # it may start elsewhere next
        window.sources.refresh()
        window.builds.refresh()

    def _source_failed(self, event: SourceFailed) -> None:
        window = self._window
        window.notice.say("error", event.message, action=(self.tr("Try again"), lambda: window.open_source(event.text)))
        source = window.session.source
        if window.session.playback is not None and source is not None:
            window.header.show_source(source.info)  # the last good source goes on
        else:
            window.header.set_source("")
            title = self.tr("No video")
            if event.text.isdecimal():
                title = self.tr("No camera found")
            window.welcome.say(title, self.tr("Open a video, drop one here, or look at the built-in demo."))

    def _signal_lost(self, event: SignalLost) -> None:
        window = self._window
        window.view.set_badge(self.tr("Signal lost, retrying"))
        text = self.tr("{message}; trying again in {seconds:.1f} s")
        window.notice.say("warning", text.format(message=event.message, seconds=event.retry_in_s))

    def _signal_back(self, _event: SignalBack) -> None:
        self._window.view.set_badge("")
        self._window.notice.clear_level("warning")

    def _playback_changed(self, event: PlaybackChanged) -> None:
        self._window.transport.set_playing(event.playing)

    # --- pipeline ---------------------------------------------------------------------------------------------------

    def _pipeline_progress(self, event: PipelineProgress) -> None:
        window = self._window
        window.pose_panel.show_opening(event.message)
        window.notice.say("busy", event.message, action=(self.tr("Cancel"), self._cancel_opening))

    def _cancel_opening(self) -> None:
        window = self._window
        window.session.cancel_opening()
        if window.session.options is not None:
            window.pose_panel.set_options(window.session.options)
        window.pose_panel.show_running(window.description)

    def _pipeline_ready(self, event: PipelineReady) -> None:
        window = self._window
        if window.builds.is_running:
            window.notice.clear_level("error")
        else:
            window.notice.clear_level("busy", "error")
        window.pose_panel.show_running(event.description)
        window.overlay_panel.set_skeleton(event.skeleton, has_attention=event.has_attention)
        window.view.set_clickable(event.has_attention)
        window.builds.refresh()
        window.statistics.clear_window()

    def _pipeline_failed(self, event: PipelineFailed) -> None:
        window = self._window
        still = window.session.options
        window.pose_panel.show_running(window.description)
        wanted = window.pose_panel.options
        if still is not None:
            window.pose_panel.set_options(still)  # the panel shows what really runs
        window.notice.say("error", event.message, action=(self.tr("Try again"), lambda: self._try_again(wanted)))

    def _try_again(self, options: Any) -> None:
        self._window.pose_panel.set_options(options)
        self._window.open_pipeline(options)

    def place_probe(self, x: float, y: float) -> None:
        """Fix the probe to whom is at a place in the frame."""
        window = self._window
        ready = window.session.ready
        if ready is None:
            return
        if not ready.has_attention:
            name = ready.description.get("pose_model")
            text = self.tr("The probe needs attention maps, and {name} has none; kcam_ models have.")
            window.notice.say("warning", text.format(name=name))
            return
        window.session.look(True)
        window.session.composer.place_probe((x, y))

    def clear_probe(self) -> None:
        """Take the probe away."""
        window = self._window
        window.session.composer.place_probe(None)
        window.session.look(window.overlay_panel.options.attention is not None)

    def _unexpected(self, event: Unexpected) -> None:
        self._window.report(event.error, event.where)
