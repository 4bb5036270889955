"""Builds an engine in a child process while the video goes on, and changes over to it when it is ready."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PyQt5.QtCore import QObject, QTimer, pyqtSignal

from engine.build.background import BackgroundBuild
from engine.build.offers import BuildOffer, build_offers
from engine.errors import EngineError

if TYPE_CHECKING:
    from app.main_window import MainWindow

_LOOK_MS = 150


class EngineBuilds(QObject):
    """One build at a time, told in the notice bar. Methods are called in the GUI thread; none waits but `close`."""

    _said = pyqtSignal(str)

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._window = window
        self._build: BackgroundBuild | None = None
        self._offer: BuildOffer | None = None
        self._ending: threading.Thread | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self._look)
        self._said.connect(self._say)
        self._choice = window.pose_panel.builds
        self._choice.asked.connect(self.start)
        window.pose_panel.changed.connect(lambda _options: self.refresh())

    @property
    def is_running(self) -> bool:
        """Whether something is being built."""
        return self._build is not None

    def refresh(self) -> None:
        """Offer what can be built for the chosen network and the open source."""
        source = self._window.session.source
        people_in = None if source is None or source.info.is_live or source.text == "demo" else source.text
        try:
            self._choice.set_offers(build_offers(self._window.pose_panel.options.pose_model, people_in))
        except EngineError as error:  # no default model: nothing can be built
            self._choice.set_offers(())
            self._window.notice.say("error", str(error))

    def start(self, offer: BuildOffer) -> None:
        """Begin to build; the pipeline that runs goes on."""
        if self._build is not None:
            return
        self._offer = offer
        self._build = BackgroundBuild(offer.arguments, self._said.emit)
        self._choice.set_busy(True)
        self._say(self.tr("starting"))
        self._timer.start()

    def cancel(self) -> None:
        """End the build; the bar says so when it has ended."""
        if self._build is not None and self._ending is None:
            self._ending = threading.Thread(target=self._build.cancel, name="build cancel", daemon=True)
            self._ending.start()

    def close(self, limit_s: float) -> bool:
        """End the build and wait; False where it was not in time."""
        self._timer.stop()
        self.cancel()
        if self._ending is not None:
            self._ending.join(limit_s)
        return self._build is None or not self._build.is_running

    def _say(self, line: str) -> None:
        if self._build is not None and self._ending is None and self._offer is not None:
            text = self.tr("Building {title}: {line}").format(title=self._offer.title, line=line)
            self._window.notice.say("busy", text, action=(self.tr("Cancel"), self.cancel))

    def _look(self) -> None:
        build, offer = self._build, self._offer
        if build is None or offer is None or build.is_running:
            return
        cancelled = self._ending is not None
        self._build = self._ending = None
        self._timer.stop()
        self._choice.set_busy(False)
        try:
            file = build.result()
        except EngineError as error:
            if cancelled:
                self._window.notice.say("done", self.tr("The build was cancelled."))
            else:
                self._window.notice.say("error", str(error))
            return
        self._ready(offer, file)

    def _ready(self, offer: BuildOffer, file: Path) -> None:
        window = self._window
        if not offer.backend:
            window.notice.say("done", self.tr("Built {file}").format(file=file))
            return
        window.notice.say("done", self.tr("{title} is ready; changing over").format(title=offer.title))
        panel = window.pose_panel
        # The pipeline that runs goes on until the one with the engine has been opened.
        panel.set_options(replace(panel.options, backend=offer.backend, precision=offer.precision))
        window.open_pipeline(panel.options)
