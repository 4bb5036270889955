"""Unexpected errors: exceptions and messages of Qt go to a log; the user sees one dialog with its path."""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import NoReturn

import platformdirs
from PyQt5.QtCore import QMessageLogContext, QObject, QtMsgType, pyqtSignal, qInstallMessageHandler
from PyQt5.QtWidgets import QApplication, QMessageBox, QWidget

from engine.errors import one_line
from engine.system.entry import EXIT_BAD_INPUT

_LOG = logging.getLogger("app")
_LEVELS = {
    QtMsgType.QtDebugMsg: logging.DEBUG,
    QtMsgType.QtInfoMsg: logging.INFO,
    QtMsgType.QtWarningMsg: logging.WARNING,
    QtMsgType.QtCriticalMsg: logging.ERROR,
    QtMsgType.QtFatalMsg: logging.CRITICAL,
}


def log_file() -> Path:
    """Path of the log."""
    return Path(platformdirs.user_log_dir("kcam-pose", appauthor=False)) / "window.log"


def end_of_qt(message: str | None) -> NoReturn:
    """End the program with the reason, where Qt would abort it with a core dump: no screen, no such platform."""
    if sys.__stderr__ is not None:
        print(f"error: the window cannot run: {one_line(message)}", file=sys.__stderr__, flush=True)
    os._exit(EXIT_BAD_INPUT)


class ErrorReport(QObject):
    """Receives unexpected exceptions from any thread; shows the first and logs all."""

    _reported = pyqtSignal(str)

    def __init__(self, file: Path | None = None) -> None:
        super().__init__()
        self.file = file or log_file()
        self.handler: logging.Handler = self._open_log()
        _LOG.addHandler(self.handler)
        _LOG.setLevel(logging.INFO)
        _LOG.propagate = False
        self._shown = False
        self.parent_widget: QWidget | None = None
        self.show_dialog: Callable[[str], None] = self._show_dialog
        self._reported.connect(self._show_first)

    def _open_log(self) -> logging.Handler:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            handler: logging.Handler = RotatingFileHandler(
                self.file, maxBytes=1_000_000, backupCount=2, encoding="utf-8"
            )
        except OSError:
            handler = logging.StreamHandler(sys.stderr)  # a read-only home must not stop the window
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(threadName)s %(message)s"))
        return handler

    def install(self) -> None:
        """Set the hooks of Python, of its threads and of Qt; before the application object is created."""
        sys.excepthook = self._hook
        threading.excepthook = self._thread_hook
        qInstallMessageHandler(self._qt_message)

    def remove(self) -> None:
        """Restore the hooks."""
        sys.excepthook = sys.__excepthook__
        threading.excepthook = threading.__excepthook__
        qInstallMessageHandler(None)
        _LOG.removeHandler(self.handler)
        self.handler.close()

    def report(self, error: BaseException, where: str) -> None:
        """Log an exception with its traceback and show the dialog; from any thread."""
        text = "".join(traceback.format_exception(error))
        _LOG.error("unexpected in %s:\n%s", where, text)
        self._reported.emit(f"{type(error).__name__}: {error}")

    def note(self, message: str) -> None:
        """Log an expected error that the window shows, and print it where the program was started from."""
        _LOG.error("%s", message)
        if sys.stderr is not None:  # a program without a console has none
            print(f"error: {message}", file=sys.stderr, flush=True)

    def _hook(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            QApplication.quit()
            return
        self.report(error.with_traceback(trace), "the window")

    def _thread_hook(self, arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None:
            name = arguments.thread.name if arguments.thread is not None else "a thread"
            self.report(arguments.exc_value, name)

    def _qt_message(self, kind: QtMsgType, context: QMessageLogContext, message: str | None) -> None:
        _LOG.log(_LEVELS.get(kind, logging.WARNING), "Qt: %s", message)
        if kind == QtMsgType.QtFatalMsg:
            end_of_qt(message)

    def _show_first(self, summary: str) -> None:
        """In the GUI thread: show a dialog for the first one only."""
        if self._shown:
            return
        self._shown = True
        self.show_dialog(summary)

    def _show_dialog(self, summary: str) -> None:
        box = QMessageBox(self.parent_widget)
        box.setIcon(QMessageBox.Icon.Warning)
        box.setWindowTitle(self.tr("Something unexpected happened"))
        box.setText(
            self.tr("Something went wrong inside the program. The window stays open; more errors are only logged.")
        )
        box.setInformativeText(self.tr("What happened stands in {file}").format(file=self.file))
        box.setDetailedText(summary)
        box.setModal(False)
        box.show()
