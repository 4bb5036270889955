"""Offers to keep what an earlier run could not finish."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PyQt5.QtCore import QObject, QTimer

from app.widgets.notice_bar import NoticeBar
from engine.artifacts.unfinished import set_aside, unfinished_in
from engine.errors import EngineError

_LOOK_EVERY_MS = 1000


class UnfinishedOffer(QObject):
    """Looks once for unfinished files and offers to keep them, as soon as the notice bar has room for it.

    Whoever does not answer loses nothing: the files stay, and are offered again at the next start.
    """

    def __init__(self, notice: NoticeBar, folder: Callable[[], Path], parent: QObject) -> None:
        super().__init__(parent)
        self._notice, self._folder = notice, folder
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._look)
        self._timer.start(_LOOK_EVERY_MS)

    def _look(self) -> None:
        if self._notice.level is not None:
            return
        self._timer.stop()
        found = unfinished_in(self._folder())
        if found:
            text = self.tr("An earlier run was cut off: {names}").format(names=", ".join(path.name for path in found))
            self._notice.report("warning", text, action=(self.tr("Keep"), lambda: self._keep(found)))

    def _keep(self, found: list[Path]) -> None:
        kept: list[str] = []
        try:
            for path in found:
                aside = set_aside(path)
                if aside is not None:
                    kept.append(aside.name)
        except EngineError as error:
            self._notice.report("error", str(error))
            return
        self._notice.report("done", self.tr("Kept as {names}").format(names=", ".join(kept)))
