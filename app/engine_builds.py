"""Builds an engine in a child process while the video plays, and then opens a pipeline with it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PyQt5.QtCore import QObject, QTimer, pyqtSignal

from app.live.session import Session
from app.live.shots import PipelineReady, SourceOpened
from app.widgets.notices import Notices
from app.widgets.pose_panel import PosePanel
from app.wording import in_window_words
from engine.artifacts.compiler import BackgroundBuild
from engine.build.offers import BuildOffer, build_offers
from engine.errors import EngineError
from engine.pipeline.pose_pipeline import PipelineOptions

_POLL_MS = 150


class EngineBuilds(QObject):
    """One build at a time, reported in the notices. Methods are called in the GUI thread; only `close` blocks."""

    _progress = pyqtSignal(str)

    def __init__(
        self,
        *,
        session: Session,
        pose_panel: PosePanel,
        notices: Notices,
        open_pipeline: Callable[[PipelineOptions], None],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._session, self._panel, self._notices = session, pose_panel, notices
        self._open_pipeline = open_pipeline
        self._build: BackgroundBuild | None = None
        self._offer: BuildOffer | None = None
        self._model: str | None = None  # that the engine is built of
        self._ending: threading.Thread | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(_POLL_MS)
        self._timer.timeout.connect(self._poll)
        self._progress.connect(self._report)
        pose_panel.builds.build_requested.connect(self.start)
        pose_panel.changed.connect(lambda _options: self._refresh())
        session.happened.connect(self._happened)

    def _happened(self, event: object) -> None:
        if isinstance(event, (SourceOpened, PipelineReady)):
            self._refresh()

    def _refresh(self) -> None:
        """Offer the possible builds for the chosen network and the open source."""
        source = self._session.source
        has_pictures = source is not None and not (source.info.is_live or source.info.read_once)
        people_in = source.text if source is not None and has_pictures and source.text != "demo" else None
        try:
            self._panel.builds.set_offers(build_offers(self._panel.options.pose_model, people_in))
        except EngineError as error:  # no default model: nothing can be built
            self._panel.builds.set_offers(())
            self._notices.report("error", in_window_words(str(error)), subject="build")

    def start(self, offer: BuildOffer) -> None:
        """Start a build; the pipeline keeps running."""
        if self._build is not None:
            return
        self._offer, self._model = offer, self._panel.options.pose_model
        self._build = BackgroundBuild(offer.arguments, self._progress.emit)
        self._panel.builds.set_busy(True)
        self._report(self.tr("starting"))
        self._timer.start()

    def cancel(self) -> None:
        """End the build without waiting; the notices report its end."""
        if self._build is not None and self._ending is None:
            self._ending = threading.Thread(target=self._build.cancel, name="build cancel", daemon=True)
            self._ending.start()

    def close(self, limit_s: float) -> None:
        """End the build and wait up to a limit for its end."""
        self._timer.stop()
        self.cancel()
        if self._ending is not None:
            self._ending.join(limit_s)

    def _report(self, line: str) -> None:
        if self._build is not None and self._ending is None and self._offer is not None:
            text = self.tr("Building {title}: {line}").format(title=self._offer.title, line=line)
            self._notices.report("busy", text, subject="build", action=(self.tr("Cancel"), self.cancel))

    def _poll(self) -> None:
        build, offer = self._build, self._offer
        if build is None or offer is None or build.is_running:
            return
        cancelled = self._ending is not None
        self._build = self._ending = None
        self._timer.stop()
        self._panel.builds.set_busy(False)
        try:
            file = build.result()
        except EngineError as error:
            if cancelled:
                self._notices.report("done", self.tr("The build was cancelled."), subject="build")
            else:
                self._notices.report("error", in_window_words(str(error)), subject="build")
            return
        self._use(offer, file)

    def _use(self, offer: BuildOffer, file: Path) -> None:
        if not offer.backend or self._panel.options.pose_model != self._model:
            self._notices.report("done", self.tr("Built {file}").format(file=file), subject="build")
            return
        text = self.tr("{title} is ready; switching to it").format(title=offer.title)
        self._notices.report("done", text, subject="build")
        self._panel.set_options(replace(self._panel.options, backend=offer.backend, precision=offer.precision))
        self._open_pipeline(self._panel.options)
