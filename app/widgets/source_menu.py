"""The source menu: cameras, files, folders, addresses, the demo and recent sources."""

from __future__ import annotations

from pathlib import Path

from PyQt5.QtCore import pyqtSignal
from PyQt5.QtWidgets import QAction, QFileDialog, QInputDialog, QLineEdit, QMenu, QWidget

from app.live.camera_search import CameraSearch
from app.settings import Settings

_VIDEO = "*.mp4 *.mkv *.avi *.mov *.webm *.m4v *.mpg *.mpeg *.ts *.wmv *.flv"
_PHOTO = "*.jpg *.jpeg *.png *.bmp *.webp *.tif *.tiff"
MEDIA = f"{_VIDEO} {_PHOTO}"
"""Patterns of the files that dialogs offer."""


def shown_name(text: str) -> str:
    """The text of a source in the menu, where a single `&` would underline the letter after it."""
    if "://" not in text and text != "demo" and not text.isdecimal():
        path = Path(text)
        text = f"{path.name}   ({path.parent})" if path.parent.name else path.name
    return text.replace("&", "&&")


class SourceMenu(QMenu):
    """Lists the sources and asks for files and addresses.

    Signals:
        chosen: text of the source, as `open_source` takes it.
    """

    chosen = pyqtSignal(str)

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setTitle(self.tr("&Source"))
        self._settings = settings
        self.last_action: QAction | None = None
        """Below the sources: what ends the program."""
        self.search = CameraSearch(self)
        self.search.finished.connect(self._fill)
        self.aboutToShow.connect(self.search_cameras)
        self._fill()

    def search_cameras(self) -> None:
        """Search for cameras, unless a search is running."""
        if not self.search.is_running:
            self.search.start()

    def wait(self) -> None:
        """Wait for a running search before the window goes."""
        self.search.wait(1.5)

    def _fill(self) -> None:
        self.clear()
        for camera in self.search.cameras:
            self.addAction(
                self.tr("Camera {index}: {name}").format(index=camera.index, name=camera.name.replace("&", "&&")),
                lambda _checked=False, index=camera.index: self.chosen.emit(str(index)),
            )
        if not self.search.cameras:
            none = self.addAction(self.search.message or self.tr("No camera found"))
            if none is not None:
                none.setEnabled(False)
        self.addSeparator()
        self.addAction(self.tr("Open a &video or photo…"), self.ask_file, "Ctrl+O")
        self.addAction(self.tr("Open a &folder of photos…"), self.ask_folder, "Ctrl+Shift+O")
        self.addAction(self.tr("Open an &address (RTSP, HTTP)…"), self.ask_address, "Ctrl+U")
        self.addAction(self.tr("Built-in &demo"), lambda: self.chosen.emit("demo"), "Ctrl+D")
        recent = self._settings.recent
        if recent:
            self.addSeparator()
            for text in recent:
                self.addAction(shown_name(text), lambda _checked=False, text=text: self.chosen.emit(text))
        if self.last_action is not None:
            self.addSeparator()
            self.addAction(self.last_action)

    def refresh(self) -> None:
        """Show the recent sources again after they changed."""
        if not self.isVisible():
            self._fill()

    def ask_file(self) -> None:
        """Ask for a video or photo."""
        kinds = self.tr("Videos and photos ({kinds});;All files (*)").format(kinds=MEDIA)
        title = self.tr("Open a video or photo")
        file, _kind = QFileDialog.getOpenFileName(self.parentWidget(), title, self._settings.text("folder"), kinds)
        if file:
            self._settings.set_text("folder", str(Path(file).parent))
            self.chosen.emit(file)

    def ask_folder(self) -> None:
        """Ask for a folder of photos."""
        title = self.tr("Open a folder of photos")
        folder = QFileDialog.getExistingDirectory(self.parentWidget(), title, self._settings.text("folder"))
        if folder:
            self._settings.set_text("folder", folder)
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
