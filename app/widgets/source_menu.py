"""Choosing a source: cameras, files, folders, addresses, the demo, and what was open before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PyQt5.QtCore import QObject, QThread, pyqtSignal
from PyQt5.QtWidgets import QFileDialog, QInputDialog, QLineEdit, QMenu, QWidget

from app.settings import Settings
from engine.errors import EngineError
from engine.sources.opening import CameraInfo, list_cameras

_VIDEO = "*.mp4 *.mkv *.avi *.mov *.webm *.m4v *.mpg *.mpeg *.ts *.wmv *.flv"
_PHOTO = "*.jpg *.jpeg *.png *.bmp *.webp *.tif *.tiff"


class CameraSearch(QThread):
    """Asks the system for its cameras, which may take a while, away from the GUI thread."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.cameras: list[CameraInfo] = []
        self.message = ""

    def run(self) -> None:
        """List the cameras."""
        try:
            self.cameras, self.message = list_cameras(), ""
        except EngineError as error:
            self.cameras, self.message = [], str(error)


def shown_name(text: str) -> str:
    """A source as a menu shows it."""
    if "://" in text or text == "demo" or text.isdecimal():
        return text
    path = Path(text)
    return f"{path.name}   ({path.parent})" if path.parent.name else path.name


class SourceMenu(QMenu):
    """The menu of sources.

    Signals:
        chosen: text of the source, as `open_source` takes it.
    """

    chosen = pyqtSignal(str)

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setTitle(self.tr("&Source"))
        self._settings = settings
        self.search = CameraSearch(self)
        self.search.finished.connect(self._fill)
        self.aboutToShow.connect(self.look_again)
        self._fill()

    def look_again(self) -> None:
        """Ask the system for its cameras, unless it is being asked already."""
        if not self.search.isRunning():
            self.search.start()

    def wait(self) -> None:
        """Let a running search end; for those who close the window."""
        self.search.wait(1500)

    def add(self, text: str, slot: Callable[..., None], shortcut: str = "") -> None:
        """Add a line."""
        action = self.addAction(text)
        assert action is not None  # noqa: S101 - Qt made it
        action.triggered.connect(slot)
        if shortcut:
            action.setShortcut(shortcut)

    def _fill(self) -> None:
        self.clear()
        for camera in self.search.cameras:
            self.add(
                self.tr("Camera {index}: {name}").format(index=camera.index, name=camera.name.replace("&", "&&")),
                lambda _checked=False, index=camera.index: self.chosen.emit(str(index)),
            )
        if not self.search.cameras:
            none = self.addAction(self.search.message or self.tr("No camera found"))
            if none is not None:
                none.setEnabled(False)
        self.addSeparator()
        self.add(self.tr("Open a &video or photo…"), self.ask_file, "Ctrl+O")
        self.add(self.tr("Open a &folder of photos…"), self.ask_folder, "Ctrl+Shift+O")
        self.add(self.tr("Open an &address (RTSP, HTTP)…"), self.ask_address, "Ctrl+U")
        self.add(self.tr("Built-in &demo"), lambda: self.chosen.emit("demo"), "Ctrl+D")
        recent = self._settings.recent
        if recent:
            self.addSeparator()
            for text in recent:
                self.add(shown_name(text), lambda _checked=False, text=text: self.chosen.emit(text))

    def refresh(self) -> None:
        """Show the recent sources anew."""
        if not self.isVisible():
            self._fill()

    def ask_file(self) -> None:
        """Ask for a video or photo."""
        kinds = self.tr("Videos and photos ({kinds});;All files (*)").format(kinds=f"{_VIDEO} {_PHOTO}")
        title = self.tr("Open a video or photo")
        file, _kind = QFileDialog.getOpenFileName(self.parentWidget(), title, self._settings.last_folder, kinds)
        if file:
            self._settings.last_folder = str(Path(file).parent)
            self.chosen.emit(file)

    def ask_folder(self) -> None:
        """Ask for a folder of photos."""
        title = self.tr("Open a folder of photos")
        folder = QFileDialog.getExistingDirectory(self.parentWidget(), title, self._settings.last_folder)
        if folder:
            self._settings.last_folder = folder
            self.chosen.emit(folder)

    def ask_address(self) -> None:
        """Ask for an address."""
        text, agreed = QInputDialog.getText(
            self.parentWidget(),
            self.tr("Open an address"),
            self.tr("Address of a stream or video (rtsp://, http://, …):"),
            QLineEdit.EchoMode.Normal,
        )
        if agreed and text.strip():
            self.chosen.emit(text.strip())
