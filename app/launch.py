"""`python main.py`: error hooks, application object, window, then everything slow."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from app.error_report import ErrorReport
from app.qt_setup import make_application
from engine.option_table import options_of
from engine.options import Options
from engine.pipeline.options import PipelineOptions

if TYPE_CHECKING:
    from app.main_window import MainWindow


def chosen_options(options: Options, remembered: PipelineOptions) -> PipelineOptions:
    """The remembered options, overridden by those of the command line.

    Raises:
        OptionError: a value is not valid.
    """
    given = {item.name: getattr(options, item.name) for item in options_of(remembered) if item.name in options.given}
    return replace(remembered, **given)


@contextlib.contextmanager
def _signals_close(window: MainWindow) -> Iterator[None]:
    """Make Ctrl-C and termination signals close the window; the handlers are restored afterwards."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # SIG_IGN: started with nohup, to outlive the terminal.
    previous = {number: signal.getsignal(number) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}
    for number in previous:
        signal.signal(number, lambda *_: window.close_unasked())
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def check_status_file(user_options: Options) -> None:
    """Refuse a status file that would replace something.

    Raises:
        OutputError: it is an input, or exists and is not the status of an earlier run.
    """
    if user_options.status_json is None:
        return
    from app.live.status_file import is_status
    from engine.artifacts.write_guard import check_targets
    from engine.output.run_video import run_inputs
    from engine.sources.opening import path_of

    inputs = run_inputs(user_options, path_of(user_options.source))
    check_targets([user_options.status_json], inputs=inputs, overwrite=user_options.overwrite, is_own=is_status)


def launch(user_options: Options) -> int:
    """Open the window and run until it is closed; returns the exit code.

    Raises:
        OptionError: a value of the command line is not valid.
        OutputError: the status file would replace something.
    """
    check_status_file(user_options)
    errors = ErrorReport()
    errors.install()
    try:
        application = make_application(sys.argv[:1])
        from app.main_window import MainWindow
        from app.settings import Settings
        from app.system_theme import system_theme
        from app.widgets.theme import apply_theme

        apply_theme(application, system_theme(application))
        settings = Settings()
        window = MainWindow(
            settings=settings,
            options=chosen_options(user_options, settings.pipeline),
            report=errors.report,
            note=errors.note,
            status_json=user_options.status_json,
        )
        errors.parent_widget = window
        with _signals_close(window):
            window.show()
            window.start(user_options.source)
            code = int(application.exec_())
            window.outputs.wait()  # a recording is painted with Qt, which needs the application
            return code
    finally:
        errors.remove()
