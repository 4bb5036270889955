"""`python main.py`: error hooks, application object, window, and then everything that is slow."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.error_report import ErrorReport
from app.qt_setup import make_application
from engine.pipeline.pose_pipeline import PipelineOptions

if TYPE_CHECKING:
    from PyQt5.QtWidgets import QWidget


def chosen_options(arguments: argparse.Namespace, remembered: PipelineOptions) -> PipelineOptions:
    """The remembered options, replaced by those of the command line.

    Raises:
        OptionError: a value is not valid.
    """
    given = {
        "pose_model": arguments.pose_model,
        "detector": arguments.detector,
        "classes": arguments.classes,
        "score_threshold": arguments.score_threshold,
        "person_threshold": arguments.person_threshold,
        "backend": None if arguments.backend == "auto" else arguments.backend,
        "precision": None if arguments.precision == "auto" else arguments.precision,
        "device": None if arguments.device == "auto" else arguments.device,
        "download": arguments.download or None,
    }
    return replace(remembered, **{name: value for name, value in given.items() if value is not None})


@contextlib.contextmanager
def _signals_close(window: QWidget) -> Iterator[None]:
    """Let Ctrl-C and the like close the window; the handlers are restored afterwards."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # SIG_IGN: started with nohup, to outlive the terminal.
    previous = {number: signal.getsignal(number) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}
    for number in previous:
        signal.signal(number, lambda *_: window.close())
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def launch(arguments: argparse.Namespace) -> int:
    """Open the window and run until it is closed; returns the exit code.

    Raises:
        OptionError: a value of the command line is not valid.
    """
    errors = ErrorReport()
    errors.install()
    try:
        application = make_application(sys.argv[:1])
        from app.main_window import MainWindow
        from app.settings import Settings
        from app.widgets.theme import apply_theme

        apply_theme(application)
        settings = Settings()
        status_json: Path | None = arguments.status_json
        window = MainWindow(
            settings=settings,
            options=chosen_options(arguments, settings.pipeline),
            report=errors.report,
            status_json=status_json,
        )
        errors.parent_widget = window
        with _signals_close(window):
            window.show()
            window.start(arguments.source)
            code = int(application.exec_())
            window.outputs.wait()  # a recording is painted with Qt, which needs the application
            return code
    finally:
        errors.remove()
