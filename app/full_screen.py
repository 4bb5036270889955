"""Full screen: only the video; its controls lie over it while the mouse moves."""

from __future__ import annotations

from collections.abc import Sequence

from PyQt5.QtCore import QEvent, QObject, Qt
from PyQt5.QtWidgets import QBoxLayout, QMainWindow, QWidget

from app.widgets.parts import single_shot

_CONTROLS_SHOWN_MS = 2500  # after the last move of the mouse


class FullScreen(QObject):
    """Switches a window to full screen and back."""

    def __init__(
        self,
        window: QMainWindow,
        *,
        around: Sequence[QWidget],
        pages: QWidget,
        video: QWidget,
        controls: QWidget,
        column: QBoxLayout,
    ) -> None:
        """Take the parts of the window.

        Args:
            around: hidden in full screen.
            pages: holds the video and fills the window then.
            video: moves of the mouse over it show the controls.
            controls: the last widget of `column`; in full screen, over the lower edge of `pages`.
            column: the layout that it belongs to.
        """
        super().__init__(window)
        self._window, self._around, self._pages, self._video = window, tuple(around), pages, video
        self._controls, self._column = controls, column
        self._were_visible: tuple[QWidget, ...] = ()
        self.is_on = False
        self.controls_shown_ms = _CONTROLS_SHOWN_MS
        self._timer = single_shot(self, self._hide_controls)
        video.setMouseTracking(True)
        for widget in (video, pages):
            widget.installEventFilter(self)

    def toggle(self) -> None:
        """Enter or leave full screen."""
        if not self.leave():
            self._enter()

    def leave(self) -> bool:
        """Leave full screen; False if the window was not in it."""
        if not self.is_on:
            return False
        self.is_on = False
        self._timer.stop()
        self._show_pointer()
        self._column.addWidget(self._controls)
        self._controls.show()
        for widget in self._were_visible:
            widget.show()
        self._window.setWindowState(self._window.windowState() & ~Qt.WindowStates(Qt.WindowState.WindowFullScreen))
        return True

    def _enter(self) -> None:
        self.is_on = True
        self._were_visible = tuple(widget for widget in self._around if widget.isVisibleTo(self._window))
        for widget in self._were_visible:
            widget.hide()
        self._column.removeWidget(self._controls)
        self._controls.setParent(self._pages)
        self._window.setWindowState(self._window.windowState() | Qt.WindowState.WindowFullScreen)
        self._show_controls()

    def _show_controls(self) -> None:
        self._show_pointer()
        self._controls.show()
        self._place()
        self._timer.start(self.controls_shown_ms)

    def _hide_controls(self) -> None:
        if self._controls.underMouse():
            self._timer.start(self.controls_shown_ms)
            return
        self._controls.hide()
        self._window.setCursor(Qt.CursorShape.BlankCursor)
        self._video.setProperty("pointer", self._video.cursor())
        self._video.setCursor(Qt.CursorShape.BlankCursor)

    def _show_pointer(self) -> None:
        pointer = self._video.property("pointer")
        if pointer is not None:
            self._window.unsetCursor()
            self._video.setCursor(pointer)
            self._video.setProperty("pointer", None)

    def _place(self) -> None:
        height = self._controls.sizeHint().height()
        self._controls.setGeometry(0, self._pages.height() - height, self._pages.width(), height)
        self._controls.raise_()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Show the controls when the mouse moves, and keep them at the lower edge."""
        if self.is_on and event is not None:
            if watched is self._video and event.type() == QEvent.Type.MouseMove:
                self._show_controls()
            elif watched is self._pages and event.type() == QEvent.Type.Resize:
                self._place()
        return super().eventFilter(watched, event)
