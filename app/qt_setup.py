"""Makes the application object, and lets Qt and OpenCV work in one process."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

import cv2
from PyQt5.QtCore import QCoreApplication, QMessageLogContext, Qt, QtMsgType, qInstallMessageHandler
from PyQt5.QtWidgets import QApplication

from app.error_report import end_of_qt
from engine.errors import OptionError
from engine.system.installation import program_command
from engine.system.missing import XCB_ADVICE, why_no_xcb

NAME = "kcam-pose"
TITLE = "KCAM Pose"
PROGRAM_VERSION = "0.1.0"
# Keeps a reference: a window that outlives the application crashes on deletion.
_made: list[QApplication] = []


def drop_opencv_plugins() -> None:
    """Undo the Qt plugin path that importing cv2 sets.

    Its Linux wheels point Qt to their own plugins, which are built for another Qt: QApplication would abort.
    """
    for name in ("QT_QPA_PLATFORM_PLUGIN_PATH", "QT_QPA_FONTDIR"):
        if "cv2" in os.environ.get(name, "").replace("\\", "/").split("/"):
            del os.environ[name]


def require_screen() -> None:
    """Raise an error if there is no screen, or Qt cannot use it: Qt itself would abort the process.

    Raises:
        OptionError: there is none, or a system library is missing.
    """
    platform = os.environ.get("QT_QPA_PLATFORM")
    if not sys.platform.startswith("linux") or platform not in (None, "", "xcb"):
        return
    if not platform and not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        raise OptionError(
            "the window needs a screen, and neither DISPLAY nor WAYLAND_DISPLAY names one; "
            f"write a pose video instead: {program_command()} --video demo"
        )
    reason = why_no_xcb() if platform or os.environ.get("DISPLAY") else None
    if reason is not None:
        raise OptionError(f"the window cannot open, because {reason}; {XCB_ADVICE}")


@contextlib.contextmanager
def ends_instead_of_aborting() -> Iterator[None]:
    """While Qt connects to the screen: end the program with what Qt complained of, where it would abort.

    Whatever handles Qt's messages otherwise gets the others, and takes over again afterwards.
    """
    complaints: list[str] = []

    def handle(kind: QtMsgType, context: QMessageLogContext, message: str | None) -> None:
        if kind == QtMsgType.QtFatalMsg:
            end_of_qt("; ".join(complaints) or message)
        complaints.append((message or "").strip())
        if previous is not None:
            previous(kind, context, message)

    previous = qInstallMessageHandler(handle)
    try:
        yield
    finally:
        qInstallMessageHandler(previous)


def make_application(arguments: list[str]) -> QApplication:
    """The application object, with high-DPI scaling; it lives until Python ends.

    Raises:
        OptionError: there is no screen.
    """
    require_screen()
    assert cv2.__version__  # noqa: S101 - imported above: a later import would undo the next line
    drop_opencv_plugins()
    QCoreApplication.setAttribute(Qt.ApplicationAttribute.AA_EnableHighDpiScaling)
    QCoreApplication.setAttribute(Qt.ApplicationAttribute.AA_UseHighDpiPixmaps)
    QApplication.setHighDpiScaleFactorRoundingPolicy(Qt.HighDpiScaleFactorRoundingPolicy.PassThrough)
    QCoreApplication.setApplicationName(NAME)
    QCoreApplication.setOrganizationName(NAME)
    with ends_instead_of_aborting():
        application = QApplication(arguments)
    _made.append(application)
    return application
