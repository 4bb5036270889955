"""Opens the pipeline that the pose panel shows; panel and notices show its state."""

from __future__ import annotations

from PyQt5.QtCore import QObject

from app.live.backend_search import BackendSearch
from app.live.session import Session
from app.live.shots import PipelineFailed, PipelineProgress, PipelineReady
from app.settings import Settings
from app.widgets.notices import Notices
from app.widgets.pose_panel import PosePanel
from app.wording import in_window_words
from engine.pipeline.pose_pipeline import PipelineOptions


class PipelineControl(QObject):
    """Connects the pose panel with the session."""

    def __init__(
        self,
        *,
        session: Session,
        settings: Settings,
        pose_panel: PosePanel,
        notices: Notices,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._session, self._settings, self._panel, self._notices = session, settings, pose_panel, notices
        self._chosen: PipelineOptions | None = None
        session.happened.connect(self._happened)
        pose_panel.changed.connect(self.open)
        self._search = BackendSearch(self)
        self._search.finished.connect(self._found)

    def search_backends(self) -> None:
        """Find out which backends and precisions the chosen model can run in here, unless that is known."""
        search, model = self._search, self._panel.options.pose_model
        if not search.is_running and not (search.has_begun and search.pose_model == model):
            search.pose_model = model
            search.start()

    def _found(self) -> None:
        self._search.wait(1.0)  # its thread ends with the signal
        self._panel.show_unusable(self._search.unusable, self._search.precisions)
        self.search_backends()  # another model may have been chosen meanwhile

    def wait(self) -> None:
        """Wait for a running search before the window goes."""
        self._search.wait(1.5)

    def open(self, options: PipelineOptions) -> None:
        """Open another pipeline, and remember its options once it runs; the current one keeps running meanwhile."""
        self._chosen = options
        if self._search.has_begun:
            self.search_backends()
        self._session.set_options(options)
        if not self._session.is_opening:
            self._remember()  # it runs already
        if self._session.is_opening:
            self._panel.show_opening(self.tr("Opening…"))

    def _remember(self) -> None:
        """Remember what the person chose, now that it runs: a choice that fails would fail at every start."""
        if self._chosen is not None and self._session.options == self._chosen:
            self._settings.pipeline = self._chosen
            self._chosen = None

    def _happened(self, event: object) -> None:
        match event:
            case PipelineProgress():
                self._panel.show_opening(event.message)
                cancel = (self.tr("Cancel"), self._cancel)
                self._notices.report("busy", event.message, subject="pipeline", action=cancel)
            case PipelineReady():
                self._remember()
                self._notices.clear("pipeline")
                self._panel.show_running(event.description)
            case PipelineFailed():
                self._chosen = None
                wanted = self._panel.options
                self._show_present()
                again = (self.tr("Try again"), lambda: self._try_again(wanted))
                self._notices.report("error", in_window_words(event.message), subject="pipeline", action=again)

    def _show_present(self) -> None:
        """Show the running pipeline instead of the requested one."""
        if self._session.options is not None:
            self._panel.set_options(self._session.options)
        self._panel.show_running(self._session.description)

    def _cancel(self) -> None:
        self._chosen = None
        self._session.cancel_opening()
        self._show_present()

    def _try_again(self, options: PipelineOptions) -> None:
        self._panel.set_options(options)
        self.open(options)
